"""Made-up spans and relation labels whose scores other scorers gave once (see `make_span_scores.py`)."""

import numpy as np

from trivium.tasks.metrics import Span

Example = tuple[list[Span], list[Span]]  # right, given
RELATIONS = (
    "Cause-Effect",
    "Component-Whole",
    "Content-Container",
    "Entity-Destination",
    "Entity-Origin",
    "Instrument-Agency",
    "Member-Collection",
    "Message-Topic",
    "Product-Producer",
)


def flat_spans(seed: int) -> list[Example]:
    """Return examples whose spans of one side do not overlap, as tags of words can say them."""
    rng = np.random.default_rng(seed)
    examples: list[Example] = []
    for _ in range(int(rng.integers(1, 40))):
        right = _flat(rng)
        kept = [span for span in right if rng.random() < 0.6]
        given: list[Span] = []
        for start, end, label in sorted([*kept, *_flat(rng)], key=lambda _: rng.random()):
            if all(end <= begin or stop <= start for begin, stop, _ in given):
                given.append((start, end, str(rng.choice(list("ABC"))) if rng.random() < 0.2 else label))
        examples.append((right, sorted(given)))
    return examples


def relation_labels(seed: int) -> tuple[list[str], list[str]]:
    """Return right and given labels of SemEval-2010 task 8."""
    rng = np.random.default_rng(seed)
    every = [f"{name}({way})" for name in RELATIONS for way in ("e1,e2", "e2,e1")] + ["Other"]
    used = [*every[: 2 * int(rng.integers(2, 10))], "Other"]
    right = [str(rng.choice(used)) for _ in range(int(rng.integers(60, 400)))]
    given = [
        label
        if chance < 0.5
        else (label.translate(str.maketrans("12", "21")) if chance < 0.65 else str(rng.choice(used)))
        for label, chance in zip(right, rng.random(len(right)), strict=True)
    ]
    return right, given


def _flat(rng: np.random.Generator) -> list[Span]:
    spans, place = [], int(rng.integers(0, 3))
    while place < 20:
        end = place + int(rng.integers(1, 5))
        if rng.random() < 0.5:
            spans.append((place, end, str(rng.choice(list("ABCD")))))
        place = end + int(rng.integers(0, 3))
    return spans
