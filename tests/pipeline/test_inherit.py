from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from text_data import write_tiny_bert
from torch import Tensor, nn

from pipeline.errors import ConfigError
from pipeline.stages.inherit import Importance, inherit, measure_importance, own, projection, unsupported
from pipeline.training import Batch
from search_spaces import load_family
from search_spaces.inputs import TextInput

torch.set_num_threads(1)

LAYERS, WIDTH, HEADS, FF, LENGTH = 3, 32, 4, 64, 40


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    """A transformers model with numbers as after training: fresh normalisations and biases would hide faults."""
    from transformers import AutoModelForSequenceClassification

    folder = write_tiny_bert(tmp_path_factory.mktemp("bert"), ("bad", "fair", "good"), LAYERS, WIDTH, HEADS)
    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager")
    torch.manual_seed(5)
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=0.5 if parameter.ndim == 1 else 0.0, std=0.2)
    return model.eval()


def text_input(teacher: nn.Module, **changed: int) -> TextInput:
    sizes = {"classes": 3, "max_length": LENGTH, "vocabulary": teacher.config.vocab_size, "used": 20, "token_types": 2}
    return TextInput(**{**sizes, **changed}, layers=LAYERS, width=WIDTH, heads=HEADS, ff=FF)


def shape_of(teacher: nn.Module, **changed: Any) -> dict[str, Any]:
    family, input = load_family("bert"), text_input(teacher)
    whole = {axis: dimension.start for axis, dimension in family.dimensions(input).items()}
    return family.shape({**whole, "layers": LAYERS, **changed}, input)


def heir(
    teacher: nn.Module, how: Any = "truncation", importance: Importance | None = None, **changed: Any
) -> nn.Module:
    shape = shape_of(teacher, **changed)
    torch.manual_seed(9)
    student = load_family("bert").build(shape).eval()
    pieces = np.arange(10, 30) if shape["vocabulary_kind"] == "used" else None
    inherit(student, shape, teacher, how=how, importance=importance, kept_pieces=pieces)
    return student


def texts(teacher: nn.Module, rows: int = 4, tokens: int = 16, seed: int = 0) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    mask = (torch.arange(tokens) < torch.randint(3, tokens + 1, (rows, 1), generator=draw)).long()
    return {
        "input_ids": torch.randint(1, teacher.config.vocab_size, (rows, tokens), generator=draw),
        "attention_mask": mask,
        "token_type_ids": torch.randint(0, 2, (rows, tokens), generator=draw) * mask,
    }


def batches(teacher: nn.Module, count: int = 3) -> Iterator[Batch]:
    for seed in range(count):
        inputs = tuple(texts(teacher, seed=seed).values())
        yield Batch(inputs, torch.arange(4) + 4 * seed, torch.zeros(4, dtype=torch.bool))


@torch.no_grad()
def test_a_student_with_every_layer_answers_as_its_teacher(teacher: nn.Module) -> None:
    student, rows = heir(teacher), texts(teacher)
    expected = teacher(**rows).logits
    torch.testing.assert_close(student(**rows), expected, atol=1e-5, rtol=0)
    assert expected.std() > 0.1
    single = {"input_ids": rows["input_ids"][:1]}
    torch.testing.assert_close(student(**single), teacher(**single).logits, atol=1e-5, rtol=0)


@torch.no_grad()
def test_states_are_those_of_transformers(teacher: nn.Module) -> None:
    student, rows = heir(teacher), texts(teacher)
    states = student.states(**rows)
    expected = teacher(**rows, output_hidden_states=True, output_attentions=True)
    real = rows["attention_mask"].bool()
    for found, wanted in zip([states.embedded, *states.hidden], expected.hidden_states, strict=True):
        torch.testing.assert_close(found[real], wanted[real], atol=1e-5, rtol=0)
    for scores, wanted in zip(states.scores, expected.attentions, strict=True):
        found = scores.masked_fill(~real[:, None, None, :], -torch.inf).softmax(-1)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(states.logits, expected.logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("how", ["importance", "projection", "truncation"])
def test_whole_layers_arrive_bit_by_bit(teacher: nn.Module, how: str) -> None:
    student = heir(teacher, how, layers=2, vocabulary="used")
    encoder = teacher.bert.encoder.layer
    for layer, of in zip(student.layers, (encoder[0], encoder[2]), strict=True):
        assert torch.equal(layer.attention.query.weight, of.attention.self.query.weight)
        assert torch.equal(layer.attention.key.bias, of.attention.self.key.bias)
        assert torch.equal(layer.attention.value.weight, of.attention.self.value.weight)
        assert torch.equal(layer.attention.out.weight, of.attention.output.dense.weight)
        assert torch.equal(layer.attention_norm.weight, of.attention.output.LayerNorm.weight)
        assert torch.equal(layer.ff_in.weight, of.intermediate.dense.weight)
        assert torch.equal(layer.ff_out.bias, of.output.dense.bias)
        assert torch.equal(layer.ff_norm.bias, of.output.LayerNorm.bias)
    tables = teacher.bert.embeddings
    assert torch.equal(student.word.weight, tables.word_embeddings.weight[10:30])
    assert torch.equal(student.position.weight, tables.position_embeddings.weight[:LENGTH])
    assert torch.equal(student.token_type.weight, tables.token_type_embeddings.weight)
    assert torch.equal(student.pooler.weight, teacher.bert.pooler.dense.weight)
    assert torch.equal(student.classifier.weight, teacher.classifier.weight)


def test_importance_decides_what_narrower_layers_keep(teacher: nn.Module) -> None:
    best = {"hidden": [1, 3, 5, 7, 20, 21, 30, 31], "heads": [2], "ff": [0, 2, 9, 17, 33, 34, 60, 63]}
    moments = np.zeros((3 * LAYERS + 1, WIDTH + 1, WIDTH + 1))
    importance = Importance(np.full(WIDTH, 0.1), np.full((LAYERS, HEADS), 0.1), np.full((LAYERS, FF), 0.1), moments)
    importance.hidden[best["hidden"]] = 1
    importance.heads[2, best["heads"]] = 1  # of the last layer, which a student of one layer takes
    importance.ff[2, best["ff"]] = 1
    student = heir(teacher, "importance", importance, layers=1, width=8, heads=1, ff=8)
    of, layer, head = teacher.bert.encoder.layer[2], student.layers[0], slice(16, 24)
    assert torch.equal(layer.attention.key.weight, of.attention.self.key.weight[head][:, best["hidden"]])
    assert torch.equal(layer.attention.key.bias, of.attention.self.key.bias[head])
    assert torch.equal(layer.attention.out.weight, of.attention.output.dense.weight[best["hidden"]][:, head])
    assert torch.equal(layer.ff_in.weight, of.intermediate.dense.weight[best["ff"]][:, best["hidden"]])
    assert torch.equal(layer.ff_out.weight, of.output.dense.weight[best["hidden"]][:, best["ff"]])
    assert torch.equal(layer.ff_norm.weight, of.output.LayerNorm.weight[best["hidden"]])
    assert torch.equal(student.word.weight, teacher.bert.embeddings.word_embeddings.weight[:, best["hidden"]])
    assert torch.equal(student.pooler.weight, teacher.bert.pooler.dense.weight[best["hidden"]][:, best["hidden"]])
    assert torch.equal(student.classifier.weight, teacher.classifier.weight[:, best["hidden"]])


@torch.no_grad()
def test_what_follows_from_the_rest_is_projected_without_loss(teacher: nn.Module) -> None:
    """The second half of the values repeats the first half, so two heads can say what four said."""
    model, rows = copy.deepcopy(teacher), texts(teacher)
    for layer in model.bert.encoder.layer:
        parts = layer.attention.self
        for part in (parts.query, parts.key, parts.value):
            part.weight[16:], part.bias[16:] = part.weight[:16], part.bias[:16]
        parts.value.weight[16:] *= 2
    with torch.enable_grad():
        importance = measure_importance(model, batches(model, 30))
    importance.heads[:] = [0.3, 0.3, 0.2, 0.2]
    expected = model(**rows).logits
    differences = {
        how: (heir(model, how, importance, heads=2)(**rows) - expected).abs().max().item()
        for how in ("importance", "projection")
    }
    assert differences["projection"] < 0.05 * differences["importance"]


def test_projection_is_least_squares() -> None:
    draw = np.random.default_rng(0)
    values = draw.normal(size=(500, 5)) @ draw.normal(size=(5, 5)) + 3
    values[:, 4] = values[:, 1] * 2 - values[:, 2] + 1
    ones = np.concatenate([values, np.ones((500, 1))], axis=1)
    matrix, constant = projection(ones.T @ ones / 500, torch.tensor([1, 2, 3]))
    guess = values[:, [1, 2, 3]] @ matrix.numpy().T + constant.numpy()
    np.testing.assert_allclose(guess[:, 1:], values[:, 1:], atol=0.5)  # the ridge keeps a little back
    best, *_ = np.linalg.lstsq(ones[:, [1, 2, 3, 5]], values, rcond=None)
    residual = np.square(ones[:, [1, 2, 3, 5]] @ best - values).sum()
    assert residual <= np.square(guess - values).sum() < 1.05 * residual


def test_truncation_keeps_the_first_and_random_keeps_nothing(teacher: nn.Module) -> None:
    student = heir(teacher, "truncation", layers=1, width=16, heads=2, ff=24)
    of = teacher.bert.encoder.layer[2]
    assert torch.equal(student.layers[0].attention.query.weight, of.attention.self.query.weight[:16, :16])
    assert torch.equal(student.layers[0].ff_out.weight, of.output.dense.weight[:16, :24])
    fresh = heir(teacher, "random", layers=1, width=16, heads=2, ff=24)
    torch.manual_seed(9)
    built = load_family("bert").build(shape_of(teacher, layers=1, width=16, heads=2, ff=24))
    assert all(torch.equal(value, built.state_dict()[name]) for name, value in fresh.state_dict().items())


def useless(teacher: nn.Module) -> nn.Module:
    """The teacher with heads, neurons and hidden dimensions that change nothing (or next to it)."""
    model = copy.deepcopy(teacher)
    with torch.no_grad():
        for layer in model.bert.encoder.layer:
            layer.attention.output.dense.weight[:, 8:24] = 0  # heads 1 and 2
            layer.output.dense.weight[:, 5:40] = 0
            for norm in (layer.attention.output.LayerNorm, layer.output.LayerNorm):
                norm.weight[:16], norm.bias[:16] = 0, 0
    return model


@torch.no_grad()
def test_measured_importance_finds_what_nothing_hangs_on(teacher: nn.Module) -> None:
    model, rows = useless(teacher), texts(teacher)
    with torch.enable_grad():
        importance = measure_importance(model, batches(model), np.arange(12) % 3)
    assert importance.hidden.shape == (WIDTH,) and importance.hidden.dtype == np.float32
    assert importance.heads.shape == (LAYERS, HEADS) and importance.ff.shape == (LAYERS, FF)
    for shares in (importance.hidden[None], importance.heads, importance.ff):
        np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
    assert not importance.heads[:, 1:3].any() and importance.heads[:, [0, 3]].all()
    assert not importance.ff[:, 5:40].any() and np.count_nonzero(importance.ff) == LAYERS * 29
    assert importance.hidden[:16].max() < importance.hidden[16:].min()  # the embeddings still use the first ones
    expected = model(**rows).logits
    torch.testing.assert_close(heir(model, "importance", importance, heads=2, ff=32)(**rows), expected)
    assert (heir(model, "truncation", heads=2, ff=32)(**rows) - expected).abs().max() > 1e-2
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_importance_is_the_effect_of_removal_to_first_order(teacher: nn.Module) -> None:
    """Scaling a head by 1 - h changes the loss of a text by h x importance."""
    rows = texts(teacher, rows=1)
    batch = Batch(tuple(rows.values()), torch.tensor([0]), torch.zeros(1, dtype=torch.bool))
    importance, label, h = measure_importance(teacher, [batch], np.array([1])), torch.tensor([1]), 1e-3
    changes = []
    for head in range(HEADS):
        losses = []
        for sign in (1, -1):
            model = copy.deepcopy(teacher).double()
            with torch.no_grad():
                model.bert.encoder.layer[1].attention.output.dense.weight[:, head * 8 : head * 8 + 8] *= 1 + sign * h
                losses.append(nn.functional.cross_entropy(model(**rows).logits, label).item())
        changes.append(abs(losses[0] - losses[1]))
    np.testing.assert_allclose(importance.heads[1], np.array(changes) / sum(changes), rtol=1e-2)


def test_padding_has_no_importance(teacher: nn.Module) -> None:
    rows = texts(teacher, rows=1)
    length = int(rows["attention_mask"].sum())
    assert length < 16
    yes, no = torch.tensor([0]), torch.zeros(1, dtype=torch.bool)
    padded = measure_importance(teacher, [Batch(tuple(rows.values()), yes, no)])
    alone = measure_importance(teacher, [Batch(tuple(part[:, :length] for part in rows.values()), yes, no)])
    np.testing.assert_allclose(padded.ff, alone.ff, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(padded.hidden, alone.hidden, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(padded.moments, alone.moments, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_classes_arrive_in_the_tasks_order(teacher: nn.Module) -> None:
    shape, rows = shape_of(teacher), texts(teacher)
    student = load_family("bert").build(shape).eval()
    inherit(student, shape, teacher, how="truncation", importance=None, kept_pieces=None, order=(2, 0, 1))
    torch.testing.assert_close(student(**rows), teacher(**rows).logits[:, [2, 0, 1]], atol=1e-5, rtol=0)
    torch.testing.assert_close(own(teacher, (2, 0, 1))(**rows), student(**rows))


def test_a_bare_encoder_leaves_the_classifier_fresh(teacher: nn.Module) -> None:
    student, encoder = heir(teacher.bert), teacher.bert
    assert torch.equal(student.layers[1].ff_in.weight, encoder.encoder.layer[1].intermediate.dense.weight)
    assert torch.equal(student.pooler.weight, encoder.pooler.dense.weight)
    torch.manual_seed(9)
    assert torch.equal(student.classifier.weight, load_family("bert").build(shape_of(teacher)).classifier.weight)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"model_type": "roberta"}, "inherit from BERT models only and this teacher is 'roberta'; give"),
        ({"hidden_act": "relu"}, "hidden_act 'gelu' and this teacher with 'relu'.*; give another"),
        ({"layer_norm_eps": 1e-5}, "layer_norm_eps 1e-12 and this teacher with 1e-05"),
    ],
)
def test_other_models_are_said_in_a_sentence(teacher: nn.Module, changed: dict[str, Any], sentence: str) -> None:
    assert unsupported(teacher.config) is None
    model = nn.Module()
    model.config = copy.deepcopy(teacher.config)
    for name, value in changed.items():
        object.__setattr__(model.config, name, value)
    with pytest.raises(ConfigError, match=sentence):
        own(model)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"taken": [0, 1, 3]}, "the student has 4 layers and its teacher only 3; ask for 3 at most"),
        ({"width": 64}, "64 hidden dimensions and its teacher only 32"),
        ({"max_length": 99}, "99 positions and its teacher only 64"),
        ({"layers": [{"heads": 4, "ff": 128}] * 3}, "128 feed-forward neurons"),
        ({"vocabulary": 7}, "7 pieces of text and its teacher .*; give the teacher"),
        ({"head_width": 4}, "4 numbers per head"),
        ({"classes": 2}, "2 classes and its teacher 3"),
    ],
)
def test_a_student_that_does_not_fit_is_said_in_a_sentence(
    teacher: nn.Module, changed: dict[str, Any], sentence: str
) -> None:
    shape = {**shape_of(teacher), **changed}
    student = load_family("bert").build(shape)
    with pytest.raises(ConfigError, match=sentence):
        inherit(student, shape, teacher, how="truncation", importance=None, kept_pieces=None)


def test_what_was_not_measured_is_a_fault(teacher: nn.Module) -> None:
    with pytest.raises(ValueError, match="measure_importance"):
        heir(teacher, "importance", width=16)
    with pytest.raises(ValueError, match="at least one batch"):
        measure_importance(teacher, [])
