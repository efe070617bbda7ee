"""Whether two architectures are one: told apart by what changes numbers, told as the options that differ."""

from typing import Any

from trivium.core.config import Config
from trivium.model.config import BlockConfig, Decoder, Encoder, EncoderDecoder, ModelConfig, StackConfig
from trivium.model.parts import (
    AttentionConfig,
    Consecutive,
    FeedForwardConfig,
    Looped,
    MixtureOfExpertsConfig,
    NoPosition,
    Rotary,
    Sequential,
    Unshared,
)

# What a text's hidden states do not depend on: how weights begin, what only training does, what is only advised.
_SILENT = {"initialisation", "max_length", "dropout", "final_dropout", "stochastic_depth", "balance_weight"}


def shortest(blocks: tuple[BlockConfig, ...]) -> tuple[BlockConfig, ...]:
    """Return the shortest pattern that, repeated, gives these blocks."""
    lengths = range(1, len(blocks) + 1)
    return next(
        blocks[:length]
        for length in lengths
        if all(block == blocks[number % length] for number, block in enumerate(blocks))
    )


def canonical(config: ModelConfig) -> ModelConfig:
    """Return the configuration without dropouts in its blocks, each choice that has several names by one of them."""
    match config.family:
        case Encoder(stack=stack):
            return config.model_copy(update={"family": Encoder(stack=_stack(stack))})
        case Decoder(stack=stack):
            return config.model_copy(update={"family": Decoder(stack=_stack(stack))})
        case EncoderDecoder(encoder=encoder, decoder=decoder):
            return config.model_copy(
                update={"family": EncoderDecoder(encoder=_stack(encoder), decoder=_stack(decoder))}
            )


def differences(config: Config, other: Config) -> list[str]:
    """Return the dotted options in which two configurations differ: what `config` has, and what `other` has."""
    if isinstance(config, ModelConfig) and isinstance(other, ModelConfig):
        config, other = canonical(config), canonical(other)
    return _walk(config.model_dump(mode="json"), other.model_dump(mode="json"), "")


def _stack(stack: StackConfig) -> StackConfig:
    blocks = [stack.block(number) for number in range(stack.num_blocks)]
    update: dict[str, Any] = {}
    if isinstance(stack.position, Rotary | NoPosition):
        update["position"] = first = stack.position_of(blocks[0])
        positions = [stack.position_of(block) for block in blocks]
        blocks = [
            block.model_copy(update={"position": None if position == first else position})
            for block, position in zip(blocks, positions, strict=True)
        ]
    update["pattern"] = shortest(tuple(_block(block) for block in blocks))
    if stack.num_blocks == stack.num_layers:
        update["sharing"] = Unshared()
    elif isinstance(stack.sharing, Looped) and stack.num_blocks == 1:
        update["sharing"] = Consecutive(num_blocks=1)
    if blocks[0].placement != "pre" or not isinstance(blocks[0].arrangement, Sequential):
        update["first_norm"] = True
    return stack.model_copy(update=update)


def _block(block: BlockConfig) -> BlockConfig:
    cross = block.cross_attention
    return block.model_copy(
        update={
            "attention": _attention(block.attention),
            "cross_attention": None if cross is None else _attention(cross),
            "feed_forward": _feed_forward(block.feed_forward),
            "dropout": 0.0,
        }
    )


def _attention(attention: AttentionConfig) -> AttentionConfig:
    update: dict[str, Any] = {"dropout": 0.0}
    if attention.output_bias == attention.bias:
        update["output_bias"] = None
    if attention.scale == attention.head_size**-0.5:
        update["scale"] = None
    return attention.model_copy(update=update)


def _feed_forward(config: FeedForwardConfig) -> FeedForwardConfig:
    if isinstance(config, MixtureOfExpertsConfig):
        return config.model_copy(update={"expert": config.expert.model_copy(update={"dropout": 0.0})})
    return config.model_copy(update={"dropout": 0.0})


def _walk(here: Any, there: Any, path: str) -> list[str]:
    if isinstance(here, dict) and isinstance(there, dict) and here.get("kind") == there.get("kind"):
        return [
            told
            for key in here
            if key not in _SILENT or (key == "max_length" and path.endswith("position"))
            for told in _walk(here[key], there[key], f"{path}.{key}" if path else key)
        ]
    if isinstance(here, list) and isinstance(there, list):
        return _walk_pattern(here, there, path)
    if here == there:
        return []
    kinds = isinstance(here, dict) and isinstance(there, dict) and "kind" in here
    return [f"`{path}{'.kind' if kinds else ''}` is {_shown(here)}, not {_shown(there)}"]


def _walk_pattern(here: list[Any], there: list[Any], path: str) -> list[str]:
    """Return the differences of two repeated patterns, each option at the first layer where it differs."""
    told: dict[str, str] = {}
    for number in range(max(len(here), len(there))):
        for difference in _walk(here[number % len(here)], there[number % len(there)], "*"):
            told.setdefault(difference, difference.replace("*", f"{path}.{number}", 1))
    return list(told.values())


def _shown(value: Any) -> str:
    match value:
        case None:
            return "none"
        case dict():
            return str(value.get("kind", "there"))
        case bool():
            return str(value).lower()
        case float():
            return repr(value)
        case _:
            return str(value)
