"""Packed batches answer as each example alone does; coverage and scores count every answer once."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from task_support import FAMILIES, WRITER, classify_examples, label_examples, lively_model, reading

from trivium.core.batch import Batch, read_again
from trivium.core.layout import TokenLayout
from trivium.core.random import Key
from trivium.data.labelled import UNSCORED, LabelExample, MultiLabelExample
from trivium.data.packing import first_fit
from trivium.model.config import DEFAULT_READOUT, ReadoutConfig
from trivium.model.pooling import document_means
from trivium.tasks.base import Example, Task, class_logits
from trivium.tasks.build import learned_task
from trivium.tasks.class_answers import answers, class_answers, score_classes
from trivium.tasks.pieces import Piece, pack, row_capacity


def _examples(task: str, count: int, *, seed: int, longest: int = 20) -> list[Example]:
    make = label_examples if task == "label" else classify_examples
    return [*make(count, seed=seed, lengths=(1, longest))]


@pytest.mark.parametrize("task_name", ["label", "classify"])
@pytest.mark.parametrize(
    ("family", "readout"), [*((family, DEFAULT_READOUT) for family in FAMILIES), ("encoder_decoder", WRITER)]
)
def test_packed_rows_give_each_example_the_logits_it_gets_alone(
    family: str, readout: ReadoutConfig, task_name: str
) -> None:
    examples = _examples(task_name, 24, seed=1, longest=20)
    task = learned_task(task_name, examples, readout)
    model = lively_model(family, task)
    encoded = task.encode(examples, reading(family)._replace(again=readout.stack == "writer"))
    packed = first_fit([len(piece.tokens_L) for piece in encoded.pieces], 64)
    rows = [[encoded.pieces[number] for number in row] for row in packed]
    capacity = row_capacity(encoded.pieces, 64)
    batch, example_BN, _ = pack(rows, encoded.reading, num_rows=len(rows) + 1, capacity=capacity)
    with torch.inference_mode():
        packed_BNC = class_logits(model, batch).unflatten(0, example_BN.shape)
        differences = []
        for b, row in enumerate(rows):
            first = 0
            for piece in row:
                alone = _alone(piece, both_ways=encoded.reading.both_ways)
                if encoded.reading.again:
                    alone = read_again(alone, encoded.reading.tokenizer.special.bos)
                alone_NC = class_logits(model, alone)
                here_NC = packed_BNC[b, first : first + len(piece.places_N)]
                differences.append(float((here_NC - alone_NC).abs().max()) if len(alone_NC) else 0.0)
                first += len(piece.places_N)
    assert len(differences) > 20 and max(map(len, rows)) > 2
    assert max(differences) < 1e-5
    assert float(packed_BNC.std()) > 1e-3


def test_a_text_is_read_off_the_mean_of_its_own_hidden_states() -> None:
    examples = classify_examples(10, seed=8)
    encoded = learned_task("classify", examples).encode(examples, reading())
    batch = pack([encoded.pieces[:2], encoded.pieces[2:3]], encoded.reading, num_rows=3, capacity=4).batch
    hidden_BLD = torch.randn(3, 64, 5, generator=torch.Generator().manual_seed(0))
    means_BND = document_means(hidden_BLD, batch.layout, batch.places_BN).unflatten(0, (3, 4))
    for b, n, document in ((0, 0, 0), (0, 1, 1), (1, 0, 0)):
        expected_D = hidden_BLD[b, batch.layout.document_BL[b] == document].mean(0)
        torch.testing.assert_close(means_BND[b, n], expected_D)
    assert torch.isfinite(means_BND).all()


def _alone(piece: Piece, *, both_ways: bool) -> Batch:
    zeros_BL = torch.zeros(1, len(piece.tokens_L), dtype=torch.int32)
    layout = TokenLayout.bidirectional if both_ways else TokenLayout.causal
    position_BL = torch.arange(len(piece.tokens_L), dtype=torch.int32)[None]
    places_BN = torch.from_numpy(piece.places_N)[None]
    return Batch(
        torch.from_numpy(piece.tokens_L)[None], layout(zeros_BL, position_BL), places_BN, places_BN, places_BN.float()
    )


@pytest.mark.parametrize("task_name", ["label", "classify"])
def test_answers_come_in_order_and_do_not_depend_on_what_they_are_read_with(task_name: str) -> None:
    examples = _examples(task_name, 600, seed=2, longest=60)
    task = learned_task(task_name, examples)
    model = lively_model("encoder", task)
    encoded = task.encode(examples, reading(row_length=32))
    together = list(class_answers(model, encoded, num_classes=len(task.labels), places=200))
    assert len(together) == len(examples) > 512  # more than are read at a time
    for number in range(0, 600, 41):
        alone = task.encode([examples[number]], reading(row_length=32))
        [single] = class_answers(model, alone, num_classes=len(task.labels))
        np.testing.assert_allclose(single.outputs_AC, together[number].outputs_AC, atol=1e-5)
        np.testing.assert_allclose(np.exp(single.outputs_AC).sum(axis=1), 1.0, atol=1e-9)


def test_the_windows_of_a_text_are_averaged() -> None:
    examples = classify_examples(6, seed=3, lengths=(50, 70))
    task = learned_task("classify", examples)
    model = lively_model("decoder", task)
    encoded = task.encode(examples, reading("decoder", 32))
    given = list(class_answers(model, encoded, num_classes=3))
    for number, answer in enumerate(given):
        pieces = [piece for piece in encoded.pieces if piece.example == number]
        assert answer.windows_A[0] == len(pieces) > 2
        with torch.inference_mode():
            each = [class_logits(model, _alone(piece, both_ways=False)).log_softmax(-1) for piece in pieces]
        mean_C = torch.stack(each).mean(0)[0]
        expected_C = (mean_C - mean_C.logsumexp(-1)).numpy()
        np.testing.assert_allclose(answer.outputs_AC[0], expected_C, atol=1e-5)


@pytest.mark.parametrize("size", [2000.0, 1e6])
def test_windows_that_contradict_each_other_leave_probabilities(size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = classify_examples(3, seed=9, lengths=(50, 70))
    task = learned_task("classify", examples)
    encoded = task.encode(examples, reading(row_length=32))
    logits_WC = size * torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]], dtype=torch.float64)
    seen = iter(range(1000))

    def contradicting(network: torch.nn.Module, batch: Batch) -> torch.Tensor:
        return torch.stack([logits_WC[next(seen) % 2] for _ in range(batch.weights_BN.numel())])

    monkeypatch.setattr("trivium.tasks.class_answers.read_logits", contradicting)
    with np.errstate(all="raise", under="ignore"):
        given = list(class_answers(lively_model("encoder", task), encoded, num_classes=3))
        scores = score_classes(lively_model("encoder", task), task.labels, encoded)
    for answer in given:
        assert answer.windows_A[0] > 1
        np.testing.assert_allclose(np.exp(answer.outputs_AC).sum(axis=1), 1.0, atol=1e-9)
    assert len(given) == 3 and all(np.isfinite(value) for value in scores.metrics.values())


@pytest.mark.parametrize("task_name", ["label", "classify"])
@pytest.mark.parametrize("row_length", [8, 64])
def test_every_answer_is_counted_once(task_name: str, row_length: int) -> None:
    examples = _examples(task_name, 80, seed=4, longest=60)
    task = learned_task(task_name, examples)
    model = lively_model("encoder", task).train()
    scores = score_classes(model, task.labels, task.encode(examples, reading(row_length=row_length)))
    assert model.training  # as it was
    gold = [label for example in examples for label in task.gold(example)]
    assert scores.metrics["coverage"] == 1.0
    assert np.sum(scores.confusion["counts"]) == len(gold) > 50
    counts = {label: row["count"] for label, row in scores.by_label.items()}
    assert {label: gold.count(label) for label in set(gold)} == {k: v for k, v in counts.items() if v}
    assert set(scores.metrics) == {"accuracy", "macro_f1", "matthews", "loss", "coverage", "ece", "brier", "nll"}


@pytest.mark.parametrize(("task_name", "classes"), [("classify", 2), ("classify", 3), ("multi_label", 3)])
def test_classes_are_ranked_as_scikit_learn_says(task_name: str, classes: int) -> None:
    made = classify_examples(600, seed=classes)
    names = sorted({example.label for example in made})[:classes]
    examples = [example for example in made if example.label in names]
    rng = np.random.default_rng(classes)
    if task_name == "multi_label":
        sets = [tuple(name for name in names if rng.random() < 0.4) for _ in examples]
        examples = [MultiLabelExample(e.text, labels, None) for e, labels in zip(examples, sets, strict=True)]
    task = learned_task(task_name, examples)
    model, encoded = lively_model("encoder", task), task.encode(examples, reading(row_length=32))
    found = task.score(model, encoded).metrics
    is_classify = task_name == "classify"
    given = answers(model, encoded, num_outputs=classes, logarithms=is_classify)
    scores = np.concatenate([answer.outputs_AC for answer in given])
    held = [{example.label} if is_classify else {*example.labels} for example in examples]
    areas = [roc_auc_score([name in labels for labels in held], scores[:, n]) for n, name in enumerate(task.labels)]
    assert len(scores) == len(examples) > 300 and len(areas) == classes
    if classes == 2:
        wanted = roc_auc_score([task.labels[1] in labels for labels in held], scores[:, 1] - scores[:, 0])
        assert found["auc"] == pytest.approx(wanted, abs=1e-9) and "macro_auc" not in found
    else:
        assert found["macro_auc"] == pytest.approx(np.mean(areas), abs=1e-5) and "auc" not in found


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("task_name", ["classify", "multi_label"])
def test_answers_that_are_no_numbers_are_said_by_the_loss(task_name: str, classes: int) -> None:
    examples = [e._replace(label="abc"[n % classes]) for n, e in enumerate(classify_examples(12, seed=1))]
    if task_name == "multi_label":
        examples = [MultiLabelExample(e.text, (e.label,), None) for e in examples]
    task = learned_task(task_name, examples)
    model = lively_model("encoder", task)
    with torch.no_grad():
        next(iter(model.head.parameters())).fill_(float("nan"))
    metrics = task.score(model, task.encode(examples, reading())).metrics
    assert np.isnan(metrics["loss"]) and {"auc", "macro_auc"} & metrics.keys()


@pytest.mark.parametrize("task_name", ["classify", "multi_label"])
def test_many_classes_are_not_ranked(task_name: str) -> None:
    names = [f"c{number}" for number in range(8)]
    made = classify_examples(40, seed=1)
    examples = [e._replace(label=names[n % 8]) for n, e in enumerate(made)]
    if task_name == "multi_label":
        examples = [MultiLabelExample(e.text, (e.label,), None) for e in examples]
    task = learned_task(task_name, examples)
    found = task.score(lively_model("encoder", task), task.encode(examples, reading())).metrics
    assert not {"auc", "macro_auc"} & found.keys()


def test_words_that_are_not_scored_are_neither_learned_nor_counted() -> None:
    examples = label_examples(30, seed=5)
    task = learned_task("label", examples)
    scored = sum(label != UNSCORED for example in examples for label in example.labels)
    assert scored < sum(len(example.labels) for example in examples)
    encoded = task.encode(examples, reading())
    batch = pack([[p] for p in encoded.pieces], encoded.reading, num_rows=len(encoded.pieces), capacity=64).batch
    assert task.counts(batch) == {"label": scored}
    [term] = task.loss(lively_model("encoder", task), batch, Key(0))
    assert term.name == "label"
    assert UNSCORED not in task.labels
    nothing = task.encode([LabelExample(("ba", "ke"), (UNSCORED, UNSCORED))], reading())
    [answer] = class_answers(lively_model("encoder", task), nothing, num_classes=len(task.labels))
    assert answer.outputs_AC.shape == (0, len(task.labels))
    assert score_classes(lively_model("encoder", task), task.labels, nothing).metrics["coverage"] == 0.0


def test_an_answer_that_is_not_given_lowers_the_coverage() -> None:
    examples = label_examples(20, seed=6)
    task = learned_task("label", examples)
    encoded = task.encode(examples, reading())
    without = encoded._replace(pieces=[piece for piece in encoded.pieces if piece.example != 3])
    scores = score_classes(lively_model("encoder", task), task.labels, without)
    missing = len(encoded.gold[3])
    assert missing and scores.metrics["coverage"] == pytest.approx(1 - missing / encoded.num_answers)


def test_known_labels_are_not_looked_at_when_answers_are_asked_for() -> None:
    examples = label_examples(5, seed=7)
    task: Task = learned_task("label", examples)
    blank = [task.unlabelled(example.tokens) for example in examples]
    encoded = task.encode(blank, reading(), known=False)
    assert [len(gold) for gold in encoded.gold] == [len(example.tokens) for example in examples]
