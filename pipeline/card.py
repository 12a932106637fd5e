"""The model card of a picked folder: Hugging Face's metadata, then every figure with its kind, interval and hardware.

The metadata follow https://huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.budget import phrase
from pipeline.card_words import WORDS
from pipeline.metrics import METRICS, QUALITY, text
from pipeline.record import UNRELIABLE
from pipeline.report import interval_text, sealed_text

if TYPE_CHECKING:
    from pipeline.package import Package

# The hub's own names of quality metrics.
_HUB_NAMES = {"accuracy": "accuracy", "macro_f1": "f1", "mcc": "matthews_correlation"}
_SHOWN_LABELS = 12
_NO_LICENCE = (
    "The licences of the teacher and of the data apply to this model. niwaki does not know them: "
    "fill in `license` above before you publish it."
)


def card(package: Package) -> str:
    """README.md of the picked folder."""
    template = Template(files("pipeline").joinpath("templates/card.md.txt").read_text(encoding="utf-8"))
    record, words = package.record, WORDS[package.kind]
    return template.substitute(
        metadata=yaml.safe_dump(metadata(package), sort_keys=False, allow_unicode=True),
        title=f"{package.search['name']}: {record.candidate.student}, trial {record.number}",
        summary=_summary(package),
        one=words.one,
        packages=words.packages,
        argument=words.argument(package.preprocessing),
        call=words.call(package.preprocessing),
        comment=words.comment,
        prepares=words.prepares(package.preprocessing),
        labels=_labels(package.classes),
        sha256=package.sha256,
        figures=_figures(package),
        energy=package.energy,
        footprint="\n".join(f"* {sentence}" for sentence in package.footprint.get("sentences", ())),
        splits=_splits(package),
        hardware=_hardware(package),
        made=_made(package),
        parameters=_rows(("parameter", "value"), record.candidate.values),
        limits="\n".join(f"* {sentence}" for sentence in _limits(package)),
        licence="\n".join(f"* {note}" for note in package.licence_notes or (_NO_LICENCE,)),
    )


def metadata(package: Package) -> dict[str, Any]:
    """The card's YAML block; only quality goes into `model-index`, on the split farthest from the search."""
    split, figures = _farthest(package)
    metrics = [
        {"type": _HUB_NAMES.get(name, name), "value": round(value, 6), "name": f"{name} ({split})"}
        for name, value in figures.items()
        if name in QUALITY
    ]
    dataset = {"type": _data(package), "name": _data(package), "split": split}
    words = WORDS[package.kind]
    task = {"type": words.tag, "name": words.title}
    name = f"{package.search['name']}-{package.record.number}"
    return {
        "license": package.licence or "unknown",
        "library_name": "onnx",
        "pipeline_tag": words.tag,
        "tags": ["onnx", words.tag, "model-compression", "niwaki", *_techniques(package)],
        "model-index": [{"name": name, "results": [{"task": task, "dataset": dataset, "metrics": metrics}]}],
    }


def _techniques(package: Package) -> list[str]:
    candidate = package.record.candidate
    tags = ["knowledge-distillation"] if candidate.section("distill") else []
    tags += ["pruning"] if candidate.section("prune").get("ratio") else []
    return tags + (["quantization"] if package.record.precision != "none" else [])


def _farthest(package: Package) -> tuple[str, Mapping[str, float]]:
    """The split whose figures the search and the pick have influenced least, with these figures."""
    return ("selection", package.selection["metrics"]) if package.test is None else ("test", package.test["metrics"])


def _data(package: Package) -> str:
    return Path(str(package.search["data"])).name


def _summary(package: Package) -> str:
    found, quality = package.record.metrics, package.quality
    split, figures = _farthest(package)
    size, whole = text("size_mb", found.get("size_mb")), text("size_mb", package.teacher.get("size_mb"))
    faster = f"{text('speedup', found.get('speedup'))} as fast on {package.search['target']}"
    head = f"{WORDS[package.kind].a_classifier} for {_data(package)}: {size} (its teacher: {whole})"
    return f"{head}, {faster}, {quality} {text(quality, figures.get(quality))} on {split}."


def _figures(package: Package) -> str:
    record, teacher = package.record, package.teacher
    rows = []
    for name in (name for name in METRICS if name in record.metrics or name in teacher):
        own = text(name, record.metrics.get(name)) + interval_text(name, record.intervals.get(name))
        others = text(name, teacher.get(name)) + interval_text(name, package.teacher_intervals.get(name))
        kind = f"; kind: {record.energy_kind}" if name == "energy_mj" else ""
        split = " on validation" if name in QUALITY else ""
        rows.append((name + split, own, others, METRICS[name].means + kind))
    return _rows(("figure", "this model", "teacher", "what it is"), rows)


def _splits(package: Package) -> str:
    quality, test = package.quality, package.test

    def shown(row: Mapping[str, Any]) -> str:
        return text(quality, row["metrics"].get(quality)) + interval_text(quality, row["intervals"].get(quality))

    ours = {"metrics": package.record.metrics, "intervals": package.record.intervals}
    theirs = {"metrics": package.teacher, "intervals": package.teacher_intervals}
    rows = [
        ("validation", "guided the search", shown(ours), shown(theirs)),
        ("selection", "chose among the front; not seen by the search", shown(package.selection), "-"),
    ]
    if test is not None:
        own, other = (sealed_text(quality, test[of].get(quality), test["rows"]) for of in ("metrics", "teacher"))
        role = f"chose nothing; {test['rows']} rows, scored once, {test['date'][:10]}"
        rows.append(("test", role, own, other))
    return _rows(("split", "what it did", f"{quality}, this model", "teacher"), rows)


def _hardware(package: Package) -> str:
    conditions = (package.record.measurement or {}).get("conditions") or package.search.get("hardware") or {}
    known = [(name, value) for name, value in conditions.items() if isinstance(value, str | int | float | bool)]
    return _rows(("condition", "value"), [("target", package.search["target"]), *known])


def _made(package: Package) -> str:
    chosen = f"for {phrase(package.budget)}" if package.budget else "without a budget"
    knee = ", as the knee of the front" if package.choice.get("knee") else ""
    name, trials = package.search["name"], package.search["trials"]
    said = f"Trial {package.record.number} of the {trials} trials of the niwaki search `{name}`, "
    said += f"picked on {package.created[:10]} {chosen}{knee}."
    if ties := package.choice.get("ties"):
        numbers = ", ".join(str(number) for number in ties)
        said += f" A paired test on the selection slice cannot tell its {package.quality} from that of trial {numbers}."
    return said


def _limits(package: Package) -> Iterable[str]:
    yield f"It learned from {_data(package)}; on other {WORDS[package.kind].one}s its quality is not known."
    yield from (f"Of its data and teacher: {note}." for note in package.search.get("notes", ()))
    yield f"Latency and energy hold for {package.search['target']} as described above, and for no other machine."
    if package.record.unreliable:
        yield f"{UNRELIABLE[0].upper()}{UNRELIABLE[1:]}."
    yield f"It answers with one of its labels, whatever the {WORDS[package.kind].one} {WORDS[package.kind].says}."
    if package.test is None:
        yield "It was not scored on a test split; the selection slice helped to choose it: its figure is a little high."
    if package.record.test_seen:
        yield "The test split had been scored before this trial ran; its test figure is not that of an unseen split."


def _labels(classes: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in classes[:_SHOWN_LABELS])
    more = len(classes) - _SHOWN_LABELS
    return f"{shown} and {more} more" if more > 0 else shown


def _rows(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    def line(cells: Sequence[Any]) -> str:
        return f"| {' | '.join(str(cell).replace('|', '&#124;') for cell in cells)} |"

    return "\n".join([line(heads), line(["---"] * len(heads)), *(line(row) for row in rows)])
