"""Plain progress: a line every few seconds, and no word of a total or of time left that nobody knows."""

import random
import re
from io import StringIO

import pytest

from trivium.cli import progress
from trivium.cli.progress import Bar, PlainLines


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(progress, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("total", [None, 0])
def test_a_total_that_is_not_known_is_not_spoken_of(
    total: int | None, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    shown, step = PlainLines(), random.uniform(0.05, 0.2)
    shown.start("embed", total, "texts")
    for done in range(1, 1 + int(100 / step)):
        clock.now += step
        shown.advance(64 * done)
    said = capsys.readouterr().err.splitlines()
    assert 9 <= len(said) <= 10
    assert all(line.startswith("embed: ") and line.endswith(" texts") and " of " not in line for line in said)


def test_what_is_left_is_said_every_few_seconds_and_the_end_once(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = PlainLines()
    shown.start("train", 25, "steps")
    for done in range(26):
        shown.advance(done, note="loss 1.0")
        clock.now += 1
    for _ in range(8):  # what is still done when all steps are made
        shown.advance(25)
    assert capsys.readouterr().err.splitlines() == [
        "train: 10 of 25 steps, 15 s left  loss 1.0",
        "train: 20 of 25 steps, 5 s left  loss 1.0",
        "train: 25 of 25 steps, 0 s left  loss 1.0",
    ]


def test_a_bar_needs_no_total(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", StringIO())
    bar = Bar()
    bar.start("embed", None, "texts")
    bar.advance(64)
    bar.stop()


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_how_much_is_done_is_whole_on_a_narrow_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = StringIO()
    monkeypatch.setattr("sys.stderr", terminal)
    for name, value in {"COLUMNS": str(width), "FORCE_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    bar = Bar()
    bar.start("fine-tune classify", 1200, "steps")
    bar.advance(130, "loss 0.643  best accuracy 0.787  6,063 tokens/s")
    bar.stop()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue()).replace("\r", "\n").splitlines()
    last = [line for line in shown if line.strip()][-1]
    assert "fine-tune classify" in last and "130/1200 steps" in last and "loss" in last
    assert ("6,063 tokens/s" in last) == (width >= 100)
