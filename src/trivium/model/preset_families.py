"""Published architectures as values of `ModelConfig`, by family: BERT's, GPT's and T5's kin."""

from trivium.model.config import (
    BlockConfig,
    Decoder,
    EmbeddingConfig,
    Encoder,
    EncoderDecoder,
    HeadConfig,
    ModelConfig,
    NormalInit,
    StackConfig,
    T5Init,
    TransformConfig,
)
from trivium.model.parts import (
    Activation,
    AttentionConfig,
    Consecutive,
    Gated,
    LayerNormConfig,
    Learned,
    Plain,
    RelativeBuckets,
    RMSNormConfig,
    Rotary,
    Sharing,
    Unshared,
)


def same_heads(num_heads: int, head_size: int, *, bias: bool, dropout: float = 0.0) -> AttentionConfig:
    """Return attention with as many key/value heads as heads."""
    return AttentionConfig(
        num_heads=num_heads, num_key_value_heads=num_heads, head_size=head_size, bias=bias, dropout=dropout
    )


def bert(
    num_layers: int,
    hidden_size: int,
    *,
    num_heads: int | None = None,
    feed_forward_size: int | None = None,
    vocabulary_size: int = 30_522,
    embedding_size: int | None = None,
    offset: int = 0,
    num_segments: int = 2,
    eps: float = 1e-12,
    dropout: float = 0.1,
    activation: Activation = "gelu",
    sharing: Sharing | None = None,
) -> ModelConfig:
    """Return BERT (Devlin et al. 2019; the miniatures of Turc et al. 2019): post-norm, learned positions, GELU.

    RoBERTa (Liu et al. 2019) has an `offset` of 2, DistilBERT (Sanh et al. 2019) no segments, ELECTRA (Clark et al.
    2020) and ALBERT (Lan et al. 2020) a smaller `embedding_size`, and ALBERT's layers share their weights.

    Differs from the papers: of the heads used in pretraining only that over the vocabulary is there.
    """
    norm = LayerNormConfig(eps=eps)
    heads = num_heads or hidden_size // 64
    block = BlockConfig(
        attention=same_heads(heads, hidden_size // heads, bias=True, dropout=dropout),
        feed_forward=Plain(size=feed_forward_size or 4 * hidden_size, activation=activation),
        norm=norm,
        placement="post",
        dropout=dropout,
    )
    stack = StackConfig(
        num_layers=num_layers,
        pattern=(block,),
        sharing=sharing or Unshared(),
        position=Learned(max_length=512 + offset, offset=offset),
        embedding=EmbeddingConfig(num_segments=num_segments, norm=norm, dropout=dropout),
    )
    return ModelConfig(
        vocabulary_size=vocabulary_size,
        hidden_size=hidden_size,
        embedding_size=embedding_size,
        max_length=512,
        family=Encoder(stack=stack),
        head=HeadConfig(bias=True, transform=TransformConfig(activation=activation, norm=norm)),
    )


def roberta(num_layers: int, hidden_size: int) -> ModelConfig:
    """Return RoBERTa (Liu et al. 2019)."""
    return bert(num_layers, hidden_size, vocabulary_size=50_265, offset=2, num_segments=1, eps=1e-5)


def electra(num_layers: int, hidden_size: int, embedding_size: int | None) -> ModelConfig:
    """Return ELECTRA's discriminator (Clark et al. 2020), with a head over the vocabulary instead of its own."""
    return bert(num_layers, hidden_size, embedding_size=embedding_size)


def albert(num_layers: int, hidden_size: int) -> ModelConfig:
    """Return ALBERT, version 2 (Lan et al. 2020): one block for all layers, no dropout."""
    return bert(
        num_layers,
        hidden_size,
        vocabulary_size=30_000,
        embedding_size=128,
        dropout=0.0,
        activation="gelu_tanh",
        sharing=Consecutive(num_blocks=1),
    )


def modernbert(num_layers: int, hidden_size: int, feed_forward_size: int) -> ModelConfig:
    """Return ModernBERT (Warner et al. 2024): every third layer sees everything, the others 64 tokens to each side."""
    norm = LayerNormConfig(bias=False)
    attention = same_heads(hidden_size // 64, 64, bias=False)
    everything = BlockConfig(
        attention=attention,
        feed_forward=Gated(size=feed_forward_size, activation="gelu"),
        norm=norm,
        placement="pre",
    )
    near = everything.model_copy(
        update={"attention": attention.model_copy(update={"window": 65}), "position": Rotary(base=10_000.0)}
    )
    stack = StackConfig(
        num_layers=num_layers,
        pattern=(everything, near, near),
        position=Rotary(base=160_000.0),
        embedding=EmbeddingConfig(norm=norm),
        first_norm=False,
        final_norm=norm,
    )
    return ModelConfig(
        vocabulary_size=50_368,
        hidden_size=hidden_size,
        max_length=8192,
        family=Encoder(stack=stack),
        head=HeadConfig(bias=True, transform=TransformConfig(activation="gelu", norm=norm, bias=False)),
    )


def gpt2(num_layers: int, hidden_size: int) -> ModelConfig:
    """Return GPT-2 (Radford et al. 2019): pre-norm, learned positions, tanh GELU."""
    norm = LayerNormConfig()
    block = BlockConfig(
        attention=same_heads(hidden_size // 64, 64, bias=True, dropout=0.1),
        feed_forward=Plain(size=4 * hidden_size, activation="gelu_tanh"),
        norm=norm,
        placement="pre",
        dropout=0.1,
    )
    stack = StackConfig(
        num_layers=num_layers,
        pattern=(block,),
        position=Learned(max_length=1024),
        embedding=EmbeddingConfig(dropout=0.1),
        final_norm=norm,
    )
    return ModelConfig(
        vocabulary_size=50_257,
        hidden_size=hidden_size,
        max_length=1024,
        family=Decoder(stack=stack),
        initialisation=NormalInit(residual="scaled"),
    )


def llama(
    num_layers: int,
    hidden_size: int,
    *,
    num_heads: int,
    num_key_value_heads: int,
    head_size: int,
    feed_forward_size: int,
    vocabulary_size: int,
    max_length: int,
    base: float,
    query_key_norm: bool = False,
    eps: float = 1e-5,
) -> ModelConfig:
    """Return a Llama (Touvron et al. 2023), or with `query_key_norm` a Qwen3 (Yang et al. 2025); the head is tied."""
    norm = RMSNormConfig(eps=eps)
    attention = AttentionConfig(
        num_heads=num_heads,
        num_key_value_heads=num_key_value_heads,
        head_size=head_size,
        bias=False,
        query_key_norm=norm if query_key_norm else None,
    )
    block = BlockConfig(
        attention=attention,
        feed_forward=Gated(size=feed_forward_size, activation="silu"),
        norm=norm,
        placement="pre",
    )
    stack = StackConfig(num_layers=num_layers, pattern=(block,), position=Rotary(base=base), final_norm=norm)
    return ModelConfig(
        vocabulary_size=vocabulary_size, hidden_size=hidden_size, max_length=max_length, family=Decoder(stack=stack)
    )


def t5(
    num_layers: int, hidden_size: int, num_heads: int, feed_forward_size: int, *, version: str = "1.0"
) -> ModelConfig:
    """Return T5 (Raffel et al. 2020): RMSNorm, relative buckets, no biases, unscaled scores.

    Version 1.0 has a tied and scaled head, version 1.1 an untied one and gated feed-forwards (Shazeer 2020).
    """
    gated = version == "1.1"
    dropout, norm = 0.1, RMSNormConfig()
    attention = same_heads(num_heads, 64, bias=False, dropout=dropout).model_copy(update={"scale": 1.0})

    def stack(*, writes: bool) -> StackConfig:
        block = BlockConfig(
            attention=attention,
            cross_attention=attention if writes else None,
            feed_forward=Gated(size=feed_forward_size, activation="gelu_tanh", dropout=dropout)
            if gated
            else Plain(size=feed_forward_size, activation="relu", bias=False, dropout=dropout),
            norm=norm,
            placement="pre",
            dropout=dropout,
        )
        return StackConfig(
            num_layers=num_layers,
            pattern=(block,),
            position=RelativeBuckets(bidirectional=not writes),
            embedding=EmbeddingConfig(dropout=dropout),
            final_norm=norm,
            final_dropout=dropout,
        )

    return ModelConfig(
        vocabulary_size=32_128,
        hidden_size=hidden_size,
        max_length=512,
        family=EncoderDecoder(encoder=stack(writes=False), decoder=stack(writes=True)),
        head=HeadConfig(tied=not gated, scale=1.0 if gated else hidden_size**-0.5),
        initialisation=T5Init(),
    )
