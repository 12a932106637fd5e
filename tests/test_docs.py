"""The documentation against the code: links, verbs, flags, keys, tables; and adding-a-part.md, executed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import yaml
from PIL import Image
from pydantic import BaseModel

import search_spaces
from pipeline import errors
from pipeline.cli import app
from pipeline.config import SamplerConfig, SearchConfig
from pipeline.config_file import load_config, parse_config
from pipeline.energy_words import MARKS
from pipeline.metrics import METRICS
from search_spaces import compression

REPO = Path(__file__).parent.parent
PAGES = [REPO / "README.md", REPO / "CONTRIBUTING.md", REPO / "CHANGELOG.md", *sorted((REPO / "docs").rglob("*.md"))]
INPUTS: dict[str, search_spaces.TaskInput] = {
    "image": search_spaces.ImageInput(channels=3, size=32, classes=10),
    "text": search_spaces.TextInput(2, 128, 30522, 9000, 1, layers=6, width=384, heads=12, ff=1536),
}
CONFIGURATION = REPO / "docs" / "configuration.md"
LARGEST_PICTURE_BYTES = 300_000
ROOMS = ("hardware_targets", "search_spaces", "pipeline")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def without_fences(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """Contents of the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """Every piece of code in which `niwaki` is called with a verb, from the verb on."""
    lines = [line for block in blocks(page, "console") for line in block.splitlines()]
    spans = re.findall(r"`([^`]+)`", without_fences(page.read_text(encoding="utf-8")))
    found = [re.search(r"\bniwaki ([a-z].*)", " ".join(code.split())) for code in [*lines, *spans]]
    return [match.group(1) for match in found if match]


def anchors(page: Path) -> set[str]:
    """Headings as GitHub turns them into anchors."""
    heads = re.findall(r"^#+ (.+)$", without_fences(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def table(page: Path, *head: str) -> list[list[str]]:
    """The cells of every row of every table that has these column heads."""
    rows, inside = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif tuple(cells[: len(head)]) == head:
            inside = True
        elif inside and not set(line) <= set("|- "):
            rows.append(cells)
    assert rows, f"{page.name} has no table that begins with {head}"
    return rows


def code(cell: str) -> str:
    return cell.strip("`")


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", without_fences(page.read_text(encoding="utf-8"))):
        if link.startswith(("http://", "https://")):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), f"{page.name} links to {link}, which is not there"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}, but there is no such heading"


@pages
def test_verbs_and_flags_exist(page: Path) -> None:
    verbs: Any = typer.main.get_command(app)
    for command in commands(page):
        verb = command.split()[0]
        assert verb in verbs.commands, f"{page.name}: there is no `niwaki {verb}`"
        known = {flag for option in verbs.commands[verb].params for flag in option.opts} | {"--help"}
        unknown = set(re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", command)) - known
        assert not unknown, f"{page.name}: `niwaki {verb}` has no {', '.join(unknown)}"


def test_commands_are_found_at_all() -> None:
    found = commands(REPO / "docs" / "getting-started.md")
    assert "pick digits --knee --out picked" in found
    assert {"search", "front", "show", "rerun", "pick", "ui", "doctor", "teacher"} <= {
        line.split()[0] for line in found
    }


@pytest.mark.parametrize("path", sorted((REPO / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_examples_are_configurations(path: Path) -> None:
    assert load_config(path).name


@pytest.mark.parametrize("page", [CONFIGURATION, REPO / "docs" / "getting-started.md"], ids=lambda page: page.name)
def test_yaml_blocks_are_parts_of_a_configuration(page: Path) -> None:
    base = {"name": "x", "task": {"data": {"source": "sklearn", "name": "digits"}}, "teacher": {"path": "t"}}
    for block in blocks(page, "yaml"):
        data = {**base, **yaml.safe_load(block)}
        if "data" not in data["task"] and "kind" not in data["task"]:
            data["task"] = {**base["task"], **data["task"]}  # type: ignore[dict-item]
        if "objectives" in data and data["task"].get("metric") not in data["objectives"]:
            data["task"] = {**data["task"], "metric": data["objectives"][0]}
        config = parse_config(data, page.name)
        given = INPUTS[config.task.input_kind]
        search_spaces.load(config.space, input=given, augmentations=config.task.augment_choices)


def model_fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and pydantic field, all the way down."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}", field
        kinds = [field.annotation, *get_args(field.annotation)]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from model_fields(kind, f"{prefix}{name}.")


def test_every_key_is_documented_and_every_documented_key_exists() -> None:
    documented = [code(row[0]) for row in table(CONFIGURATION, "key", "type", "default", "meaning")]
    assert sorted(documented) == sorted(key for key, _ in model_fields(SearchConfig))


def test_documented_defaults_are_the_defaults() -> None:
    fields = dict(model_fields(SearchConfig))
    for key, _, default, _ in table(CONFIGURATION, "key", "type", "default", "meaning"):
        field = fields[code(key)]
        assert (default == "required") == field.is_required(), key
        value = field.default
        if isinstance(value, bool):
            assert default == str(value).lower(), key
        elif isinstance(value, int | float):
            assert float(default) == value, key
        elif isinstance(value, str):
            assert code(default) == value, key


def test_the_metrics_table_is_the_table_of_metrics() -> None:
    rows = table(CONFIGURATION, "metric", "unit", "better", "meaning")
    real = [
        [f"`{metric.name}`", metric.unit or "-", "higher" if metric.maximize else "lower", metric.means]
        for metric in METRICS.values()
    ]
    assert rows == real


def test_exit_codes() -> None:
    raised = {
        kind.exit_code for kind in (errors.NiwakiError, errors.ConfigError, errors.Unavailable, errors.NothingFits)
    }
    assert {int(row[0]) for row in table(CONFIGURATION, "code", "meaning")} == {0, 130} | raised


def test_samplers_recipes_schemes_and_kinds() -> None:
    samplers = set(get_args(SamplerConfig.model_fields["name"].annotation))
    assert {code(row[0]) for row in table(CONFIGURATION, "name", "what it does")} == samplers
    assert {code(row[0]) for row in table(CONFIGURATION, "name", "what")} - samplers == set(search_spaces.recipes())
    ideas, energy = REPO / "docs" / "ideas.md", REPO / "docs" / "energy.md"
    assert [code(row[0]) for row in table(ideas, "scheme")] == list(search_spaces.SCHEMES)
    assert {code(kind): mark for kind, mark, _ in table(energy, "kind", "mark", "meaning")} == MARKS


def test_every_axis_of_a_space_is_documented() -> None:
    sections: dict[str, Any] = {
        name: search_spaces.load_family(name).dimensions(given)
        for kind, given in INPUTS.items()
        for name in search_spaces.families(kind)
    }
    sections |= {
        "distill": {**compression.distill("image", ["none"]), **compression.distill("text", ["none"])},
        "prune": compression.prune(),
        "quantize": compression.quantize("text"),
    }
    axes = {f"{section}.{axis}" for section, found in sections.items() for axis in found}
    assert {code(row[0]) for row in table(CONFIGURATION, "axis", "from", "meaning")} == axes


@pytest.mark.parametrize("path", sorted((REPO / "docs" / "pictures").glob("*.png")), ids=lambda path: path.name)
def test_pictures_are_small(path: Path) -> None:
    assert path.stat().st_size <= LARGEST_PICTURE_BYTES
    with Image.open(path) as picture:
        assert picture.width >= 800


# ---- the parts of adding-a-part.md, in a copy of the project --------------------------------------------------------


def parts() -> dict[str, str]:
    """File name -> code, for every block that says where it belongs."""
    text = (REPO / "docs" / "adding-a-part.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^`([\w/]+\.py)`\n\n```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rooms and their contract tests in another folder, with the documented parts among them."""
    home = tmp_path_factory.mktemp("copy")
    skipped = shutil.ignore_patterns("__pycache__")
    for room in ROOMS:
        shutil.copytree(REPO / room, home / room, ignore=skipped)
    shutil.copytree(REPO / "tests" / "contracts", home / "tests" / "contracts", ignore=skipped)
    for path in [*(REPO / "tests").glob("*.py"), *(REPO / "tests").glob("*/*helper*.py")]:
        if not path.name.startswith("test_"):
            shutil.copy(path, home / "tests")
    shutil.copy(REPO / "pyproject.toml", home)
    for name, source in parts().items():
        assert not (home / name).exists(), f"{name} is taken: choose another name for the example"
        (home / name).write_text(source, encoding="utf-8")
    return home


def python(home: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(home), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_one_part_of_each_kind_is_shown() -> None:
    folders = sorted(str(Path(name).parent) for name in parts() if "/_" not in name)
    assert folders == ["hardware_targets", "hardware_targets/meters", "pipeline/tasks", "search_spaces/students"]


def test_the_documented_parts_are_listed(copy: Path) -> None:
    script = """
import hardware_targets, search_spaces
from hardware_targets import _parts
from pipeline import tasks
print(hardware_targets.__file__, *hardware_targets.available(), *_parts.names("meter"))
print(*search_spaces.families(), *tasks.available())
"""
    place, *names = python(copy, "-c", script).split()
    assert Path(place).is_relative_to(copy)
    assert {"pinned_cpu", "wall_plug", "mlp", "image_folders", "local_cpu", "convnet"} <= set(names)


def test_the_documented_parts_keep_their_contracts(copy: Path) -> None:
    """A target measures and predicts, a meter gives energy, a family builds, prunes and exports."""
    said = python(
        copy, "-m", "pytest", "-p", "no:cacheprovider", "tests/contracts", "-k", "pinned_cpu or wall_plug or mlp", "-vv"
    )
    for part in ("pinned_cpu", "wall_plug", "mlp"):
        assert re.search(rf"\[{part}.*PASSED", said), said
    assert "SKIPPED" not in said or not hasattr(os, "sched_setaffinity"), said


def test_the_documented_target_keeps_to_its_cores_and_leaves_ours(copy: Path) -> None:
    script = """
import os, tempfile
from pathlib import Path
import hardware_targets
from hardware_targets import local_cpu
from hardware_targets._null_model import write_null_model
target = hardware_targets.load("pinned_cpu")
inner, seen = local_cpu.Target.predict, []
local_cpu.Target.predict = lambda *a, **k: (seen.append(len(os.sched_getaffinity(0))), inner(*a, **k))[1]
before = os.sched_getaffinity(0)
with tempfile.TemporaryDirectory() as folder:
    rows = target.predict(*write_null_model(Path(folder)))
print(seen, rows.tolist(), os.sched_getaffinity(0) == before)
"""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not let a process choose its cores")
    assert python(copy, "-c", script).strip() == "[1] [0.0] True"


def test_the_documented_family_can_be_searched(copy: Path) -> None:
    script = """
import sys
import search_spaces
class Draw:
    def suggest_float(self, name, low, high, **_): return low
    def suggest_int(self, name, low, high, step=1, log=False): return high
    def suggest_categorical(self, name, choices): return choices[-1]
image = search_spaces.ImageInput(channels=1, size=16, classes=10)
space = search_spaces.load({"students": ["mlp"]}, input=image, augmentations=["none"])
candidate = space.sample(Draw(), 0)
assert "torch" not in sys.modules, "a space is read without torch"
import torch
family = search_spaces.load_family(candidate.student)
module = family.build(family.shape(candidate.section("mlp"), image))
print(candidate.student, tuple(module.eval()(torch.zeros(2, 1, 16, 16)).shape))
"""
    assert python(copy, "-c", script).strip() == "mlp (2, 10)"


def test_the_documented_task_reads_folders(copy: Path, tmp_path: Path) -> None:
    for split, count in (("train", 40), ("test", 4)):
        for place, kind in enumerate(("cat", "dog")):
            folder = tmp_path / "photos" / split / kind
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (12, 10), (place * 200, number, 0)).save(folder / f"{number}.png")
    script = f"""
from pathlib import Path
from pipeline import tasks
from pipeline.config import TaskConfig
data = {{"source": "folder", "path": {str(tmp_path / "photos")!r}}}
task = tasks.load(TaskConfig(kind="image_folders", data=data, size=8), Path({str(tmp_path / "cache")!r}))
print(task.classes, sum(task.rows(split) for split in ("train", "validation", "selection")), task.rows("test"))
print(task.pixels("test", 8).shape, task.labels("test").tolist(), task.pixels("test", 8)[:, 0].max() == 200)
"""
    first, second = python(copy, "-c", script).splitlines()
    assert first == "['cat', 'dog'] 80 8"
    assert second == "(8, 3, 8, 8) [0, 0, 0, 0, 1, 1, 1, 1] True"
