"""Bad input: each its exit code and a sentence, no traceback, nothing begun. One table."""

from __future__ import annotations

import copy
import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import text_data
import yaml

from pipeline.cli import run

# What a test does with the configuration and the folder: change `config` in place, make files below `folder`.
Change = Callable[[dict[str, Any], Path], None]


def good() -> dict[str, Any]:
    return {
        "name": "bad",
        "task": {"data": {"source": "sklearn", "name": "digits"}, "size": 8, "channels": 1},
        "teacher": {"train": {"model_type": "resnet", "config": {"embedding_size": 8}, "epochs": 1}},
        "energy": "modelled",
        "limits": {"trials": 1},
    }


def put(dotted: str, value: Any) -> Change:
    def change(config: dict[str, Any], _: Path) -> None:
        *keys, last = dotted.split(".")
        for key in keys:
            config = config.setdefault(key, {})
        config[last] = value

    return change


def drop(key: str) -> Change:
    return lambda config, _: config.pop(key)


def table_of_images(folder: Path, rows: int = 40, classes: int = 2, **columns: Any) -> Path:
    """A small Parquet data set with the columns `image` and `label`."""
    import io

    import numpy as np
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature
    from PIL import Image

    images = []
    for row in range(rows):
        buffer = io.BytesIO()
        Image.fromarray(np.full((8, 8), (row % classes) * 90, dtype=np.uint8)).save(buffer, "PNG")
        images.append({"bytes": buffer.getvalue(), "path": None})
    data = {"image": images, "label": [row % classes for row in range(rows)], **columns}
    features = None
    if not columns:
        names = [f"class{place}" for place in range(max(classes, 2))]
        features = Features({"image": ImageFeature(), "label": ClassLabel(names=names)})
    folder.mkdir(parents=True, exist_ok=True)
    Dataset.from_dict(data, features=features).to_parquet(str(folder / "train.parquet"))
    return folder


def local_data(**task: Any) -> Change:
    def change(config: dict[str, Any], folder: Path) -> None:
        place = table_of_images(folder / "data", **task.pop("rows_of", {}))
        config["task"] = {"data": {"source": "folder", "path": str(place)}, "size": 8, "channels": 1, **task}

    return change


def teacher_folder(folder: Path, labels: list[str] | None = None) -> Path:
    from transformers import ResNetConfig, ResNetForImageClassification

    names = labels or [str(digit) for digit in range(10)]
    config = ResNetConfig(
        num_channels=1, embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic",
        id2label=dict(enumerate(names)), label2id={name: place for place, name in enumerate(names)},
    )  # fmt: skip
    ResNetForImageClassification(config).save_pretrained(folder)
    return folder


def untrained_teacher(config: dict[str, Any], folder: Path) -> None:
    config["teacher"] = {"path": str(teacher_folder(folder / "teacher")), "size": 16}


def teacher_of_other_labels(config: dict[str, Any], folder: Path) -> None:
    config["teacher"] = {"path": str(teacher_folder(folder / "teacher", ["cat", "dog"])), "size": 16}


def corrupt_teacher(config: dict[str, Any], folder: Path) -> None:
    untrained_teacher(config, folder)
    weights = folder / "teacher" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])


def pickled_teacher(config: dict[str, Any], folder: Path) -> None:
    untrained_teacher(config, folder)
    (folder / "teacher" / "model.safetensors").unlink()
    (folder / "teacher" / "pytorch_model.bin").write_bytes(pickle.dumps({"weights": 1}))


def teacher_without_config(config: dict[str, Any], folder: Path) -> None:
    untrained_teacher(config, folder)
    (folder / "teacher" / "config.json").unlink()


def file_in_the_way(_: dict[str, Any], folder: Path) -> None:
    (folder / "mlruns").write_text("not a folder")


def damaged_state(_: dict[str, Any], folder: Path) -> None:
    path = folder / "mlruns" / "searches" / "bad" / "search.json"
    path.parent.mkdir(parents=True)
    path.write_text("{half")


def not_parquet(config: dict[str, Any], folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "train.parquet").write_text("this is no table")
    config["task"]["data"] = {"source": "folder", "path": str(folder / "data")}


def empty_folder(config: dict[str, Any], folder: Path) -> None:
    (folder / "data").mkdir()
    config["task"]["data"] = {"source": "folder", "path": str(folder / "data")}


def csv_without_its_images(config: dict[str, Any], folder: Path) -> None:
    (folder / "data").mkdir()
    lines = ["image,label", *(f"img{row}.png,{row % 2}" for row in range(40))]
    (folder / "data" / "train.csv").write_text("\n".join(lines))
    config["task"] = {"data": {"source": "folder", "path": str(folder / "data")}, "size": 8, "channels": 1}


def texts(replace: dict[str, Any] | None = None, **transfer: Any) -> Change:
    """Texts with more of them to learn from; `model: bert` and `path: more` lie below the folder."""

    def change(config: dict[str, Any], folder: Path) -> None:
        bert = str(text_data.write_tiny_bert(folder / "bert", layers=1))
        data = {"source": "folder", "path": str(text_data.write_texts(folder / "texts", rows=60))}
        config["task"] = {"kind": "text_classification", "data": data, "max_length": 16}
        config["teacher"] = {"path": bert}
        if replace is not None:
            config["task"]["replace"] = replace | ({"model": bert} if "model" in replace else {})
        if transfer:
            more = str(text_data.write_unlabelled(folder / "more"))
            config["task"]["transfer"] = {"data": {"source": "folder", "path": more}, **transfer}

    return change


def nothing(_: dict[str, Any], __: Path) -> None:
    pass


CASES: dict[str, tuple[Change, int, str]] = {
    "replaced by no masked model": (
        texts({"by": "masked_model", "model": "bert"}),
        2,
        "that of a masked language model",
    ),
    "replaced by nobody": (texts({"by": "wordnt"}), 2, "task.replace.by"),
    "transfer without its column": (texts(text="sentence"), 2, "Name the column in `task.transfer.text`"),
    "transfer of pairs to single texts": (
        texts(text_pair="other"),
        2,
        "name `text_pair:` in both of them or in neither",
    ),
    "replaced images": (put("task.replace", {}), 2, "`replace:` is for texts"),
    "unknown key": (put("tsk", 1), 2, "did you mean 'task'?"),
    "unknown key inside": (put("task.sise", 8), 2, "did you mean 'size'?"),
    "missing task": (drop("task"), 2, "'task' is missing"),
    "missing teacher": (drop("teacher"), 2, "'teacher' is missing"),
    "name with a slash": (put("name", "a/b"), 2, "name"),
    "zero trials": (put("limits.trials", 0), 2, "limits.trials"),
    "trials as words": (put("limits.trials", "many"), 2, "'many'"),
    "negative hours": (put("limits.hours", -1), 2, "limits.hours"),
    "negative budget": (put("budget", {"latency_p50_ms": -5}), 2, "can never be met"),
    "budget of an unknown metric": (put("budget", {"latencyms": 5}), 2, "no metric named 'latencyms'"),
    "quality above one": (put("budget", {"accuracy": 90}), 2, "at most 1"),
    "unknown objective": (put("objectives", ["accuracy", "latency_p50"]), 2, "did you mean 'latency_p50_ms'?"),
    "one objective": (put("objectives", ["accuracy"]), 2, "makes no front"),
    "objective twice": (put("objectives", ["accuracy", "accuracy"]), 2, "named twice"),
    "unknown quality metric": (put("task.metric", "acuracy"), 2, "did you mean 'accuracy'?"),
    "unknown sampler": (put("sampler", "tpee"), 2, "'tpe'"),
    "unknown target": (put("target", "local_cpus"), 2, "did you mean 'local_cpu'?"),
    "no threads": (put("target", {"name": "local_cpu", "threads": 0}), 2, "threads"),
    "unknown task": (put("task.kind", "image_clasification"), 2, "did you mean 'image_classification'?"),
    "energy without a counter": (put("energy", "measured"), 3, "energy: modelled"),
    "unknown recipe": (put("recipes", ["hintonn"]), 2, "did you mean 'hinton'?"),
    "unknown preset": (put("space", "defualt"), 2, "did you mean 'default'?"),
    "unknown axis": (put("space", {"convnet": {"widht": 8}}), 2, "did you mean 'width'?"),
    "empty choice": (put("space", {"distill": {"epochs": []}}), 2, "epochs"),
    "low above high": (put("space", {"distill": {"temperature": {"low": 5, "high": 2}}}), 2, "temperature"),
    "two teachers": (put("teacher.path", "there"), 2, "exactly one"),
    "no teacher at the path": (put("teacher", {"path": "no/such/folder"}), 2, "no/such/folder"),
    "untrained teacher": (untrained_teacher, 2, "of no use"),
    "teacher of other labels": (teacher_of_other_labels, 2, "cat"),
    "corrupt safetensors": (corrupt_teacher, 2, "safetensors"),
    "a pickle": (pickled_teacher, 2, "safetensors"),
    "teacher without config.json": (teacher_without_config, 2, "config.json"),
    "a misspelt setting of a model type": (
        put("teacher.train.config", {"embeding_size": 8}),
        2,
        "did you mean 'embedding_size'?",
    ),
    "a teacher that diverges": (
        put("teacher.train.learning_rate", 1e9),
        2,
        "lower the learning rate; see `teacher.train`",
    ),
    "true for a number": (put("limits.trials", True), 2, "limits.trials: give a number, not true"),
    "true in a budget": (put("budget", {"speedup": True}), 2, "budget: give a number, not true"),
    "true for channels": (put("task.channels", True), 2, "task.channels: give a number, not true"),
    "true in rungs": (put("trials.rungs", [1, True]), 2, "trials.rungs: give a number, not true"),
    "a name with a blank": (put("name", "a b"), 2, "name: give letters, digits"),
    "a country in small letters": (put("carbon", {"country": "deu"}), 2, "three capital letters"),
    "a number for recipes": (put("recipes", 3), 2, "recipes: Input should be"),
    "no such model type": (put("teacher", {"train": {"model_type": "resnett"}}), 2, "resnett"),
    "missing data": (put("task.data", {"source": "folder", "path": "no/data"}), 2, "no/data"),
    "unknown bundled set": (put("task.data", {"source": "sklearn", "name": "digit"}), 2, "digits"),
    "data without a place": (put("task.data", {"source": "folder"}), 2, "path"),
    "empty data folder": (empty_folder, 2, "data"),
    "data that are no table": (not_parquet, 2, "train.parquet"),
    "csv without its images": (csv_without_its_images, 2, "img"),
    "wrong image column": (local_data(image="picture"), 2, "picture"),
    "wrong label column": (local_data(label="lable"), 2, "did you mean 'label'?"),
    "a single class": (local_data(rows_of={"classes": 1}), 2, "class"),
    "class weight of no class": (local_data(class_weights={"klass0": 1.0}), 2, "class0"),
    "too few rows": (local_data(rows_of={"rows": 4}), 2, "row"),
    "a file where mlruns is due": (file_in_the_way, 2, "a file is where a folder is due"),
    "search.json damaged": (damaged_state, 2, "damaged"),
    "full disk": (put("limits.trials", 10**9), 3, "free"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_configuration(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    change, code, words = CASES[case]
    monkeypatch.chdir(tmp_path)
    config = copy.deepcopy(good())
    change(config, tmp_path)
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(config))
    capsys.readouterr()  # what making the data printed
    found = run(["search", "search.yaml"])
    said = capsys.readouterr()
    assert (found, words in said.err) == (code, True), f"exit {found}: {said.err}"
    assert said.err.startswith("niwaki: ")
    assert "Traceback" not in said.err + said.out
    assert not list(tmp_path.glob("mlruns/searches/*/trials/*")), "a trial was begun"


def test_a_wordnet_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("nltk", "nltk.data", "nltk.corpus.reader.wordnet"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(CASES, "no WordNet", (texts({"by": "wordnet"}), 3, "python -m nltk.downloader wordnet"))
    test_bad_configuration("no WordNet", tmp_path, monkeypatch, capsys)


FILES: dict[str, tuple[str | None, int, str]] = {
    "no such file": (None, 2, "there is no file"),
    "not YAML": ("name: [", 2, "is not YAML"),
    "a list": ("- 1\n- 2\n", 2, "not a mapping"),
    "empty": ("", 2, "not a mapping"),
    "a key twice": ("name: a\ntask:\n  size: 8\n  size: 16\n", 2, "gives 'size' twice, at line 4 again"),
    "a list in itself": ("name: &a [*a]\n", 2, "name"),
    "code in YAML": ("name: !!python/object/apply:os.getcwd []\n", 2, "is not YAML"),
}


@pytest.mark.parametrize("case", FILES)
def test_bad_files(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, code, words = FILES[case]
    path = tmp_path / "search.yaml"
    if content is not None:
        path.write_text(content)
    assert run(["search", str(path)]) == code
    assert words in capsys.readouterr().err


COMMANDS: dict[str, tuple[list[str], int, str]] = {
    "a folder for a file": (["search", "."], 2, "is a folder"),
    "no such verb": (["serach", "x.yaml"], 2, "serach"),
    "no such flag": (["front", "x", "--tset"], 2, "--tset"),
    "a word for a number": (["search", "x.yaml", "--trials", "many"], 2, "--trials"),
    "front of no search": (["front", "none"], 2, "no search has been run"),
    "show of no search": (["show", "none", "1"], 2, "no search has been run"),
    "pick of no search": (["pick", "none"], 2, "no search has been run"),
    "measure nothing": (["measure", "none.onnx"], 2, "none.onnx"),
    "measure a folder": (["measure", "."], 2, "folder"),
    "measure on no target": (["measure", "none.onnx", "--target", "moon"], 2, "moon"),
    "doctor of no file": (["doctor", "none.yaml"], 2, ""),
    "doctor of a lender that is not there": (["doctor", "lent.yaml"], 2, ""),
    "caches of one search": (["clean", "none", "--cache"], 2, "caches are of all searches"),
    "pages of nothing": (["ui"], 3, "run a search first"),
    "root that cannot be made": (["search", "good.yaml", "--root", "/proc/niwaki"], 2, "/proc/niwaki"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_bad_commands(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, code, words = COMMANDS[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.yaml").write_text(yaml.safe_dump(good()))
    (tmp_path / "lent.yaml").write_text(yaml.safe_dump({**good(), "warm_start": "nobody"}))
    found = run(arguments)
    said = capsys.readouterr()
    assert (found, words in said.err) == (code, True), f"exit {found}: {said.err}"
    assert "Traceback" not in said.err


def test_not_an_onnx_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("no model")
    assert run(["measure", str(path)]) == 2
    assert "model.onnx" in capsys.readouterr().err


def test_json_errors_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["front", "none", "--root", "nowhere", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["exit"] == 2


def test_our_own_fault_leaves_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import pipeline.api

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline.api, "front", broken)
    assert run(["front", "any"]) == 70
    said = capsys.readouterr().err
    assert "a bug" in said and "Traceback" not in said
    assert "RuntimeError: a bug" in next((tmp_path / "mlruns" / "logs").glob("*.log")).read_text()


def test_an_interruption_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import pipeline.api

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline.api, "front", interrupted)
    assert run(["front", "any"]) == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_an_interruption_of_a_compiled_module_s_import_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seen with matplotlib's ft2font, 20 seconds into a search: "ImportError: initialization failed"."""
    import pipeline.api

    def importing(*_: Any, **__: Any) -> None:
        raise ImportError("initialization failed") from (KeyboardInterrupt() if by_user else KeyError(512))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline.api, "front", importing)
    by_user = True
    assert run(["front", "any"]) == 130
    assert "the same command goes on" in capsys.readouterr().err
    by_user = False
    assert run(["front", "any"]) == 70


# Seen: Python 3.11 under `python -m` died of the signal at its end, although the interruption had been caught and told;
# and a thread of torch's that was at work aborted the interpreter while it ended.
@pytest.mark.parametrize("before", ["", "import atexit, os; atexit.register(os.abort)\n"], ids=["noted", "aborted"])
def test_an_interruption_ends_with_130_however_the_interpreter_ends(before: str, tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(
        f"{before}from pipeline import cli\n"
        "def app(**_): exec('raise KeyboardInterrupt')\n"
        "cli.app = app\n"
        "if __name__ == '__main__': cli.main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "interrupted"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 130 and "the same command goes on" in ended.stderr


def test_there_are_enough_of_them() -> None:
    assert len(CASES) + len(FILES) + len(COMMANDS) >= 25


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("teacher.train.model_type", "resnett"), "resnett"),
        (put("teacher.train.config", {"depths": "two"}), "makes no image classifier"),
        (put("teacher.train.config", {"embeding_size": 8}), "did you mean 'embedding_size'?"),
    ],
)
def test_a_dry_run_tries_the_untrained_teacher(
    change: Change, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = good()
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(config))
    assert run(["search", "search.yaml", "--dry-run"]) == 0
    assert "up to 30" in capsys.readouterr().out  # of 1,797 digits, not of 100,000 rows
    change(config, tmp_path)
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(config))
    assert run(["search", "search.yaml", "--dry-run"]) == 2
    assert words in capsys.readouterr().err
    assert run(["doctor", "search.yaml"]) == 2


def test_several_kinds_of_value_are_one_fault(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "search.yaml").write_text(yaml.safe_dump({**good(), "recipes": 3, "space": 4}))
    assert run(["search", str(tmp_path / "search.yaml")]) == 2
    said = capsys.readouterr().err
    assert said.count("recipes:") == 2 and said.count("\n  ") == 1 and "literal[" not in said and "list[" not in said


def test_a_port_that_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").touch()
    monkeypatch.setattr("pipeline.tracking.addresses", lambda *_: {})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run(["ui", "--port", str(port)]) == 3
    assert f"port {port} cannot be had" in capsys.readouterr().err


def test_a_server_that_ends_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipeline.tracking.ui_command", lambda *_: [sys.executable, "-c", "raise SystemExit(9)"])
    monkeypatch.setattr("pipeline.tracking.addresses", lambda *_: {})
    assert run(["ui"]) == 3
    assert "ended by itself, with code 9" in capsys.readouterr().err
