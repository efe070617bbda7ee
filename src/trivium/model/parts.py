"""The parts of an architecture as values: every choice with parameters of its own is a tagged union.

Only `trivium.model.build` and what converts checkpoints read these; layers never see them.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from trivium.core.config import Config

Probability = Annotated[float, Field(ge=0.0, lt=1.0)]


class LayerNormConfig(Config):
    """Layer normalisation (Ba et al. 2016), with or without a trained weight and bias."""

    kind: Literal["layer_norm"] = "layer_norm"
    eps: PositiveFloat = 1e-5
    weight: bool = True
    bias: bool = True


class RMSNormConfig(Config):
    """Root-mean-square normalisation (Zhang & Sennrich 2019), with or without a trained weight and bias."""

    kind: Literal["rms_norm"] = "rms_norm"
    eps: PositiveFloat = 1e-6
    weight: bool = True
    bias: bool = False


NormConfig = Annotated[LayerNormConfig | RMSNormConfig, Field(discriminator="kind")]


class LinearScaling(Config):
    """Positions divided by `factor` (position interpolation, Chen et al. 2023)."""

    kind: Literal["linear"] = "linear"
    factor: Annotated[float, Field(ge=1.0)]


class NtkScaling(Config):
    """The base raised so that the slowest plane turns `factor` times slower, the fastest as before ("NTK-aware")."""

    kind: Literal["ntk"] = "ntk"
    factor: Annotated[float, Field(ge=1.0)]


class YarnScaling(Config):
    """Slow planes interpolated, fast ones left, a ramp between, the scores sharpened (YaRN, Peng et al. 2023).

    `beta_fast` and `beta_slow` are turns within `original_length`; `attention_factor` scales cosines and sines,
    None = 0.1 ln(factor) + 1 (section 3.4). `truncate` rounds the ends of the ramp outwards to whole planes.
    """

    kind: Literal["yarn"] = "yarn"
    factor: Annotated[float, Field(ge=1.0)]
    original_length: PositiveInt
    beta_fast: PositiveFloat = 32.0
    beta_slow: PositiveFloat = 1.0
    attention_factor: PositiveFloat | None = None
    truncate: bool = True


class Llama3Scaling(Config):
    """Planes slower than `original_length / low` turns interpolated, faster than `/ high` left (Llama 3.1)."""

    kind: Literal["llama3"] = "llama3"
    factor: Annotated[float, Field(ge=1.0)]
    original_length: PositiveInt
    low_frequency_factor: PositiveFloat = 1.0
    high_frequency_factor: PositiveFloat = 4.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low_frequency_factor >= self.high_frequency_factor:
            raise ValueError("`low_frequency_factor` must be less than `high_frequency_factor`")
        return self


RotaryScaling = Annotated[LinearScaling | NtkScaling | YarnScaling | Llama3Scaling, Field(discriminator="kind")]


class Learned(Config):
    """A trained vector for each position, added to the embedding (BERT, GPT-2).

    `offset` is the row of the table that position 0 has (RoBERTa: 2); `max_length` counts all rows.
    """

    kind: Literal["learned"] = "learned"
    max_length: PositiveInt
    offset: Annotated[int, Field(ge=0)] = 0


class Sinusoidal(Config):
    """Fixed sines and cosines added to the embedding (Vaswani et al. 2017, section 3.5)."""

    kind: Literal["sinusoidal"] = "sinusoidal"


class Rotary(Config):
    """Queries and keys turned by an angle that grows with the position (RoFormer, Su et al. 2021).

    `share` of each head, from its first place on, is turned (GPT-NeoX); the rest stays as it is.
    """

    kind: Literal["rotary"] = "rotary"
    base: PositiveFloat = 10_000.0
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    scaling: RotaryScaling | None = None


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
# What one layer may do otherwise than its stack: schemes that act on its own queries and keys.
LayerPosition = Annotated[Rotary | NoPosition, Field(discriminator="kind")]

Activation = Literal["gelu", "gelu_tanh", "relu", "relu_squared", "silu", "tanh"]


class Plain(Config):
    """`down(dropout(activation(up(x))))`."""

    kind: Literal["plain"] = "plain"
    size: PositiveInt
    activation: Activation
    bias: bool = True
    dropout: Probability = 0.0


class Gated(Config):
    """`down(dropout(activation(gate(x)) * up(x)))` (Shazeer 2020)."""

    kind: Literal["gated"] = "gated"
    size: PositiveInt
    activation: Activation
    bias: bool = False
    dropout: Probability = 0.0


class MixtureOfExpertsConfig(Config):
    """Each token goes to the `top_k` experts that a router scores highest; none is dropped (Gale et al. 2023).

    The router's softmax is taken in float32; the chosen weights add up to 1 if `normalise`. `balance_weight` times the
    load-balancing loss of each row (Fedus et al. 2022, equations 4 to 6) is learned beside the objective.
    """

    kind: Literal["mixture_of_experts"] = "mixture_of_experts"
    num_experts: Annotated[int, Field(ge=2)]
    top_k: PositiveInt
    expert: Annotated[Plain | Gated, Field(discriminator="kind")]
    normalise: bool = True
    balance_weight: NonNegativeFloat = 0.01

    @model_validator(mode="after")
    def _chooses(self) -> Self:
        if self.top_k > self.num_experts:
            raise ValueError(f"`top_k` must be at most `num_experts`: {self.top_k} is more than {self.num_experts}")
        return self


FeedForwardConfig = Annotated[Plain | Gated | MixtureOfExpertsConfig, Field(discriminator="kind")]


class AttentionConfig(Config):
    """Multi-head attention; fewer key/value heads than heads = grouped queries (Ainslie et al. 2023), 1 = multi-query.

    `scale` multiplies the scores; None = 1 / sqrt(head_size). `window`: see `core.layout.visible`. `bias` is that of
    queries, keys and values, and of the output unless `output_bias` says otherwise. `query_key_norm` is taken over each
    head (Henry et al. 2020). `soft_cap` c bounds the scores to c tanh(score / c) (Gemma 2). `output_gate`: what each
    head gives is multiplied by a sigmoid of the layer's input (Qiu et al. 2025).
    """

    num_heads: PositiveInt
    num_key_value_heads: PositiveInt
    head_size: PositiveInt
    bias: bool = True
    output_bias: bool | None = None
    scale: PositiveFloat | None = None
    window: PositiveInt | None = None
    query_key_norm: NormConfig | None = None
    soft_cap: PositiveFloat | None = None
    output_gate: bool = False
    dropout: Probability = 0.0

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.num_heads % self.num_key_value_heads:
            raise ValueError(
                f"`num_key_value_heads` must divide `num_heads`: "
                f"{self.num_key_value_heads} does not divide {self.num_heads}"
            )
        return self


class Sum(Config):
    """`x + scale * f(x)`."""

    kind: Literal["sum"] = "sum"
    scale: PositiveFloat = 1.0


class LayerScaleConfig(Config):
    """`x + gain * f(x)` with a trained gain for each hidden unit that begins at `start` (Touvron et al. 2021).

    With `start` 0 every branch begins as nothing (Bachlechner et al. 2021).
    """

    kind: Literal["layer_scale"] = "layer_scale"
    start: NonNegativeFloat = 1e-4


class DeepNorm(Config):
    """`norm(alpha * x + f(x))`, values, outputs and feed-forwards drawn `beta` times as wide (Wang et al. 2022)."""

    kind: Literal["deep_norm"] = "deep_norm"
    alpha: PositiveFloat
    beta: PositiveFloat

    @staticmethod
    def of_depth(num_layers: int) -> "DeepNorm":
        """Return the paper's values for one stack of so many layers (table 1: encoder-only and decoder-only)."""
        return DeepNorm(alpha=(2 * num_layers) ** 0.25, beta=(8 * num_layers) ** -0.25)


Residual = Annotated[Sum | LayerScaleConfig | DeepNorm, Field(discriminator="kind")]


class Sequential(Config):
    """Attention, then feed-forward, each reading what the one before left."""

    kind: Literal["sequential"] = "sequential"


class Parallel(Config):
    """Attention and feed-forward read the same input and are added together (GPT-J, GPT-NeoX, PaLM).

    `shared_norm`: both read through one norm (GPT-J), else each has its own (GPT-NeoX).
    """

    kind: Literal["parallel"] = "parallel"
    shared_norm: bool = False


Arrangement = Annotated[Sequential | Parallel, Field(discriminator="kind")]


class Unshared(Config):
    """Every layer has weights of its own."""

    kind: Literal["unshared"] = "unshared"


class Consecutive(Config):
    """`num_blocks` sets of weights, each used by as many layers in a row (ALBERT, Lan et al. 2020)."""

    kind: Literal["consecutive"] = "consecutive"
    num_blocks: PositiveInt


class Looped(Config):
    """`num_blocks` sets of weights gone through again and again (Dehghani et al. 2019)."""

    kind: Literal["looped"] = "looped"
    num_blocks: PositiveInt


Sharing = Annotated[Unshared | Consecutive | Looped, Field(discriminator="kind")]
