"""The model card of a picked folder: Hugging Face's metadata, then every figure with its kind, interval and hardware.

The metadata follow https://huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.budget import phrase
from pipeline.metrics import METRICS, QUALITY, text
from pipeline.report import interval_text

if TYPE_CHECKING:
    from pipeline.package import Package

# The hub's own names of quality metrics.
_HUB_NAMES = {"accuracy": "accuracy", "macro_f1": "f1", "mcc": "matthews_correlation"}
_SHOWN_LABELS = 12


def card(package: Package) -> str:
    """README.md of the picked folder."""
    template = Template(files("pipeline").joinpath("templates/card.md.txt").read_text(encoding="utf-8"))
    record, preprocessing = package.record, package.preprocessing
    return template.substitute(
        metadata=yaml.safe_dump(metadata(package), sort_keys=False, allow_unicode=True),
        title=f"{package.search}: {record.candidate.student}, trial {record.number}",
        summary=_summary(package),
        mode="grey (Pillow's mode L)" if preprocessing["channels"] == 1 else "RGB",
        size=preprocessing["size"],
        labels=_labels(package.classes),
        sha256=(record.artifact or {}).get("sha256"),
        figures=_figures(package),
        energy=package.energy,
        splits=_splits(package),
        hardware=_hardware(package),
        made=_made(package),
        parameters=_rows(("parameter", "value"), record.candidate.values),
        limits="\n".join(f"* {sentence}" for sentence in _limits(package)),
        licence=_licence(package),
    )


def metadata(package: Package) -> dict[str, Any]:
    """The card's YAML block; only quality goes into `model-index`, on the split farthest from the search."""
    split, metrics = _farthest(package)
    results = [
        {"type": _HUB_NAMES.get(name, name), "value": round(value, 6), "name": f"{name} ({split})"}
        for name, value in metrics.items()
        if name in QUALITY
    ]
    dataset = {"type": package.dataset, "name": package.dataset, "split": split}
    task = {"type": "image-classification", "name": "Image Classification"}
    name = f"{package.search}-{package.record.number}"
    return {
        "license": package.licence or "unknown",
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": ["onnx", "image-classification", "model-compression", "niwaki", *_technique_tags(package)],
        "model-index": [{"name": name, "results": [{"task": task, "dataset": dataset, "metrics": results}]}],
    }


def _technique_tags(package: Package) -> list[str]:
    candidate = package.record.candidate
    tags = ["knowledge-distillation"] if candidate.section("distill") else []
    tags += ["pruning"] if candidate.section("prune").get("ratio") else []
    return tags + (["quantization"] if package.record.precision != "none" else [])


def _farthest(package: Package) -> tuple[str, Mapping[str, float]]:
    return ("selection", package.selection_metrics) if package.test_metrics is None else ("test", package.test_metrics)


def _summary(package: Package) -> str:
    record, teacher = package.record, package.teacher_metrics
    speedup = text("speedup", record.metrics.get("speedup"))
    split, metrics = _farthest(package)
    said = f"An image classifier for {package.dataset}, {text('size_mb', record.metrics.get('size_mb'))}"
    said += f" against its teacher's {text('size_mb', teacher.get('size_mb'))}, {speedup} as fast on {package.target}, "
    return said + f"{package.quality} {text(package.quality, metrics.get(package.quality))} on {split}."


def _figures(package: Package) -> str:
    record, teacher = package.record, package.teacher_metrics
    names = [name for name in METRICS if name in record.metrics or name in teacher]
    rows = []
    for name in names:
        own = text(name, record.metrics.get(name)) + interval_text(name, record.intervals.get(name))
        others = text(name, teacher.get(name)) + interval_text(name, package.teacher_intervals.get(name))
        kind = f" Kind: {record.energy_kind}." if name == "energy_mj" else ""
        split = " (validation)" if name in QUALITY else ""
        rows.append((f"{name}{split}", own, others, f"{METRICS[name].means}{'.' if kind else ''}{kind}"))
    return _rows(("figure", "this model", "teacher", "what it is"), rows)


def _splits(package: Package) -> str:
    quality = package.quality
    intervals, chosen = package.record.intervals.get(quality), package.selection_intervals.get(quality)
    rows = [
        ("validation", "guided the search", package.record.metrics, package.teacher_metrics, intervals),
        ("selection", "chose among the front", package.selection_metrics, package.teacher_selection_metrics, chosen),
    ]
    if package.test_metrics is not None:
        rows.append(("test", "chose nothing", package.test_metrics, package.teacher_test_metrics, None))
    cells = [
        (split, role, text(quality, own.get(quality)) + interval_text(quality, pair), text(quality, other.get(quality)))
        for split, role, own, other, pair in rows
    ]
    return _rows(("split", "what it did", f"{quality}, this model", "teacher"), cells)


def _hardware(package: Package) -> str:
    conditions = (package.record.measurement or {}).get("conditions") or {}
    known = [(name, value) for name, value in conditions.items() if isinstance(value, str | int | float | bool)]
    return _rows(("condition", "value"), [("target", package.target), *known])


def _made(package: Package) -> str:
    chosen = f"for {phrase(package.budget)}" if package.budget else "without a budget"
    said = f"Trial {package.record.number} of the niwaki search `{package.search}`, "
    said += f"picked on {package.created[:10]} {chosen}{' as the knee of the front' if package.knee else ''}."
    if package.ties:
        numbers = ", ".join(str(number) for number in package.ties)
        said += f" A paired test on the selection slice cannot tell its {package.quality} from that of trial {numbers}."
    if package.config:
        settings = yaml.safe_dump(dict(package.config), sort_keys=False, allow_unicode=True)
        said += f"\n\n```yaml\n{settings}```"
    return said


def _limits(package: Package) -> Iterable[str]:
    yield f"It learned from {package.dataset}; on other images its quality is not known."
    yield f"Latency and energy hold for {package.target} under the conditions above, and for no other machine."
    yield "It answers with one of its labels whatever the image shows."
    if package.test_metrics is None:
        yield "It was not scored on a test split; the selection slice helped to choose it, so its figure is a little high."
    if package.record.test_seen:
        yield "The test split had been scored before this trial ran; its test figure is not that of an unseen split."


def _licence(package: Package) -> str:
    notes = "\n".join(f"* {note}" for note in package.licence_notes)
    return f"\n## Licence\n\n{notes}\n" if notes else ""


def _labels(classes: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in classes[:_SHOWN_LABELS])
    more = len(classes) - _SHOWN_LABELS
    return f"{shown} and {more} more" if more > 0 else shown


def _rows(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    def line(cells: Sequence[Any]) -> str:
        return f"| {' | '.join(str(cell).replace('|', '&#124;') for cell in cells)} |"

    return "\n".join([line(heads), line(["---"] * len(heads)), *(line(row) for row in rows)])
