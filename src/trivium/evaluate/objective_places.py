"""What stands at each place of a row that an objective made: which token, in which part, and what is asked there."""

from collections.abc import Callable
from itertools import groupby
from typing import Literal, NamedTuple

import torch

from trivium.core.batch import Batch
from trivium.core.layout import TokenLayout, visible
from trivium.core.special import SpecialTokens
from trivium.objectives.fill_in import marks_of
from trivium.objectives.spans import mode_marks

Role = Literal["text", "special", "mask", "random", "kept", "sentinel", "mark"]
_KINDS = {
    "all": "Every place sees the whole of its text.",
    "past": "Every place sees itself and what comes before it in its text.",
    "ranked": "A place sees what is of its text and of no higher rank than its own.",
}


class Reading(NamedTuple):
    """What one network reads of a batch, and how its labels are said.

    Args:
        heading: what is shown.
        batch: one objective's.
        row: which of its rows.
        ahead: the label of a place is the next token of its text, not the place's own.
        label: says the label of a place; None = by the token's name.
        told: says the label of a whole text.
        whole: that label is of all places of its text, not of the one place that bears it.
    """

    heading: str
    batch: Batch
    row: int = 0
    ahead: bool = False
    label: Callable[[int], str] | None = None
    told: Callable[[int], str] | None = None
    whole: bool = False


class Place(NamedTuple):
    """A used place of a row."""

    name: str
    role: Role
    document: int
    asked: str | None  # the label that is to be predicted here
    told: str | None  # the label of its text, predicted here too
    rank: int | None  # where the ranks are of no usual kind
    second: bool  # of the second text of a pair
    hidden: bool  # nobody sees it


def places_of(reading: Reading, names: Callable[[int], str], special: SpecialTokens) -> list[Place]:
    """Return the used places of the row that is shown, in order."""
    batch = reading.batch.rows(reading.row, reading.row + 1)
    layout = batch.layout
    tokens, documents = batch.tokens_BL[0].tolist(), layout.document_BL[0].tolist()
    say = reading.label or names
    asked = _labels(batch.labels_BN, batch.places_BN, batch.weights_BN)
    told = _labels(*batch.documents) if batch.documents is not None else {}
    if reading.whole:
        of = {documents[place]: answer for place, answer in told.items()}
        told = {place: of[document] for place, document in enumerate(documents) if document in of}
    meant = {place + reading.ahead: token for place, token in asked.items()} if reading.label is None else {}
    segments = [0] * len(tokens) if batch.segments_BL is None else batch.segments_BL[0].tolist()
    ranks = layout.rank_BL[0].tolist() if layout.kind == "ranked" else [None] * len(tokens)
    unseen = (layout.key_rank_BL > layout.rank_BL)[0].tolist()
    marks = {*marks_of(special), *mode_marks(special).values()}

    def role(place: int) -> Role:
        token = tokens[place]
        if token == special.mask:
            return "mask"
        if token in special.sentinels:
            return "mark" if token in marks else "sentinel"
        if token in special.all():
            return "special"
        if place not in meant or documents[place] != documents[place - reading.ahead]:
            return "text"
        if token != meant[place]:
            return "random"
        # Where all is seen, asking for what stands there says that it was chosen and left.
        return "kept" if layout.kind == "all" else "text"

    return [
        Place(
            names(tokens[place]),
            role(place),
            documents[place],
            say(asked[place]) if place in asked else None,
            reading.told(told[place]) if reading.told is not None and place in told else None,
            ranks[place],
            bool(segments[place]),
            unseen[place],
        )
        for place in range(len(tokens))
        if documents[place] >= 0
    ]


def _labels(labels_BN: torch.Tensor, places_BN: torch.Tensor, weights_BN: torch.Tensor) -> dict[int, int]:
    used = weights_BN[0] > 0
    return dict(zip(places_BN[0][used].tolist(), labels_BN[0][used].tolist(), strict=True))


def seen_by(query: TokenLayout, key: TokenLayout, row: int) -> list[list[bool]]:
    """Return which used key places each used query place sees."""
    query, key = (layout.map(lambda tensor: tensor[row : row + 1]) for layout in (query, key))
    mask_LM = visible(query, key)[0][query.document_BL[0] >= 0][:, key.document_BL[0] >= 0]
    rows: list[list[bool]] = mask_LM.tolist()
    return rows


def source_of(reading: Reading) -> Reading | None:
    """Return what the encoder reads of an encoder-decoder's batch; None where there is one stack."""
    source = reading.batch.source
    return None if source is None else Reading("The encoder reads", source, reading.row)


def described(reading: Reading, names: Callable[[int], str], special: SpecialTokens) -> str:
    """Return the reading in sentences, for those who hear it."""
    said = [f"{reading.heading}."]
    source = source_of(reading)
    for what, each in (
        ("The encoder reads", source),
        ("The decoder reads" if source else "The network reads", reading),
    ):
        if each is None:
            continue
        places = places_of(each, names, special)
        texts = [" ".join(place.name for place in run) for _, run in groupby(places, key=lambda each: each.document)]
        said.append(f"{what}: {' / '.join(texts)}.")
        asked = [f"{place.asked} at {place.name}" for place in places if place.asked is not None]
        said += [f"Asked: {', '.join(asked)}."] * bool(asked)
        told = {place.document: place.told for place in places if place.told is not None}
        said += [f"Text {document + 1}, {words}" + "." * (words[-1] != "?") for document, words in told.items()]
        said.append(_KINDS[each.batch.layout.kind])
    return " ".join(said)
