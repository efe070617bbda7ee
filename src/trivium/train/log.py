"""log.jsonl: one line a report or a warning, cut back to the checkpoint when a run goes on from it."""

import json
from pathlib import Path
from typing import Any

from trivium.core.files import write_text
from trivium.train.loop import StepReport


class Log:
    """Appends lines to a run's log; a line is with the system when the call returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def cut_after(self, step: int) -> None:
        """Remove the lines of later steps, and what was left of a line when a run was killed."""
        if self.path.exists():
            kept = [line for line in read_log(self.path) if line["step"] <= step]
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))

    def step(self, report: StepReport, *, tokens: int, seconds: float) -> None:
        """Append what one update was, with the tokens and seconds of the run so far."""
        self.write(
            step=report.step,
            loss=report.loss,
            tokens=tokens,
            seconds=seconds,
            lr=report.lr,
            gradient_norm=report.gradient_norm,
            **report.terms,
        )

    def write(self, **values: Any) -> None:
        """Append one line, its numbers to 8 digits."""
        rounded = {key: float(f"{value:.8g}") if isinstance(value, float) else value for key, value in values.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rounded) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a log."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break  # the last line of a killed run
    return lines
