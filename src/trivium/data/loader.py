"""Batches as a pure function of the step, made ahead in the background."""

import queue
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

from trivium.core.batch import AnyBatch
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.data.packing import RowReader

T = TypeVar("T")
B = TypeVar("B", bound=AnyBatch)


def step_batches(
    reader: RowReader, make: Callable[..., B], *, rows_per_step: int, key: Key, steps: int | None = None
) -> Callable[[int], B]:
    """Return the function from a step's number to its whole batch.

    Args:
        reader: gives any row.
        make: an objective's `make(rows, key, done)`.
        rows_per_step: rows in one optimiser step, over all ranks and micro-batches.
        key: of all that the objective draws.
        steps: of the run, which say how much of it is over; None = every step is as the last one.
    """

    def batch(step: int) -> B:
        done = 1.0 if steps is None else step / steps
        return make(reader.rows(step * rows_per_step, (step + 1) * rows_per_step), key, done)

    return batch


class StepRows(NamedTuple):
    """What the steps of one stage of a run read."""

    first_step: int
    reader: RowReader
    rows_per_step: int


def staged_batches(
    stages: Sequence[StepRows], make: Callable[..., B], *, key: Key, steps: int, passed_over: int = 0
) -> Callable[[int], B]:
    """Return the function from a step's number to its whole batch, where rows may change in number and length.

    A stage goes on in the text where the one before it ended, at the next of its own rows to begin: fewer tokens than
    such a row has are passed over.

    Args:
        stages: in order; the first begins at step 0.
        make: an objective's `make(rows, key, done)`.
        key: of all that the objective draws.
        steps: of the run.
        passed_over: so many steps' rows are not read: each step has those of the one so much later.
    """
    first_rows = [0]
    for before, after in pairwise(stages):
        end = first_rows[-1] + (after.first_step - before.first_step) * before.rows_per_step
        epoch, row = divmod(end, before.reader.rows_per_epoch)
        reader = after.reader
        begun = min(-(-row * before.reader.row_length // reader.row_length), reader.rows_per_epoch)
        first_rows.append(epoch * reader.rows_per_epoch + begun)
    first_steps = [stage.first_step for stage in stages]

    def batch(step: int) -> B:
        number = bisect_right(first_steps, step) - 1
        stage = stages[number]
        start = first_rows[number] + (step - stage.first_step + passed_over) * stage.rows_per_step
        return make(stage.reader.rows(start, start + stage.rows_per_step), key, step / steps)

    return batch


def micro_batches(batch: AnyBatch, accumulation: int) -> list[AnyBatch]:
    """Cut a step's batch into equal micro-batches; raise ConfigError when its rows cannot be divided so."""
    rows = batch.num_rows
    if rows % accumulation:
        raise ConfigError(f"`accumulation` must divide the rows of a step: {accumulation} does not divide {rows}.")
    size = rows // accumulation
    return [batch.rows(start, start + size) for start in range(0, rows, size)]


def ahead(make: Callable[[int], T], start: int, stop: int, *, depth: int = 2) -> Iterator[T]:
    """Yield `make(start)` to `make(stop - 1)`, made up to `depth` ahead in a thread; depth 0 makes them as asked.

    What is yielded does not depend on the depth. An error in `make` is raised here.
    """
    if depth == 0:
        yield from (make(number) for number in range(start, stop))
        return
    made: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(maxsize=depth)
    stopping = threading.Event()

    def put(item: tuple[T | None, BaseException | None]) -> None:
        while not stopping.is_set():
            try:
                made.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for number in range(start, stop):
                if stopping.is_set():
                    return
                put((make(number), None))
        except BaseException as error:  # noqa: BLE001  handed to the consumer, which raises it
            put((None, error))

    worker = threading.Thread(target=work, name="trivium-loader", daemon=True)
    worker.start()
    try:
        for _ in range(start, stop):
            item, error = made.get()
            if error is not None:
                raise error
            yield item  # type: ignore[misc]  # None only beside an error
    finally:
        stopping.set()
        worker.join()
