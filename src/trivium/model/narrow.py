"""A narrower network of the same architecture."""

from trivium.model.config import (
    BlockConfig,
    Decoder,
    Encoder,
    EncoderDecoder,
    ModelConfig,
    StackConfig,
    TransformConfig,
)
from trivium.model.parts import AttentionConfig, FeedForwardConfig, MixtureOfExpertsConfig

_MULTIPLE = 8  # sizes that the machine's kernels like


def narrower(config: ModelConfig, share: float) -> ModelConfig:
    """Return the architecture with this share of its heads, hidden units and feed-forward units.

    Layers, the size of a head, and the size of the token embeddings stay: these are projected to the hidden size, and
    a dense layer before the head comes back to them.
    """
    family = config.family
    match family:
        case Encoder(stack=stack) | Decoder(stack=stack):
            changed: Encoder | Decoder | EncoderDecoder = family.model_copy(update={"stack": _stack(stack, share)})
        case EncoderDecoder(encoder=encoder, decoder=decoder):
            changed = EncoderDecoder(encoder=_stack(encoder, share), decoder=_stack(decoder, share))
    transform = config.head.transform or TransformConfig(activation="gelu", norm=config.stacks()[-1].pattern[0].norm)
    update = {
        "hidden_size": _scaled(config.hidden_size, share),
        "embedding_size": config.embedding_size or config.hidden_size,
        "family": changed,
        "head": config.head.model_copy(update={"transform": transform}),
    }
    return ModelConfig.model_validate(config.model_copy(update=update).model_dump())


def _scaled(size: int, share: float) -> int:
    return max(_MULTIPLE, round(size * share / _MULTIPLE) * _MULTIPLE)


def _stack(config: StackConfig, share: float) -> StackConfig:
    return config.model_copy(update={"pattern": tuple(_block(block, share) for block in config.pattern)})


def _block(config: BlockConfig, share: float) -> BlockConfig:
    cross = config.cross_attention
    changed = {
        "attention": _attention(config.attention, share),
        "cross_attention": None if cross is None else _attention(cross, share),
        "feed_forward": _feed_forward(config.feed_forward, share),
    }
    return config.model_copy(update=changed)


def _attention(config: AttentionConfig, share: float) -> AttentionConfig:
    num_heads = max(1, round(config.num_heads * share))
    groups = min(config.num_key_value_heads, num_heads)
    # As many groups as divide the heads that are left.
    groups = next(number for number in range(groups, 0, -1) if num_heads % number == 0)
    return config.model_copy(update={"num_heads": num_heads, "num_key_value_heads": groups})


def _feed_forward(config: FeedForwardConfig, share: float) -> FeedForwardConfig:
    if isinstance(config, MixtureOfExpertsConfig):
        expert = config.expert.model_copy(update={"size": _scaled(config.expert.size, share)})
        return config.model_copy(update={"expert": expert})
    return config.model_copy(update={"size": _scaled(config.size, share)})
