"""The architecture as a value: every choice with parameters of its own is a tagged union.

Only `trivium.model.build` and the counting of parameters read these; layers never see them.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from trivium.core.config import Config
from trivium.core.errors import ConfigError

Probability = Annotated[float, Field(ge=0.0, lt=1.0)]


class LayerNormConfig(Config):
    """Layer normalisation (Ba et al. 2016)."""

    kind: Literal["layer_norm"] = "layer_norm"
    eps: PositiveFloat = 1e-5
    bias: bool = True


class RMSNormConfig(Config):
    """Root-mean-square normalisation (Zhang & Sennrich 2019)."""

    kind: Literal["rms_norm"] = "rms_norm"
    eps: PositiveFloat = 1e-6


NormConfig = Annotated[LayerNormConfig | RMSNormConfig, Field(discriminator="kind")]


class Learned(Config):
    """A trained vector for each position, added to the embedding (BERT, GPT-2)."""

    kind: Literal["learned"] = "learned"
    max_length: PositiveInt


class Sinusoidal(Config):
    """Fixed sines and cosines added to the embedding (Vaswani et al. 2017, section 3.5)."""

    kind: Literal["sinusoidal"] = "sinusoidal"


class Rotary(Config):
    """Queries and keys turned by an angle that grows with the position (RoFormer, Su et al. 2021)."""

    kind: Literal["rotary"] = "rotary"
    base: PositiveFloat = 10_000.0


class Alibi(Config):
    """A fixed penalty on the scores that grows with the distance (Press et al. 2022)."""

    kind: Literal["alibi"] = "alibi"


class RelativeBuckets(Config):
    """A trained score for each head and bucket of distances, shared by all layers (T5, Raffel et al. 2020)."""

    kind: Literal["relative_buckets"] = "relative_buckets"
    num_buckets: Annotated[int, Field(ge=4)] = 32
    max_distance: PositiveInt = 128
    bidirectional: bool

    @model_validator(mode="after")
    def _reaches_beyond_exact_buckets(self) -> Self:
        exact = self.num_buckets // (4 if self.bidirectional else 2)
        if self.max_distance <= exact:
            raise ValueError(f"`max_distance` must exceed the {exact} exact buckets: found {self.max_distance}")
        return self


class NoPosition(Config):
    """No position scheme: order is seen through the causal mask only."""

    kind: Literal["none"] = "none"


Position = Annotated[Learned | Sinusoidal | Rotary | Alibi | RelativeBuckets | NoPosition, Field(discriminator="kind")]

Activation = Literal["gelu", "gelu_tanh", "relu", "silu"]


class Plain(Config):
    """`down(activation(up(x)))`."""

    kind: Literal["plain"] = "plain"
    size: PositiveInt
    activation: Activation
    bias: bool = True


class Gated(Config):
    """`down(activation(gate(x)) * up(x))` (Shazeer 2020)."""

    kind: Literal["gated"] = "gated"
    size: PositiveInt
    activation: Activation
    bias: bool = False


FeedForwardConfig = Annotated[Plain | Gated, Field(discriminator="kind")]


class AttentionConfig(Config):
    """Multi-head attention; fewer key/value heads than heads = grouped queries (Ainslie et al. 2023).

    `scale` multiplies the scores; None = 1 / sqrt(head_size). `window`: see `core.layout.visible`.
    """

    num_heads: PositiveInt
    num_key_value_heads: PositiveInt
    head_size: PositiveInt
    bias: bool = True
    scale: PositiveFloat | None = None
    window: PositiveInt | None = None
    dropout: Probability = 0.0

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.num_heads % self.num_key_value_heads:
            raise ValueError(
                f"`num_key_value_heads` must divide `num_heads`: "
                f"{self.num_key_value_heads} does not divide {self.num_heads}"
            )
        return self


class BlockConfig(Config):
    """One block: self-attention, cross-attention in an encoder-decoder's decoder, feed-forward.

    `placement` says which of the three slots of each sublayer hold a norm: pre = before the branch, post = after
    the sum, sandwich = before the branch and after it.
    """

    attention: AttentionConfig
    cross_attention: AttentionConfig | None = None
    feed_forward: FeedForwardConfig
    norm: NormConfig
    placement: Literal["pre", "post", "sandwich"]
    dropout: Probability = 0.0
    branch_scale: PositiveFloat = 1.0


class StackConfig(Config):
    """Layer i is built from `pattern[i % len(pattern)]`, so that layers may differ from the first saved file on."""

    num_layers: PositiveInt
    pattern: Annotated[tuple[BlockConfig, ...], Field(min_length=1)]
    position: Position
    num_segments: NonNegativeInt = 0
    embedding_norm: NormConfig | None = None
    embedding_dropout: Probability = 0.0
    final_norm: NormConfig | None = None

    def block(self, layer: int) -> BlockConfig:
        """Return the configuration of one layer."""
        return self.pattern[layer % len(self.pattern)]

    @model_validator(mode="after")
    def _position_fits(self) -> Self:
        sizes = {block.attention.head_size for block in self.pattern}
        heads = {block.attention.num_heads for block in self.pattern}
        if isinstance(self.position, Rotary) and (len(sizes) > 1 or min(sizes) % 2):
            raise ValueError(f"`rotary` needs one even `head_size` in all layers: found {sorted(sizes)}")
        if isinstance(self.position, RelativeBuckets | Alibi) and len(heads) > 1:
            raise ValueError(f"`{self.position.kind}` needs one `num_heads` in all layers: found {sorted(heads)}")
        return self


class TransformConfig(Config):
    """BERT's dense layer, activation and norm between the last hidden state and the vocabulary."""

    activation: Activation
    norm: NormConfig


class HeadConfig(Config):
    """From a hidden state to scores over the vocabulary; `tied` = the token embedding is the projection."""

    tied: bool = True
    bias: bool = False
    scale: PositiveFloat = 1.0
    transform: TransformConfig | None = None


class Encoder(Config):
    """One stack that reads both ways (BERT)."""

    kind: Literal["encoder"] = "encoder"
    stack: StackConfig


class Decoder(Config):
    """One stack that reads from left to right (GPT)."""

    kind: Literal["decoder"] = "decoder"
    stack: StackConfig


class EncoderDecoder(Config):
    """A stack that reads and a stack that writes, with one token embedding (T5)."""

    kind: Literal["encoder_decoder"] = "encoder_decoder"
    encoder: StackConfig
    decoder: StackConfig


Family = Annotated[Encoder | Decoder | EncoderDecoder, Field(discriminator="kind")]


class NormalInit(Config):
    """Every matrix and embedding from N(0, std), norms 1, biases 0; `scale_residual` divides the std of what writes
    into the residual stream by sqrt(number of branches) (GPT-2)."""

    kind: Literal["normal"] = "normal"
    std: PositiveFloat = 0.02
    scale_residual: bool = False


class T5Init(Config):
    """T5's (Mesh TensorFlow's) fan-in scaled initialisation, for unscaled attention scores."""

    kind: Literal["t5"] = "t5"
    factor: PositiveFloat = 1.0


Initialisation = Annotated[NormalInit | T5Init, Field(discriminator="kind")]


class ModelConfig(Config):
    """A whole network. `max_length` is the longest document it is meant to read, in tokens."""

    vocabulary_size: PositiveInt
    hidden_size: PositiveInt
    max_length: PositiveInt
    family: Family
    head: HeadConfig = HeadConfig()
    initialisation: Initialisation = NormalInit()

    def stacks(self) -> tuple[StackConfig, ...]:
        """Return the configuration of each stack, the reading one first."""
        match self.family:
            case Encoder(stack=stack) | Decoder(stack=stack):
                return (stack,)
            case EncoderDecoder(encoder=encoder, decoder=decoder):
                return (encoder, decoder)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        for stack in self.stacks():
            if isinstance(stack.position, Learned) and stack.position.max_length < self.max_length:
                raise ValueError(
                    f"`position.max_length` must reach `max_length`: {stack.position.max_length} "
                    f"is less than {self.max_length}"
                )
        writes = self.stacks()[-1] if isinstance(self.family, EncoderDecoder) else None
        for stack in self.stacks():
            for block in stack.pattern:
                if (block.cross_attention is not None) != (stack is writes):
                    raise ValueError("`cross_attention` belongs in every block of an encoder-decoder's decoder, only")
        return self


def with_vocabulary(config: ModelConfig, vocabulary_size: int) -> ModelConfig:
    """Return the configuration with another vocabulary size."""
    return config.model_copy(update={"vocabulary_size": vocabulary_size})


def with_max_length(config: ModelConfig, max_length: int) -> ModelConfig:
    """Return the configuration for documents of up to `max_length` tokens; raise ConfigError when it has no more."""
    for stack in config.stacks():
        if isinstance(stack.position, Learned) and stack.position.max_length < max_length:
            raise ConfigError(
                f"rows of {max_length} tokens do not fit: this model has learned positions for "
                f"{stack.position.max_length}; set data.row_length to at most that."
            )
    return config.model_copy(update={"max_length": max_length})
