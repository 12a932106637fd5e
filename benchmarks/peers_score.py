"""One harness for every file: theirs, the teacher, ours. Answers, latency, table; what is known is not asked again."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import peers_table
from peers_texts import Feed, narrowed, texts_of, widened

import hardware_targets

TEACHER = "teacher"
Run = Callable[[Feed], np.ndarray]


@dataclass(frozen=True)
class File:
    """A model file of one side: `theirs`, `ours` or `teacher`."""

    name: str
    side: str
    path: Path

    @cached_property
    def key(self) -> str:
        """Equal for equal bytes, weights beside the file included: they are answered and timed once."""
        digest = hashlib.sha256()
        for path in self.parts:
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16] + self.path.suffix

    @property
    def parts(self) -> list[Path]:
        beside = (self.path.with_suffix(".bin"), self.path.with_name(self.path.name + ".data"))
        return [self.path, *(path for path in beside if path.is_file())]

    @property
    def size_mb(self) -> float:
        return sum(path.stat().st_size for path in self.parts) / 1e6


class Scores:
    """The figures of all files, kept below `work`. Errors: SystemExit with a sentence."""

    def __init__(
        self,
        work: Path,
        teacher: Path,
        search: Path,
        data: Path,
        trials: Sequence[int] | None = None,
        feeds: Path | None = None,
        against: str = TEACHER,
    ) -> None:
        self.work, self.teacher, self.search, self.data, self._feeds = work, teacher, search, data, feeds
        self.against = against  # which file the others are timed in turn with, and are so many times as fast as
        self.made: dict[str, Any] = _read(work / "made.json")
        first = File(TEACHER, TEACHER, search / "teacher" / "model.onnx")
        self.files = [first, *self._ours(trials), *self._theirs()]
        named = {file.name: file.path for file in self.files if file.side != "theirs"}
        if against not in named:
            raise SystemExit(f"--against takes one of {', '.join(named)}; {against} is not among the files")
        self.reference = named[against]
        self._shelf = "latency" if against == TEACHER else f"latency_against_{against.replace(' ', '_')}"
        for kind in ("answers", self._shelf, "refused", "feeds"):
            (work / kind).mkdir(parents=True, exist_ok=True)

    def _theirs(self) -> Iterator[File]:
        for name, told in self.made.items():
            for file in told["files"]:
                inner = Path(file).parent.name
                part = f" {inner}" if inner not in ("", "out") else ""
                yield File(f"{name}{part}", "theirs", self.work / "points" / name / file)

    def _ours(self, trials: Sequence[int] | None) -> Iterator[File]:
        chosen = set(trials or [row["number"] for row in _read(self.search / "front.json")["front"]])
        for folder in sorted((self.search / "trials").iterdir()):
            record, model = folder / "record.json", folder / "model.onnx"
            if not model.is_file() or not record.is_file():
                continue
            told = _read(record)
            untrained = not trials and told["candidate"]["values"]["student"] == "identity"
            if told["number"] not in chosen and not untrained:
                continue
            if told["artifact"]["view"]["vocabulary"] != "full":
                raise SystemExit(f"trial {told['number']} reads with a trimmed tokenizer; leave it out with --trials")
            yield File(f"trial {told['number']}", "ours", model)

    @cached_property
    def rows(self) -> list[tuple[Feed, int]]:
        view = _read(self.search / "teacher" / "figures.json")["artifact"]["view"]
        return list(texts_of(self.data / "validation.parquet", self.teacher / "tokenizer.json", view["max_length"]))

    @property
    def labels(self) -> np.ndarray:
        return np.array([label for _, label in self.rows])

    def answer(self, only: tuple[str, ...] = ("",)) -> None:
        """The class that each file gives to each validation row, batch 1; of theirs those that begin with `only`."""
        for file in self._asked(only):
            kept, refused = self._kept("answers", file, ".npy"), self._kept("refused", file, ".txt")
            if kept.exists() or refused.exists():
                continue
            try:
                names, run = session(file.path)
                found = [int(np.argmax(run(narrowed(feed, names)))) for feed, _ in self.rows]
            except Exception as error:  # a file that does not run is a finding, whatever stops it
                refused.write_text(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}", encoding="utf-8")
                print(f"{file.name}: {refused.read_text(encoding='utf-8')}", flush=True)
                continue
            np.save(kept, np.array(found), allow_pickle=False)
            print(f"{file.name}: {np.mean(np.array(found) == self.labels):.4f}", flush=True)

    def time(self, seconds: float, only: tuple[str, ...] = ("",), tier: hardware_targets.Tier = "final") -> None:
        """Each file that answers, in random order so that no side has the better hour; unreliable figures again."""
        left = [file for file in self._asked(only) if self._kept("answers", file, ".npy").exists()]
        target = hardware_targets.load("local_cpu", threads=1, runtime="by_suffix")
        theirs = self._feeds_for(target, self.reference)
        for file in random.Random(0).sample(left, len(left)):
            if (known := self._latency(file)) and not known["latency"]["unreliable"]:
                continue
            try:
                feeds = self._feeds_for(target, file.path)
                found = target.measure(file.path, feeds, self.reference, theirs, seed=0, seconds=seconds, tier=tier)
            except hardware_targets.TargetError as error:  # the same command tries again
                print(f"{file.name} is not timed: {error}", flush=True)
                continue
            self._kept(self._shelf, file, ".json").write_text(json.dumps(found.to_json(), indent=1), encoding="utf-8")
            print(f"{file.name}: {1 / found.latency.ratio:.3g}x {'; '.join(found.warnings)}", flush=True)

    def _asked(self, only: tuple[str, ...]) -> list[File]:
        return [file for file in self.files if file.side != "theirs" or file.name.startswith(only)]

    def _feeds_for(self, target: hardware_targets.HardwareTarget, model: Path) -> Path:
        """The timed inputs with what this file asks for beside the ids."""
        names = [item.name for item in target.inputs(model)]
        folder = self.work / "feeds" / "-".join(names)
        if not (folder / "feeds.json").exists():  # written last
            rows = hardware_targets.load_feeds(self._feeds or self._timed())
            hardware_targets.save_feeds(folder, (narrowed(widened(row["input_ids"]), names) for row in rows))
        return folder

    def _timed(self) -> Path:
        """The folder of inputs that the search timed: the one whose rows are all validation rows."""
        known = {feed["input_ids"].tobytes() for feed, _ in self.rows}
        found = []
        for folder in sorted((self.search.parent.parent / "cache" / "feeds").glob("validation-*")):
            feeds = hardware_targets.load_feeds(folder)
            if feeds[0].keys() == {"input_ids"} and len(feeds) < len(self.rows):
                found += [folder] if all(feed["input_ids"].tobytes() in known for feed in feeds) else []
        if len(found) != 1:
            raise SystemExit(f"{len(found)} folders hold inputs that the search may have timed; name one with --feeds")
        return found[0]

    def report(self) -> dict[str, Any]:
        """The table and what stands beside it, as plain data."""
        points = {side: [point for file in self.files if (point := self._point(file, side))] for side in SIDES}
        refused = {file.name: kept.read_text("utf-8") for file in self.files if (kept := self._refused(file)).exists()}
        failed = {name: told["failed"] for name, told in self.made.items() if "failed" in told}
        timed = [(file, told) for file in self.files if (told := self._latency(file))]
        theirs = peers_table.rows(points["theirs"], points["ours"], self.labels)
        different = {file.key: point for file in self.files if (point := self._point(file, "theirs"))}
        return {
            "rows": len(self.labels),
            "against": self.against,
            "teacher": [peers_table.plain(point, self.labels) for point in points[TEACHER]],
            "ours": [peers_table.plain(point, self.labels) for point in points["ours"]],
            "theirs": theirs,
            "different_files": peers_table.counted(theirs, [point.name for point in different.values()]),
            "against_each": peers_table.against_each(list(different.values()), points["ours"], self.labels),
            "made": {name: {key: told.get(key) for key in ("how", "note")} for name, told in self.made.items()},
            "failed": failed,
            "refused": refused,
            "unreliable": [file.name for file, told in timed if told["latency"]["unreliable"]],
            "warnings": {file.name: told["warnings"] for file, told in timed if told["warnings"]},
            "conditions": timed[0][1]["conditions"] if timed else None,
        }

    def lines(self, found: dict[str, Any]) -> list[str]:
        """The table in Markdown, ours above, and who gave nothing."""
        ours = [*found["teacher"], *found["ours"]]
        points = peers_table.counted(found["theirs"], [row["name"] for row in found["theirs"]])
        by_whom = {"points": points, "different files": found["different_files"]}
        by_whom |= {f"files, {name} alone": counts for name, counts in found["against_each"].items()}
        told = [f"- {who}: {', '.join(f'{count} {word}' for word, count in counts.items())}"
                for who, counts in by_whom.items()]  # fmt: skip
        none = [f"- {name}: {why}" for kind in ("failed", "refused") for name, why in found[kind].items()]
        doubt = [f"Unreliable, to be timed again: {', '.join(found['unreliable'])}"] if found["unreliable"] else []
        tables = [*peers_table.lines(ours), "", *peers_table.lines(found["theirs"])]
        return [f"Speed-ups are over: {self.against}", "", *tables, "", *told, *doubt, "", "No point:", *none]

    def _point(self, file: File, side: str) -> peers_table.Point | None:
        kept = self._kept("answers", file, ".npy")
        if file.side != side or not kept.exists():
            return None
        timed = self._latency(file)
        told = timed["latency"] if timed else None
        ratio = (told["ratio"], told["ratio_low"], told["ratio_high"]) if told else None
        return peers_table.Point(file.name, np.load(kept, allow_pickle=False), file.size_mb, ratio)

    def _latency(self, file: File) -> dict[str, Any] | None:
        kept = self._kept(self._shelf, file, ".json")
        return _read(kept) if kept.exists() else None

    def _refused(self, file: File) -> Path:
        return self._kept("refused", file, ".txt")

    def _kept(self, kind: str, file: File, suffix: str) -> Path:
        return self.work / kind / f"{file.key}{suffix}"


SIDES = (TEACHER, "ours", "theirs")


def session(path: Path) -> tuple[list[str], Run]:
    """Names of a file's inputs and a function from a feed to its logits [1, K]; one thread, the runtime's defaults."""
    if path.suffix == ".xml":
        return _openvino(path)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    native = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [item.name for item in native.get_inputs()], lambda feed: native.run(None, feed)[0]


def _openvino(path: Path) -> tuple[list[str], Run]:
    import openvino

    # As niwaki times it: float32 where the file says so, also on a processor that would round it to bfloat16.
    settings = {"INFERENCE_NUM_THREADS": "1", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    request = compiled.create_infer_request()
    names = [port.get_any_name() for port in compiled.inputs]
    return names, lambda feed: next(iter(request.infer(feed).values()))


def _read(path: Path) -> Any:
    if not path.is_file():
        raise SystemExit(f"there is no {path}; run the step before, or check the folder's name")
    return json.loads(path.read_text(encoding="utf-8"))
