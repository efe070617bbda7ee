"""What a run's folder says about the run, read without its weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trivium.core.config import Tree, read_toml
from trivium.core.errors import CheckpointError
from trivium.evaluate.formatting import is_number
from trivium.hub.open import is_foreign, read_foreign
from trivium.model.folder import CONFIG as MODEL_CONFIG
from trivium.model.folder import TASKS, model_folder
from trivium.objectives.build import usual_objective
from trivium.tasks.build import HEADS
from trivium.train.log import read_log
from trivium.train.run import CONFIG, LOG, MODEL, RESULTS

FAMILIES = {"encoder": "encoder", "decoder": "decoder", "encoder_decoder": "seq2seq"}
LOWER_IS_BETTER = frozenset({"loss", "perplexity", "bits", "error", "mse", "mae", "ece", "brier", "nll"})


class RunFiles(NamedTuple):
    """A run as its files tell it; the run may still be going on."""

    path: Path
    config: Tree
    log: list[dict[str, Any]]
    results: Tree | None  # None = not finished
    model: Tree  # the architecture; empty when it is not known

    @property
    def task(self) -> str:
        """What it learned: an objective's kind, or a task's name."""
        task = (
            (self.results or {}).get("task") or self.config.get("task") or table(self.config, "objective").get("kind")
        )
        return str(task or "unknown")

    @property
    def training_loss(self) -> str:
        """What of the training lines the held-out loss is to be seen beside: regularisers are in their loss alone."""
        training = [line for line in self.log if "split" not in line]
        own = bool(self.config.get("regularisers")) and all(self.task in line for line in training)
        return self.task if own else "loss"

    @property
    def is_tuned(self) -> bool:
        """Whether it learned a task, not a language."""
        return "objective" not in self.config

    @property
    def folder(self) -> Path:
        """The folder of its model."""
        return model_folder(self.path)

    @property
    def family(self) -> str:
        """Return encoder, decoder or seq2seq, or an empty string when it is not known."""
        return FAMILIES.get(str(table(self.model, "family").get("kind")), "")


def read_run(run: Path) -> RunFiles:
    """Read the files of a run's folder.

    Raises:
        CheckpointError: it is no run's folder, or its results are damaged.
        ConfigError: its config cannot be read.
    """
    if not (run / CONFIG).is_file():
        if is_foreign(run):
            raise CheckpointError(
                f"{run}: a model of another library, not a run of ours: it has no log and no results."
            )
        raise CheckpointError(f"{run}: not a run's folder: it has no {CONFIG}.")
    config = read_toml(run / CONFIG)
    log = read_log(run / LOG) if (run / LOG).is_file() else []
    results = None
    if (run / RESULTS).is_file():
        try:
            results = json.loads((run / RESULTS).read_text(encoding="utf-8"))
        except ValueError:
            raise CheckpointError(f"{run / RESULTS}: damaged: not JSON.") from None
        if not isinstance(results, dict):
            raise CheckpointError(f"{run / RESULTS}: damaged: expected a table of results.")
    model = table(config, "model")
    # Several tasks have a model each, whose stack is one.
    folders = [run / MODEL, *(run / TASKS / name / MODEL for name in table(results, "tasks"))]
    there = [folder / MODEL_CONFIG for folder in folders if (folder / MODEL_CONFIG).is_file()]
    if not model and there:
        model = read_toml(there[0])
    # What was warned of is no measurement.
    return RunFiles(
        run, config, [line for line in log if isinstance(line, dict) and "warning" not in line], results, model
    )


def foreign_run(folder: Path) -> RunFiles:
    """Return a Hugging Face folder as a run of which nothing is known but its model.

    Raises:
        HubError: it cannot be read.
    """
    model = read_foreign(folder)
    pretrained = model.head not in HEADS
    config: Tree = {"objective": {"kind": usual_objective(model.config).kind}} if pretrained else {"task": model.head}
    return RunFiles(folder, config, [], {}, model.config.model_dump(mode="json"))


def table(tree: Mapping[str, Any] | None, *path: str) -> Tree:
    """Return the table at a path, an empty one when there is none."""
    node: Any = tree
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else None
    return dict(node) if isinstance(node, Mapping) else {}


def metrics_of(values: Mapping[str, Any]) -> dict[str, float]:
    """Return what is a number among results."""
    return {name: float(value) for name, value in values.items() if is_number(value)}


def scored_split(results: Mapping[str, Any] | None) -> str:
    """Return the split that was scored last: test, or valid where there is none."""
    return "test" if table(results, "test") else "valid"


def interval_of(results: Mapping[str, Any] | None, metric: str) -> tuple[float, float] | None:
    """Return the 95 % interval of a metric of the split that was scored last; None where the results have none."""
    found = table(results, "intervals").get(metric)
    if not isinstance(found, list) or len(found) != 2 or not all(map(is_number, found)):
        return None
    return float(found[0]), float(found[1])


def main_metric(names: list[str], chosen_by: object = None) -> str | None:
    """Return the metric that a run is judged by: that of its task, else accuracy, else the loss, else the first.

    Args:
        names: of the metrics there are.
        chosen_by: the task's, as the results of a fine-tuning run name it.
    """
    return next((name for name in (chosen_by, "accuracy", "loss") if name in names), next(iter(names), None))


def lower_is_better(metric: str) -> bool:
    """Say whether less of a metric is better."""
    return not LOWER_IS_BETTER.isdisjoint(metric.lower().split("_"))
