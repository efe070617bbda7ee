"""The special tokens that every tokenizer reserves, so that one prepared data set serves three families."""

from typing import NamedTuple

NUM_SENTINELS = 100

# In this order they are the first ids of every vocabulary that trivium trains.
SPECIAL_TOKENS = (
    *("[PAD]", "[BOS]", "[EOS]", "[CLS]", "[SEP]", "[MASK]"),
    *(f"<extra_id_{number}>" for number in range(NUM_SENTINELS)),
)


class SpecialTokens(NamedTuple):
    """Ids of the special tokens in one vocabulary."""

    pad: int
    bos: int
    eos: int
    cls: int
    sep: int
    mask: int
    sentinels: tuple[int, ...]

    def all(self) -> frozenset[int]:
        """Return every special id."""
        return frozenset((self.pad, self.bos, self.eos, self.cls, self.sep, self.mask, *self.sentinels))
