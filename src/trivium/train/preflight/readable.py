"""What a batch reads and what it asks, as text."""

from collections.abc import Callable, Sequence

import torch

from trivium.core.batch import Batch
from trivium.train.preflight.label_checks import Labelled

Names = Callable[[Sequence[int]], list[str]]
_PLACES = 24  # of a row that are shown
_DENSE = 0.5  # share of labelled places from which on they are shown as pairs


def shown_examples(parts: Sequence[Labelled], names: Names, *, count: int = 3) -> list[str]:
    """Return examples as lines: a row of each part, and further rows while there are fewer than `count`.

    Args:
        parts: what the objectives made, see `labelled_parts`.
        names: gives each token as something to read.
        count: of the examples, if the rows suffice; there are as many as parts at least.
    """
    rows = [(part, row) for row in range(count) for part in parts if row < part.batch.num_rows]
    chosen = rows[: max(count, len(parts))]
    several = len(parts) > 1
    return [(f"{part.name}: " if several else "") + shown_row(part.batch, row, names) for part, row in chosen]


def shown_row(batch: Batch, row: int, names: Names) -> str:
    """Return the first labelled stretch of a row: few labels as [what is read -> what is asked], many as pairs."""
    used_N = batch.weights_BN[row] > 0
    places = batch.places_BN[row][used_N].tolist()
    asked = dict(zip(places, names(batch.labels_BN[row][used_N].tolist()), strict=True))
    document_L = batch.layout.document_BL[row]
    there = (document_L >= 0).nonzero()[:, 0].tolist()
    if not there:
        return "(an empty row)"
    source = "" if batch.source is None else f"reads {_plain(batch.source, row, names)} | writes "
    told = _told(batch, row)
    if not asked:
        return source + _joined(names(batch.tokens_BL[row][there[:_PLACES]].tolist())) + told
    first = there.index(min(asked)) if min(asked) in there else 0
    dense = len(asked) > _DENSE * len(there)
    begin = first if dense else max(0, first - _PLACES // 4)
    window = there[begin : begin + _PLACES]
    words = names(batch.tokens_BL[row][window].tolist())
    if dense:
        pairs = [
            f"{_quoted(word)}→{_quoted(asked[place])}"
            for place, word in zip(window, words, strict=True)
            if place in asked
        ]
        return source + " ".join(pairs[: _PLACES // 2]) + told
    marked = [f"[{word}→{asked[place]}]" if place in asked else word for place, word in zip(window, words, strict=True)]
    return source + _joined(marked) + told


def _plain(batch: Batch, row: int, names: Names) -> str:
    used = (batch.layout.document_BL[row] >= 0).nonzero()[:, 0]
    return _joined(names(batch.tokens_BL[row][used[:_PLACES]].tolist()))


def _told(batch: Batch, row: int) -> str:
    """Return the labels of whole texts."""
    if batch.documents is None:
        return ""
    used_N: torch.Tensor = batch.documents.weights_BN[row] > 0
    labels = batch.documents.labels_BN[row][used_N].tolist()
    return f" | its texts: {', '.join(map(str, labels[:8]))}" if labels else ""


def _joined(words: Sequence[str]) -> str:
    """Return tokens as a text whose pieces can be told apart; white space is one blank."""
    return "|".join(" ".join(word.split("\n")) if word.strip() else "␣" for word in words).replace("| ", " ")


def _quoted(word: str) -> str:
    return word.strip() or "␣"
