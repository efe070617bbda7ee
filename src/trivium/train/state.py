"""What a run needs besides weights and optimiser to go on as if it had never stopped."""

from typing import NamedTuple


class TrainState(NamedTuple):
    """`step` decides everything: batches, learning rate and dropout are functions of it."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_loss: float | None = None  # lowest validation loss so far
    best_step: int | None = None
    skipped: int = 0  # updates that were not made, because loss or gradient was not finite
    skipped_in_a_row: int = 0
    passed_over: int = 0  # steps whose batches are passed over, because they led to nothing finite
    rollbacks: int = 0
