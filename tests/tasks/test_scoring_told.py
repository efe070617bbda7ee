"""Whoever looks on while examples are scored is told of each piece that is read, or text that is written, once."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import write_inputs
from answer_support import answer_model, answer_reading, questions
from embed_support import embedder, pairs
from nested_inputs import nested_examples
from task_support import classify_examples, label_examples, lively_model, reading
from torch import nn

from trivium.tasks.answer.task import Answer
from trivium.tasks.base import Task
from trivium.tasks.build import learned_task
from trivium.tasks.pieces import Encoded
from trivium.tasks.write.config import WriteConfig
from trivium.tasks.write.task import Write

Scored = tuple[Task, nn.Module, Encoded]


def _with_head(name: str, examples: list[Any]) -> Scored:
    task = learned_task(name, examples)
    return task, lively_model("encoder", task), task.encode(examples, reading(row_length=16))


def _answer(count: int, seed: int) -> Scored:
    task = Answer()
    return task, answer_model("encoder"), task.encode(questions(count, seed=seed), answer_reading(row_length=32))


def _embed(count: int, seed: int) -> Scored:
    made = embedder()
    return made.task, made.model, made.task.encode(pairs(count, seed=seed), made.reading)


def _write(count: int, seed: int) -> Scored:
    task, examples = Write(WriteConfig()), write_inputs.pairs(count, seed=seed)
    return task, write_inputs.writer("decoder"), task.encode(examples, write_inputs.read_by("decoder"))


SCORED: dict[str, Callable[[int, int], Scored]] = {
    "classify": lambda count, seed: _with_head("classify", classify_examples(count, seed=seed)),
    "label": lambda count, seed: _with_head("label", label_examples(count, seed=seed)),
    "nested": lambda count, seed: _with_head("nested", nested_examples(count, seed=seed)),
    "answer": _answer,
    "embed": _embed,
    "write": _write,
}


@pytest.mark.parametrize("name", SCORED)
def test_every_piece_is_told_of_once(name: str) -> None:
    task, network, encoded = SCORED[name](random.randint(500, 560), random.randint(0, 999))
    more: list[int] = []
    scores = task.score(network, encoded._replace(told=more.append))
    assert len(more) > 1 and min(more) > 0 and sum(more) == len(encoded.pieces) >= 40
    assert task.score(network, encoded).metrics == scores.metrics
