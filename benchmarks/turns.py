"""Sides of a comparison, each a process of its own that works when it is told to, by turns.

A side is a command whose process sets itself up, calls `Turns(steps)` and then `tick` after every step of its work. The
first turn is to warm up; every later one is timed in the process itself, so that starting up and waiting for the
other sides cost nothing. What else the machine does then slows all sides alike.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

RESULTS = Path(__file__).parent / "results"
_TURN = "a turn: "  # before an answer, for libraries print too


class Side(NamedTuple):
    """One of what is compared."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = {}


class Turn(NamedTuple):
    """What one turn was."""

    units: float  # tokens, sentences, bytes: what speed is counted in
    seconds: float  # on the clock
    processor_seconds: float
    peak_bytes: int  # resident in memory, at most so far
    said: dict[str, float]  # what else the side says of itself
    begun_bytes: int = 0  # resident when the side was ready for its first turn

    @property
    def speed(self) -> float:
        """Units a second."""
        return self.units / self.seconds


class Turns:
    """A side's end: waits for its turn, counts, and says what the turn was.

    Args:
        steps: ticks a turn.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._ticks, self._units = 0, 0.0
        self._begun, self._spent = 0.0, 0.0
        self._begun_bytes = resident_bytes()
        self._wait()

    def tick(self, units: float, **said: float) -> None:
        """Say that a step is done; does not return while it is another side's turn, nor when there are none left."""
        self._ticks += 1
        self._units += units
        if self._ticks < self._steps:
            return
        _finish_gpu()
        seconds, spent = perf_counter() - self._begun, process_time() - self._spent
        turn = Turn(self._units, seconds, spent, peak_bytes(), said, self._begun_bytes)
        print(f"\n{_TURN}{json.dumps(turn._asdict())}", flush=True)
        self._wait()

    def _wait(self) -> None:
        if not sys.stdin.readline():
            os._exit(0)  # a trainer in the middle of its work has no other way out
        self._ticks, self._units = 0, 0.0
        self._begun, self._spent = perf_counter(), process_time()


def by_turns(sides: Sequence[Side], *, rounds: int) -> dict[str, list[Turn]]:
    """Return the turns of each side: all are started and warmed up, then take turns, every other round backwards."""
    running = {side.name: _start(side) for side in sides}
    turns: dict[str, list[Turn]] = {side.name: [] for side in sides}
    try:
        for process in running.values():
            _turn(process)
        for number in range(rounds):
            for name in list(running)[:: 1 if number % 2 == 0 else -1]:
                turns[name].append(_turn(running[name]))
    finally:
        for process in running.values():
            process.communicate()
    return turns


def row(
    work: str, unit: str, ours: Sequence[Turn], peer: str, theirs: Sequence[Turn], **settings: Any
) -> dict[str, Any]:
    """Return a row of results: medians of the speeds, and the median of each round's ratio."""
    ratios = [own.speed / other.speed for own, other in zip(ours, theirs, strict=True)]
    return {
        "work": work,
        "peer": peer,
        "unit": unit,
        "ours": _digits(median(turn.speed for turn in ours)),
        "theirs": _digits(median(turn.speed for turn in theirs)),
        "ratio": _digits(median(ratios)),
        "peak_share": None,
        "settings": settings
        | {
            "rounds": len(ours),
            "ratios": [_digits(min(ratios)), _digits(max(ratios))],
            "spread": {
                name: [_digits(min(turn.speed for turn in turns)), _digits(max(turn.speed for turn in turns))]
                for name, turns in (("ours", ours), ("theirs", theirs))
            },
            "megabytes": {"ours": ours[-1].peak_bytes // 10**6, "theirs": theirs[-1].peak_bytes // 10**6},
            "load": os.getloadavg()[0],
        },
    }


def write_rows(name: str, rows: Sequence[Mapping[str, Any]], packages: Sequence[str]) -> None:
    """Write rows to `results/NAME.json`, in place of those of the same work and peer on such a machine."""
    here = {"machine": machine(), "versions": versions(packages)}
    named = {
        (row["work"], row["peer"], row["machine"]): row
        for row in (*_all_rows(name), *({**row, **here} for row in rows))
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(here | {"rows": list(named.values())}, indent=1, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def read_rows(name: str) -> list[dict[str, Any]]:
    """Return the rows that are there and were measured on a machine like this one."""
    return [row for row in _all_rows(name) if row["machine"] == machine()]


def _all_rows(name: str) -> list[dict[str, Any]]:
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as text."""
    lines = [f"{'work':24} {'peer':44} {'ours':>9} {'theirs':>9} {'ratio':>6} {'of peak':>7}  unit"]
    for row in rows:
        share = "" if row["peak_share"] is None else f"{row['peak_share']:.0%}"
        numbers = f"{row['ours']:9,.4g} {row['theirs']:9,.4g} {row['ratio']:6.2f} {share:>7}"
        lines.append(f"{row['work']:24} {row['peer']:44} {numbers}  {row['unit']}")
    return "\n".join(lines)


def _finish_gpu() -> None:
    """Return when a GPU has done what this side has asked of it; the other side's turn is its own."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.synchronize()


def machine() -> str:
    """Return what this machine is, as far as speed depends on it."""
    import torch

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    said = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    known = {key.strip(): value.strip() for key, value in said.items()}
    processor = known.get("model name") or platform.processor() or platform.machine()
    family = f" of family {known['cpu family']}" if "cpu family" in known else ""
    types = "bfloat16" if has_bfloat16() else "no bfloat16"
    cores = len(os.sched_getaffinity(0))
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{processor}{family}, {torch.backends.cpu.get_cpu_capability()}, {types}, {cores} cores{gpu}"


def has_bfloat16() -> bool:
    """Return whether this processor multiplies bfloat16."""
    from trivium.train.measure import bfloat16_is_native

    return bfloat16_is_native()


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions that matter."""
    from importlib.metadata import version

    return {"python": platform.python_version()} | {name: version(name) for name in ("trivium", "torch", *packages)}


def peak_bytes() -> int:
    """Return the most memory that this process has had."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident_bytes() -> int:
    """Return the memory that this process has now; 0 where the system does not say."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.is_file() else 0


def _start(side: Side) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        side.command, env=os.environ | side.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _turn(process: "subprocess.Popen[str]") -> Turn:
    if process.stdin is None or process.stdout is None:
        raise TypeError("expected a process that is talked to")
    process.stdin.write("go\n")
    process.stdin.flush()
    for line in process.stdout:
        if line.startswith(_TURN):
            return Turn(**json.loads(line.removeprefix(_TURN)))
    raise SystemExit(f"{' '.join(map(str, process.args))}: ended in the middle of a turn")  # type: ignore[arg-type]


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
