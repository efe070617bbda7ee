"""trivium watch: what it says of real runs, once and live."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import Command
from trivium.cli.watch import headline, plain, rows
from trivium.core.files import alone
from trivium.evaluate.live import Held, Known, RunNow, extended, run_now

CONFIG = {"objective": {"kind": "causal"}, "model": {"vocabulary_size": 100}, "train": {"steps": 40}}


def a_run(**held: object) -> RunNow:
    log = [
        {"step": step, "loss": 8.0 / step, "tokens": 64 * step, "seconds": 2.0 * step, "lr": 1e-3, "gradient_norm": 0.5}
        for step in range(1, 11)
    ]
    log += [{"step": 5, "split": "validation", "loss": 2.0}, {"step": 10, "split": "validation", "loss": 2.5}]
    log[9]["skipped"] = 2
    return run_now("runs/a", CONFIG, extended(Known(), log), Held(**held))  # type: ignore[arg-type]


def test_what_is_said_of_a_run() -> None:
    run = a_run(locked=True, checkpoint_step=10, checkpoint_seconds=3.2)
    text = plain(run, "utf-8").replace("\u00a0", " ")
    assert text.splitlines()[0] == "runs/a: running, causal, step 10 of 40 (25.0 %), 1 min left"
    for said in (
        "loss           0.800, smoothed 1.033 ",
        "validation     loss 2.500 at step 10; best 2 at 5 ",
        "normal         uniform 4.61",
        "learning rate  0.001",
        "gradient norm  0.5",
        "skipped        2 updates",
        "speed          32 tokens/s, 640 tokens in 20 s",
        "checkpoint     step 10, 3 s ago",
    ):
        assert said in text, said
    assert "\u2581" in text and all(len(line) < 100 for line in text.splitlines())


def test_states_are_said() -> None:
    for state, locked in (("running", True), ("stopped", None)):
        said = headline(a_run(locked=locked, silent_seconds=90.0))
        assert said.startswith(f"{state}, ") and said.endswith("no line for 1\u00a0min 30\u00a0s")
    assert "--resume" in headline(a_run(locked=False))
    assert headline(a_run(results={})) == "finished, causal, step 10 of 40 in 20\u00a0s"
    assert rows(run_now("r", CONFIG, Known(), Held(locked=True)), 20) == [("normal", "uniform 4.61", "")]


def test_a_terminal_without_blocks_gets_none() -> None:
    for encoding in ("ascii", "latin-1", "no such encoding"):
        text = plain(a_run(locked=True), encoding)
        assert text.isascii() and "smoothed 1.033" in text and "(25.0 %)" in text


def test_finished_runs_are_said_once_where_there_is_no_terminal(trivium: Command, workshop: Path) -> None:
    code, out, error = trivium("watch", workshop / "encoder", workshop / "decoder")
    assert (code, error) == (0, "")
    heads = [line for line in out.splitlines() if not line.startswith(" ")]
    assert [": finished, " in line for line in heads] == [True, True]
    assert "tokens/s" in out and "checkpoint" in out
    assert trivium("watch", workshop / "encoder", workshop / "decoder", "--once")[1].count("finished") == 2
    code, out, _ = trivium("watch", workshop / "encoder", workshop / "decoder", "--once", "--json")
    runs = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [run["state"] for run in runs] == ["finished"] * 2
    assert runs[1]["run"] == str(workshop / "decoder") and runs[1]["step"] == runs[1]["steps"] > 0


def test_what_is_no_run_is_one_line(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing", workshop / "data"):
        for more in ((), ("--once",), ("--once", "--json")):
            code, out, error = trivium("watch", workshop / "decoder", folder, *more)
            assert (code, out) == (2, "") and error.startswith(f"trivium: {folder}: ") and error.count("\n") == 1
    code, _, error = trivium("watch")
    assert code == 2 and "RUN" in error


def test_it_loads_no_torch(workshop: Path) -> None:
    code = (
        "import sys; from trivium.cli.main import _run; code = _run(sys.argv[1:]); "
        "sys.exit(code + len({'torch', 'numpy'} & set(sys.modules)))"
    )
    for arguments in (["--help"], ["--once", workshop / "decoder"]):
        done = subprocess.run([sys.executable, "-c", code, "watch", *map(str, arguments)], capture_output=True)
        assert done.returncode == 0, done.stderr.decode()


@pytest.fixture
def followed(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.toml").write_text('objective = {kind = "causal"}\ntrain = {steps = 3}\n')
    (run / "log.jsonl").write_text('{"step": 1, "loss": 4.5}\n')
    return run


def terminal(*arguments: object) -> tuple[int, int]:
    """Run a command in a terminal; return its process and the terminal."""
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    code = "import sys; from trivium.cli.main import run; run()"
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    child = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        start_new_session=True,
    )
    os.close(slave)
    return child, master  # type: ignore[return-value]


def until(master: int, word: str) -> str:
    """Return what a terminal shows up to a word."""
    shown, begun = b"", time.monotonic()
    while word not in shown.decode(errors="replace"):
        assert time.monotonic() - begun < 60, shown.decode(errors="replace")
        if select.select([master], [], [], 0.2)[0]:
            shown += os.read(master, 65536)
    return shown.decode(errors="replace")


def test_in_a_terminal_it_follows_a_run_to_its_end(followed: Path) -> None:
    with alone(followed / "config.toml"):
        child, master = terminal("watch", followed)
        assert "step 1 of 3" in until(master, "4.500")
        with (followed / "log.jsonl").open("a") as file:
            file.write('{"step": 2, "loss": 3.25}\n')
        assert "step 2 of 3" in until(master, "3.250")
    until(master, "killed")
    (followed / "results.json").write_text("{}")
    until(master, "finished")
    assert child.wait(20) == 0  # type: ignore[attr-defined]
    os.close(master)


def test_control_c_ends_it_well(followed: Path) -> None:
    child, master = terminal("watch", followed)
    until(master, "killed")
    os.kill(child.pid, signal.SIGINT)  # type: ignore[attr-defined]
    assert "Traceback" not in until(master, "\x1b[?25h")  # the cursor is back
    assert child.wait(20) == 0  # type: ignore[attr-defined]
    os.close(master)
