"""The best answers over all windows are those of trying every pair of tokens of every window alone."""

import tracemalloc

import numpy as np
import pytest
import torch
from answer_support import answer_model, answer_reading, answer_start, chinese_questions, questions
from task_support import FAMILIES
from torch import nn

from trivium.core.batch import Batch
from trivium.data.labelled import Answer as Placed
from trivium.data.labelled import AnswerExample
from trivium.model.config import ReadoutConfig
from trivium.tasks.answer.spans import Span, best_threshold, boundary_nats, find_spans, probabilities, window_spans
from trivium.tasks.answer.task import Answer
from trivium.tasks.answer.windows import Asked, encode_questions
from trivium.tasks.pieces import Encoded, Piece, Reading, pack, row_capacity
from trivium.tasks.settings import AnswerSettings

SETTINGS = AnswerSettings(stride=9, max_answer_tokens=6, num_best=7)
WRITING = ReadoutConfig(stack="writer")


def mixed_questions(seed: int) -> list[AnswerExample]:
    return [*questions(9, seed=seed, words=(1, 60), unanswerable=0.3), *chinese_questions(6, seed=seed)]


def packed_rows(pieces: list[Piece], reading: Reading, *, rows: int) -> Batch:
    """Lay pieces into rows, as many as fit, in their order; the last rows stay empty."""
    laid: list[list[Piece]] = [[]]
    for piece in pieces:
        if sum(len(each.tokens_L) for each in (*laid[-1], piece)) > reading.row_length:
            laid.append([])
        laid[-1].append(piece)
    capacity = row_capacity(pieces, reading.row_length)
    return pack(laid, reading, num_rows=max(rows, len(laid) + 2), capacity=capacity).batch


def alone(model: nn.Module, piece: Piece, reading: Reading) -> torch.Tensor:
    """The logits of one piece that is alone in its row."""
    batch = pack([[piece]], reading, num_rows=1, capacity=len(piece.places_N)).batch
    logits_NC: torch.Tensor = model(batch)
    return logits_NC


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_of_packed_pieces_is_that_of_each_piece_alone(seed: int) -> None:
    reading = answer_reading(row_length=96)
    encoded = encode_questions(mixed_questions(seed), reading, SETTINGS, known=True)
    short = [piece for piece in encoded.pieces if len(piece.tokens_L) < 48]
    batch = packed_rows(short, reading, rows=3)
    torch.manual_seed(seed)
    logits_NC = (torch.randn(batch.places_BN.numel(), 2, dtype=torch.float64) * 30).requires_grad_()
    nats = boundary_nats(logits_NC, batch)
    (gradient,) = torch.autograd.grad(nats, logits_NC)
    rows, capacity = batch.places_BN.shape
    expected, offsets = torch.zeros((), dtype=torch.float64), dict[int, int]()
    order = iter(short)
    for row in range(rows):
        given = row * capacity
        for document in range(int(batch.layout.document_BL[row].max()) + 1):
            offsets[id(piece := next(order))] = given
            own_NC = logits_NC[given : given + len(piece.places_N)].log_softmax(0)
            for side in (0, 1):
                [right] = np.flatnonzero(piece.classes_N & (1 << side))
                expected = expected - own_NC[int(right), side]
            given += len(piece.places_N)
            assert document < len(short)
    assert len(offsets) == len(short) > 5 and max(batch.layout.document_BL.max(1).values) > 0
    (gradient_alone,) = torch.autograd.grad(expected, logits_NC)
    torch.testing.assert_close(nats, expected)
    torch.testing.assert_close(gradient, gradient_alone)
    assert Answer().counts(batch) == {"answer": 2.0 * len(short)}
    parts = [batch.rows(row, row + 1) for row in range(rows)]
    assert sum(Answer().counts(part)["answer"] for part in parts) == 2.0 * len(short)
    split = sum(boundary_nats(one, part) for one, part in zip(logits_NC.split(capacity), parts, strict=True))
    torch.testing.assert_close(split, nats)


@pytest.mark.parametrize(
    ("family", "readout"), [*((family, ReadoutConfig()) for family in FAMILIES), ("encoder_decoder", WRITING)]
)
def test_spans_over_all_windows_are_those_of_each_window_alone(family: str, readout: ReadoutConfig) -> None:
    model, reading = answer_model(family, readout), answer_reading(family, row_length=40)
    reading = reading._replace(again=readout.stack == "writer")
    examples = mixed_questions(5)
    encoded = encode_questions(examples, reading, SETTINGS, known=True)
    model.train()
    found = list(find_spans(model, encoded, SETTINGS, places=120))
    assert model.training
    model.eval()
    worst = 0.0
    for number, (example, one) in enumerate(zip(examples, found, strict=True)):
        odds: dict[tuple[int, int], float] = {}
        nats, windows = 0.0, 0
        for piece in encoded.pieces:
            if piece.example == number:
                logits_NC = alone(model, piece, reading).detach().double().numpy()
                for edges, value in every_span(piece, logits_NC, encoded.asked[number], SETTINGS).items():
                    odds[edges] = max(value, odds.get(edges, -np.inf))
                nats -= sum(
                    float(torch.from_numpy(logits_NC).log_softmax(0)[np.flatnonzero(piece.classes_N & bit)[0], side])
                    for side, bit in enumerate((1, 2))
                )
                windows += 1
        expected = sorted(odds.items(), key=lambda item: -item[1])[: SETTINGS.num_best]
        assert [span[1:] for span in one.spans] == [edges for edges, _ in expected]
        np.testing.assert_allclose([span[0] for span in one.spans], [value for _, value in expected], atol=1e-4)
        assert one.windows == windows and one.nats == pytest.approx(nats, abs=1e-3)
        for span in one.spans:
            text = example.context[span.start : span.end]
            assert text and text == text.strip()
        worst = max(worst, len(odds))
    assert worst > 50 and max(one.windows for one in found) > 2


def every_span(
    piece: Piece, logits_NC: np.ndarray, asked: Asked, settings: AnswerSettings
) -> dict[tuple[int, int], float]:
    """Try every pair of tokens of a window."""
    odds: dict[tuple[int, int], float] = {}
    context, first = asked.example.context, int(piece.answers_N[0])
    for i in range(1, len(logits_NC)):
        for j in range(i, min(len(logits_NC), i + settings.max_answer_tokens)):
            begin, end = int(asked.starts_T[first + i]), int(asked.ends_T[first + j])
            text = context[begin:end]
            if text.strip():
                begin, end = begin + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())
                value = (logits_NC[i, 0] - logits_NC[0, 0]) + (logits_NC[j, 1] - logits_NC[0, 1])
                odds[begin, end] = max(float(value), odds.get((begin, end), -np.inf))
    return odds


@pytest.mark.parametrize("seed", range(20))
def test_the_best_spans_of_a_window_are_those_of_trying_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    context = "".join(rng.choice(list("ab 的\n𝔘."), int(rng.integers(1, 120))))
    example = AnswerExample("", None, context, "?", ())
    reading = answer_reading(row_length=512)
    encoded = encode_questions([example], reading, SETTINGS, known=False)
    [piece], [asked] = encoded.pieces, encoded.asked
    settings = AnswerSettings(max_answer_tokens=int(rng.integers(1, 40)), num_best=int(rng.integers(1, 400)))
    # Of few different numbers, so that some are equal; a pair of tokens may be the same characters as another.
    logits_NC = rng.integers(-3, 4, (len(piece.places_N), 2)) + rng.random((len(piece.places_N), 2)) * (seed % 2)
    found = window_spans(piece, logits_NC, asked, settings)
    every = every_span(piece, logits_NC, asked, settings)
    odds = [span.log_odds for span in found]
    assert odds == sorted(odds, reverse=True) == sorted(every.values(), reverse=True)[: settings.num_best]
    assert len({span[1:] for span in found}) == len(found)
    assert all(every[span.start, span.end] == span.log_odds for span in found)


@pytest.mark.slow
def test_a_context_of_a_hundred_thousand_tokens_is_read_in_bounded_memory() -> None:
    model, reading = answer_model("encoder"), answer_reading(row_length=64)
    context = "ba ke lo. " * 15_000 + "Zeze " + "mi nu. " * 15_000
    example = AnswerExample("long", None, context, "Which is the second?", (Placed(context.index("Zeze"), "Zeze"),))
    encoded = encode_questions([example], reading, AnswerSettings(stride=48), known=True)
    tokens = len(encoded.asked[0].starts_T)
    tracemalloc.start()
    [found] = find_spans(model, encoded, AnswerSettings())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert tokens > 100_000 and found.windows > 1_500 and encoded.asked[0].is_held
    assert len(found.spans) == AnswerSettings().num_best and peak < 20e6
    held = [piece for piece in encoded.pieces if not piece.classes_N[0]]
    assert held and len(held) < 4
    assert sum(part.nbytes for piece in encoded.pieces for part in (piece.tokens_L, piece.places_N)) < 4e6


@pytest.mark.parametrize("seed", range(30))
def test_the_best_threshold_is_that_of_trying_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 30))
    odds = rng.normal(size=count).round(int(rng.integers(0, 3)))
    odds[rng.random(count) < 0.1] = -np.inf
    answered = np.where(rng.random(count) < 0.5, rng.random(count), 0.0)
    declined = (answered == 0) * (rng.random(count) < 0.7)
    threshold = best_threshold(odds.tolist(), answered.tolist(), declined.tolist())

    def total(at: float) -> float:
        return float(np.where(odds >= at, answered, declined).sum())

    tried = np.linspace(-5, 5, 4001)
    assert total(threshold) == pytest.approx(max(map(total, tried)))
    assert np.isfinite(threshold)
    if total(0.0) == pytest.approx(total(threshold)):
        assert threshold == 0.0


def test_probabilities_are_a_softmax_over_what_may_be_answered() -> None:
    spans = [Span(odds, 0, 1) for odds in (1000.0, 999.0, -3.0)]
    np.testing.assert_allclose(probabilities(spans, may_be_none=False)[:2], [0.731059, 0.268941], atol=1e-5)
    assert sum(probabilities(spans[2:], may_be_none=True)) == pytest.approx(1.0)
    assert probabilities(spans[2:], may_be_none=True)[1] == pytest.approx(1 / (1 + np.exp(-3.0)))
    assert probabilities([], may_be_none=False) == [] and probabilities([], may_be_none=True) == [1.0]


def test_nothing_of_a_context_gives_no_span() -> None:
    model = answer_model("encoder")
    task, begin = Answer(), answer_start()
    blank = [task.unlabelled({"question": "Which?", "context": context}) for context in ("", " \n ")]
    encoded: Encoded = task.encode(blank, begin.reading(), known=False)
    assert [found.spans for found in find_spans(model, encoded, SETTINGS)] == [[], []]
    assert not list(find_spans(model, task.encode([], begin.reading()), SETTINGS))
