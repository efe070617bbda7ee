"""Several tasks' training examples as batches: every step holds rows of each task."""

from collections.abc import Sequence

import numpy as np

from trivium.core.batch import MixedBatch
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.tasks.epoch_steps import EpochSteps
from trivium.tasks.pieces import Encoded, PackedPieces


class SeveralRows:
    """The batch of any step, directly: rows of every task, in proportion to how many it has.

    An epoch reads each task's examples once, spread evenly over its steps; a task with fewer rows than the epoch has
    steps gives one a step, and is read again from its first row as often as that takes. How many rows a step has of
    each task does not change.

    Args:
        tasks: the training examples of each.
        weights: of each task's loss; what they add up to is 1.
        rows: rows a step at most, all tasks together.
        accumulation: the rows of a step are a multiple of this.
        epochs: how many.
        key: of the epochs' orders; a task's are those that it would have by itself.

    Raises:
        ConfigError: fewer rows a step than tasks.
        DataError: a task has no answer to learn from.
    """

    def __init__(
        self,
        tasks: Sequence[Encoded],
        weights: Sequence[float],
        *,
        rows: int,
        accumulation: int,
        epochs: int,
        key: Key,
    ) -> None:
        if len(tasks) > rows:
            raise ConfigError(f"`rows` must be at least the number of tasks, {len(tasks)}: found {rows}.")
        self._packed = [PackedPieces(encoded, key) for encoded in tasks]
        rows_ET = np.array([[packed.num_rows(epoch) for packed in self._packed] for epoch in range(epochs)])
        steps_E = -(-rows_ET.sum(axis=1) // rows)
        # Each task's rows are rounded up: a few steps more, until all of them fit together.
        while (needed_T := (-(-rows_ET // steps_E[:, None])).max(axis=0)).sum() > rows:
            steps_E = steps_E + 1
        self.epochs = EpochSteps.counted(steps_E)
        self.rows = -(-int(needed_T.sum()) // accumulation) * accumulation
        needed_T[0] += self.rows - int(needed_T.sum())
        self._rows_of = tuple(np.split(np.arange(self.rows), np.cumsum(needed_T)[:-1]))
        self._weights = tuple(weight / sum(weights) for weight in weights)

    @property
    def rows_of_each(self) -> tuple[int, ...]:
        """Rows a step of each task, those included that are empty in some steps."""
        return tuple(len(own) for own in self._rows_of)

    @property
    def share_of_real_tokens(self) -> float:
        """Tokens there are over places that are computed, over all epochs."""
        tokens = places = 0.0
        for packed, own in zip(self._packed, self._rows_of, strict=True):
            for end in self.epochs.ends:
                place = self.epochs.place(end - 1)
                tokens += max(1.0, place.steps / packed.num_rows(place.epoch)) * packed.num_tokens
            places += self.epochs.total * len(own) * packed.row_places
        return tokens / places

    def batch(self, step: int) -> MixedBatch:
        """Return the whole batch of one step, counted from 0."""
        place = self.epochs.place(step)
        parts = []
        for packed, own in zip(self._packed, self._rows_of, strict=True):
            first, stop = place.part(max(packed.num_rows(place.epoch), place.steps))
            parts.append(packed.batch(place.epoch, first, stop, num_rows=len(own)))
        return MixedBatch(tuple(parts), self._rows_of, self.rows, self._weights)
