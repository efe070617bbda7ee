"""Maximal update parametrisation (Yang et al. 2022), as far as the architecture itself can say it.

Of the table (their Table 8, which lets embedding and projection share weights) this is the multiplier of the logits and
the scale of the scores; weights are drawn in `initialise`, learning rates are in `train.paces`.
"""

from trivium.model.config import Decoder, Encoder, EncoderDecoder, Family, ModelConfig, MuP, StackConfig
from trivium.model.parts import AttentionConfig


def width_ratio(config: ModelConfig) -> float:
    """Return how many times as wide a network is as the one that its settings were found for; 1 where none is named."""
    return 1.0 if config.parametrisation is None else config.hidden_size / config.parametrisation.base_hidden_size


def written_out(config: ModelConfig) -> ModelConfig:
    """Return the standard configuration that computes what this one does."""
    if config.parametrisation is None:
        return config
    changed = {
        "parametrisation": None,
        "head": config.head.model_copy(update={"scale": config.head.scale / width_ratio(config)}),
        "family": _family(config.family, config.parametrisation),
    }
    return config.model_copy(update=changed)


def _family(family: Family, mup: MuP) -> Family:
    match family:
        case Encoder() | Decoder():
            return family.model_copy(update={"stack": _stack(family.stack, mup)})
        case EncoderDecoder():
            return EncoderDecoder(encoder=_stack(family.encoder, mup), decoder=_stack(family.decoder, mup))


def _stack(stack: StackConfig, mup: MuP) -> StackConfig:
    def scaled(attention: AttentionConfig | None) -> AttentionConfig | None:
        if attention is None or attention.scale is not None or mup.base_head_size is None:
            return attention
        return attention.model_copy(update={"scale": mup.base_head_size**0.5 / attention.head_size})

    blocks = tuple(
        block.model_copy(
            update={"attention": scaled(block.attention), "cross_attention": scaled(block.cross_attention)}
        )
        for block in stack.pattern
    )
    return stack.model_copy(update={"pattern": blocks})
