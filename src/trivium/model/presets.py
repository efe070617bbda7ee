"""Named architectures: each is a value of `ModelConfig`, none is a class."""

from collections.abc import Callable
from typing import NamedTuple

from trivium.core.errors import ConfigError, nearest
from trivium.model.config import (
    BlockConfig,
    Decoder,
    Encoder,
    EncoderDecoder,
    Family,
    ModelConfig,
    NormalInit,
    StackConfig,
)
from trivium.model.parts import Gated, RMSNormConfig, Rotary
from trivium.model.preset_families import albert, bert, electra, gpt2, llama, modernbert, roberta, same_heads, t5


def _modern_stack(num_layers: int, hidden_size: int, num_heads: int, *, cross: bool = False) -> StackConfig:
    """Rotary positions, RMSNorm before each branch, gated feed-forward, no biases, no dropout."""
    attention = same_heads(num_heads, hidden_size // num_heads, bias=False)
    # 8/3 of the hidden size, in multiples of 64: as many weights as a plain feed-forward of 4 x hidden.
    feed_forward_size = -(-hidden_size * 8 // (3 * 64)) * 64
    block = BlockConfig(
        attention=attention,
        cross_attention=attention if cross else None,
        feed_forward=Gated(size=feed_forward_size, activation="silu"),
        norm=RMSNormConfig(),
        placement="pre",
    )
    return StackConfig(num_layers=num_layers, pattern=(block,), position=Rotary(), final_norm=RMSNormConfig())


def small_init(hidden_size: int) -> NormalInit:
    """Return sqrt(2 / (5 x hidden)) as the standard deviation (Nguyen & Salazar 2019), 0.02 at hidden 1,000.

    The usual 0.02 leaves the branches of a network 128 wide so weak that for hundreds of steps it learns little more
    than which tokens are frequent.
    """
    return NormalInit(std=round((0.4 / hidden_size) ** 0.5, 4), residual="scaled")


def _modern(family: Family, hidden_size: int) -> ModelConfig:
    return ModelConfig(
        vocabulary_size=8192,
        hidden_size=hidden_size,
        max_length=512,
        family=family,
        initialisation=small_init(hidden_size),
    )


def encoder(num_layers: int, hidden_size: int, num_heads: int) -> ModelConfig:
    """Return a modern encoder."""
    return _modern(Encoder(stack=_modern_stack(num_layers, hidden_size, num_heads)), hidden_size)


def decoder(num_layers: int, hidden_size: int, num_heads: int) -> ModelConfig:
    """Return a modern decoder: the encoder's very layers, read from left to right."""
    return _modern(Decoder(stack=_modern_stack(num_layers, hidden_size, num_heads)), hidden_size)


def seq2seq(num_layers: int, hidden_size: int, num_heads: int) -> ModelConfig:
    """Return a modern encoder-decoder with `num_layers` in each stack."""
    reads = _modern_stack(num_layers, hidden_size, num_heads)
    writes = _modern_stack(num_layers, hidden_size, num_heads, cross=True)
    return _modern(EncoderDecoder(encoder=reads, decoder=writes), hidden_size)


PRESETS: dict[str, Callable[[], ModelConfig]] = {
    "encoder-tiny": lambda: encoder(2, 128, 2),
    "encoder-mini": lambda: encoder(4, 256, 4),
    "encoder-small": lambda: encoder(6, 384, 6),
    "decoder-tiny": lambda: decoder(2, 128, 2),
    "decoder-mini": lambda: decoder(4, 256, 4),
    "decoder-small": lambda: decoder(6, 384, 6),
    "seq2seq-tiny": lambda: seq2seq(2, 128, 2),
    "seq2seq-mini": lambda: seq2seq(4, 256, 4),
    "seq2seq-small": lambda: seq2seq(6, 384, 6),
    "bert-tiny": lambda: bert(2, 128),
    "bert-mini": lambda: bert(4, 256),
    "bert-small": lambda: bert(4, 512),
    "bert-medium": lambda: bert(8, 512),
    "bert-base": lambda: bert(12, 768),
    "bert-large": lambda: bert(24, 1024),
    "roberta-base": lambda: roberta(12, 768),
    "roberta-large": lambda: roberta(24, 1024),
    "distilbert": lambda: bert(6, 768, num_segments=0),
    "electra-small": lambda: electra(12, 256, 128),
    "electra-base": lambda: electra(12, 768, None),
    "albert-base": lambda: albert(12, 768),
    "albert-large": lambda: albert(24, 1024),
    "modernbert-base": lambda: modernbert(22, 768, 1152),
    "modernbert-large": lambda: modernbert(28, 1024, 2624),
    "gpt2": lambda: gpt2(12, 768),
    "gpt2-medium": lambda: gpt2(24, 1024),
    "gpt2-large": lambda: gpt2(36, 1280),
    "gpt2-xl": lambda: gpt2(48, 1600),
    "smollm2-135m": lambda: llama(
        30,
        576,
        num_heads=9,
        num_key_value_heads=3,
        head_size=64,
        feed_forward_size=1536,
        vocabulary_size=49_152,
        max_length=8192,
        base=100_000.0,
    ),
    "qwen3-0.6b": lambda: llama(
        28,
        1024,
        num_heads=16,
        num_key_value_heads=8,
        head_size=128,
        feed_forward_size=3072,
        vocabulary_size=151_936,
        max_length=40_960,
        base=1_000_000.0,
        query_key_norm=True,
        eps=1e-6,
    ),
    "t5-small": lambda: t5(6, 512, 8, 2048),
    "t5-base": lambda: t5(12, 768, 12, 3072),
    "t5-large": lambda: t5(24, 1024, 16, 4096),
    "t5-v1.1-small": lambda: t5(8, 512, 6, 1024, version="1.1"),
    "t5-v1.1-base": lambda: t5(12, 768, 12, 2048, version="1.1"),
}


class Published(NamedTuple):
    """How many parameters a paper or its model card says, in millions, and where."""

    millions: float
    source: str


PUBLISHED: dict[str, Published] = {
    "bert-tiny": Published(4.4, "Turc et al. 2019"),
    "bert-mini": Published(11.3, "Turc et al. 2019"),
    "bert-small": Published(29.1, "Turc et al. 2019"),
    "bert-medium": Published(41.7, "Turc et al. 2019"),
    "bert-base": Published(110, "Devlin et al. 2019"),
    "bert-large": Published(340, "Devlin et al. 2019"),
    "roberta-base": Published(125, "model card"),
    "roberta-large": Published(355, "model card"),
    "distilbert": Published(66, "Sanh et al. 2019"),
    "electra-small": Published(14, "Clark et al. 2020"),
    "electra-base": Published(110, "Clark et al. 2020"),
    "albert-base": Published(12, "Lan et al. 2020"),
    "albert-large": Published(18, "Lan et al. 2020"),
    "modernbert-base": Published(149, "Warner et al. 2024"),
    "modernbert-large": Published(395, "Warner et al. 2024"),
    "gpt2": Published(124, "model card"),
    "gpt2-medium": Published(355, "model card"),
    "gpt2-large": Published(774, "model card"),
    "gpt2-xl": Published(1558, "model card"),
    "smollm2-135m": Published(135, "model card"),
    "qwen3-0.6b": Published(600, "model card"),
    "t5-small": Published(60, "Raffel et al. 2020"),
    "t5-base": Published(220, "Raffel et al. 2020"),
    "t5-large": Published(770, "Raffel et al. 2020"),
    "t5-v1.1-small": Published(77, "model card"),
    "t5-v1.1-base": Published(250, "model card"),
}


def preset(name: str) -> ModelConfig:
    """Return the named architecture; raise ConfigError with the nearest name when there is none of that name."""
    if name not in PRESETS:
        raise ConfigError(f"`{name}` is no preset.{nearest(name, list(PRESETS))}")
    return PRESETS[name]()
