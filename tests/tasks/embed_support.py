"""Made-up texts that mean the same: a topic is a row of places, each with several words for one thing."""

from functools import cache

import numpy as np
from task_support import CHINESE, ENGLISH, SYLLABLES, tokenizer, word

from support import lively, tiny
from trivium.core.random import Key
from trivium.data.labelled import SimilarExample
from trivium.model.config import Pooling, ReadoutConfig, with_vocabulary
from trivium.tasks.base import reading_part, reads_both_ways
from trivium.tasks.build import build_model
from trivium.tasks.embed.embedder import Embedder
from trivium.tasks.embed.task import Embed
from trivium.tasks.pieces import Reading
from trivium.tasks.settings import EMBED_SETTINGS, EmbedSettings


@cache
def topics(count: int) -> list[list[list[str]]]:
    rng = np.random.default_rng(count)
    words = iter(rng.permutation([one + other for one in SYLLABLES for other in SYLLABLES]).tolist())
    return [[[next(words) for _ in range(4)] for _ in range(2)] for _ in range(count)]


def paraphrase(topic: int, count: int, rng: np.random.Generator) -> str:
    words = []
    for synonyms in topics(count)[topic]:
        words += [str(rng.choice(synonyms))] + ["mi"] * int(rng.random() < 0.3)
    return " ".join(words)


def pairs(number: int, *, seed: int, count: int = 12, scored: bool = False) -> list[SimilarExample]:
    """Pairs of paraphrases; of those with scores half are of two topics."""
    rng = np.random.default_rng(seed)
    examples = []
    for _ in range(number):
        topic = int(rng.integers(count))
        near = not scored or rng.random() < 0.5
        other = topic if near else (topic + 1 + int(rng.integers(count - 1))) % count
        texts = (paraphrase(topic, count, rng), paraphrase(other, count, rng))
        examples.append(SimilarExample(*texts, (4.0 if near else 1.0) if scored else None))
    return examples


def texts(count: int, *, seed: int, longest: int = 60) -> list[str]:
    """Texts of any length, in two scripts; one is empty."""
    rng = np.random.default_rng(seed)
    made = [" ".join(word(rng) for _ in range(int(rng.integers(1, longest)))) for _ in range(count - 3)]
    return [*made, ENGLISH, CHINESE.replace(" ", ""), ""]


def embedder(
    family: str = "encoder",
    *,
    row_length: int = 64,
    pooling: Pooling = "mean",
    settings: EmbedSettings = EMBED_SETTINGS,
) -> Embedder:
    """A network in which every token shows in every vector."""
    config = with_vocabulary(tiny(family), tokenizer().vocabulary_size)
    task = Embed(ReadoutConfig(pooling=pooling), settings)
    part = reading_part(lively(config), task.readout)
    model = build_model(task, config, part, dropout=0.1, key=Key(3)).eval()
    return Embedder(model, config, task, Reading(tokenizer(), row_length, reads_both_ways(config)))
