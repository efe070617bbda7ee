"""The best answers to a question over all windows of its context, and whether one is given at all."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from trivium.core.batch import Batch
from trivium.tasks.answer.windows import ENDS, STARTS, Asked
from trivium.tasks.base import read_logits
from trivium.tasks.pieces import Encoded, Piece, by_examples
from trivium.tasks.read_batches import PLACES, read_batches
from trivium.tasks.settings import AnswerSettings

_EXAMPLES = 256  # whose windows are packed together
_FEWEST = 256  # spans of a window that are looked at first


class Span(NamedTuple):
    """A possible answer: characters of the context, and how much more likely it is than that there is none."""

    log_odds: float
    start: int
    end: int


class Found(NamedTuple):
    """What was found in all windows of a question."""

    spans: list[Span]  # the best first
    nats: float  # of the right starts and ends, all windows together
    windows: int


def boundary_nats(logits_NC: Tensor, batch: Batch) -> Tensor:
    """Return the summed cross-entropy of the right starts and ends, each among the candidates of its own piece.

    Args:
        logits_NC: of a start and of an end at each place, [B * N, 2].
        batch: pieces of `encode_questions`, packed.
    """
    rows, capacity = batch.weights_BN.shape
    logits_BNC = logits_NC.view(rows, capacity, 2)
    document_BN = batch.layout.document_BL.gather(1, batch.places_BN).masked_fill(batch.weights_BN == 0, -1)
    pieces = int(batch.layout.document_BL.max()) + 1
    number_S = torch.arange(pieces, dtype=document_BN.dtype, device=document_BN.device)
    inside_BSN1 = (document_BN[:, None, :] == number_S[:, None])[..., None]
    # The least number instead of minus infinity, whose gradient is none where a row has fewer pieces.
    least = torch.finfo(logits_BNC.dtype).min
    totals_BSC = logits_BNC[:, None].masked_fill(~inside_BSN1, least).logsumexp(2)
    right_BNC = boundaries(batch).to(logits_BNC.dtype)
    asked_BSC = (right_BNC[:, None] * inside_BSN1).sum(2)
    return (totals_BSC * asked_BSC).sum() - (logits_BNC * right_BNC).sum()


def boundaries(batch: Batch) -> Tensor:
    """Return whether a right answer starts or ends at each place, bool [B, N, 2]."""
    return torch.stack([batch.labels_BN & STARTS, batch.labels_BN & ENDS], dim=-1) > 0


def find_spans(
    network: nn.Module, encoded: Encoded, settings: AnswerSettings, *, places: int = PLACES
) -> Iterator[Found]:
    """Yield what is found for each question, in order, in memory that grows with neither contexts nor questions.

    Args:
        network: a `TaskModel`, in any type; it is left in the mode (training or not) it was in.
        encoded: see `encode_questions`.
        settings: how long answers may be, and how many are kept.
        places: read at once, see `read_batches`.
    """
    for first, stop, pieces in by_examples(encoded, _EXAMPLES):
        spans: list[dict[tuple[int, int], float]] = [{} for _ in range(first, stop)]
        nats_E, windows_E = np.zeros(stop - first), np.zeros(stop - first, dtype=np.int64)
        for piece, logits_NC in _read(network, encoded._replace(pieces=pieces), places):
            number = piece.example - first
            new = window_spans(piece, logits_NC, encoded.asked[piece.example], settings)
            spans[number] = _stitched(spans[number], new, settings.num_best)
            nats_E[number] += _nats(piece, logits_NC)
            windows_E[number] += 1
        for number, known in enumerate(spans):
            best = [Span(odds, *edges) for edges, odds in known.items()]
            yield Found(best, float(nats_E[number]), int(windows_E[number]))


def window_spans(piece: Piece, logits_NC: np.ndarray, asked: Asked, settings: AnswerSettings) -> list[Span]:
    """Return the best answers that one window shows, the best first, none of them twice.

    Tokens may share characters (of one that is several bytes, or white space), so that several pairs of tokens may be
    one answer: the likeliest counts.

    Args:
        piece: the window.
        logits_NC: of a start and of an end at each of its candidates, the first of which is "no answer".
        asked: the question.
        settings: how long answers may be, and how many are kept.
    """
    odds_NC = logits_NC[1:] - logits_NC[0]
    length, longest = len(odds_NC), settings.max_answer_tokens
    if not length:
        return []
    ends_N = np.append(odds_NC[:, 1], np.full(longest - 1, -np.inf))
    odds_NM = odds_NC[:, :1] + np.lib.stride_tricks.sliding_window_view(ends_N, longest)
    first, found = int(piece.answers_N[0]) + 1, dict[tuple[int, int], float]()
    for index in _descending(odds_NM.reshape(-1)):
        start, more = divmod(int(index), longest)
        edges = _trimmed(asked, first + start, first + start + more)
        if edges[0] < edges[1]:
            found.setdefault(edges, float(odds_NM[start, more]))
        if len(found) == settings.num_best:
            break
    return [Span(odds, *edges) for edges, odds in found.items()]


def probabilities(spans: Sequence[Span], *, may_be_none: bool) -> list[float]:
    """Return the softmax over the best answers; the last is that of "no answer" where there may be none."""
    odds = np.array([*(span.log_odds for span in spans), *[0.0] * may_be_none])
    if not len(odds):
        return []
    weights = np.exp(odds - odds.max())
    return [float(weight) for weight in weights / weights.sum()]


def best_threshold(log_odds: Sequence[float], answered: Sequence[float], declined: Sequence[float]) -> float:
    """Return the log-odds from which on an answer is to be given, so that the sum of scores is largest.

    Of thresholds that are as good the one nearest to 0, where the model itself decides.

    Args:
        log_odds: of the best answer to each question.
        answered: each question's score when it is given.
        declined: each question's score when none is given.
    """
    odds = np.asarray(log_odds, dtype=np.float64)
    levels = np.unique(odds[np.isfinite(odds)])
    if not len(levels):
        return 0.0
    between = (levels[1:] + levels[:-1]) / 2
    candidates = np.unique(np.concatenate([[levels[0] - 1.0, 0.0, levels[-1] + 1.0], between]))
    order = np.argsort(odds, kind="stable")
    gain = np.asarray(declined, dtype=np.float64)[order] - np.asarray(answered, dtype=np.float64)[order]
    # Rounded, since sums in another order are not equal to the last bit.
    totals = np.append(0.0, np.cumsum(gain))[np.searchsorted(odds[order], candidates, side="left")].round(9)
    best = candidates[totals == totals.max()]
    return float(best[np.abs(best).argmin()])


def _read(network: nn.Module, encoded: Encoded, places: int) -> Iterator[tuple[Piece, np.ndarray]]:
    """Yield each piece and its logits_NC, in float64, the longest pieces first."""
    was_training = network.training
    network.eval()
    for chosen, (batch, *_) in read_batches(encoded.pieces, encoded.reading, places=places, told=encoded.told):
        logits_BNC = read_logits(network, batch).view(len(chosen), -1, 2).numpy()
        for piece, logits_NC in zip(chosen, logits_BNC, strict=True):
            yield piece, logits_NC[: len(piece.places_N)]
    network.train(was_training)


def _descending(values: np.ndarray) -> Iterator[np.int64]:
    """Yield the indices of finite values, the largest first; only as many are sorted as are asked for."""
    done, count = 0, _FEWEST
    while done < len(values):
        count = min(count, len(values))
        bar = np.partition(values, len(values) - count)[len(values) - count]
        chosen = np.flatnonzero((values >= bar) & np.isfinite(values))
        chosen = chosen[np.argsort(-values[chosen], kind="stable")]
        yield from chosen[done:]
        done, count = (len(values), count) if count == len(values) else (len(chosen), 8 * count)


def _trimmed(asked: Asked, first: int, last: int) -> tuple[int, int]:
    """Return the characters of a run of tokens without the white space around them."""
    start, end = int(asked.starts_T[first]), int(asked.ends_T[last])
    text = asked.example.context[start:end]
    return start + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())


def _stitched(known: dict[tuple[int, int], float], new: list[Span], most: int) -> dict[tuple[int, int], float]:
    """Return the best of the answers of several windows; one that several show counts where it is likeliest."""
    together = dict(known)
    for span in new:
        edges = (span.start, span.end)
        together[edges] = max(span.log_odds, together.get(edges, -np.inf))
    order = sorted(together.items(), key=lambda item: (-item[1], item[0]))
    return dict(order[:most])


def _nats(piece: Piece, logits_NC: np.ndarray) -> float:
    """Return the cross-entropy of a piece's right start and end; 0 where they are not known."""
    largest_C = logits_NC.max(axis=0)
    totals_C = largest_C + np.log(np.exp(logits_NC - largest_C).sum(axis=0))
    right = [np.flatnonzero(piece.classes_N & bit) for bit in (STARTS, ENDS)]
    return float(
        sum(totals_C[side] - logits_NC[places, side].sum() for side, places in enumerate(right) if len(places))
    )
