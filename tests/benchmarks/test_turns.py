"""The sides of a benchmark take turns, each timed in its own process, and the rows say what was measured."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIDE = """
import sys, time
sys.path.insert(0, sys.argv[1])
from turns import Turns
print("what a library prints is no answer")
turns, units = Turns(2), float(sys.argv[2])
with open(sys.argv[3], "a") as log:
    while True:
        log.write(f"{units:.0f} ")
        log.flush()
        turns.tick(units, loss=units / 2)
"""


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import turns

    monkeypatch.setattr(turns, "RESULTS", tmp_path / "results")
    return turns


def test_sides_warm_up_and_take_turns_every_other_round_backwards(turns: ModuleType, tmp_path: Path) -> None:
    script, log = tmp_path / "side.py", tmp_path / "log"
    script.write_text(SIDE)
    command = [sys.executable, str(script), str(BENCHMARKS)]
    sides = [turns.Side(name, [*command, units, str(log)]) for name, units in (("one", "1"), ("ten", "10"))]
    found = turns.by_turns(sides, rounds=3)
    assert {name: len(each) for name, each in found.items()} == {"one": 3, "ten": 3}
    assert [turn.units for turn in found["ten"]] == [20.0] * 3  # two ticks a turn
    assert all(turn.said == {"loss": 0.5} for turn in found["one"])
    assert all(turn.seconds > 0 and turn.peak_bytes > turn.begun_bytes > 0 for turn in found["one"])
    # Each side begins the step after its turn before it waits; warm-up, then one, ten, ten, one, one, ten.
    assert log.read_text().split() == ["1"] * 2 + ["10"] * 2 + (["1"] * 2 + ["10"] * 4 + ["1"] * 4 + ["10"] * 2)


def test_a_side_that_ends_in_its_turn_is_named(turns: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="-c pass: ended in the middle of a turn"):
        turns.by_turns([turns.Side("none", [sys.executable, "-c", "pass"])], rounds=1)


def test_rows_hold_medians_and_take_the_place_of_those_before(turns: ModuleType, tmp_path: Path) -> None:
    def turn(units: float) -> object:
        return turns.Turn(units, 1.0, 1.0, 5_000_000, {})

    ours, theirs = [turn(30.0), turn(10.0), turn(20.0)], [turn(10.0), turn(10.0), turn(5.0)]
    made = turns.row("work", "tokens/s", ours, "peer", theirs, rows=4)
    assert (made["ours"], made["theirs"], made["ratio"]) == (20.0, 10.0, 3.0)  # ratios 3, 1 and 4
    assert made["settings"]["ratios"] == [1.0, 4.0] and made["settings"]["rows"] == 4
    turns.write_rows("name", [made, made | {"work": "other"}], ["torch"])
    turns.write_rows("name", [made | {"ratio": 9.0}], ["torch"])
    kept = json.loads((tmp_path / "results" / "name.json").read_text())
    assert [(row["work"], row["ratio"]) for row in kept["rows"]] == [("work", 9.0), ("other", 3.0)]
    assert {"python", "trivium", "torch"} == set(kept["versions"]) and kept["machine"]
    assert "work" in turns.table(kept["rows"]) and "9.00" in turns.table(kept["rows"])


def test_the_tables_of_the_page_have_every_row(turns: ModuleType) -> None:
    import tables

    for path in (BENCHMARKS / "results").glob("*.json"):
        if path.stem in tables.NAMES:
            results = json.loads(path.read_text())
            shown = tables.markdown(results)
            assert all(f"| `{row['work']}` | {row['peer']} |" in shown for row in results["rows"])
            assert shown.count("\n") >= len(results["rows"]) + 3


def test_rows_of_another_machine_stay_beside_those_of_this_one(
    turns: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"work": "work", "peer": "peer", "ours": 1.0}
    for machine, ours in (("old", 1.0), ("new", 2.0), ("new", 3.0)):
        monkeypatch.setattr(turns, "machine", lambda machine=machine: machine)
        turns.write_rows("speed", [{**row, "ours": ours}], [])
    assert [each["ours"] for each in turns.read_rows("speed")] == [3.0]
    written = json.loads((turns.RESULTS / "speed.json").read_text(encoding="utf-8"))
    assert [(each["machine"], each["ours"]) for each in written["rows"]] == [("old", 1.0), ("new", 3.0)]
