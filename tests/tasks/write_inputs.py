"""Made-up pairs of texts, a tokenizer of their words, small networks that write, and what they do a pair at a time."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from support import lively, redraw, tiny
from trivium.core.batch import Batch, reading
from trivium.core.layout import TokenLayout
from trivium.data.labelled import PairExample
from trivium.data.tokenizer import Tokenizer
from trivium.model.build import build_network
from trivium.model.config import ModelConfig, with_vocabulary
from trivium.model.heads import Network, SequenceToSequence
from trivium.tasks.base import reading_of
from trivium.tasks.pieces import Reading
from trivium.tasks.start import Start, random_start

WRITERS = ("decoder", "encoder_decoder")
WORDS = ("ba", "ke", "lo", "mi", "nu", "ra", "so", "ti", "vu", "ze")
ENGLISH = PairExample("Quiet harbour: nobody's boat in.", ("A quiet harbour",))
CHINESE = PairExample("我喜欢中国古典小说《红楼梦》。", ("古典小说", "读书"))


def pairs(count: int, *, seed: int, lengths: tuple[int, int] = (1, 12)) -> list[PairExample]:
    """Sources and targets of words that have nothing to do with each other."""
    rng = np.random.default_rng(seed)

    def text() -> str:
        return " ".join(rng.choice(WORDS, int(rng.integers(lengths[0], lengths[1] + 1))).tolist())

    return [PairExample(text(), (text(),)) for _ in range(count)]


def reversed_words(count: int, *, seed: int) -> list[PairExample]:
    """Up to three words, and the same from the last to the first."""
    return [
        PairExample(source, (" ".join(reversed(source.split())),))
        for source, _ in pairs(count, seed=seed, lengths=(1, 3))
    ]


@cache
def tokenizer() -> Tokenizer:
    texts = [f"{source} {targets[0]}" for source, targets in pairs(200, seed=99)]
    return Tokenizer.train([*texts, *(ENGLISH + CHINESE)[0::2], CHINESE.targets[0]] * 2, "bpe", 420)


def config(family: str) -> ModelConfig:
    return with_vocabulary(tiny(family, "learned"), tokenizer().vocabulary_size)


def writer(family: str) -> Network:
    """A network in which every token shows in every other, in float64."""
    return lively(config(family)).double()


def start(family: str, *, row_length: int = 64) -> Start:
    """A start with weights that are large enough to learn from at once."""
    begin = random_start(tiny(family, "learned"), tokenizer(), row_length=row_length)
    network = build_network(begin.config)
    redraw(network, std=0.1, around_one=True)
    return begin._replace(network=network, name="redrawn")


def read_by(family: str, *, row_length: int = 64) -> Reading:
    return reading_of(tokenizer(), row_length, config(family), None)


def one(tokens: list[int], *, given: int = 0, both_ways: bool = False, source: Batch | None = None) -> Batch:
    """One document: tokens after the first `given` see what comes before them, these see each other."""
    position_BL = torch.arange(len(tokens), dtype=torch.int32)[None]
    rank_BL = torch.where(position_BL < (len(tokens) if both_ways else given), 0, position_BL)
    layout = TokenLayout.ranked(torch.zeros_like(position_BL), position_BL, rank_BL)
    batch = reading(torch.tensor([tokens]), layout)
    return Batch(**{**vars(batch), "source": source})


def prompt_of(network: Network, source: str) -> tuple[list[int], Batch | None]:
    """What is given to write a target for a source: tokens, and what the encoder reads."""
    special, ids = tokenizer().special, tokenizer().encode(source)
    if isinstance(network, SequenceToSequence):
        return [special.bos], one([special.bos, *ids, special.eos], both_ways=True)
    return [special.bos, *ids, special.sep], None


@torch.no_grad()
def nats_alone(network: Network, source: str, target: str, *, prefix: bool = False) -> Tensor:
    """Minus the log-probability of each token of a target, its end token last, computed for this pair by itself."""
    given, read = prompt_of(network, source)
    written = [*tokenizer().encode(target), tokenizer().special.eos]
    batch = one([*given, *written[:-1]], given=len(given) if prefix else 0, source=read)
    logits_LV = network.head(network(batch)[0])[len(given) - 1 :]
    return -logits_LV.log_softmax(-1).gather(1, torch.tensor(written)[:, None])[:, 0]


@torch.no_grad()
def written_alone(network: Network, source: str, most: int, *, prefix: bool = False) -> str:
    """The most probable token again and again, the whole text read anew each time."""
    special = tokenizer().special
    given, read = prompt_of(network, source)
    new: list[int] = []
    while len(new) < most:
        batch = one([*given, *new], given=len(given) if prefix else 0, source=read)
        logits_V = network.head(network(batch)[0, -1:])[0]
        logits_V[sorted(special.all() - {special.eos})] = float("-inf")
        token = int(logits_V.argmax())
        if token == special.eos:
            break
        new.append(token)
    return tokenizer().decode(new)
