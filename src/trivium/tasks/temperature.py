"""One temperature, fitted when all else is learned, that makes a model as sure as it is right (Guo et al. 2017)."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from trivium.model.heads import Readout
from trivium.tasks.base import Task, TaskModel
from trivium.tasks.class_answers import Answers, answers, class_answers
from trivium.tasks.metrics import Temperature, fit_temperature
from trivium.tasks.pieces import Encoded
from trivium.tasks.relate.task import Relate
from trivium.tasks.texts.classify import Classify
from trivium.tasks.texts.multi_label import MultiLabel, yes_or_no
from trivium.tasks.words.label import Label
from trivium.tasks.words.spans import Spans

_MOST_NUMBERS = 1 << 20  # that a temperature is fitted to: of more answers, some at equal distances
_PRIOR = 1.0  # answers that are right by lot: a few that are all right are no reason to be perfectly sure


def tempered(network: nn.Module, task: Task, valid: Encoded) -> Temperature | None:
    """Let a network's head divide its logits by one temperature, fitted to validation answers, and return it.

    The last projection is scaled, so that whatever reads the weights (another program, narrow numbers, an export)
    gives the same probabilities. Which answer is given does not change, but for the rounding of float32: all logits
    of an answer are divided by one positive number, those of several windows by the same one, and the best path of tags
    has the best sum at any scale.

    Args:
        network: the model with the weights that are kept; changed in place.
        task: what it does.
        valid: what the temperature is fitted to.

    Returns:
        None where no probabilities are read off the head's numbers (regress, answer, embed, write), or not of one
        answer alone (spans with a trained chain); the network is then as it was.
    """
    projection = _projection(network)
    logarithms = _log_probabilities(network, task, valid)
    if projection is None or logarithms is None or not valid.num_answers:
        return None
    numbers = valid.num_answers * task.num_outputs * (2 if isinstance(task, MultiLabel) else 1)
    logs, rights = _kept(logarithms, numbers)
    fitted = fit_temperature(logs, rights, prior=_PRIOR)
    with torch.no_grad():
        for parameter in projection.parameters():
            parameter.copy_(parameter.double() / fitted.value)
    return fitted


def _projection(network: nn.Module) -> nn.Linear | None:
    head = network.head if isinstance(network, TaskModel) else None
    return head.projection if isinstance(head, Readout) else None


def _log_probabilities(
    network: nn.Module, task: Task, valid: Encoded
) -> Iterator[tuple[np.ndarray, np.ndarray]] | None:
    """Return, example by example, the logarithm of each class's probability and the right classes of its answers."""
    match task:
        case MultiLabel():
            given = answers(network, valid, num_outputs=task.num_outputs, logarithms=False)
            pairs = zip(valid.gold, given, strict=True)
            return ((yes_or_no(answer.outputs_AC), gold_AC.reshape(-1) > 0.5) for gold_AC, answer in pairs)
        case Classify() | Label() | Relate() | Spans() if not task.is_chained:
            given = class_answers(network, valid, num_classes=task.num_outputs)
            pairs = zip(valid.gold, given, strict=True)
            return (_given(answer, gold_A) for gold_A, answer in pairs)
        case _:
            return None


def _given(answer: Answers, gold_A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    done_A = answer.windows_A > 0
    return answer.outputs_AC[done_A], gold_A[done_A]


def _kept(found: Iterator[tuple[np.ndarray, np.ndarray]], num_numbers: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the answers together; of too many numbers, every second answer, or third ..."""
    every = -(-num_numbers // _MOST_NUMBERS)
    logs, rights, seen = [], [], 0
    for logs_AC, right_A in found:
        chosen = slice(-seen % every, None, every)
        logs.append(logs_AC[chosen])
        rights.append(right_A[chosen])
        seen += len(right_A)
    return np.concatenate(logs), np.concatenate(rights)
