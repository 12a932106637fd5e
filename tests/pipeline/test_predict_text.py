from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from text_data import text_task, write_texts, write_tiny_bert

from hardware_targets import load_feeds
from pipeline import tasks
from pipeline.tasks.text_classification import Task

TEMPLATE = Path(tasks.__file__).parents[1] / "templates" / Task.template
FULL: dict[str, Any] = {"max_length": 16, "vocabulary": "full"}
USED: dict[str, Any] = {"max_length": 16, "vocabulary": "used"}
PAIR = {"text": "sentence1", "text_pair": "sentence2"}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def task(tmp_path: Path, bert: Path) -> Task:
    return text_task(write_texts(tmp_path / "data"), tmp_path / "cache", bert)


@pytest.fixture
def pairs(tmp_path: Path, bert: Path) -> Task:
    return text_task(write_texts(tmp_path / "data", pairs=True), tmp_path / "cache", bert, **PAIR)


def _write_model(path: Path, pieces: int, typed: bool) -> None:
    """An ONNX file whose logits [1, 2] are means of random vectors of the ids, and of the types."""
    make, chance = onnx.helper, np.random.default_rng(0)
    tables = {"input_ids": pieces, **({"token_type_ids": 2} if typed else {})}
    nodes = [make.make_node("Gather", [f"{name}.table", name], [f"{name}.rows"]) for name in tables]
    rows = "input_ids.rows"
    if typed:
        nodes.append(make.make_node("Mul", [f"{name}.rows" for name in tables], ["product"]))
        rows = "product"
    nodes.append(make.make_node("ReduceMean", [rows], ["logits"], axes=[1], keepdims=0))
    graph = make.make_graph(
        nodes,
        "model",
        [make.make_tensor_value_info(name, onnx.TensorProto.INT64, [1, "pieces"]) for name in tables],
        [make.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, 2])],
        [
            onnx.numpy_helper.from_array(chance.standard_normal((size, 2)).astype(np.float32), f"{name}.table")
            for name, size in tables.items()
        ],
    )
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=10), path)


def _pick(folder: Path, task: Task, view: dict[str, Any]) -> Path:
    """A picked folder around a made-up model."""
    folder.mkdir()
    for name, data in task.files(view).items():
        (folder / name).write_bytes(data)
    (folder / "predict.py").write_text(TEMPLATE.read_text())
    (folder / "labels.json").write_text(json.dumps(task.classes))
    (folder / "preprocessor.json").write_text(json.dumps(task.preprocessing(view)))
    _write_model(folder / "model.onnx", task.preprocessing(view)["pieces"], task.task_input().token_types == 2)
    return folder


@pytest.mark.parametrize("vocabulary", ["full", "used"])
@pytest.mark.parametrize("kind", ["task", "pairs"])
def test_the_script_reads_texts_as_the_search_does(
    kind: str, vocabulary: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    import onnxruntime

    task: Task = request.getfixturevalue(kind)
    view = {**FULL, "vocabulary": vocabulary}
    folder = _pick(tmp_path / "pick", task, view)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    wanted = [session.run(None, feed)[0][0].tolist() for feed in load_feeds(task.feeds("validation", view))]
    script = """
import json, sys
import predict
print(json.dumps([predict.logits(*texts).tolist() for texts in json.load(sys.stdin)]))
assert not {"torch", "transformers", "pipeline", "search_spaces"} & set(sys.modules)
"""
    given = json.dumps(task.raw("validation", 50))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == wanted
    assert len(task.raw("validation", 50)) == len(wanted) == 50


def test_the_script_at_the_command_line(pairs: Task, tmp_path: Path) -> None:
    folder = _pick(tmp_path / "pick", pairs, USED)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(folder / "predict.py"), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    lines = run("a good film", "a funny film", "dull", "").stdout.splitlines()
    assert [line.split("\t")[:2] for line in lines] == [["a good film", "a funny film"], ["dull", ""]]
    assert all(line.split("\t")[2].split()[0] in pairs.classes for line in lines)
    odd, none, bytes_ = run("one text too few"), run(), run("caf\udce9", "b")
    assert [done.returncode for done in (odd, none, bytes_)] == [2, 2, 2]
    assert odd.stderr == "predict.py: this model reads pairs of texts and 1 are given; give two for each answer\n"
    assert 'python predict.py "a text"' in none.stderr
    assert "'caf\\udce9' holds bytes that are no UTF-8" in bytes_.stderr
    assert not any("Traceback" in done.stderr + done.stdout for done in (odd, none, bytes_))


def test_the_script_on_odd_texts(task: Task, tmp_path: Path) -> None:
    folder = _pick(tmp_path / "pick", task, USED)
    script = """
import json
import predict

long = "good film " * 5000
assert predict.logits(long).tolist() == predict.logits("good film " * 7).tolist()  # 16 pieces with [CLS] and [SEP]
assert predict.logits("").tolist() == predict.logits(" \\t").tolist()
for given in ((5,), (None,), (b"good",), (["good"],), (), ("a", "b")):
    try:
        predict.predict(*given)
    except (TypeError, ValueError) as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "5 is no text but of type int; give a str",
        "None is no text but of type NoneType; give a str",
        "b'good' is no text but of type bytes; give a str",
        "['good'] is no text but of type list; give a str",
        "this model reads 1 text(s) at a time, not 0",
        "this model reads 1 text(s) at a time, not 2",
    ]
