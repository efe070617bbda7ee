"""What loss is normal: what counts alone reach on the held-out text, said beside every run's loss."""

import json
import math
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trivium.core.files import write_json
from trivium.data.ngram import KneserNey
from trivium.data.shards import PreparedData, Split

FILE = "normal.json"
_ORDER, _MAX_TRAIN_TOKENS, _MAX_VALIDATION_TOKENS = 5, 4_000_000, 400_000


class Normal(NamedTuple):
    """Nats a token of the validation split, by what is known of the training split."""

    uniform: float
    unigram: float
    ngram: float
    bigram: float | None = None  # None: counted by an earlier version

    def __str__(self) -> str:
        return f"uniform {self.uniform:.2f}, unigram {self.unigram:.2f}, 5-gram {self.ngram:.2f}"


def normal_losses(folder: Path, data: PreparedData) -> Normal:
    """Return the losses of count models on prepared data; they are kept in its folder.

    At most 4 million training tokens are counted, so the 5-gram of a large text would do better than is said here.
    """
    kept = folder / FILE
    known = _read(kept, data.fingerprint)
    if known is not None:
        return known
    size = data.tokenizer.vocabulary_size
    model = KneserNey.fit(_some(data.split("train"), _MAX_TRAIN_TOKENS), order=_ORDER, vocabulary_size=size)
    held_out = _some(data.split("validation"), _MAX_VALIDATION_TOKENS)
    unigram, bigram, ngram = (model.bits_per_token(held_out, order=order) * math.log(2.0) for order in (1, 2, _ORDER))
    normal = Normal(math.log(size), unigram, ngram, bigram)
    with suppress(OSError):  # a shared, read-only folder: counted again next time
        write_json(kept, {**normal._asdict(), "fingerprint": data.fingerprint})
    return normal


def _read(path: Path, fingerprint: str) -> Normal | None:
    """Return the losses kept, None when there are none, or they are of other data or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.pop("fingerprint") != fingerprint:
            return None
        bigram = found.pop("bigram", None)
        numbers = {name: float(value) for name, value in found.items()}
        return Normal(**numbers, bigram=None if bigram is None else float(bigram))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _some(split: Split, max_tokens: int) -> list[np.ndarray]:
    """Return the first documents of a split, together up to about `max_tokens`."""
    ends = np.cumsum(split.lengths_S)
    wanted = max(1, int(np.searchsorted(ends, max_tokens)))
    return [document for _, document in takewhile(lambda pair: pair[0] < wanted, enumerate(split.documents()))]
