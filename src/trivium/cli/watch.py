"""trivium watch: runs as they go, in the terminal."""

import json
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trivium.cli.options import Json

if TYPE_CHECKING:
    from rich.panel import Panel

    from trivium.evaluate.follow import Followed
    from trivium.evaluate.live import RunNow, State

_SECONDS_BETWEEN_LOOKS, _SECONDS_TO_STOP = 1.0, 0.05
_COLOURS: dict["State", str] = {"running": "green", "finished": "blue", "stopped": "yellow", "killed": "red"}
_PLAIN_WIDTH, _WIDEST_CURVE, _WIDTH_OF_WORDS = 40, 60, 66  # characters: of curves, and of what stands beside them
_LINES_AROUND, _LEAST_ROWS = 4, 2  # of a panel: border, headline and bar; and what it shows however small it is


def command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, finished or not.")],
    once: Annotated[bool, typer.Option("--once", help="Say once where they are, as plain text, and end.")] = False,
    as_json: Json = False,
) -> None:
    """Watch runs: progress, losses, speed, and whether they are still alive.

    Ends when all of them are finished; Ctrl-C ends it sooner and does nothing to the runs. Where there is no terminal
    it is said once.
    """
    from trivium.evaluate.follow import follow

    with suppress(KeyboardInterrupt):  # looking on has nothing to lose
        followed = [follow(run) for run in runs]
        if not (once or as_json) and sys.stdout.isatty():
            _watch(followed)
            return
        for run in _look(followed)[1]:
            typer.echo(json.dumps(run.as_json(), ensure_ascii=False) if as_json else plain(run, sys.stdout.encoding))


def plain(run: "RunNow", encoding: str | None) -> str:
    """Return where a run is in lines of text."""
    lines = [f"{run.run}: {headline(run)}"]
    for name, words, curve in rows(run, _PLAIN_WIDTH):
        lines.append(f"  {name:<14} {words:<46} {curve}".rstrip())
    return _writable("\n".join(lines), encoding)


def headline(run: "RunNow") -> str:
    """Return how a run is and how far."""
    from trivium.evaluate.formatting import number_text, percent_text, seconds_text

    said = f"{run.state}, {run.learns}, step {number_text(run.step)}"
    if run.steps is not None:
        said += f" of {number_text(run.steps)}"
    if run.share is not None and run.state != "finished":
        said += f" ({percent_text(run.share)})"
    match run.state:
        case "stopped" if run.checkpoint_step == run.step:
            said += "; all of it is saved, the command that began it goes on with --resume"
        case "running" | "stopped" if run.overdue:
            said += f", no line for {seconds_text(run.silent_seconds)}"
        case "running" if run.seconds_left is not None:
            said += f", {seconds_text(run.seconds_left)} left"
        case "killed":
            said += "; no process is at work on it, the command that began it goes on with --resume"
        case "finished" if run.seconds is not None:
            said += f" in {seconds_text(run.seconds)}"
    return said


def rows(run: "RunNow", width: int) -> list[tuple[str, str, str]]:
    """Return what is known of a run: a name, words, and a curve of at most `width` characters (or none)."""
    from trivium.evaluate.formatting import compact_text, metric_text, number_text, seconds_text
    from trivium.evaluate.sparkline import sparkline

    found: list[tuple[str, str, str]] = []
    if run.loss is not None:
        words = f"{number_text(run.loss)}, smoothed {number_text(run.smoothed_loss)}"
        found.append(("loss", words, sparkline(run.training_curve, width)))
    if run.validation:
        told = {key: run.validation[key] for key in ("accuracy", "loss") if key in run.validation}
        words = ", ".join(f"{key} {metric_text(key)(value)}" for key, value in told.items())
        step = run.validation.get("step")
        words += f" at step {number_text(step)}"
        if run.validation.get("best_step", step) != step:
            words += f"; best {number_text(run.validation['best_loss'])} at {number_text(run.validation['best_step'])}"
        found.append(("validation", words, sparkline(run.validation_curve, width)))
    if run.normal:
        found.append(("normal", ", ".join(f"{name} {value:.2f}" for name, value in run.normal.items()), ""))
    if run.lr is not None:
        found.append(("learning rate", number_text(run.lr, 3), ""))
    if run.gradient_norm is not None:
        found.append(("gradient norm", number_text(run.gradient_norm, 3), ""))
    if run.skipped:
        found.append(("skipped", f"{number_text(run.skipped)} update{'s' * (run.skipped > 1)}", ""))
    speed = [f"{run.tokens_per_second:,.0f} tokens/s"] if run.tokens_per_second is not None else []
    if run.tokens is not None and run.seconds is not None:
        speed.append(f"{compact_text(run.tokens)} tokens in {seconds_text(run.seconds)}")
    found += [("speed", ", ".join(speed), "")] * bool(speed)
    if run.checkpoint_step is not None:
        ago = "" if run.checkpoint_seconds is None else f", {seconds_text(round(run.checkpoint_seconds))} ago"
        found.append(("checkpoint", f"step {number_text(run.checkpoint_step)}{ago}", ""))
    return found


def _watch(followed: "Sequence[Followed]") -> None:
    """Draw the runs again and again, until all are finished or Ctrl-C comes."""
    from rich.console import Console, Group
    from rich.live import Live

    from trivium.train.signals import stop_signals

    console = Console()
    # As an exception, raised where Python cleans up, it would be passed over.
    with stop_signals([signal.SIGINT]) as stopped_by, Live(console=console, auto_refresh=False) as live:
        while stopped_by() is None:
            followed, seen = _look(followed)
            room = console.height // len(seen) - _LINES_AROUND
            panels = (_panel(run, console.width, max(room, _LEAST_ROWS), console.encoding) for run in seen)
            live.update(Group(*panels), refresh=True)
            if all(run.state == "finished" for run in seen):
                return
            looked = time.monotonic()
            while stopped_by() is None and time.monotonic() < looked + _SECONDS_BETWEEN_LOOKS:
                time.sleep(_SECONDS_TO_STOP)


def _look(followed: "Sequence[Followed]") -> tuple[list["Followed"], list["RunNow"]]:
    from trivium.evaluate.follow import look

    pairs = [look(each, now=time.time()) for each in followed]
    return [each for each, _ in pairs], [run for _, run in pairs]


def _panel(run: "RunNow", width: int, num_rows: int, encoding: str) -> "Panel":
    from rich.console import Group
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    colour = _COLOURS[run.state]
    top, table = Table.grid(), Table.grid(padding=(0, 2))
    top.add_row(Text(_writable(headline(run), encoding), colour))
    if run.share is not None:
        top.add_row(ProgressBar(total=1.0, completed=run.share, width=max(width - 6, 10)))
    for row in rows(run, max(min(width - _WIDTH_OF_WORDS, _WIDEST_CURVE), 8))[:num_rows]:
        name, words, curve = (_writable(text, encoding) for text in row)
        table.add_row(Text(name, "dim"), Text(words), Text(curve, "cyan"))
    return Panel(Group(top, table), title=Text(run.run), title_align="left", border_style=colour)


def _writable(text: str, encoding: str | None) -> str:
    """Return the text as the terminal can write it: without blocks where it cannot write those."""
    try:
        text.encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return text.replace("\u00a0", " ").encode("ascii", "ignore").decode()
    return text
