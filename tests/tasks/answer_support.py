"""Made-up questions: about the one word of a kind in a text of other words, in letters and in Chinese characters."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from task_support import CHINESE, ENGLISH, classify_examples, word

from support import lively, tiny
from trivium.core.random import Key
from trivium.data.labelled import Answer as Placed
from trivium.data.labelled import AnswerExample
from trivium.data.tokenizer import Tokenizer
from trivium.data.tokenizer_training import TokenizerKind
from trivium.model.config import ReadoutConfig, with_vocabulary
from trivium.tasks.answer.task import Answer
from trivium.tasks.base import TaskModel, reading_part, reads_both_ways
from trivium.tasks.build import build_model
from trivium.tasks.pieces import Reading
from trivium.tasks.start import Start, random_start

KINDS = {"first": ("Babake", "Loke Mira"), "second": ("Zeze", "Vuti Soso"), "third": ("Mumu", "Tata Nono")}
SIGNS = "我喜欢阅读中国古典小说尤其是红楼梦的人在城里走到河边看见船"
NAMES = {"甲": ("张三", "李四"), "乙": ("上海", "北京市")}
TOKENIZERS: tuple[TokenizerKind, ...] = ("bpe", "wordpiece", "unigram")


def questions(
    count: int, *, seed: int, words: tuple[int, int] = (4, 24), unanswerable: float = 0.0
) -> list[AnswerExample]:
    """Ask for the word or two of a kind; of kinds that are not asked for there is a word too, or not."""
    rng = np.random.default_rng(seed)
    examples = []
    for number in range(count):
        asked = str(rng.choice(sorted(KINDS)))
        text = [word(rng) for _ in range(int(rng.integers(*words)))]
        shown = [kind for kind in KINDS if kind != asked and rng.random() < 0.5]
        if is_answered := rng.random() >= unanswerable:
            shown.append(asked)
        answer = str(rng.choice(KINDS[asked]))
        for kind in rng.permutation(shown):
            place = int(rng.integers(0, len(text) + 1))
            text.insert(place, answer if kind == asked else str(rng.choice(KINDS[str(kind)])))
        context = " ".join(text) + "."
        answers = (Placed(context.index(answer), answer),) if is_answered else ()
        examples.append(AnswerExample(f"q{number}", None, context, f"Which is the {asked}?", answers))
    return examples


def chinese_questions(count: int, *, seed: int, signs: tuple[int, int] = (4, 40)) -> list[AnswerExample]:
    """Ask for the name of a kind in a row of Chinese characters."""
    rng = np.random.default_rng(seed)
    examples = []
    for number in range(count):
        asked = str(rng.choice(sorted(NAMES)))
        answer = str(rng.choice(NAMES[asked]))
        text = rng.choice(list(SIGNS), int(rng.integers(*signs))).tolist()
        text.insert(int(rng.integers(0, len(text) + 1)), answer)
        context = "".join(text) + "。"
        answers = (Placed(context.index(answer), answer),)
        examples.append(AnswerExample(f"z{number}", None, context, f"{asked}是什么？", answers))
    return examples


@cache
def answer_tokenizer(kind: TokenizerKind = "bpe") -> Tokenizer:
    texts = [example.text for example in classify_examples(100, seed=99)] + [ENGLISH, CHINESE] * 3
    for example in (*questions(60, seed=98), *chinese_questions(60, seed=97)):
        texts += [example.context, example.question]
    return Tokenizer.train(texts, kind, 480)


def answer_reading(family: str = "encoder", row_length: int = 64, kind: TokenizerKind = "bpe") -> Reading:
    return Reading(answer_tokenizer(kind), row_length, reads_both_ways(tiny(family)))


def answer_start(family: str = "encoder") -> Start:
    return random_start(tiny(family), answer_tokenizer(), row_length=64)


def answer_model(family: str, readout: ReadoutConfig | None = None) -> TaskModel:
    """A network in which every token shows in every answer."""
    config = with_vocabulary(tiny(family), answer_tokenizer().vocabulary_size)
    task = Answer(readout or ReadoutConfig())
    model = build_model(task, config, reading_part(lively(config), task.readout), dropout=0.1, key=Key(3)).eval()
    with torch.no_grad():
        model.head.projection.weight.mul_(20.0)
    return model


def write_squad(path: Path, examples: Sequence[AnswerExample]) -> Path:
    """Write questions as SQuAD 2.0 has them."""
    paragraphs = [
        {
            "context": example.context,
            "qas": [
                {
                    "id": example.id,
                    "question": example.question,
                    "is_impossible": not example.answers,
                    "answers": [{"text": text, "answer_start": start} for start, text in example.answers],
                }
            ],
        }
        for example in examples
    ]
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    return path
