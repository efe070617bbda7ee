"""Distillation (Hinton et al. 2015; DistilBERT, Sanh et al. 2019): a network learns what a trained one would say."""

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from trivium.core.batch import AnyBatch, Batch, Rows, Term
from trivium.core.errors import ConfigError
from trivium.core.files import sha256
from trivium.core.random import Key
from trivium.model.config import ModelConfig
from trivium.model.folder import WEIGHTS, SavedModel, load_model, model_folder
from trivium.model.heads import LanguageModel, Network, SequenceToSequence, labelled_states
from trivium.model.linear import Linear
from trivium.model.view import Tally
from trivium.objectives.base import Objective, Predicted, labelled, plain, predicted_from, vocabulary_logits


@dataclass(frozen=True)
class Weights:
    """What the terms weigh, and how soft the teacher's word is taken.

    Args:
        labels: of the objective's own terms.
        logits: of the divergence from the teacher's distribution, times the square of the temperature.
        hidden: of 1 - the cosine between both last hidden states, a matrix between where their sizes differ.
        temperature: both distributions are softened by it.
    """

    labels: float
    logits: float
    hidden: float
    temperature: float


class Student(nn.Module):
    """A network, and a matrix from its hidden states to the teacher's (the identity where they are of one size)."""

    def __init__(self, *, network: Network, project: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.project = project


class Teacher:
    """A frozen network, in whatever type it is asked in.

    Args:
        saved: the model.
        name: what errors call it.
    """

    def __init__(self, saved: SavedModel, name: str) -> None:
        self.name = name
        self.config = saved.config
        self.tokenizer = saved.tokenizer
        self._network = saved.network.eval().requires_grad_(False)
        self._copies: dict[tuple[torch.dtype, torch.device], Network] = {}

    def network(self, like: Tensor) -> Network:
        """Return the network in the type of these states, where they are."""
        asked = (like.dtype, like.device)
        if asked not in self._copies:
            is_as_loaded = asked == (torch.float32, torch.device("cpu"))
            self._copies[asked] = self._network if is_as_loaded else deepcopy(self._network).to(like)
        return self._copies[asked]


def open_teacher(path: Path, expected: str | None) -> Teacher:
    """Open a pretrained run as a teacher.

    Args:
        path: the run, or its `model` folder.
        expected: the hash of its weights, see `teacher_hash`; None = any.

    Raises:
        CheckpointError: it is missing or damaged.
        ConfigError: its weights are others than expected.
    """
    if expected is not None and (found := teacher_hash(path)) != expected:
        raise ConfigError(
            f"`objective.teacher` {path}: its weights are not those the run began with ({found[:12]}...)."
        )
    return Teacher(load_model(model_folder(path)), str(path))


def teacher_hash(path: Path) -> str:
    """Return the SHA-256 of a model's weights; raise ConfigError when there are none."""
    weights = model_folder(path) / WEIGHTS
    if not weights.is_file():
        raise ConfigError(f"`objective.teacher` {path}: expected a pretrained run, found no {WEIGHTS} in it.")
    return sha256(weights)


@dataclass(frozen=True)
class Distil:
    """An objective whose labelled places a teacher is asked about too.

    Raises:
        ConfigError: the objective has no tokens that a teacher could name.
    """

    objective: Objective
    teacher: Teacher
    weights: Weights
    name: str
    rows_together: ClassVar[int] = 1

    @property
    def speaks(self) -> bool:
        """Whether the objective that says which tokens are asked for teaches to name them."""
        return self.objective.speaks

    def network(self, config: ModelConfig) -> nn.Module:
        """Build the student; raise ConfigError where it and the teacher do not read alike."""
        network = self.objective.network(config)
        if not isinstance(network, LanguageModel | SequenceToSequence):
            raise ConfigError(f"objective `{self.name}` trains more than the network itself: it cannot be distilled.")
        theirs = self.teacher.config
        if theirs.family.kind != config.family.kind:
            raise ConfigError(
                f"`objective.teacher` must be of the student's family: expected {config.family.kind}, "
                f"found {theirs.family.kind}."
            )
        same = theirs.hidden_size == config.hidden_size or not self.weights.hidden
        project = nn.Identity() if same else Linear(config.hidden_size, theirs.hidden_size, bias=False)
        return Student(network=network, project=project)

    def make(self, rows: Rows, key: Key, done: float = 1.0) -> AnyBatch:
        """Hide and label as the objective does."""
        return self.objective.make(rows, key, done)

    def counts(self, batch: AnyBatch) -> dict[str, float]:
        """Return the objective's counts, and the number of labelled places for each of the teacher's terms."""
        labelled = float(plain(batch).weights_BN.sum())
        return self.objective.counts(batch) | dict.fromkeys(self._terms, labelled)

    def loss(self, network: nn.Module, batch: AnyBatch, key: Key) -> tuple[Term, ...]:
        """Return the objective's terms, the divergence from the teacher, and the distance of hidden states."""
        return self.predicted(network, batch, key).terms

    def predicted(self, network: nn.Module, batch: AnyBatch, key: Key) -> Predicted:
        """Return the student's logits at labelled places, and the terms of `loss`."""
        batch, student, tally = plain(batch), _as_student(network), Tally()
        hidden_ND = labelled_states(student.network, batch, tally)
        logits_NV, own = predicted_from(self.name, student.network, hidden_ND, batch, tally)
        terms = [term._replace(weight=term.weight * self.weights.labels) for term in own]
        theirs_NV, theirs_ND = self._asked(batch, hidden_ND)
        if self.weights.logits:
            nats_N = divergence(logits_NV, theirs_NV, self.weights.temperature)
            terms.append(labelled("teacher", nats_N, batch, self.weights.logits))
        if self.weights.hidden:
            ours_ND = student.project(hidden_ND).float()
            apart_N = 1.0 - functional.cosine_similarity(ours_ND, theirs_ND.float(), dim=-1)
            terms.append(labelled("hidden", apart_N, batch, self.weights.hidden))
        return Predicted(logits_NV, tuple(terms))

    def exported(self, network: nn.Module) -> Network:
        """Return the student's network."""
        return _as_student(network).network

    def trained_name(self, name: str) -> str:
        """Return the parameter's name within the network that is trained with something beside."""
        return f"network.{name}"

    @cached_property
    def _terms(self) -> tuple[str, ...]:
        return ("teacher",) * bool(self.weights.logits) + ("hidden",) * bool(self.weights.hidden)

    @torch.no_grad()
    def _asked(self, batch: Batch, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the teacher's logits_NV and hidden_ND at the labelled places."""
        teacher = self.teacher.network(like)
        hidden_ND = labelled_states(teacher, replace(batch, noise_BLD=None))
        return vocabulary_logits(teacher, hidden_ND), hidden_ND


def divergence(ours_NV: Tensor, theirs_NV: Tensor, temperature: float) -> Tensor:
    """Return KL(theirs || ours) of softened distributions times the square of the temperature, nats_N."""
    ours, theirs = ((logits / temperature).log_softmax(-1) for logits in (ours_NV, theirs_NV))
    return (theirs.exp() * (theirs - ours)).sum(-1) * temperature**2


def _as_student(network: nn.Module) -> Student:
    if not isinstance(network, Student):
        raise TypeError(f"expected a student, found {type(network).__name__}")
    return network
