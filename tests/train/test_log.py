"""log.jsonl: what was written comes back, and a run that goes on cuts it."""

from pathlib import Path

from trivium.train.log import Log, read_log


def test_lines_come_back(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.write(step=1, loss=2.5, split="validation")
    log.write(step=2, loss=1 / 3, lr=1.2345678e-9)
    assert read_log(log.path) == [
        {"step": 1, "loss": 2.5, "split": "validation"},
        {"step": 2, "loss": 0.33333333, "lr": 1.2345678e-9},
    ]


def test_lines_after_the_checkpoint_are_cut(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    for step in range(1, 6):
        log.write(step=step, loss=float(step))
    log.cut_after(3)
    assert [line["step"] for line in read_log(log.path)] == [1, 2, 3]
    log.write(step=4, loss=0.5)
    assert [line["step"] for line in read_log(log.path)] == [1, 2, 3, 4]


def test_what_is_left_of_a_line_when_a_run_is_killed_is_cut(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.write(step=1, loss=1.0)
    log.write(step=2, loss=1.0)
    whole = log.path.read_text()
    for length in range(len(whole) // 2 + 1, len(whole)):
        log.path.write_text(whole[:length])
        assert [line["step"] for line in read_log(log.path)][:1] == [1]
        log.cut_after(9)
        log.write(step=3, loss=1.0)
        assert [line["step"] for line in read_log(log.path)] in ([1, 3], [1, 2, 3])


def test_cutting_a_log_that_is_not_there_is_nothing(tmp_path: Path) -> None:
    Log(tmp_path / "log.jsonl").cut_after(3)
    assert list(tmp_path.iterdir()) == []
