"""Heads over the vocabulary that several families have."""

from trivium.hub.family import Names, entries
from trivium.hub.keymap import Copy, Entry
from trivium.model.config import ModelConfig


def projected(config: ModelConfig, projection: str, tokens: str) -> Names:
    """Return the names of a head that is one projection without a bias.

    Args:
        config: says whether it is tied.
        projection: its name.
        tokens: the full name of the token embedding.
    """
    if config.head.tied:
        return Names((), (Copy(f"{projection}.weight", f"{tokens}.weight"),))
    return Names((Entry("head.projection", (projection,)),))


def transformed(
    config: ModelConfig, transform: str, dense: str, norm: str, projection: str, tokens: str, bias: str | None = None
) -> Names:
    """Return the names of a head with a dense layer and a norm before its projection, and a bias.

    Args:
        config: says whether it is tied.
        transform: what the names of the dense layer and the norm begin with.
        dense, norm: the rest of them.
        projection: its name.
        tokens: the full name of the token embedding.
        bias: the name of a module that has the projection's bias too, or alone; None = the projection has it.
    """
    own = entries("head.transform.", transform, (("dense", dense), ("norm", norm)))
    copies, weight = projected(config, projection, tokens).copies, f"{projection}.bias"
    if config.head.tied:
        repeated = () if bias is None else (Copy(weight, f"{bias}.bias"),)
        return Names((*own, Entry("head", (bias or projection,))), (*copies, *repeated))
    # An untied projection reads its own bias; transformers keeps the other, which nothing reads.
    dead = () if bias is None else (Copy(f"{bias}.bias", weight, dead=True),)
    return Names((*own, Entry("head.projection", (projection,)), Entry("head", (projection,))), dead)
