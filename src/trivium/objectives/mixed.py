"""Several objectives in one network: each step's rows are divided among them, by shares that may change."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from torch import nn

from trivium.core.batch import AnyBatch, Batch, MixedBatch, Rows, Term
from trivium.core.errors import ConfigError
from trivium.core.ramp import Scheduled, at, extremes
from trivium.core.random import Key
from trivium.model.config import ModelConfig
from trivium.model.heads import LanguageModel, Network, SequenceToSequence
from trivium.objectives.base import BALANCE, Learned, Objective, as_network, plain

_GOLDEN = (5.0**0.5 - 1.0) / 2.0


class Part(NamedTuple):
    """One of the objectives.

    Args:
        name: of its terms, which no other part has.
        kind: what its objective calls its main term.
        objective: makes its rows and scores them.
        share: of the rows, in proportion to the others'.
        weight: of its terms; None = its share of the rows.
    """

    name: str
    kind: str
    objective: Objective
    share: Scheduled
    weight: float | None = None


@dataclass(frozen=True)
class Mixed:
    """Objectives that train the same network, row by row.

    A row's number and epoch alone say whose it is, by a sequence of low discrepancy (multiples of the golden ratio): of
    any number of neighbouring rows each part has its share to within one or two. A step in which a part has no row goes
    without it.

    Args:
        parts: the objectives.
        learned: what is asked of each part in training, its counts and loss; None = the objectives themselves.

    Raises:
        ConfigError: parts that need rows compared with each other, or shares that add up to nothing.
    """

    parts: tuple[Part, ...]
    learned: tuple[Learned, ...] | None = None
    rows_together: ClassVar[int] = 1

    def __post_init__(self) -> None:
        for part in self.parts:
            if part.objective.rows_together > 1:
                raise ConfigError(
                    f"objective `{part.name}` compares rows with their neighbours, which are another's in a mixture."
                )
        lowest = min(extremes(part.share)[0] for part in self.parts)
        if lowest < 0.0 or not all(sum(at(part.share, done) for part in self.parts) > 0.0 for done in (0.0, 1.0)):
            raise ConfigError("the shares of a mixture must not be negative, and one must be more than 0 at any time.")

    @property
    def speaks(self) -> bool:
        """Whether what is kept has learned to name tokens."""
        return any(part.objective.speaks for part in self.parts)

    def network(self, config: ModelConfig) -> nn.Module:
        """Build the network of all parts; raise ConfigError when one needs more than the network itself."""
        for part in self.parts:
            try:
                network = part.objective.network(config)
            except ConfigError as error:
                raise ConfigError(f"part `{part.name}` of the mixture: {error}") from None
            if not isinstance(network, LanguageModel | SequenceToSequence):
                raise ConfigError(f"objective `{part.name}` trains more than the network itself: it cannot be mixed.")
        return network

    def make(self, rows: Rows, key: Key, done: float = 1.0) -> MixedBatch:
        """Give each part its rows."""
        shares = self._shares(done)
        part_B = _parts_of(rows, shares, key)
        rows_of = tuple(np.flatnonzero(part_B == number) for number in range(len(self.parts)))
        made: list[Batch | None] = []
        for part, numbers in zip(self.parts, rows_of, strict=True):
            own = Rows(*(column[numbers] for column in rows))
            made.append(plain(part.objective.make(own, key.child(part.name), done)) if len(numbers) else None)
        weights = tuple(
            float(share) if part.weight is None else part.weight for part, share in zip(self.parts, shares, strict=True)
        )
        return MixedBatch(tuple(made), rows_of, len(part_B), weights)

    def counts(self, batch: AnyBatch) -> dict[str, float]:
        """Return the counts of all parts that have rows."""
        counts: dict[str, float] = {}
        for part, learned, made, _ in self._made(batch):
            for own, count in learned.counts(made).items():
                name = _term_name(part, own)
                counts[name] = counts.get(name, 0.0) + count
        return counts

    def loss(self, network: nn.Module, batch: AnyBatch, key: Key) -> tuple[Term, ...]:
        """Return the terms of all parts that have rows."""
        terms: list[Term] = []
        for part, learned, made, weight in self._made(batch):
            for term in learned.loss(network, made, key.child(part.name)):
                # The experts' load is balanced for all rows together.
                scale = 1.0 if term.name == BALANCE else weight
                terms.append(term._replace(name=_term_name(part, term.name), weight=term.weight * scale))
        return tuple(terms)

    def exported(self, network: nn.Module) -> Network:
        """Return the network itself."""
        return as_network(network)

    def trained_name(self, name: str) -> str:
        """Return the name itself."""
        return name

    def _shares(self, done: float) -> np.ndarray:
        shares = np.array([at(part.share, done) for part in self.parts])
        normalised: np.ndarray = shares / shares.sum()
        return normalised

    def _made(self, batch: AnyBatch) -> Iterator[tuple[Part, Learned, Batch, float]]:
        """Yield each part that has rows, what is asked of it, its batch and its weight."""
        if not isinstance(batch, MixedBatch):
            raise TypeError(f"expected the batch of a mixture, found {type(batch).__name__}")
        learned = self.learned or tuple(part.objective for part in self.parts)
        for part, asked, made, weight in zip(self.parts, learned, batch.parts, batch.weights, strict=True):
            if made is not None:
                yield part, asked, made, weight


def _parts_of(rows: Rows, shares: np.ndarray, key: Key) -> np.ndarray:
    """Return the number of the part that each row is of, int64 [B]."""
    offsets = {int(epoch): key.child("mixed", int(epoch)).numpy().random() for epoch in np.unique(rows.epoch_B)}
    offset_B = np.array([offsets[int(epoch)] for epoch in rows.epoch_B])
    place_B = (offset_B + rows.row_B * _GOLDEN) % 1.0
    part_B: np.ndarray = np.searchsorted(np.cumsum(shares)[:-1], place_B, side="right")
    return part_B


def _term_name(part: Part, name: str) -> str:
    if name == BALANCE:
        return name
    return part.name if name == part.kind else f"{part.name}.{name}"
