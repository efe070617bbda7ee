"""The four trackers, as fakes that note what they are told, and for real where their packages are installed."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from run_support import config_of, run

from stopping import Killed, KilledAt
from trivium.core.errors import ConfigError, MissingExtra
from trivium.core.progress import Silent
from trivium.train.log import Log, read_log
from trivium.train.track import followed, numbers
from trivium.train.trackers import open_trackers

NAMES = ["tensorboard", "trackio", "wandb", "mlflow"]
CONFIG = {"seed": 3, "train": {"steps": 8, "stages": [1, 2]}, "name": "a run"}


class Told:
    """Notes every call on it, and on what it returns."""

    def __init__(self, calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]], path: str = "") -> None:
        self._calls, self._path = calls, path

    def __getattr__(self, name: str) -> "Told":
        if name.startswith("__"):
            raise AttributeError(name)
        return Told(self._calls, f"{self._path}.{name}".lstrip("."))

    def __call__(self, *arguments: Any, **named: Any) -> "Told":
        self._calls.append((self._path, arguments, named))
        return Told(self._calls, f"{self._path}()")


Calls = list[tuple[str, tuple[Any, ...], dict[str, Any]]]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Calls]:
    """Put a package that only notes what it is told in the place of the real one."""

    def make(name: str) -> Calls:
        calls: Calls = []
        monkeypatch.setitem(sys.modules, name, Told(calls))  # type: ignore[arg-type]
        return calls

    return make


def follow(name: str, folder: Path, *steps: int, after: int = 0) -> list[dict[str, Any]]:
    """Send lines of these steps, and an evaluation after the last."""
    folder.mkdir(exist_ok=True)
    with followed(open_trackers([name]), folder, CONFIG, Silent()) as followers:
        log = Log(folder / "log.jsonl", followers)
        log.cut_after(after)
        for step in steps:
            log.write(step=step, loss=1.0 / 3.0 / step, lr=1e-3)
        log.write(step=steps[-1], split="validation", loss=2.0, tokens=9)
    return read_log(folder / "log.jsonl")


def sent(lines: list[dict[str, Any]]) -> list[tuple[int, Mapping[str, float]]]:
    return [(line["step"], numbers(line)) for line in lines]


def test_an_unknown_tracker_and_a_missing_package_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"must be one of tensorboard, trackio, wandb, mlflow: found 'wanddb'\. Did"):
        open_trackers(["wanddb"])
    with pytest.raises(ConfigError, match=r"found ''\.$"):
        open_trackers([""])
    for name in NAMES:
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingExtra, match=rf"--track {name} needs `{name}`.*pip install 'trivium\[{name}\]'"):
            open_trackers([name])


def test_every_tracker_has_an_extra() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    for name in NAMES:
        assert project["project"]["optional-dependencies"][name][0].startswith(name)


def test_a_tracker_that_is_named_twice_is_opened_once(fake: Callable[[str], Calls]) -> None:
    fake("wandb")
    assert len(open_trackers(["wandb", "wandb"])) == 1


def test_weights_and_biases_is_offline_with_one_id_a_run(
    fake: Callable[[str], Calls], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    calls, run = fake("wandb"), tmp_path / "my-run"
    lines = follow("wandb", run, 1, 2)
    begun = [named for path, _, named in calls if path == "init"]
    assert begun[0] | {"settings": None, "id": ""} == {
        "project": "trivium",
        "id": "",
        "name": "my-run",
        "resume": "allow",
        "mode": "offline",
        "dir": str(run.resolve()),
        "config": CONFIG,
        "settings": None,
    }
    assert [(named["step"], values) for path, (values, *_), named in _logged(calls)] == sent(lines)
    assert calls[-1] == ("init().finish", (), {"exit_code": 0})
    monkeypatch.setenv("WANDB_MODE", "online")
    follow("wandb", run, 3, after=2)
    again = [named for path, _, named in calls if path == "init"][1]
    assert again["id"] == begun[0]["id"] and again["mode"] == "online"


def test_trackio_gets_the_numbers_under_one_name_a_run(fake: Callable[[str], Calls], tmp_path: Path) -> None:
    calls = fake("trackio")
    lines = follow("trackio", tmp_path / "my-run", 1, 2)
    assert [(named["step"], values) for path, (values, *_), named in _logged(calls)] == sent(lines)
    follow("trackio", tmp_path / "my-run", 3, after=2)
    first, second = (named for path, _, named in calls if path == "init")
    assert first == second and first["name"].startswith("my-run-") and first["resume"] == "allow"
    assert first["config"]["train.steps"] == 8 and "space_id" not in first


def test_mlflow_is_in_the_run_unless_a_server_is_named(
    fake: Callable[[str], Calls], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    asked: list[str] = []
    logged: list[Any] = []

    class Client(Told):
        def create_run(self, *arguments: Any, **named: Any) -> SimpleNamespace:
            return SimpleNamespace(info=SimpleNamespace(run_id="r1"))

        def log_batch(self, identity: str, metrics: Any = (), params: Any = ()) -> None:
            assert identity == "r1" and len(params) <= 100
            logged.extend(metrics)

    module = ModuleType("mlflow")
    module.MlflowClient = lambda tracking_uri: asked.append(tracking_uri) or Client([])  # type: ignore[attr-defined]
    module.entities = SimpleNamespace(Metric=lambda *values: values, Param=lambda *values: values)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", module)
    run = tmp_path / "run"
    lines = follow("mlflow", run, 1, 2)
    wanted = [(name, value, step) for step, values in sent(lines) for name, value in values.items()]
    assert [(name, value, step) for name, value, _, step in logged] == wanted
    assert (run / "mlflow" / "run-id.txt").read_text() == "r1\n"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:1")
    follow("mlflow", run, 3, after=2)
    assert asked == [f"sqlite:///{(run / 'mlflow' / 'mlflow.db').resolve()}", "http://localhost:1"]
    assert __import__("os").environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_tensorboard_reads_back_what_is_in_the_log_of_a_run_that_was_killed(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "out"
    with pytest.raises(Killed):
        run(config_of(), out, trackers=open_trackers(["tensorboard"]), progress=KilledAt(7))
    run(config_of(), out, trackers=open_trackers(["tensorboard"]), resume=True)
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    wanted: dict[str, list[tuple[int, float]]] = {}
    for step, values in sent(read_log(out / "log.jsonl")):
        for name, value in values.items():
            wanted.setdefault(name, []).append((step, value))
    assert set(events.Tags()["scalars"]) == set(wanted)
    for name, points in wanted.items():
        read = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in read] == [step for step, _ in points], name
        assert [value for _, value in read] == pytest.approx([value for _, value in points], rel=1e-6)


def test_mlflow_reads_back_what_was_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    lines = follow("mlflow", tmp_path / "run", 1, 2)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{(tmp_path / 'run' / 'mlflow' / 'mlflow.db').resolve()}")
    identity = (tmp_path / "run" / "mlflow" / "run-id.txt").read_text().strip()
    assert client.get_run(identity).info.status == "FINISHED"
    history = [(each.step, each.value) for each in client.get_metric_history(identity, "train/loss")]
    assert history == [(line["step"], line["loss"]) for line in lines if "split" not in line]


def _logged(calls: Calls) -> Calls:
    return [call for call in calls if call[0] == "init().log"]
