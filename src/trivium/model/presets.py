"""Named architectures: each is a value of `ModelConfig`, none is a class."""

from collections.abc import Callable

from trivium.core.errors import ConfigError, nearest
from trivium.model.config import (
    AttentionConfig,
    BlockConfig,
    Decoder,
    Encoder,
    EncoderDecoder,
    Family,
    Gated,
    HeadConfig,
    LayerNormConfig,
    Learned,
    ModelConfig,
    NormalInit,
    Plain,
    RelativeBuckets,
    RMSNormConfig,
    Rotary,
    StackConfig,
    T5Init,
    TransformConfig,
)


def _attention(
    num_heads: int, head_size: int, *, bias: bool, dropout: float, scale: float | None = None
) -> AttentionConfig:
    return AttentionConfig(
        num_heads=num_heads,
        num_key_value_heads=num_heads,
        head_size=head_size,
        bias=bias,
        dropout=dropout,
        scale=scale,
    )


def _modern_stack(num_layers: int, hidden_size: int, num_heads: int, *, cross: bool = False) -> StackConfig:
    """Rotary positions, RMSNorm before each branch, gated feed-forward, no biases, no dropout."""
    attention = _attention(num_heads, hidden_size // num_heads, bias=False, dropout=0.0)
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


def _small_init(hidden_size: int) -> NormalInit:
    """Return sqrt(2 / (5 x hidden)) as the standard deviation (Nguyen & Salazar 2019), 0.02 at hidden 1,000.

    The usual 0.02 leaves the branches of a network 128 wide so weak that for hundreds of steps it learns little more
    than which tokens are frequent.
    """
    return NormalInit(std=round((0.4 / hidden_size) ** 0.5, 4), scale_residual=True)


def _modern(family: Family, hidden_size: int) -> ModelConfig:
    return ModelConfig(
        vocabulary_size=8192,
        hidden_size=hidden_size,
        max_length=512,
        family=family,
        initialisation=_small_init(hidden_size),
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


def bert(num_layers: int, hidden_size: int) -> ModelConfig:
    """Return BERT (Devlin et al. 2019; the miniatures of Turc et al. 2019): post-norm, learned positions, GELU."""
    norm = LayerNormConfig(eps=1e-12)
    block = BlockConfig(
        attention=_attention(hidden_size // 64, 64, bias=True, dropout=0.1),
        feed_forward=Plain(size=4 * hidden_size, activation="gelu"),
        norm=norm,
        placement="post",
        dropout=0.1,
    )
    stack = StackConfig(
        num_layers=num_layers,
        pattern=(block,),
        position=Learned(max_length=512),
        num_segments=2,
        embedding_norm=norm,
        embedding_dropout=0.1,
    )
    return ModelConfig(
        vocabulary_size=30_522,
        hidden_size=hidden_size,
        max_length=512,
        family=Encoder(stack=stack),
        head=HeadConfig(bias=True, transform=TransformConfig(activation="gelu", norm=norm)),
    )


def gpt2(num_layers: int, hidden_size: int) -> ModelConfig:
    """Return GPT-2 (Radford et al. 2019): pre-norm, learned positions, tanh GELU."""
    norm = LayerNormConfig()
    block = BlockConfig(
        attention=_attention(hidden_size // 64, 64, bias=True, dropout=0.1),
        feed_forward=Plain(size=4 * hidden_size, activation="gelu_tanh"),
        norm=norm,
        placement="pre",
        dropout=0.1,
    )
    stack = StackConfig(
        num_layers=num_layers,
        pattern=(block,),
        position=Learned(max_length=1024),
        embedding_dropout=0.1,
        final_norm=norm,
    )
    return ModelConfig(
        vocabulary_size=50_257,
        hidden_size=hidden_size,
        max_length=1024,
        family=Decoder(stack=stack),
        initialisation=NormalInit(scale_residual=True),
    )


def t5(num_layers: int, hidden_size: int, num_heads: int, feed_forward_size: int) -> ModelConfig:
    """Return T5 v1.0 (Raffel et al. 2020): RMSNorm, relative buckets, no biases, unscaled scores, tied head.

    Differs from Hugging Face in training only: no dropout after the final norms, none inside the feed-forward.
    """

    def stack(*, writes: bool) -> StackConfig:
        attention = _attention(num_heads, 64, bias=False, dropout=0.1, scale=1.0)
        block = BlockConfig(
            attention=attention,
            cross_attention=attention if writes else None,
            feed_forward=Plain(size=feed_forward_size, activation="relu", bias=False),
            norm=RMSNormConfig(),
            placement="pre",
            dropout=0.1,
        )
        return StackConfig(
            num_layers=num_layers,
            pattern=(block,),
            position=RelativeBuckets(bidirectional=not writes),
            embedding_dropout=0.1,
            final_norm=RMSNormConfig(),
        )

    return ModelConfig(
        vocabulary_size=32_128,
        hidden_size=hidden_size,
        max_length=512,
        family=EncoderDecoder(encoder=stack(writes=False), decoder=stack(writes=True)),
        head=HeadConfig(scale=hidden_size**-0.5),
        initialisation=T5Init(),
    )


PRESETS: dict[str, Callable[[], ModelConfig]] = {
    "encoder-tiny": lambda: encoder(2, 128, 2),
    "encoder-mini": lambda: encoder(4, 256, 4),
    "decoder-tiny": lambda: decoder(2, 128, 2),
    "decoder-mini": lambda: decoder(4, 256, 4),
    "seq2seq-tiny": lambda: seq2seq(2, 128, 2),
    "seq2seq-mini": lambda: seq2seq(4, 256, 4),
    "bert-tiny": lambda: bert(2, 128),
    "gpt2": lambda: gpt2(12, 768),
    "t5-small": lambda: t5(6, 512, 8, 2048),
}


def preset(name: str) -> ModelConfig:
    """Return the named architecture; raise ConfigError with the nearest name when there is none of that name."""
    if name not in PRESETS:
        raise ConfigError(f"`{name}` is no preset.{nearest(name, list(PRESETS))}")
    return PRESETS[name]()
