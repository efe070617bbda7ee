"""Options of a config.json: read with their defaults, refused where they change numbers that we would not change."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from trivium.core.errors import HubError
from trivium.model.config import BlockConfig, ModelConfig, NormalInit, StackConfig
from trivium.model.parts import Activation, AttentionConfig, Gated, Learned, MixtureOfExpertsConfig, Plain

Tree = dict[str, Any]
FULL, SLIDING = "full_attention", "sliding_attention"

_ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu_squared",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
# What each of ours is called there; the first name of several.
_NAMES: dict[Activation, str] = {ours: theirs for theirs, ours in reversed(_ACTIVATIONS.items())}
# Of every family: the only value with which the numbers are ours.
_COMMON: Tree = {
    "is_decoder": False,
    "add_cross_attention": False,
    "quantization_config": None,
    "pruned_heads": {},
    "position_embedding_type": "absolute",
}


def option(tree: Tree, key: str, default: Any) -> Any:
    """Return an option's value; its default where it is absent or null."""
    value = tree.get(key)
    return default if value is None else value


def required(tree: Tree, key: str) -> Any:
    """Return an option's value; raise HubError where it is absent."""
    if tree.get(key) is None:
        raise HubError(f"config.json: `{key}` is missing.")
    return tree[key]


def only(tree: Tree, **allowed: Any) -> None:
    """Raise HubError unless each option is absent or has the one value that is supported, as those of all families."""
    for key, value in {**_COMMON, **allowed}.items():
        if tree.get(key) is not None and tree[key] != value:
            found = json.dumps(tree[key], sort_keys=True)
            shown = found if len(found) <= 60 else found[:57] + "..."
            raise HubError(f"config.json: `{key}` {shown} is not supported: expected {json.dumps(value)}.")


def activation(tree: Tree, key: str, default: str) -> Activation:
    """Return our name of an activation; raise HubError for one that we do not have."""
    return named_activation(option(tree, key, default), key)


def named_activation(name: Any, key: str) -> Activation:
    """Return our name of an activation that is called `name` there; raise HubError for one that we do not have."""
    if name not in _ACTIVATIONS:
        raise HubError(f"config.json: `{key}` {name!r} is no activation of ours: {', '.join(_ACTIVATIONS)}.")
    return _ACTIVATIONS[name]


def activation_name(activation: Activation) -> str:
    """Return what our activation is called there."""
    return _NAMES[activation]


def head_size(hidden_size: int, num_heads: int) -> int:
    """Return the size of heads that fill the hidden size; raise HubError when they cannot."""
    if hidden_size % num_heads:
        raise HubError(f"config.json: the number of heads must divide the hidden size: {num_heads}, {hidden_size}.")
    return hidden_size // num_heads


def normal(tree: Tree) -> NormalInit:
    """Return the initialisation that every family but T5 has."""
    return NormalInit(std=option(tree, "initializer_range", 0.02) or 0.02)


class Parts(NamedTuple):
    """What a family's options are written from: the reading stack and its first block."""

    stack: StackConfig
    block: BlockConfig
    attention: AttentionConfig
    feed_forward: Plain | Gated
    table_length: int


def parts(config: ModelConfig) -> Parts:
    """Return the parts of a configuration; those of another family too, so that the differences can be told."""
    stack = config.stacks()[0]
    block = stack.block(0)
    mixed = block.feed_forward
    feed_forward = mixed.expert if isinstance(mixed, MixtureOfExpertsConfig) else mixed
    table_length = stack.position.max_length if isinstance(stack.position, Learned) else config.max_length
    return Parts(stack, block, block.attention, feed_forward, table_length)


def spread(config: ModelConfig) -> float:
    """Return the standard deviation of the initialisation."""
    return config.initialisation.std if isinstance(config.initialisation, NormalInit) else 0.02


def slides(tree: Tree, usual: list[bool]) -> list[bool]:
    """Return for each layer whether it sees a window of the text only.

    Args:
        tree: config.json.
        usual: what holds where it does not name the layers' types.

    Raises:
        HubError: types that we do not have, or of another number of layers.
    """
    kinds = option(tree, "layer_types", layer_types(usual))
    if len(kinds) != len(usual) or not set(kinds) <= {FULL, SLIDING}:
        raise HubError(f"config.json: `layer_types` must name {FULL} or {SLIDING} for each of {len(usual)} layers.")
    return [kind == SLIDING for kind in kinds]


def layer_types(slides: Iterable[bool]) -> list[str]:
    """Return what layers are called there that see a window of the text, or all of it."""
    return [SLIDING if slid else FULL for slid in slides]


def sizes(config: ModelConfig) -> Tree:
    """Return the options that most families call alike."""
    stack, _, attention, feed_forward, _ = parts(config)
    return {
        "vocab_size": config.vocabulary_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": feed_forward.size,
        "num_hidden_layers": stack.num_layers,
        "num_attention_heads": attention.num_heads,
        "initializer_range": spread(config),
        "tie_word_embeddings": config.head.tied,
    }


def text_labels(tree: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the classes in the order of the head's outputs; raise HubError for gaps in the numbers."""
    names = tree.get("id2label")
    if not names:
        # transformers leaves out the names of two classes that nobody named.
        return tuple(f"LABEL_{number}" for number in range(option(dict(tree), "num_labels", 2)))
    by_number = {str(number): str(name) for number, name in dict(names).items()}
    numbers = [str(number) for number in range(len(by_number))]
    if by_number.keys() != set(numbers):
        raise HubError(
            f"config.json: `id2label` must number the labels from 0: found {', '.join(list(by_number)[:5])}."
        )
    return tuple(by_number[number] for number in numbers)
