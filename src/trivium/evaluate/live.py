"""A run as it goes: where it is, how fast, and how well, from the lines of its log. No torch; nothing is read here."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from trivium.evaluate.formatting import is_number

State = Literal["running", "finished", "stopped", "killed"]
Point = tuple[float, float]  # a step, and a loss after it

_NUM_RECENT = 16  # lines that rates are measured over
_LEAST_SILENCE_SECONDS, _INTERVALS_OF_SILENCE = 30.0, 5.0
_NOT_SCORES = frozenset({"tokens", "seconds"})  # of an evaluation
# Objectives whose loss is nats a token: what a vocabulary alone gives can stand beside it.
_NATS_A_TOKEN = frozenset({"masked", "causal", "prefix", "fill_in", "permuted", "spans", "denoise", "ul2"})


class Known(NamedTuple):
    """What the lines of a log say, as far as it is needed."""

    training: tuple[Point, ...] = ()
    validation: tuple[Point, ...] = ()
    recent: tuple[Mapping[str, Any], ...] = ()  # the last lines of training
    evaluation: Mapping[str, Any] | None = None  # the last one


class Held(NamedTuple):
    """What stands beside a log in a run's folder."""

    results: Mapping[str, Any] | None = None  # None = not finished
    locked: bool | None = None  # whether a process is at work there; None = not known
    silent_seconds: float = 0.0  # since the last line
    checkpoint_step: int | None = None
    checkpoint_seconds: float | None = None  # since it was written


class RunNow(NamedTuple):
    """Where a run is; what is not known is None."""

    run: str
    state: State
    learns: str  # an objective's kind, or a task's name
    step: int
    steps: int | None
    share: float | None  # done, from 0 to 1
    seconds: float | None
    seconds_left: float | None
    tokens: int | None
    tokens_per_second: float | None
    loss: float | None
    smoothed_loss: float | None
    validation: dict[str, float]  # of the last evaluation: its step and metrics, and the best loss with its step
    normal: dict[str, float]  # losses without a network
    lr: float | None
    gradient_norm: float | None
    skipped: int  # updates
    checkpoint_step: int | None
    checkpoint_seconds: float | None
    silent_seconds: float
    overdue: bool  # silent for much longer than there was between its lines
    training_curve: tuple[Point, ...]
    validation_curve: tuple[Point, ...]

    def as_json(self) -> dict[str, Any]:
        """Return all but the curves."""
        return {key: value for key, value in self._asdict().items() if not key.endswith("_curve")}


def extended(known: Known, lines: Sequence[Mapping[str, Any]]) -> Known:
    """Return what is known after more lines of the log."""
    training = [line for line in lines if "split" not in line]
    evaluations = [line for line in lines if str(line.get("split")).startswith("valid")]
    return Known(
        known.training + _points(training),
        known.validation + _points(evaluations),
        (*known.recent, *training)[-_NUM_RECENT:],
        evaluations[-1] if evaluations else known.evaluation,
    )


def run_now(run: str, config: Mapping[str, Any], known: Known, held: Held) -> RunNow:
    """Return where a run is.

    Args:
        run: what the user calls it.
        config: its config.toml.
        known: its log so far.
        held: what else its folder holds.
    """
    last = known.recent[-1] if known.recent else {}
    overdue = _overdue(known, held)
    steps = _steps(config)
    step = int(max((line["step"] for line in (last, known.evaluation or {}) if is_number(line.get("step"))), default=0))
    state = _state(held, step, overdue)
    seconds_a_step = _rate(known.recent, "seconds", "step")
    left = None if steps is None or seconds_a_step is None else max(steps - step, 0) * seconds_a_step
    losses = [loss for _, loss in known.training]
    return RunNow(
        run=run,
        state=state,
        learns=_learns(config),
        step=step,
        steps=steps,
        share=None if not steps else min(step / steps, 1.0),
        seconds=_number(last, "seconds"),
        seconds_left=left if state in ("running", "stopped") else None,
        tokens=None if _number(last, "tokens") is None else int(last["tokens"]),
        tokens_per_second=_rate(known.recent, "tokens", "seconds"),
        loss=losses[-1] if losses else None,
        smoothed_loss=_mean(losses[-max(5, len(losses) // 30) :]),
        validation=_validation(known),
        normal=_normal(config, held.results),
        lr=_number(last, "lr"),
        gradient_norm=_number(last, "gradient_norm"),
        skipped=int(_number(last, "skipped") or 0),
        checkpoint_step=held.checkpoint_step,
        checkpoint_seconds=held.checkpoint_seconds,
        silent_seconds=held.silent_seconds,
        overdue=overdue,
        training_curve=known.training,
        validation_curve=known.validation,
    )


def _state(held: Held, step: int, overdue: bool) -> State:
    if held.locked:
        return "running"
    if held.results is not None:
        return "finished"
    if held.locked is False:  # what a signal ends is saved as it stands, and nothing is lost
        return "stopped" if held.checkpoint_step == step else "killed"
    return "stopped" if overdue else "running"  # where there are no locks, silence is all there is to go by


def _overdue(known: Known, held: Held) -> bool:
    seconds = [line["seconds"] for line in known.recent if is_number(line.get("seconds"))]
    longest = max((after - before for before, after in pairwise(seconds)), default=0.0)
    return held.silent_seconds > max(_LEAST_SILENCE_SECONDS, _INTERVALS_OF_SILENCE * longest)


def _steps(config: Mapping[str, Any]) -> int | None:
    train = config.get("train")  # of a fine-tuning run the name of a file
    steps = train.get("steps") if isinstance(train, Mapping) else config.get("steps")
    return int(steps) if is_number(steps) else None


def _learns(config: Mapping[str, Any]) -> str:
    objective = config.get("objective")
    kind = objective.get("kind") if isinstance(objective, Mapping) else config.get("task")
    return str(kind or "unknown")


def _validation(known: Known) -> dict[str, float]:
    if known.evaluation is None:
        return {}
    found = {key: value for key, value in known.evaluation.items() if key not in _NOT_SCORES and is_number(value)}
    if known.validation:
        best_step, best = min(known.validation, key=lambda point: point[1])
        found |= {"best_loss": best, "best_step": best_step}
    return found


def _normal(config: Mapping[str, Any], results: Mapping[str, Any] | None) -> dict[str, float]:
    """Return the losses of count models once the results tell them; until then that of knowing nothing."""
    told = (results or {}).get("normal")
    if isinstance(told, Mapping):
        return {str(name): float(value) for name, value in told.items() if is_number(value)}
    model = config.get("model")
    size = model.get("vocabulary_size") if isinstance(model, Mapping) else None
    return {"uniform": math.log(size)} if _is_nats_a_token(config) and is_number(size) and size > 1 else {}


def _is_nats_a_token(config: Mapping[str, Any]) -> bool:
    """Return what `objectives.build.is_nats_a_token` does, of a configuration that need not be valid."""
    if _learns(config) != "mixed":
        return _learns(config) in _NATS_A_TOKEN
    parts = config["objective"].get("parts")
    return isinstance(parts, Sequence) and not any(isinstance(part, Mapping) and "weight" in part for part in parts)


def _points(lines: Sequence[Mapping[str, Any]]) -> tuple[Point, ...]:
    return tuple(
        (line["step"], line["loss"]) for line in lines if is_number(line.get("step")) and is_number(line.get("loss"))
    )


def _rate(lines: Sequence[Mapping[str, Any]], over: str, under: str) -> float | None:
    """Return how much of the one went with each unit of the other, over these lines."""
    pairs = [(line[over], line[under]) for line in lines if is_number(line.get(over)) and is_number(line.get(under))]
    if len(pairs) < 2 or pairs[-1][1] <= pairs[0][1]:
        return None
    return float(pairs[-1][0] - pairs[0][0]) / float(pairs[-1][1] - pairs[0][1])


def _number(line: Mapping[str, Any], key: str) -> float | None:
    value = line.get(key)
    return value if is_number(value) else None


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
