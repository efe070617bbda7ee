"""Several tasks fine-tuned together: one run folder, with a folder in it for each task that is used as a run is."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trivium.core.config import parse, read_toml, write_toml
from trivium.core.errors import ConfigError
from trivium.core.files import alone, new_folder, refuse_existing, write_json, write_text
from trivium.core.progress import Progress, Silent
from trivium.model.count import num_parameters
from trivium.model.folder import TASKS
from trivium.model.history import Made, write_history
from trivium.tasks.baselines.by_task import Row
from trivium.tasks.config import FinetuneConfig, Fingerprints
from trivium.tasks.epochs import Epoch
from trivium.tasks.finetune import (
    CONFIG,
    LOG,
    RESULTS,
    Material,
    begin_folder,
    calibrated,
    encoded,
    kept_epoch,
    on_device,
    read_material,
    results_of,
    score_baselines,
    settled,
    tell_balance,
    told_lr,
    train_in,
)
from trivium.tasks.fingerprints import fingerprints, require_unchanged
from trivium.tasks.fit import Fitted, Fitting, Progressed, as_at_best, settled_on, settled_types
from trivium.tasks.folder import MODEL, TunedModel, save_tuned
from trivium.tasks.several.config import PartConfig, SeveralConfig, alone_config
from trivium.tasks.several.task import Part, make_several, own_metrics, several_model, together
from trivium.tasks.start import Start
from trivium.train.log import Log
from trivium.train.resume import require_same
from trivium.train.signals import stop_signals
from trivium.train.track import Tracker, followed

# Settings that are written when a run begins: the fingerprints say whether they are the same.
_GIVEN = ("start_from", "steps", "history", "tasks", "device")
_GIVEN_OF_ONE = ("train", "valid", "test", "fingerprints")


class _Learned(NamedTuple):
    """What is learned, and what of it is known before."""

    fitting: Fitting
    parts: list[Part]
    materials: list[Material]
    compared: list[dict[str, Row]]


def finetune_several(
    start: Start,
    config: SeveralConfig,
    *,
    out: Path,
    progress: Progress | None = None,
    resume: bool = False,
    trackers: Sequence[Tracker] = (),
) -> dict[str, Any]:
    """Fine-tune one network for several tasks into the run folder `out` and return its results.

    `out/tasks/NAME` has a task's `model/`, `results.json` and `config.toml`, and is used as a run of that task is. The
    best epoch is that of the highest mean of what the tasks are chosen by.

    Args:
        start: the weights to begin with.
        config: the tasks and what they share; the resolved one is written to `out/config.toml` before step 0.
        out: the run folder; must not exist unless `resume`. It is not made before what is asked for has been checked.
        progress: shown what is going on.
        resume: go on from the newest whole checkpoint; from the beginning when there is none yet.
        trackers: also get each line of the log, see `train.trackers`; they change nothing in the run.

    Raises:
        ConfigError, DataError, CheckpointError, DivergedError: see `core.errors`.
        Interrupted: SIGTERM or SIGINT came; everything is saved.
    """
    progress, saved = progress or Silent(), out / CONFIG
    config = told_lr(config, start, progress)
    before = _begun(out, config) if resume and saved.is_file() else None
    if before is None:
        refuse_existing(out)  # to resume as well: what has no configuration is no run of ours
    found = [_fingerprints(start, part) for part in config.tasks]
    if before is None:
        config = _settled(config, start, found)
    else:
        for now, part, then in zip(found, config.tasks, before.tasks, strict=True):
            names = {"start_from": start.name, "train": part.train, "valid": part.valid, "test": part.test}
            require_unchanged(now, then.fingerprints or Fingerprints(), names)
        config = on_device(before, config)
    learned = _learned(start, config, progress, out)
    if before is None:
        problems = [each for material in learned.materials for each in material.problems]
        config = begin_folder(out, config, learned.fitting, problems)
    tracked = followed(trackers, out, config.model_dump(mode="json", exclude_none=True), progress)
    with alone(saved), stop_signals() as stopped_by, tracked as followers:
        log = Log(out / LOG, followers)
        done = train_in(out, learned.fitting, log=log, progress=progress, stopped_by=stopped_by)
        return _finish(config, learned, done, out, progress)


def _begun(out: Path, asked: SeveralConfig) -> SeveralConfig:
    """Return a run as it began; raise ConfigError when it is another than is asked for."""
    tree = read_toml(out / CONFIG)
    if "tasks" not in tree:
        raise ConfigError(f"--out {out}: a run of another kind; expected one that `trivium finetune --tasks` began.")
    before = parse(SeveralConfig, tree, str(out / CONFIG))
    require_same(asked, before, free=_GIVEN)
    names = [[part.name for part in config.tasks] for config in (asked, before)]
    if names[0] != names[1]:
        raise ConfigError(
            f"--resume: the tasks were {', '.join(names[1])} when the run began, now {', '.join(names[0])}."
        )
    for now, then in zip(asked.tasks, before.tasks, strict=True):
        require_same(now, then, free=_GIVEN_OF_ONE)
    return before


def _fingerprints(start: Start, part: PartConfig) -> Fingerprints:
    test = None if part.test is None else Path(part.test)
    return fingerprints(start, Path(part.train), Path(part.valid), test)


def _settled(config: SeveralConfig, start: Start, found: Sequence[Fingerprints]) -> SeveralConfig:
    """Return the settings with nothing left open."""
    parts = []
    for part, read in zip(config.tasks, found, strict=True):
        own = settled(alone_config(config, part), start)
        parts.append(part.model_copy(update={"readout": own.readout, "settings": own.settings, "fingerprints": read}))
    given = {"row_length": config.row_length or start.row_length, "tasks": tuple(parts)}
    given |= {"start_from": start.name, "history": start.history}
    return settled_types(config).model_copy(update=given)


def _learned(start: Start, config: SeveralConfig, progress: Progress, out: Path) -> _Learned:
    """Read all examples and return what is made of them; raise a UserError for what cannot be trained."""
    start = start.for_rows(config.row_length or start.row_length)
    parts, materials, compared = [], [], []
    for part in config.tasks:
        test = None if part.test is None else Path(part.test)
        own = alone_config(config, part)
        material = read_material(own, Path(part.train), Path(part.valid), test, progress, out)
        tell_balance(material, progress, f"{part.name}, ")
        train, valid = encoded(material, start.reading(material.task.readout), progress, f"{part.name}, ")
        parts.append(Part(part.name, material.task, part.weight, train, valid))
        materials.append(material)
    fitting = make_several(start, parts, config)
    for part, material in zip(config.tasks, materials, strict=True):
        progress.line(f"{part.name}:")
        compared.append(score_baselines(material, progress))
    return _Learned(fitting, parts, materials, compared)


def _finish(
    config: SeveralConfig, learned: _Learned, done: Progressed, out: Path, progress: Progress
) -> dict[str, Any]:
    """Write each task's folder, and `results.json` of them all."""
    fitting, best = learned.fitting, as_at_best(learned.fitting, done)
    progress.line(kept_epoch(done.epochs, best, fitting.chosen_by, config))
    results: dict[str, dict[str, Any]] = {}
    for number, part in enumerate(learned.parts):
        own, folder = alone_config(config, config.tasks[number]), out / TASKS / part.name
        fitted = _alone(learned, number, done, best)
        found = results_of(own, fitted, learned.materials[number], progress)
        if fitted.temperature is not None:
            progress.line(f"{part.name}: {calibrated(fitted.temperature)}")
        found |= {"baselines": learned.compared[number], "seconds": round(done.seconds, 3)}
        results[part.name] = found | {"history": _write(folder, own, config, fitted)}
        write_json(folder / RESULTS, results[part.name])
    whole = _together(config, learned, results) | {
        "parameters": num_parameters(fitting.model),
        "best_step": best.step,
        "tokens": done.tokens,
        "share_of_real_tokens": fitting.rows.share_of_real_tokens,
        "from": config.start_from,
        "seconds": round(done.seconds, 3),
        "history": next(iter(results.values()))["history"],
        "tasks": results,
    }
    write_json(out / RESULTS, whole)
    return whole


def _alone(learned: _Learned, number: int, done: Progressed, best: Epoch) -> Fitted:
    """Return one of the tasks as if it had been learned by itself."""
    fitting, part = learned.fitting, learned.parts[number]
    model = several_model(fitting.model).of(number)
    tuned = TunedModel(model, fitting.architecture, part.task, part.valid.reading)
    epochs = tuple(epoch._replace(metrics=own_metrics(epoch.metrics, part.name)) for epoch in done.epochs)
    own = best._replace(metrics=own_metrics(best.metrics, part.name))
    return settled_on(part.valid, tuned, own, fitting, done._replace(epochs=epochs))


def _write(folder: Path, own: FinetuneConfig, config: SeveralConfig, fitted: Fitted) -> list[dict[str, Any]]:
    """Write a task's model and settings into its folder, and return how its weights came to be.

    What a user has put there, as a report, stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, write_toml(own))
    read = "".join(f"{p.name} {p.fingerprints.train if p.fingerprints else None}\n" for p in config.tasks)
    made = Made(
        verb="finetune",
        task=" + ".join(part.name if part.name == part.task else f"{part.name} ({part.task})" for part in config.tasks),
        data=hashlib.sha256(read.encode()).hexdigest(),
        steps=fitted.epochs[-1].step,
        tokens=fitted.tokens,
    )
    with new_folder(folder / MODEL) as model:
        save_tuned(model, fitted.tuned)
        return write_history(model, config.history, made)


def _together(config: SeveralConfig, learned: _Learned, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the scores of all tasks; those on test examples where every task has some."""
    valid = together(learned.parts, {name: found["valid"] for name, found in results.items()})
    whole: dict[str, Any] = {"task": config.task, "chosen_by": learned.fitting.chosen_by, "valid": valid}
    if all("test" in found for found in results.values()):
        whole["test"] = together(learned.parts, {name: found["test"] for name, found in results.items()})
    return whole | {"coverage": min(found["coverage"] for found in results.values()), "seed": config.seed}
