"""Fill in the middle (Bavarian et al. 2022): a decoder learns to write what stands between two texts."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field
from torch import nn

from trivium.core.batch import Batch, Rows
from trivium.core.config import Config
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.core.special import SpecialTokens
from trivium.model.build import build_network
from trivium.model.config import ModelConfig
from trivium.objectives.base import PredictsTokens, require_one_stack
from trivium.objectives.causal import Causal
from trivium.objectives.pieces import pieces_of, without_ends

_MIN_TOKENS = 8  # a shorter text, three signs of it taken for the marks, has no middle worth asking for


class FillInConfig(Config):
    """Share of the documents that is rearranged, and of these the share whose suffix comes first."""

    kind: Literal["fill_in"] = "fill_in"
    rate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    suffix_first: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5


class Marks(NamedTuple):
    """What announces the three parts of a rearranged text."""

    prefix: int
    suffix: int
    middle: int


def marks_of(special: SpecialTokens) -> Marks:
    """Return the vocabulary's last three sentinels, which spans of usual rows do not reach; raise ConfigError."""
    sentinels = special.sentinels_for("objective `fill_in`")
    if len(sentinels) < 3:
        raise ConfigError(f"objective `fill_in` needs three sentinels, the tokenizer has {len(sentinels)}.")
    return Marks(*sentinels[-3:])


def arrange(text: np.ndarray, first: int, second: int, marks: Marks, *, suffix_first: bool) -> np.ndarray:
    """Return a text with its middle last.

    Prefix first (PSM): mark, prefix, mark, suffix, mark, middle. Suffix first (SPM, in the form that shares PSM's
    marks, section 3 of the paper): prefix mark, suffix mark, suffix, middle mark, prefix, middle.

    Args:
        text: int64 [tokens].
        first, second: where the middle begins and ends.
        marks: before each part.
        suffix_first: which of the two.
    """
    prefix, middle, suffix = text[:first], text[first:second], text[second:]
    if suffix_first:
        return np.concatenate(([marks.prefix, marks.suffix], suffix, [marks.middle], prefix, middle))
    return np.concatenate(([marks.prefix], prefix, [marks.suffix], suffix, [marks.middle], middle))


@dataclass(frozen=True)
class FillIn(PredictsTokens):
    """The causal objective on documents some of which have their middle last; all of their tokens are predicted.

    A row's length is fixed: a rearranged document loses its last three tokens to the marks. Begin and end tokens stay
    where they are, so that the end token says where the middle ends.

    Differs from the paper: cuts fall between tokens, not between characters.

    Raises:
        ConfigError: the tokenizer has not three sentinels.
    """

    config: FillInConfig
    special: SpecialTokens
    name: ClassVar[str] = "fill_in"

    def __post_init__(self) -> None:
        marks_of(self.special)

    def network(self, config: ModelConfig) -> nn.Module:
        """Build a decoder (or an encoder's stack, read from left to right)."""
        require_one_stack(config, "fill_in")
        return build_network(config)

    def make(self, rows: Rows, key: Key, done: float = 1.0) -> Batch:
        """Rearrange some documents and label each place with the next token."""
        tokens_BL = rows.tokens_BL.copy()
        for b, document_L in enumerate(rows.document_BL):
            rng = key.child("fill_in", rows.epoch_B[b], rows.row_B[b]).numpy()
            for piece in pieces_of(document_L):
                whole = tokens_BL[b, piece.start : piece.stop]
                whole[:] = self._rearranged(whole, rng)
        return Causal().make(rows._replace(tokens_BL=tokens_BL), key)

    def _rearranged(self, whole_L: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        chosen, suffix_first = rng.random(2) < (self.config.rate, self.config.suffix_first)
        inside = without_ends(whole_L, self.special)
        if not chosen or inside.stop - inside.start < _MIN_TOKENS:
            return whole_L
        text = whole_L[inside.start : inside.stop - len(Marks._fields)]
        first, second = np.sort(rng.integers(0, len(text) + 1, 2))
        arranged = arrange(text, first, second, marks_of(self.special), suffix_first=bool(suffix_first))
        return np.concatenate((whole_L[: inside.start], arranged, whole_L[inside.stop :]))
