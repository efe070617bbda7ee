"""An encoder-decoder whose two stacks begin as the one stack of another network (Rothe et al. 2020, "BERT2BERT")."""

from collections.abc import Mapping

from torch import Tensor

from trivium.model.config import BlockConfig, Decoder, Encoder, EncoderDecoder, ModelConfig

SIDES = ("encoder", "decoder")


def begins_with(config: ModelConfig, earlier: ModelConfig) -> bool:
    """Return whether a network can begin with another's weights: one of its family, or twice one of a single stack."""
    same = config.family.kind == earlier.family.kind
    return same or (isinstance(config.family, EncoderDecoder) and isinstance(earlier.family, Encoder | Decoder))


def written_from(config: ModelConfig) -> ModelConfig:
    """Return the encoder-decoder whose stacks are each like the one of this network; an encoder-decoder stays as it is.

    The stack that writes looks at the other one with as many heads, of the same size, as it looks at its own places.
    """
    match config.family:
        case EncoderDecoder():
            return config
        case Encoder(stack=stack) | Decoder(stack=stack):
            writes = stack.model_copy(update={"pattern": tuple(_looking(block) for block in stack.pattern)})
            return config.model_copy(update={"family": EncoderDecoder(encoder=stack, decoder=writes)})


def on_both_sides(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a network of one stack by the names that they have in `written_from` it."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        root, _, rest = name.partition(".")
        found |= {f"{side}.{rest}": tensor for side in SIDES} if root == "stack" else {name: tensor}
    return found


def _looking(block: BlockConfig) -> BlockConfig:
    """Return the block with attention to another stack's states, of which none is farther away than another."""
    return block.model_copy(update={"cross_attention": block.attention.model_copy(update={"window": None})})
