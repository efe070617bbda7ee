"""The special tokens of a vocabulary: those that trivium's tokenizers reserve, and the same roles in foreign ones."""

from typing import NamedTuple

from trivium.core.errors import ConfigError

NUM_SENTINELS = 100

# In this order they are the first ids of every vocabulary that trivium trains.
SPECIAL_TOKENS = (
    *("[PAD]", "[BOS]", "[EOS]", "[CLS]", "[SEP]", "[MASK]"),
    *(f"<extra_id_{number}>" for number in range(NUM_SENTINELS)),
)


class SpecialTokens(NamedTuple):
    """Ids of the special tokens in one vocabulary; a foreign one may give several roles to one token.

    Args:
        pad, bos, eos, cls, sep: always there.
        mask: None where the vocabulary has none (GPT-2, Llama, T5).
        sentinels: of hidden spans, in their order; may be empty.
        others: further special ids, which have no role here.
        stops: those that end a text as eos does (a chat model's end of a turn).
    """

    pad: int
    bos: int
    eos: int
    cls: int
    sep: int
    mask: int | None
    sentinels: tuple[int, ...]
    others: frozenset[int] = frozenset()
    stops: frozenset[int] = frozenset()

    def all(self) -> frozenset[int]:
        """Return every special id."""
        roles = (self.pad, self.bos, self.eos, self.cls, self.sep, *self.sentinels)
        return self.others.union(roles, self.stops, () if self.mask is None else (self.mask,))

    def mask_for(self, purpose: str) -> int:
        """Return the mask's id, or raise ConfigError: the tokenizer has none, which `purpose` needs."""
        if self.mask is None:
            raise ConfigError(
                f"the tokenizer has no mask token: {purpose} needs one, such as [MASK]; use a tokenizer that has one."
            )
        return self.mask

    def sentinels_for(self, purpose: str) -> tuple[int, ...]:
        """Return the sentinels, at least one, or raise ConfigError: the tokenizer has none, which `purpose` needs."""
        if not self.sentinels:
            raise ConfigError(
                f"the tokenizer has no sentinels: {purpose} needs <extra_id_0>, <extra_id_1> and so on; use a "
                "tokenizer that has them."
            )
        return self.sentinels
