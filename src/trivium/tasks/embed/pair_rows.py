"""Pairs of texts as batches: the texts of a pair, and those they are told apart from, lie in one group of rows."""

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from trivium.core.batch import Batch, Pairs
from trivium.core.errors import ConfigError, DataError
from trivium.core.random import Key
from trivium.data.order import document_order
from trivium.tasks.epoch_steps import EpochSteps
from trivium.tasks.pieces import Encoded, Piece, Reading, pack


class _Group(NamedTuple):
    """Rows that are compared with each other."""

    rows: list[list[Piece]]  # the class of each is the number of its text in the group
    pairs: list[tuple[int, int, float]]  # numbers of two texts in the group, and how near they should be

    @property
    def capacity(self) -> int:
        """Pieces of the fullest row."""
        return max(map(len, self.rows))


class PairRows:
    """The batch of any step, directly: each epoch's pairs in an order of its own, packed into groups of rows.

    A text that is in several pairs of a group is read once. Of a text longer than a row its first window is learned
    from: whole, a few such texts would fill a group, and there would be little to tell apart.

    Args:
        encoded: of `tasks.embed.task`: the pieces are those of texts, the gold of a pair is two texts and a score.
        group_rows: rows of a group, at least 2.
        rows: rows a step at most; as many are used as the evenly spread epochs need.
        accumulation: the groups of a step are a multiple of this.
        epochs: passes over the pairs.
        key: of the epochs' orders.

    Raises:
        ConfigError: the rows of a micro-batch are not whole groups.
        DataError: there is no pair to learn from.
    """

    def __init__(
        self, encoded: Encoded, *, group_rows: int, rows: int, accumulation: int, epochs: int, key: Key
    ) -> None:
        whole = group_rows * accumulation
        if rows % whole:
            raise ConfigError(
                f"task `embed` compares rows in groups of {group_rows}: `rows` must be a multiple of {whole}, "
                f"`accumulation` counted in; found {rows}. Change rows, or settings.group_rows."
            )
        self._pairs_E3 = np.array([gold_A3[0] for gold_A3 in encoded.gold])
        if not len(self._pairs_E3):
            raise DataError("the training examples hold no pair to learn from.")
        self._texts = _beginnings(encoded.pieces)
        self._reading: Reading = encoded.reading
        self._group_rows, self._key = group_rows, key
        self._plan = lru_cache(maxsize=2)(self._make_plan)
        plans = [self._plan_sizes(epoch) for epoch in range(epochs)]
        groups_E = np.array([size.groups for size in plans])
        steps_E = -(-groups_E // (rows // group_rows))
        self.epochs = EpochSteps.counted(steps_E)
        needed = int((-(-groups_E // steps_E)).max())
        self.rows = -(-needed // accumulation) * accumulation * group_rows
        self.capacity = max(size.capacity for size in plans)
        self._pairs_a_row = -(-max(size.pairs for size in plans) // group_rows)
        self._tokens = sum(size.tokens for size in plans)

    @property
    def share_of_real_tokens(self) -> float:
        """Tokens there are over places that are computed, over all epochs."""
        return self._tokens / (self.epochs.total * self.rows * self._reading.row_length)

    def batch(self, step: int) -> Batch:
        """Return the whole batch of one step, counted from 0."""
        place = self.epochs.place(step)
        plan = self._plan(place.epoch)
        groups = plan[slice(*place.part(len(plan)))]
        chosen = [row for group in groups for row in group.rows]
        packed = pack(chosen, self._reading, num_rows=self.rows, capacity=self.capacity)
        return replace(packed.batch, pairs=self._laid_out([group.pairs for group in groups]))

    def _laid_out(self, groups: list[list[tuple[int, int, float]]]) -> Pairs:
        """Return the pairs of each group, spread over its rows."""
        shape = (self.rows // self._group_rows, self._group_rows * self._pairs_a_row)
        pairs_GP3, weights_GP = np.zeros((*shape, 3)), np.zeros(shape, dtype=np.float32)
        for number, pairs in enumerate(groups):
            pairs_GP3[number, : len(pairs)], weights_GP[number, : len(pairs)] = pairs, 1.0
        first_GP, second_GP = (pairs_GP3[..., side].astype(np.int64) for side in (0, 1))
        columns = (first_GP, second_GP, pairs_GP3[..., 2].astype(np.float32), weights_GP)
        return Pairs(*(torch.from_numpy(part.reshape(self.rows, -1)) for part in columns))

    def _plan_sizes(self, epoch: int) -> "_Sizes":
        plan = self._plan(epoch)
        tokens = sum(len(piece.tokens_L) for group in plan for row in group.rows for piece in row)
        most = max(len(group.pairs) for group in plan)
        return _Sizes(len(plan), max(group.capacity for group in plan), most, tokens)

    def _make_plan(self, epoch: int) -> list[_Group]:
        order = document_order(len(self._pairs_E3), self._key, epoch)
        as_few = self._filled(order, most=len(order))
        # Spread evenly: a last group of a few pairs would have little to tell apart, and be a step like others.
        return self._filled(order, most=-(-len(order) // len(as_few)))

    def _filled(self, order: np.ndarray, *, most: int) -> list[_Group]:
        """Return groups that pairs are laid into in this order, at most so many into one."""
        groups: list[_Group] = []
        filling = _Filling(self._group_rows, self._reading.row_length)
        for first, second, score in self._pairs_E3[order]:
            texts = {text: self._texts[text] for text in (int(first), int(second))}
            if len(filling.group.pairs) == most or not filling.take(texts):
                groups.append(filling.group)
                filling = _Filling(self._group_rows, self._reading.row_length)
                filling.take(texts)
            filling.group.pairs.append((filling.numbers[int(first)], filling.numbers[int(second)], float(score)))
        return [*groups, filling.group]


class _Sizes(NamedTuple):
    """Of an epoch's plan."""

    groups: int
    capacity: int
    pairs: int  # of the group that has most
    tokens: int


class _Filling:
    """A group that is being filled."""

    def __init__(self, rows: int, row_length: int) -> None:
        self.group = _Group([[] for _ in range(rows)], [])
        self.numbers: dict[int, int] = {}  # of its texts
        self._left = [row_length] * rows

    def take(self, texts: dict[int, Piece]) -> bool:
        """Take those texts that are not in it yet, or say that they do not fit."""
        left, placed = list(self._left), []
        for text, piece in texts.items():
            if text in self.numbers:
                continue
            row = next((number for number, room in enumerate(left) if room >= len(piece.tokens_L)), None)
            if row is None:
                return False
            left[row] -= len(piece.tokens_L)
            placed.append((row, text, piece))
        for row, text, piece in placed:
            number = self.numbers.setdefault(text, len(self.numbers))
            self.group.rows[row].append(piece._replace(classes_N=np.array([number])))
        self._left = left
        return True


def _beginnings(pieces: list[Piece]) -> list[Piece]:
    """Return the first piece of each text, as all of it."""
    firsts: list[Piece] = []
    for piece in pieces:
        if piece.example == len(firsts):
            firsts.append(piece._replace(weight=1.0))
    return firsts
