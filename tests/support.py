"""What several tests share: text made in memory, small networks, and batches taken apart document by document."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from trivium.core.batch import Batch, Rows, reading
from trivium.core.layout import TokenLayout, positions_of
from trivium.core.special import NUM_SENTINELS, SpecialTokens
from trivium.model.build import build_network
from trivium.model.config import Decoder, Encoder, EncoderDecoder, ModelConfig, StackConfig
from trivium.model.heads import Network
from trivium.model.kernels import KernelName
from trivium.model.parts import (
    Alibi,
    AttentionConfig,
    LayerNormConfig,
    Learned,
    NoPosition,
    Plain,
    Position,
    RelativeBuckets,
    Rotary,
    Sinusoidal,
)
from trivium.objectives.build import Vocabulary

SPECIAL = SpecialTokens(pad=0, bos=1, eos=2, cls=3, sep=4, mask=5, sentinels=tuple(range(6, 6 + NUM_SENTINELS)))
FIRST_WORD = 6 + NUM_SENTINELS
NUM_WORDS = 54
VOCABULARY_SIZE = FIRST_WORD + NUM_WORDS
VOCABULARY = Vocabulary(SPECIAL, VOCABULARY_SIZE)
MAX_LENGTH = 64


# Text --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MadeUpSplit:
    """Documents in memory, with what `data.packing` asks of a `data.shards.Split`."""

    name: str
    texts: tuple[np.ndarray, ...]

    @property
    def lengths_S(self) -> np.ndarray:
        return np.array([len(text) for text in self.texts], dtype=np.int64)

    @property
    def num_documents(self) -> int:
        return len(self.texts)

    @property
    def num_tokens(self) -> int:
        return sum(len(text) for text in self.texts)

    def read(self, document: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        tokens = self.texts[document][start:stop]
        return tokens, np.where(np.arange(start, stop) % 3 == 0, 3, 1).astype(np.uint8)


def numbered_split(lengths: Sequence[int]) -> MadeUpSplit:
    """Every token of the text is another number, so that it can be told where each one went."""
    ends = np.cumsum(lengths)
    texts = tuple(np.arange(end - length, end) for length, end in zip(lengths, ends, strict=True))
    return MadeUpSplit("numbered", texts)


def made_up_text(
    num_documents: int, *, seed: int = 0, lengths: tuple[int, int] = (3, 90), name: str = "train"
) -> MadeUpSplit:
    """Documents between bos and eos that begin with a random word and go on by a rule, with some noise."""
    rng = np.random.default_rng(seed)
    texts = []
    for length in rng.integers(lengths[0], lengths[1] + 1, num_documents):
        steps = np.where(rng.random(length - 2) < 0.8, 7, rng.integers(0, NUM_WORDS, length - 2))
        words = FIRST_WORD + np.cumsum(steps) % NUM_WORDS
        texts.append(np.concatenate(([SPECIAL.bos], words, [SPECIAL.eos])))
    return MadeUpSplit(name, tuple(texts))


def random_rows(lengths_by_row: Sequence[Sequence[int]], row_length: int, *, seed: int = 0, first_row: int = 0) -> Rows:
    """Rows packed with documents of the given lengths; what is left of a row (it reads one token more) is unused."""
    rng = np.random.default_rng(seed)
    shape = (len(lengths_by_row), row_length + 1)
    tokens_BL = np.full(shape, SPECIAL.pad, dtype=np.int64)
    document_BL = np.full(shape, -1, dtype=np.int32)
    for row, lengths in enumerate(lengths_by_row):
        place = 0
        for number, length in enumerate(lengths):
            stop = min(place + length, row_length + 1)
            tokens_BL[row, place:stop] = rng.integers(FIRST_WORD, VOCABULARY_SIZE, stop - place)
            if stop == place + length:
                tokens_BL[row, stop - 1] = SPECIAL.eos
            document_BL[row, place:stop] = number
            place = stop
    numbers = np.arange(first_row, first_row + len(lengths_by_row), dtype=np.int64)
    bits = np.ones(shape, dtype=bool)
    return Rows(tokens_BL, document_BL, bits, bits, np.zeros_like(numbers), numbers)


def layout_of(document_BL: np.ndarray | Sequence[Sequence[int]], *, causal: bool) -> TokenLayout:
    """The layout of packed rows, read both ways or from left to right."""
    document_BL = np.asarray(document_BL, dtype=np.int32)
    document, position = torch.from_numpy(document_BL), torch.from_numpy(positions_of(document_BL))
    return TokenLayout.causal(document, position) if causal else TokenLayout.bidirectional(document, position)


# Networks ----------------------------------------------------------------------------------------------------------


def shrink(config: ModelConfig, *, vocabulary_size: int = VOCABULARY_SIZE) -> ModelConfig:
    """The same architecture with 2 layers of 32 hidden units, for documents of up to 64 tokens."""

    def stack(old: StackConfig) -> StackConfig:
        blocks = []
        for block in old.pattern:
            grouped = block.attention.num_key_value_heads < block.attention.num_heads
            size = {"num_heads": 4, "num_key_value_heads": 2 if grouped else 4, "head_size": 8}
            window = None if block.attention.window is None else 5
            cross = block.cross_attention
            blocks.append(
                block.model_copy(
                    update={
                        "attention": block.attention.model_copy(update={**size, "window": window}),
                        "cross_attention": None if cross is None else cross.model_copy(update=size),
                        "feed_forward": block.feed_forward.model_copy(update={"size": 48}),
                    }
                )
            )
        position = old.position
        if isinstance(position, Learned):
            position = Learned(max_length=MAX_LENGTH + position.offset, offset=position.offset)
        return old.model_copy(update={"num_layers": 2, "pattern": tuple(blocks), "position": position})

    match config.family:
        case Encoder() | Decoder() as family:
            small: Encoder | Decoder | EncoderDecoder = family.model_copy(update={"stack": stack(family.stack)})
        case EncoderDecoder(encoder=encoder, decoder=decoder):
            small = EncoderDecoder(encoder=stack(encoder), decoder=stack(decoder))
    head = config.head if config.head.scale == 1.0 else config.head.model_copy(update={"scale": 32**-0.5})
    changed = {
        "vocabulary_size": vocabulary_size,
        "hidden_size": 32,
        "embedding_size": None if config.embedding_size is None else 16,
        "max_length": MAX_LENGTH,
        "family": small,
        "head": head,
    }
    return ModelConfig.model_validate(config.model_copy(update=changed).model_dump())


def with_dropout(config: ModelConfig, probability: float) -> ModelConfig:
    """The same architecture with one probability in every place of dropout."""

    def changed(value: object) -> object:
        if isinstance(value, dict):
            return {key: probability if key.endswith("dropout") else changed(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [changed(inner) for inner in value]
        return value

    return ModelConfig.model_validate(changed(config.model_dump()))


def without_dropout(config: ModelConfig) -> ModelConfig:
    """The same architecture with every dropout 0."""
    return with_dropout(config, 0.0)


POSITIONS: dict[str, Callable[[bool], Position]] = {
    "learned": lambda both_ways: Learned(max_length=MAX_LENGTH),
    "sinusoidal": lambda both_ways: Sinusoidal(),
    "rotary": lambda both_ways: Rotary(),
    "alibi": lambda both_ways: Alibi(),
    "relative_buckets": lambda both_ways: RelativeBuckets(num_buckets=8, max_distance=12, bidirectional=both_ways),
    "none": lambda both_ways: NoPosition(),
}
FAMILIES = ("encoder", "decoder", "encoder_decoder")


def tiny(family: str, position: str = "rotary", *, window: int | None = None, groups: int = 4) -> ModelConfig:
    """A network of two layers with the given position scheme; `groups` key/value heads for 4 heads."""
    from trivium.model.config import BlockConfig

    def stack(*, both_ways: bool, cross: bool) -> StackConfig:
        attention = AttentionConfig(num_heads=4, num_key_value_heads=groups, head_size=8, window=window)
        block = BlockConfig(
            attention=attention,
            cross_attention=attention.model_copy(update={"window": None}) if cross else None,
            feed_forward=Plain(size=48, activation="gelu"),
            norm=LayerNormConfig(),
            placement="pre",
        )
        return StackConfig(
            num_layers=2, pattern=(block,), position=POSITIONS[position](both_ways), final_norm=LayerNormConfig()
        )

    match family:
        case "encoder":
            kind: Encoder | Decoder | EncoderDecoder = Encoder(stack=stack(both_ways=True, cross=False))
        case "decoder":
            kind = Decoder(stack=stack(both_ways=False, cross=False))
        case _:
            kind = EncoderDecoder(
                encoder=stack(both_ways=True, cross=False), decoder=stack(both_ways=False, cross=True)
            )
    return ModelConfig(vocabulary_size=VOCABULARY_SIZE, hidden_size=32, max_length=MAX_LENGTH, family=kind)


def redraw(network: nn.Module, *, std: float, seed: int = 0, around_one: bool = False) -> None:
    """Draw every parameter from N(0, std); with `around_one` the norms' weights from N(1, std)."""
    from trivium.model.norm import LayerNorm, RMSNorm

    generator = torch.Generator().manual_seed(seed)
    norms = {id(module.weight) for module in network.modules() if isinstance(module, LayerNorm | RMSNorm)}
    with torch.no_grad():
        for parameter in network.parameters():
            mean = 1.0 if around_one and id(parameter) in norms else 0.0
            parameter.copy_(mean + std * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))


def lively(config: ModelConfig, *, kernel: KernelName | None = None, seed: int = 0) -> Network:
    """A network whose weights are large enough that every part of it shows in the result."""
    network = build_network(config, kernel=kernel)
    redraw(network, std=0.25, seed=seed, around_one=True)
    return network.eval()


def logits_of(network: Network, batch: Batch) -> Tensor:
    """Scores over the vocabulary at every place, logits_BLV."""
    hidden_BLD = network(batch)
    return network.head(hidden_BLD.flatten(0, 1)).unflatten(0, hidden_BLD.shape[:2])


# Batches -----------------------------------------------------------------------------------------------------------


def documents_of(layout: TokenLayout) -> Iterator[tuple[int, int]]:
    """Every (row, document) of packed rows, unused places left out."""
    for row, document_L in enumerate(layout.document_BL):
        for document in sorted(set(document_L.tolist()) - {-1}):
            yield row, int(document)


def places_of(layout: TokenLayout, row: int, document: int) -> Tensor:
    """Where the tokens of one document lie in its row."""
    return (layout.document_BL[row] == document).nonzero()[:, 0]


def _alone(batch: Batch, row: int, document: int) -> Batch:
    places = places_of(batch.layout, row, document)
    new_place = torch.full((batch.tokens_BL.shape[1],), -1, dtype=torch.int64)
    new_place[places] = torch.arange(len(places))
    mine = (new_place[batch.places_BN[row]] >= 0) & (batch.weights_BN[row] > 0)
    return Batch(
        tokens_BL=batch.tokens_BL[row, places][None],
        layout=replace(
            batch.layout,
            document_BL=torch.zeros(1, len(places), dtype=torch.int32),
            position_BL=torch.arange(len(places), dtype=torch.int32)[None],
            rank_BL=batch.layout.rank_BL[row, places][None],
        ),
        labels_BN=batch.labels_BN[row, mine][None],
        places_BN=new_place[batch.places_BN[row, mine]][None],
        weights_BN=batch.weights_BN[row, mine][None],
        segments_BL=None if batch.segments_BL is None else batch.segments_BL[row, places][None],
    )


def alone(batch: Batch, row: int, document: int) -> Batch:
    """One document of a packed batch as a batch of its own, with its labels and its part of the source."""
    single = _alone(batch, row, document)
    if batch.source is None:
        return single
    return replace(single, source=_alone(batch.source, row, document))


def padded(batch: Batch) -> Batch:
    """The documents of a packed batch one a row, filled up to the longest with unused places: the usual way."""
    return _stacked([alone(batch, row, document) for row, document in documents_of(batch.layout)])


def _stacked(singles: list[Batch]) -> Batch:
    length = max(single.tokens_BL.shape[1] for single in singles)
    capacity = max(single.labels_BN.shape[1] for single in singles)

    def filled(tensors: list[Tensor], size: int, value: int) -> Tensor:
        return torch.cat([nn.functional.pad(tensor, (0, size - tensor.shape[1]), value=value) for tensor in tensors])

    layouts = [single.layout for single in singles]
    sources = [single.source for single in singles if single.source is not None]
    return Batch(
        tokens_BL=filled([single.tokens_BL for single in singles], length, SPECIAL.pad),
        layout=TokenLayout(
            filled([layout.document_BL for layout in layouts], length, -1),
            filled([layout.position_BL for layout in layouts], length, 0),
            filled([layout.rank_BL for layout in layouts], length, 0),
            layouts[0].kind,
        ),
        labels_BN=filled([single.labels_BN for single in singles], capacity, 0),
        places_BN=filled([single.places_BN for single in singles], capacity, 0),
        weights_BN=filled([single.weights_BN for single in singles], capacity, 0),
        source=_stacked(sources) if sources else None,
    )


PACKED = [
    [0] * 5 + [1] * 1 + [2] * 11 + [3] * 7,
    [0] * 24,
    [0] * 3 + [1] * 14 + [-1] * 7,
]
PACKED_SOURCE = [
    [0] * 9 + [1] * 4 + [2] * 2 + [3] * 13 + [-1] * 2,
    [0] * 30,
    [0] * 1 + [1] * 20 + [2] * 6 + [-1] * 3,  # document 2 is read and not written
]


def packed_batch(family: str, *, seed: int = 0) -> Batch:
    """Three rows of several documents, of one token and more, with unused places in the last."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(documents: list[list[int]]) -> Tensor:
        shape = (len(documents), len(documents[0]))
        return torch.randint(FIRST_WORD, VOCABULARY_SIZE, shape, generator=generator)

    batch = reading(tokens(PACKED), layout_of(PACKED, causal=family != "encoder"))
    if family != "encoder_decoder":
        return batch
    return replace(batch, source=reading(tokens(PACKED_SOURCE), layout_of(PACKED_SOURCE, causal=False)))


def family_of(config: ModelConfig) -> str:
    """`encoder`, `decoder` or `encoder_decoder`."""
    return config.family.kind


def parameters_of(network: nn.Module) -> dict[str, Tensor]:
    """A copy of every parameter by name."""
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two sets of tensors are equal bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def some(items: Iterator[object] | Sequence[object], least: int = 1) -> list[object]:
    """The items as a list that has at least so many: a loop over it does loop."""
    listed = list(itertools.chain(items))
    assert len(listed) >= least
    return listed
