"""TensorBoard, trackio, Weights & Biases and MLflow as trackers: local unless their own settings say otherwise.

What each keeps lies in a folder of the run that has its name (trackio's: where trackio keeps all runs).
"""

import importlib
import io
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from trivium.core.errors import ConfigError, MissingExtra, nearest
from trivium.train.track import Tracker, flat

_RUN_ID = "run-id.txt"
_PROJECT = "trivium"
_MOST_PARAMETERS, _LONGEST_PARAMETER = 100, 500  # that MLflow takes at once, and that all its stores take


def open_trackers(names: Sequence[str]) -> list[Tracker]:
    """Return the trackers of these names, each once, with their packages imported.

    Raises:
        ConfigError: there is no such tracker.
        MissingExtra: its package is not installed.
    """
    kinds: dict[str, Callable[[], Tracker]] = {
        "tensorboard": TensorBoard,
        "trackio": Trackio,
        "wandb": WeightsAndBiases,
        "mlflow": MLflow,
    }
    for name in names:
        if name not in kinds:
            raise ConfigError(
                f"`--track` must be one of {', '.join(kinds)}: found {name!r}.{_meant(name, list(kinds))}"
            )
    return [kinds[name]() for name in dict.fromkeys(names)]


class TensorBoard:
    """Event files in RUN/tensorboard; those of steps that a resumed run makes again are marked as void."""

    name = "tensorboard"

    def __init__(self) -> None:
        _package("tensorboard", self.name)
        self._module = _package("torch.utils.tensorboard", self.name)

    def seen_by(self, run: Path) -> str:
        """Return the command that shows the run."""
        return f"tensorboard --logdir {run}"

    def begin(self, run: Path, config: Mapping[str, Any], step: int) -> None:
        """Write to a new file; readers forget events from `purge_step` on that earlier files hold."""
        folder = run / self.name
        known = folder.is_dir() and any(folder.iterdir())
        self._writer = self._module.SummaryWriter(str(folder), purge_step=step + 1 if known else None)
        if not known:
            rows = "".join(f"    {name} = {value!r}\n" for name, value in flat(config).items())
            self._writer.add_text("config", rows, 0)  # four spaces: code, in Markdown

    def send(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write each number; a minute or so may pass before it is on disk."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def end(self, *, finished: bool) -> None:
        """Write what is left."""
        self._writer.close()


class Trackio:
    """A run of trackio's local project `trivium`; a resumed run goes on in it.

    trackio cannot take numbers back: the steps that a resumed run makes again are there twice.
    """

    name = "trackio"

    def __init__(self) -> None:
        self._module = _package("trackio", self.name)

    def seen_by(self, run: Path) -> str:
        """Return the command that shows the run."""
        return f"trackio show --project {_PROJECT}"

    def begin(self, run: Path, config: Mapping[str, Any], step: int) -> None:
        """Open the run of this name, anew or to go on."""
        name, _ = _identity(run / self.name, lambda: f"{run.resolve().name}-{secrets.token_hex(3)}")
        with redirect_stdout(io.StringIO()):  # it greets on standard output
            self._run = self._module.init(
                project=_PROJECT,
                name=name,
                config=flat(config),
                resume="allow",
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )

    def send(self, step: int, numbers: Mapping[str, float]) -> None:
        """Log the numbers."""
        self._run.log(dict(numbers), step=step)

    def end(self, *, finished: bool) -> None:
        """Finish."""
        with redirect_stdout(io.StringIO()):
            self._run.finish()


class WeightsAndBiases:
    """A run of Weights & Biases, offline in RUN/wandb unless WANDB_MODE is set; a resumed run keeps its id.

    Offline, each part of a resumed run is a folder of that id; of one that was killed the last lines may be missing,
    and steps made again are in both. Online, steps that are there already are not taken again.
    """

    name = "wandb"

    def __init__(self) -> None:
        if "WANDB_MODE" not in os.environ:
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # offline is offline
        self._module = _package("wandb", self.name)

    def seen_by(self, run: Path) -> str:
        """Return the command that shows the run."""
        if "WANDB_MODE" in os.environ:
            return "wandb.ai, or your own server"
        return f"wandb sync {run / self.name}/offline-run-* (sends it to wandb.ai)"

    def begin(self, run: Path, config: Mapping[str, Any], step: int) -> None:
        """Open the run with the id kept in its folder."""
        identity, _ = _identity(run / self.name, lambda: secrets.token_hex(4))
        self._run = self._module.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            id=identity,
            name=run.resolve().name,
            resume="allow",
            mode=os.environ.get("WANDB_MODE", "offline"),
            dir=str(run.resolve()),
            config=dict(config),
            settings=self._module.Settings(console="off", silent=True, x_disable_stats=True),
        )

    def send(self, step: int, numbers: Mapping[str, float]) -> None:
        """Log the numbers; those of an evaluation join the line of their step."""
        self._run.log(dict(numbers), step=step)

    def end(self, *, finished: bool) -> None:
        """Finish; a run that may go on later is marked as failed."""
        self._run.finish(exit_code=0 if finished else 1)


class MLflow:
    """A run of MLflow, in RUN/mlflow unless MLFLOW_TRACKING_URI is set; a resumed run keeps its id.

    MLflow cannot take numbers back: the steps that a resumed run makes again are there twice.
    """

    name = "mlflow"

    def __init__(self) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it reports its use over the network
        self._module = _package("mlflow", self.name)
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every table that it makes

    def seen_by(self, run: Path) -> str:
        """Return the command that shows the run."""
        uri = _mlflow_uri(run)
        return "mlflow ui" + (f" --backend-store-uri {uri}" if uri.startswith("sqlite") else f" (tracked at {uri})")

    def begin(self, run: Path, config: Mapping[str, Any], step: int) -> None:
        """Open the run with the id kept in its folder."""
        self._client = self._module.MlflowClient(tracking_uri=_mlflow_uri(run))
        self._id, known = _identity(run / self.name, lambda: self._new_run(run, config))
        if known:
            self._client.update_run(self._id, status="RUNNING")

    def send(self, step: int, numbers: Mapping[str, float]) -> None:
        """Log the numbers in one call."""
        now, metric = int(1000 * time.time()), self._module.entities.Metric
        self._client.log_batch(self._id, [metric(name, float(value), now, step) for name, value in numbers.items()])

    def end(self, *, finished: bool) -> None:
        """Finish; a run that may go on later is marked as killed."""
        self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")

    def _new_run(self, run: Path, config: Mapping[str, Any]) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        place = None if "MLFLOW_TRACKING_URI" in os.environ else (run / self.name / "artifacts").resolve().as_uri()
        identity = experiment.experiment_id if experiment else self._client.create_experiment(name, place)
        made = str(self._client.create_run(identity, run_name=run.resolve().name).info.run_id)
        parameter = self._module.entities.Param
        settings = [
            parameter(key, (value if isinstance(value, str) else json.dumps(value))[:_LONGEST_PARAMETER])
            for key, value in flat(config).items()
        ]
        for first in range(0, len(settings), _MOST_PARAMETERS):
            self._client.log_batch(made, params=settings[first : first + _MOST_PARAMETERS])
        return made


def _mlflow_uri(run: Path) -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(run / 'mlflow' / 'mlflow.db').resolve()}"


def _identity(folder: Path, make: Callable[[], str]) -> tuple[str, bool]:
    """Return the id that a tracker's folder keeps, and whether it was there before; one that was not is made."""
    folder.mkdir(exist_ok=True)
    kept = folder / _RUN_ID
    if kept.is_file():
        return kept.read_text(encoding="utf-8").strip(), True
    made = make()
    kept.write_text(made + "\n", encoding="utf-8")
    return made, False


def _package(module: str, extra: str) -> Any:
    """Import a module of a tracker's package; raise MissingExtra when the package is not there."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingExtra(extra, extra, f"--track {extra}") from None


def _meant(name: str, known: list[str]) -> str:
    hint = nearest(name, known)
    return hint if "mean" in hint else ""
