"""All families, and which of them a checkpoint or a network is of."""

from typing import Any

from pydantic import ValidationError

from trivium.core.errors import HubError, UserError
from trivium.hub.albert import ALBERT
from trivium.hub.bert import BERT
from trivium.hub.compare import differences
from trivium.hub.distilbert import DISTILBERT
from trivium.hub.electra import ELECTRA
from trivium.hub.eurobert import EUROBERT
from trivium.hub.family import HeadKind, HubFamily
from trivium.hub.gpt2 import GPT2
from trivium.hub.gpt_neox import GPT_NEOX
from trivium.hub.llama import LLAMA
from trivium.hub.modernbert import MODERNBERT
from trivium.hub.options import Tree
from trivium.hub.qwen3 import QWEN3
from trivium.hub.roberta import ROBERTA, XLM_ROBERTA
from trivium.hub.t5 import MT5, T5
from trivium.model.config import ModelConfig, ReadoutConfig

# Where several can write a network, the first does.
FAMILIES = (
    BERT,
    ROBERTA,
    XLM_ROBERTA,
    DISTILBERT,
    ELECTRA,
    ALBERT,
    MODERNBERT,
    EUROBERT,
    GPT2,
    LLAMA,
    QWEN3,
    GPT_NEOX,
    T5,
    MT5,
)


def family_of(tree: Tree) -> HubFamily:
    """Return the family that config.json names; raise HubError when there is none of that name."""
    return named_family(tree.get("model_type"))


def named_family(name: Any) -> HubFamily:
    """Return the family of a `model_type`; raise HubError when there is none of that name."""
    for family in FAMILIES:
        if family.model_type == name:
            return family
    known = ", ".join(family.model_type for family in FAMILIES)
    raise HubError(f"`model_type` {name!r} is no family that is read or written: {known}.")


def read_config(family: HubFamily, tree: Tree) -> ModelConfig:
    """Return the architecture that config.json describes; raise HubError for what we do not have."""
    try:
        # Validated again: what a family changes of another's configuration is copied, not built.
        return ModelConfig.model_validate(family.read(tree).model_dump())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        message = str(first["msg"]).removeprefix("Value error, ")
        raise HubError(f"config.json: {message} (in `{place}`)." if place else f"config.json: {message}.") from None
    except KeyError as error:
        raise HubError(f"config.json: `{error.args[0]}` is missing.") from None
    except (TypeError, ZeroDivisionError, AttributeError) as error:
        raise HubError(f"config.json: an option of the wrong kind: {error}.") from None


def write_config(
    config: ModelConfig,
    *,
    head: HeadKind = "language",
    readout: ReadoutConfig | None = None,
    model_type: str | None = None,
) -> tuple[HubFamily, Tree]:
    """Return the family that a network can be written as, and its options.

    Args:
        config: the architecture.
        head: which head is written; a language head matters only when it is.
        readout: the head of a task.
        model_type: the family that is asked for; None = the first of which the network is one.

    Raises:
        HubError: the network is of no family, with the options that stand in the way of the nearest one.
    """
    nearest_family: HubFamily | None = None
    least: list[str] | None = None
    for family in FAMILIES if model_type is None else (named_family(model_type),):
        tree = family.write(config)
        told = _obstacles(family, tree, config, head, readout)
        if not told:
            return family, tree | _readout_options(family, head, readout)
        if least is None or _distance(told) < _distance(least):
            nearest_family, least = family, told
    if nearest_family is None or least is None:
        raise HubError("there is no family to write.")
    shown = "; ".join(least[:8]) + (f"; and {len(least) - 8} more" if len(least) > 8 else "")
    raise HubError(
        f"transformers has no such network; nearest is `{nearest_family.model_type}`, if it were not for: {shown}."
    )


def usual_readout(config: ModelConfig, head: HeadKind) -> ReadoutConfig | None:
    """Return the head of a task that transformers has for this architecture, read off the stack that reads; or None.

    T5's head of a text reads the decoder, so that both stacks work for every text, and nothing measured says that it is
    better than the encoder's mean. Who wants such a head, to export it, asks for `readout.stack=writer`.
    """
    for family in FAMILIES:
        kind = family.readout(head)
        if kind is None:
            continue
        tree = family.write(config)
        # A family that leaves the pooling open takes the mean.
        readout = kind.read(tree | kind.write(ReadoutConfig()))
        if readout.stack == "reader" and not _obstacles(family, tree, config, head, readout):
            return readout
    return None


def _distance(told: list[str]) -> tuple[bool, int]:
    # Another way of reading hides all that would differ below it.
    return any(difference.startswith("`family.kind`") for difference in told), len(told)


def _readout_options(family: HubFamily, head: HeadKind, readout: ReadoutConfig | None) -> Tree:
    kind = family.readout(head)
    return {} if kind is None or readout is None else kind.write(readout)


def _obstacles(
    family: HubFamily, tree: Tree, config: ModelConfig, head: HeadKind, readout: ReadoutConfig | None
) -> list[str]:
    """Return in what the network differs from what transformers would build of the options."""
    kind = family.readout(head)
    if head not in ("language", "none") and kind is None:
        return [f"`head` {head}: the family has no such head"]
    tree = tree | _readout_options(family, head, readout)
    try:
        built = read_config(family, tree)
        own = None if kind is None else kind.read(tree)
    except UserError as error:
        return [str(error).rstrip(".")]
    if head != "language":
        built = built.model_copy(update={"head": config.head})
    told = differences(config, built)
    if own is not None and readout is not None:
        if head != "classify":
            own = own.model_copy(update={"pooling": readout.pooling})
        told += [f"readout: {difference}" for difference in differences(readout, own)]
    return told
