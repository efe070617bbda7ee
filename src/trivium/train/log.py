"""log.jsonl: a line a report or a warning, cut back to where a run goes on from; trackers get the same lines."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trivium.core.files import write_text
from trivium.train.loop import StepReport
from trivium.train.track import Follower


class Log:
    """Appends lines to a run's log; a line is with the system when the call returns. Trackers get what was written."""

    def __init__(self, path: Path, trackers: Sequence[Follower] = ()) -> None:
        self.path = path
        self.trackers = trackers

    def cut_after(self, step: int) -> None:
        """Remove the lines of later steps, and what was left of a line when a run was killed."""
        if self.path.exists():
            kept = [line for line in read_log(self.path) if line["step"] <= step]
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        for tracker in self.trackers:
            tracker.cut_after(step)

    def step(
        self,
        report: StepReport,
        *,
        tokens: int,
        seconds: float,
        skipped: int = 0,
        speed: Mapping[str, float] | None = None,
    ) -> None:
        """Append what one update was, with the tokens and seconds and the skipped updates of the run so far.

        Args:
            report: of the update.
            tokens, seconds, skipped: so far.
            speed: how fast the updates since the last line were, see `Roofline.line`; None = it is not said.
        """
        self.write(
            step=report.step,
            loss=report.loss,
            tokens=tokens,
            seconds=seconds,
            lr=report.lr,
            gradient_norm=report.gradient_norm,
            **report.terms,
            **({"skipped": skipped} if skipped else {}),
            **(speed or {}),
        )

    def write(self, **values: Any) -> None:
        """Append one line, its numbers to 8 digits; what is not finite, which JSON has no word for, as null."""
        rounded = {key: _written(value) for key, value in values.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rounded) + "\n")
        for tracker in self.trackers:
            tracker.line(rounded)


def _written(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.8g}") if math.isfinite(value) else None


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a log."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break  # the last line of a killed run
    return lines
