"""Which tokens of a vocabulary are special, and in which role: by what is said of it, or by well-known names."""

from collections.abc import Collection, Mapping
from itertools import count

from trivium.core.special import SPECIAL_TOKENS, SpecialTokens

ROLES = ("pad", "bos", "eos", "cls", "sep", "mask")

_KNOWN = {
    "pad": ("[PAD]", "<pad>", "<|pad|>", "<|finetune_right_pad_id|>", "<|endoftext|>"),
    "bos": ("[BOS]", "<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>"),
    "eos": ("[EOS]", "</s>", "<|end_of_text|>", "<eos>", "<|endoftext|>"),
    "cls": ("[CLS]", "<cls>"),
    "sep": ("[SEP]", "<sep>"),
    "mask": ("[MASK]", "<mask>", "<|mask|>"),
}


def own_special(vocabulary: Mapping[str, int]) -> SpecialTokens | None:
    """Return the special tokens of a vocabulary that holds all of trivium's own names; None where one is missing."""
    if not all(name in vocabulary for name in SPECIAL_TOKENS):
        return None
    pad, bos, eos, cls, sep, mask, *sentinels = (vocabulary[name] for name in SPECIAL_TOKENS)
    return SpecialTokens(pad, bos, eos, cls, sep, mask, tuple(sentinels))


def find_special(
    vocabulary: Mapping[str, int], marked: Collection[int], named: Mapping[str, int] | None = None
) -> SpecialTokens | None:
    """Return the special tokens of a vocabulary; None where no token is known to end or to begin a text.

    A role that has no token of its own is taken by its neighbour: BERT begins with cls and ends with sep, GPT-2 does
    everything with its one token, T5's decoder begins with pad.

    Args:
        vocabulary: ids by name.
        marked: ids that are marked as special, with a role or without.
        named: ids by role (see ROLES), as the files beside the vocabulary say them; they come before known names.
    """
    named = named or {}
    if not named and (own := own_special(vocabulary)):
        return own

    def known(role: str) -> int | None:
        return next((vocabulary[name] for name in _KNOWN[role] if name in vocabulary), None)

    def said(*roles: str) -> int | None:
        return next((named[role] for role in roles if role in named), None)

    cls, sep = _first(said("cls"), known("cls")), _first(said("sep"), known("sep"))
    eos = _first(said("eos"), vocabulary.get("[EOS]"), sep, known("eos"), said("bos"), known("bos"))
    if eos is None:
        return None
    pad = _first(said("pad"), known("pad"), eos)
    bos = _first(said("bos"), vocabulary.get("[BOS]"), cls, known("bos"), pad)
    if pad is None or bos is None:
        return None
    mask = _first(said("mask"), known("mask"))
    cls, sep = bos if cls is None else cls, eos if sep is None else sep
    special = SpecialTokens(pad, bos, eos, cls, sep, mask, _sentinels(vocabulary))
    return special._replace(others=frozenset(marked) - special.all())


def _first(*ids: int | None) -> int | None:
    return next((number for number in ids if number is not None), None)


def _sentinels(vocabulary: Mapping[str, int]) -> tuple[int, ...]:
    """Return the ids of <extra_id_0>, <extra_id_1>, ... up to the first that is missing (in mT5 with a sign before)."""
    found: list[int] = []
    for number in count():
        names = (f"<extra_id_{number}>", f"▁<extra_id_{number}>")
        place = next((vocabulary[name] for name in names if name in vocabulary), None)
        if place is None:
            break
        found.append(place)
    return tuple(found)
