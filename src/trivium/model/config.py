"""The architecture as a value: blocks, stacks, heads, initialisation, and the network that they make.

Only `trivium.model.build`, the counting of parameters and what converts checkpoints read these; layers never see them.
"""

from typing import Annotated, Literal, Self, assert_never

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from trivium.core.config import Config
from trivium.core.errors import ConfigError
from trivium.model.parts import (
    Activation,
    Alibi,
    Arrangement,
    AttentionConfig,
    Consecutive,
    FeedForwardConfig,
    LayerPosition,
    Learned,
    Looped,
    MixtureOfExpertsConfig,
    NoPosition,
    NormConfig,
    Parallel,
    Position,
    Probability,
    RelativeBuckets,
    Residual,
    Rotary,
    Sequential,
    Sharing,
    Sum,
    Unshared,
)


class BlockConfig(Config):
    """One block: self-attention, cross-attention in an encoder-decoder's decoder, feed-forward.

    `placement` says which of the three slots of each sublayer hold a norm: pre = before the branch, post = after
    the sum, sandwich = before the branch and after it, output = after the branch. `position` None = the stack's.
    """

    attention: AttentionConfig
    cross_attention: AttentionConfig | None = None
    feed_forward: FeedForwardConfig
    norm: NormConfig
    placement: Literal["pre", "post", "sandwich", "output"]
    arrangement: Arrangement = Sequential()
    residual: Residual = Sum()
    position: LayerPosition | None = None
    dropout: Probability = 0.0

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        parallel = isinstance(self.arrangement, Parallel)
        if parallel and self.placement == "post":
            raise ValueError("`arrangement.kind` parallel has no sum of its own for a norm after it: not with post")
        if isinstance(self.arrangement, Parallel) and self.arrangement.shared_norm and self.placement == "output":
            raise ValueError("`arrangement.shared_norm` needs a norm before the branches: `placement` pre or sandwich")
        if self.cross_attention is not None and self.cross_attention.window is not None:
            raise ValueError("`cross_attention.window`: places of two texts have no distance; leave it out")
        return self


class EmbeddingConfig(Config):
    """From tokens to the first hidden states: tokens (times `scale`) + positions + segments, norm, dropout.

    With `ModelConfig.embedding_size` a dense layer to the hidden size comes last.
    """

    scale: PositiveFloat = 1.0
    num_segments: NonNegativeInt = 0
    norm: NormConfig | None = None
    dropout: Probability = 0.0


class StackConfig(Config):
    """Block i is built from `pattern[i % len(pattern)]`, so that layers may differ from the first saved file on.

    `sharing` says which block each layer is. `first_norm` False: the first layer's attention reads the embedding
    without the norm before it (ModernBERT, whose embedding is normed). `stochastic_depth` is the share of rows that
    skip the last block's branches in training; it grows linearly with the depth (Huang et al. 2016).
    """

    num_layers: PositiveInt
    pattern: Annotated[tuple[BlockConfig, ...], Field(min_length=1)]
    sharing: Sharing = Unshared()
    position: Position
    embedding: EmbeddingConfig = EmbeddingConfig()
    first_norm: bool = True
    stochastic_depth: Probability = 0.0
    final_norm: NormConfig | None = None
    final_dropout: Probability = 0.0

    @property
    def num_blocks(self) -> int:
        """Number of blocks with weights of their own."""
        return self.num_layers if isinstance(self.sharing, Unshared) else self.sharing.num_blocks

    def order(self) -> tuple[int, ...]:
        """Return which block each layer is."""
        match self.sharing:
            case Unshared():
                return tuple(range(self.num_layers))
            case Consecutive(num_blocks=num_blocks):
                return tuple(layer * num_blocks // self.num_layers for layer in range(self.num_layers))
            case Looped(num_blocks=num_blocks):
                return tuple(layer % num_blocks for layer in range(self.num_layers))
            case _:
                assert_never(self.sharing)

    def block(self, number: int) -> BlockConfig:
        """Return the configuration of one block."""
        return self.pattern[number % len(self.pattern)]

    def position_of(self, block: BlockConfig) -> Position:
        """Return the position scheme of one block."""
        return self.position if block.position is None else block.position

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        heads = {block.attention.num_heads for block in self.pattern}
        if isinstance(self.position, RelativeBuckets | Alibi) and len(heads) > 1:
            raise ValueError(f"`{self.position.kind}` needs one `num_heads` in all layers: found {sorted(heads)}")
        for block in self.pattern:
            position, size = self.position_of(block), block.attention.head_size
            if isinstance(position, Rotary) and (int(size * position.share) < 2 or int(size * position.share) % 2):
                raise ValueError(
                    f"`rotary` turns pairs: `share` {position.share:g} of `head_size` {size} must be even and positive"
                )
            if block.position is not None and not isinstance(self.position, Rotary | NoPosition):
                raise ValueError(f"`pattern.position` cannot differ where the stack's is `{self.position.kind}`")
        if self.num_blocks > self.num_layers:
            raise ValueError(
                f"`sharing.num_blocks` must be at most `num_layers`: {self.num_blocks} > {self.num_layers}"
            )
        if isinstance(self.sharing, Consecutive) and self.num_layers % self.num_blocks:
            raise ValueError(
                f"`sharing.num_blocks` must divide `num_layers`: {self.num_blocks} does not divide {self.num_layers}"
            )
        first = self.pattern[0]
        if not self.first_norm and (first.placement != "pre" or not isinstance(first.arrangement, Sequential)):
            raise ValueError("`first_norm` false needs a sequential first block with `placement` pre")
        if not self.first_norm and self.num_blocks < self.num_layers:
            raise ValueError("`first_norm` false needs a first layer with weights of its own: not with `sharing`")
        return self


class TransformConfig(Config):
    """A dense layer, an activation and a norm before a projection to a vocabulary or to classes."""

    activation: Activation
    norm: NormConfig | None = None
    bias: bool = True


class HeadConfig(Config):
    """From a hidden state to scores over the vocabulary; `tied` = the token embedding is the projection.

    Hidden states are multiplied by `scale`; `soft_cap` c bounds the scores to c tanh(score / c) (Gemma 2). `trained`
    False: no objective has taught this head (a detector of replaced tokens names none), so that nobody asks it.
    """

    tied: bool = True
    bias: bool = False
    scale: PositiveFloat = 1.0
    soft_cap: PositiveFloat | None = None
    transform: TransformConfig | None = None
    trained: bool = True


Pooling = Literal["mean", "first", "last", "weighted"]


class ReadoutConfig(Config):
    """From the hidden states of a text, or of a word, to its classes.

    `stack`: whose states are read: those of the stack that reads, or of an encoder-decoder's stack that writes, given
    the same text once more (`core.batch.read_again`). `pooling`: what stands for a text: the mean of its tokens, the
    first or the last of them, or the mean in which later ones weigh more ("weighted"); words are read where they stand,
    whatever it says.
    """

    stack: Literal["reader", "writer"] = "reader"
    pooling: Pooling = "mean"
    transform: TransformConfig | None = None
    bias: bool = True


DEFAULT_READOUT = ReadoutConfig()


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
    """Every matrix and embedding from N(0, std), norms 1, biases 0.

    What writes into the residual stream is drawn alike ("equal"), with std / sqrt(number of branches) ("scaled",
    GPT-2), or is 0, so that every branch begins as nothing ("zero", Zhang et al. 2019).
    """

    kind: Literal["normal"] = "normal"
    std: PositiveFloat = 0.02
    residual: Literal["equal", "scaled", "zero"] = "equal"


class T5Init(Config):
    """T5's (Mesh TensorFlow's) fan-in scaled initialisation, for unscaled attention scores."""

    kind: Literal["t5"] = "t5"
    factor: PositiveFloat = 1.0


Initialisation = Annotated[NormalInit | T5Init, Field(discriminator="kind")]


class MuP(Config):
    """Maximal update parametrisation: what was found best at one width is best at every other (Yang et al. 2022).

    Weights, learning rates and logits are scaled so that a network of `base_hidden_size` is as without it. The other
    sizes are meant to grow with the hidden size. `initialisation.std` is that of the base width; scores are divided by
    the head size and not its root, beginning at `base_head_size` (None = heads are as large at every width).
    """

    kind: Literal["mup"] = "mup"
    base_hidden_size: PositiveInt
    base_head_size: PositiveInt | None = None


class ModelConfig(Config):
    """A whole network. `max_length` is the longest document it is meant to read, in tokens.

    `embedding_size`: tokens are embedded in so many dimensions, and a dense layer makes hidden states of them
    (factorised embeddings, Lan et al. 2020); None = the hidden size, no such layer. `parametrisation` None = standard.
    """

    vocabulary_size: PositiveInt
    hidden_size: PositiveInt
    embedding_size: PositiveInt | None = None
    max_length: PositiveInt
    family: Family
    head: HeadConfig = HeadConfig()
    initialisation: Initialisation = NormalInit()
    parametrisation: MuP | None = None

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
            room = _learned_room(stack)
            if room is not None and room < self.max_length:
                raise ValueError(
                    f"`position.max_length` less its `offset` must reach `max_length`: {room} is less than "
                    f"{self.max_length}"
                )
        if self.embedding_size is not None and self.head.tied and self.head.transform is None:
            raise ValueError("`head.tied` with an `embedding_size` needs `head.transform`, which ends in that size")
        writes = self.stacks()[-1] if isinstance(self.family, EncoderDecoder) else None
        for stack in self.stacks():
            for block in stack.pattern:
                if (block.cross_attention is not None) != (stack is writes):
                    raise ValueError("`cross_attention` belongs in every block of an encoder-decoder's decoder, only")
        if self.parametrisation is not None:
            self._can_grow()
        return self

    def _can_grow(self) -> None:
        """Raise ValueError where `parametrisation` mup does not say how a part grows with the width."""
        if not isinstance(self.initialisation, NormalInit):
            raise ValueError(
                f"`parametrisation` mup needs `initialisation.kind` normal, not {self.initialisation.kind}"
            )
        if self.embedding_size is not None:
            raise ValueError("`parametrisation` mup needs embeddings of the hidden size: leave out `embedding_size`")
        blocks = [block for stack in self.stacks() for block in stack.pattern]
        if any(isinstance(block.feed_forward, MixtureOfExpertsConfig) for block in blocks):
            raise ValueError("`parametrisation` mup does not know how a router grows: not with `mixture_of_experts`")


def with_vocabulary(config: ModelConfig, vocabulary_size: int) -> ModelConfig:
    """Return the configuration with another vocabulary size."""
    return config.model_copy(update={"vocabulary_size": vocabulary_size})


def with_max_length(config: ModelConfig, max_length: int) -> ModelConfig:
    """Return the configuration for documents of up to `max_length` tokens; raise ConfigError when it has no more."""
    for stack in config.stacks():
        room = _learned_room(stack)
        if room is not None and room < max_length:
            raise ConfigError(
                f"rows of {max_length} tokens do not fit: this model has learned positions for "
                f"{room}; set data.row_length to at most that."
            )
    return config.model_copy(update={"max_length": max_length})


def task_name(name: str, config: ModelConfig, readout: ReadoutConfig) -> str | None:
    """Return what a task's network calls a part of the pretrained network; None where it has none of it.

    Args:
        name: of a module or a parameter.
        config: the architecture.
        readout: the task's head, which says what reads: one stack, called `reader`, or two, `reader.encoder` and
            `reader.decoder`.
    """
    if not isinstance(config.family, EncoderDecoder):
        roots = {"stack": "reader"}
    elif readout.stack == "reader":
        roots = {"encoder": "reader"}
    else:
        roots = {"encoder": "reader.encoder", "decoder": "reader.decoder"}
    root, dot, rest = name.partition(".")
    return roots[root] + dot + rest if root in roots else None


def with_stochastic_depth(config: ModelConfig, share: float) -> ModelConfig:
    """Return the configuration with this share of rows that skip the last block of each stack in training."""
    stacks = [stack.model_copy(update={"stochastic_depth": share}) for stack in config.stacks()]
    names = ("encoder", "decoder") if isinstance(config.family, EncoderDecoder) else ("stack",)
    family = config.family.model_copy(update=dict(zip(names, stacks, strict=True)))
    return config.model_copy(update={"family": family})


def _learned_room(stack: StackConfig) -> int | None:
    """Return how many positions a stack's table has rows for; None where it has no table."""
    return stack.position.max_length - stack.position.offset if isinstance(stack.position, Learned) else None
