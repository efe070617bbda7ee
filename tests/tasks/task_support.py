"""Made-up examples of both tasks, tokenizers trained on them, and small networks that read them."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from support import lively, tiny
from trivium.core.random import Key
from trivium.data.labelled import UNSCORED, ClassifyExample, LabelExample, write_jsonl
from trivium.data.tokenizer import Tokenizer
from trivium.data.tokenizer_training import TokenizerKind
from trivium.model.config import ReadoutConfig, TransformConfig, with_vocabulary
from trivium.tasks.base import Task, TaskModel, reading_part, reads_both_ways
from trivium.tasks.build import build_model
from trivium.tasks.pieces import Reading
from trivium.tasks.start import Start, random_start

FAMILIES = ("encoder", "decoder", "encoder_decoder")
# What T5's classifier of transformers is.
WRITER = ReadoutConfig(stack="writer", pooling="last", transform=TransformConfig(activation="tanh"))
SYLLABLES = ("ba", "ke", "lo", "mi", "nu", "ra", "so", "ti", "vu", "ze")
ENGLISH = "The old harbour was quiet, and nobody's boat had come in since Tuesday's storm (it hadn't stopped)."
CODE = "def read_all ( self , path : str = 'x' ) -> list [ int ] : return [ int ( row ) for row in open ( path ) ]"
CHINESE = "我 喜欢 阅读 中国 古典 小说 ， 尤其 是 《 红楼梦 》 。"


def word(rng: np.random.Generator) -> str:
    return "".join(rng.choice(SYLLABLES, int(rng.integers(1, 4))))


def label_of(word: str) -> str:
    """The label that a word's first syllable gives it."""
    return "low" if word[:2] in SYLLABLES[:3] else "high" if word[:2] < "t" else "top"


def label_examples(count: int, *, seed: int, lengths: tuple[int, int] = (3, 20)) -> list[LabelExample]:
    """Words labelled by their first syllable; some are context only."""
    rng = np.random.default_rng(seed)
    examples = []
    for length in rng.integers(lengths[0], lengths[1] + 1, count):
        words = tuple(word(rng) for _ in range(length))
        labels = tuple(UNSCORED if rng.random() < 0.3 else label_of(w) for w in words)
        examples.append(LabelExample(words, labels))
    return examples


def classify_examples(
    count: int, *, seed: int, lengths: tuple[int, int] = (3, 20), pairs: bool = False
) -> list[ClassifyExample]:
    """Texts of many words, in which one word in two belongs to the class."""
    rng = np.random.default_rng(seed)
    topics = {"first": ("babake", "loke"), "second": ("zeze", "vuti"), "third": ("mira", "soso")}
    examples = []
    for length in rng.integers(lengths[0], lengths[1] + 1, count):
        label = str(rng.choice(sorted(topics)))
        words = [str(rng.choice(topics[label])) if rng.random() < 0.5 else word(rng) for _ in range(length)]
        words[0] = topics[label][0]
        pair = " ".join(word(rng) for _ in range(int(rng.integers(1, lengths[1])))) if pairs else None
        examples.append(ClassifyExample(" ".join(words), label, pair))
    return examples


@cache
def tokenizer(kind: TokenizerKind = "bpe") -> Tokenizer:
    texts = [example.text for example in classify_examples(200, seed=99)] + [ENGLISH, CODE, CHINESE] * 3
    return Tokenizer.train(texts, kind, 460)


def reading(family: str = "encoder", row_length: int = 64, kind: TokenizerKind = "bpe") -> Reading:
    return Reading(tokenizer(kind), row_length, reads_both_ways(tiny(family)))


def start(family: str = "encoder") -> Start:
    return random_start(tiny(family), tokenizer(), row_length=64)


def lively_model(family: str, task: Task) -> TaskModel:
    """A network in which every token shows in every answer."""
    config = with_vocabulary(tiny(family), tokenizer().vocabulary_size)
    return build_model(task, config, reading_part(lively(config), task.readout), dropout=0.1, key=Key(3)).eval()


def task_files(folder: Path, task: str) -> dict[str, Path]:
    """Write made-up examples of a task into three files."""
    make = {"label": label_examples, "classify": classify_examples}[task]
    files = {}
    for seed, (split, count) in enumerate({"train": 40, "valid": 15, "test": 15}.items()):
        files[split] = folder / f"{split}.jsonl"
        write_jsonl(files[split], [_row(example._asdict()) for example in make(count, seed=seed)])
    return files


def _row(example: dict[str, Any]) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in example.items() if value is not None
    }
