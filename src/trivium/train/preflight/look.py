"""Before a run: what it will take, what its labels look like, and what is likely to be a mistake, in a few seconds."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter
from typing import NamedTuple

import torch

from trivium.core.progress import Progress
from trivium.data.shards import PreparedData
from trivium.objectives.build import is_nats_a_token
from trivium.train.config import RunConfig
from trivium.train.device import open_device
from trivium.train.distributed import ALONE, Ranks
from trivium.train.findings import Finding, config_error, first_error
from trivium.train.material import Material
from trivium.train.preflight.footprint import (
    Machine,
    Sizes,
    disk_bytes,
    footprint_findings,
    held_bytes,
    in_bytes,
    sizes_of,
    sketch,
    this_machine,
)
from trivium.train.preflight.label_checks import label_findings, labelled_parts
from trivium.train.preflight.plan_checks import plan_findings, plan_lines
from trivium.train.preflight.readable import shown_examples
from trivium.train.preflight.rehearsal import Overfit, Rehearsal, rehearse
from trivium.train.preflight.text_checks import text_findings
from trivium.train.sharded import is_sharding

PREFLIGHT_SECONDS = 10.0
_TEXT_SHARE = 0.15  # of the time, for the search for texts of one split in the other
_MOST_FIRST_LOSS, _LEAST_FIRST_LOSS, _BEGUN_LOSS = 1.25, 0.6, 0.97  # of the logarithm of the vocabulary
_LEAST_FALL, _MOST_RISE = 0.15, 1.6  # of the first loss, in learning one batch by heart
_LEAST_CLIP = 1e-3  # of the gradient's length
_WRITTEN_AT_ONCE = 2**23
_SLACK = 0.85  # of the time is planned: steps are not all as long


class Preflight(NamedTuple):
    """What is known of a run before it begins; None = there was no time to measure it."""

    findings: tuple[Finding, ...]
    lines: tuple[str, ...]  # what is said of it
    run_seconds: float | None  # of the whole run, validation and checkpoints counted in
    peak: int | None  # bytes that the process will hold at most
    disk: int  # bytes that the run writes at most
    rehearsal: Rehearsal
    seconds: float  # that this took

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What the run is refused for."""
        return tuple(finding for finding in self.findings if finding.error is not None)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is said and does not stop it."""
        return tuple(finding for finding in self.findings if finding.error is None)


def preflight(
    config: RunConfig,
    data: PreparedData,
    material: Material,
    out: Path,
    *,
    seconds: float = PREFLIGHT_SECONDS,
    machine: Machine | None = None,
) -> Preflight:
    """Look at a run before it begins, on a network that is thrown away; nothing is written.

    Settings, text, labels and disk are always looked at; speed, memory and one batch learned by heart as far as the
    time goes: `seconds`, and a tenth of what the run will take. Labels are those that the run's first step has.

    Args:
        config: the run, nothing left open.
        data: prepared text.
        material: of the run.
        out: where its folder will be.
        seconds: that may be used.
        machine: what there is; None = this one, as it is now.
    """
    # The run's numbers must not depend on whether it was looked at.
    with torch.random.fork_rng(devices=[]):
        return _preflight(
            config, data, material, out, seconds, machine or this_machine(out, open_device(config.train.device))
        )


def _preflight(
    config: RunConfig, data: PreparedData, material: Material, out: Path, seconds: float, machine: Machine
) -> Preflight:
    begun, held = perf_counter(), held_bytes(open_device(config.train.device))
    network = sketch(config, material)
    sizes = sizes_of(config, network)
    findings = [*plan_findings(config, material, network)]
    findings += text_findings(data, config.model, deadline=begun + _TEXT_SHARE * seconds)
    examples: list[str] = []
    if not any(finding.check == "tokens" and finding.error for finding in findings):
        examples = _look_at_labels(config, data, material, findings)
    disk = disk_bytes(config, sizes)
    rehearsal = Rehearsal(not_tried="there is an error to mend first")
    if not any(finding.error for finding in findings):
        rehearsal = rehearse(config, material, sizes, memory=machine.memory, begun=begun, seconds=_SLACK * seconds)
    findings += rehearsal_findings(config, material, rehearsal)
    needed = _memory(rehearsal, sizes, config, held)
    findings += footprint_findings(machine, memory=needed - (held or 0), disk=disk)
    run_seconds = _run_seconds(config, material, rehearsal, sizes, out)
    lines = [*plan_lines(config, material), *(f"example    {line}" for line in examples)]
    lines += _measured_lines(config, rehearsal, run_seconds, needed, machine, disk, sizes)
    peak = None if held is None or rehearsal.row_bytes is None else needed
    return Preflight(tuple(findings), tuple(lines), run_seconds, peak, disk, rehearsal, perf_counter() - begun)


def look(
    config: RunConfig,
    data: PreparedData,
    material: Material,
    out: Path,
    progress: Progress,
    *,
    seconds: float,
    ranks: Ranks = ALONE,
) -> None:
    """Show what pre-flight finds out, and raise what the run is refused for; arguments are those of `preflight`.

    Of several ranks one looks: at micro-batches of the rows that each of them has. What memory a rank needs that keeps
    but parts of the weights is not known here, and no run is refused for it.
    """
    machine = this_machine(out, open_device(config.train.device))
    if is_sharding(config, ranks):
        machine = machine._replace(memory=None)
    shared = config.train.model_copy(update={"accumulation": config.train.accumulation * ranks.count})
    found = preflight(
        config.model_copy(update={"train": shared}), data, material, out, seconds=seconds, machine=machine
    )
    for line in report_lines(found):
        progress.line(line)
    if ranks.count > 1:
        progress.line(f"  ranks      {ranks.count} share the work: expect about a {ranks.count}th of the time")
    error = first_error(found.findings)
    if error is not None:
        raise error


def report_lines(found: Preflight) -> Iterator[str]:
    """Yield what is printed of a pre-flight."""
    yield f"pre-flight ({found.seconds:.1f} s)"
    yield from (f"  {line}" for line in found.lines)
    yield from (f"  {finding.level:<10} {finding.text}" for finding in found.findings)


def _look_at_labels(config: RunConfig, data: PreparedData, material: Material, findings: list[Finding]) -> list[str]:
    """Add what is wrong with the labels of the first step's rows, and return examples of them."""
    part, objective = material.parts[0], material.objective
    rows = part.reader.rows(0, part.rows)
    parts = labelled_parts(config.objective, rows, objective.make(rows, material.key, 0.0))
    special = data.tokenizer.special
    for each in parts:
        findings += label_findings(each, special, config.model.vocabulary_size)
    if findings and any(finding.check == "labels" for finding in findings):
        return []
    return shown_examples(parts, data.tokenizer.token_texts)


def rehearsal_findings(config: RunConfig, material: Material, found: Rehearsal) -> Iterator[Finding]:
    """Yield what the trial says is wrong."""
    if found.first_loss is None or found.gradient_norm is None:
        return
    if found.spoilt or not math.isfinite(found.first_loss):
        yield config_error(
            "gradient",
            f"the first loss is {found.first_loss:.4g}, and the gradients of {len(found.spoilt)} of "
            f"{found.num_parameters} parameters are not finite; look at model.initialisation and train.precision.",
        )
        return
    yield from _first_loss_findings(config, material, found)
    never = [name for name in found.without_gradient if material.objective.speaks or not name.startswith("head.")]
    if len(never) == found.num_parameters:
        yield config_error("gradient", "no parameter has a gradient: nothing would be learned.")
    elif never:
        yield Finding(
            "gradient",
            f"{len(never)} of {found.num_parameters} parameters have no gradient, and would never learn: {never[0]}"
            f"{' and others' if len(never) > 1 else ''}.",
        )
    if config.train.max_gradient_norm < _LEAST_CLIP * found.gradient_norm:
        yield Finding(
            "clip",
            f"train.max_gradient_norm {config.train.max_gradient_norm:g} cuts gradients to a small part of their "
            f"length, {found.gradient_norm:.3g} at first; usual is 1.",
        )
    if found.overfit is not None:
        yield from _overfit_findings(config, found.first_loss, found.overfit)


def _first_loss_findings(config: RunConfig, material: Material, found: Rehearsal) -> Iterator[Finding]:
    if not is_nats_a_token(config.objective):
        return
    terms = found.first_terms or {}
    loss = terms.get(config.objective.kind, found.first_loss if not config.regularisers else None)
    chance = math.log(config.model.vocabulary_size)
    if loss is None:
        return
    if config.start_from is not None:
        # An encoder-decoder that begins with one stack has yet to learn to look from one side to the other.
        same = material.start is None or material.start().config.family.kind == config.model.family.kind
        if same and loss > _BEGUN_LOSS * chance:
            yield Finding(
                "first_loss",
                f"the run begins with {config.start_from}, and its first loss is {loss:.2f}: no better than chance "
                f"({chance:.2f}); expected a model that has learned this objective and this language.",
            )
    elif loss > _MOST_FIRST_LOSS * chance:
        yield Finding(
            "first_loss",
            f"the first loss is {loss:.4g}, and chance gives {chance:.2f}: the network begins far from it; look at "
            "model.initialisation.",
        )
    elif loss < _LEAST_FIRST_LOSS * chance:
        yield Finding(
            "first_loss",
            f"the first loss is {loss:.2f}, and chance gives {chance:.2f}: what is asked for can be read off.",
        )


def _overfit_findings(config: RunConfig, first: float, overfit: Overfit) -> Iterator[Finding]:
    lr, losses = config.optimiser.lr, overfit.losses
    what = f"one batch learned by heart, {len(losses)} steps at optimiser.lr {lr:g}"
    high = "the learning rate is too high: lower optimiser.lr, see `trivium find-lr`."
    if overfit.stopped:
        yield Finding("overfit", f"{what}: the loss is not finite after {len(losses)} steps; {high}")
    elif max(losses) > _MOST_RISE * losses[0]:
        yield Finding("overfit", f"{what}: the loss rises from {losses[0]:.2f} to {max(losses):.2f}; {high}")
    elif overfit.last > (1.0 - _LEAST_FALL) * first:
        yield Finding(
            "overfit",
            f"{what}: the loss only goes from {first:.2f} to {overfit.last:.2f}; expected far less: the learning rate "
            "is too low or much too high, gradients do not arrive, or the labels are wrong.",
        )


def _memory(found: Rehearsal, sizes: Sizes, config: RunConfig, held: int | None) -> int:
    """Return how much the process will hold at most: in a step, while a checkpoint is written beside it."""
    base = held or 0
    state = sizes.state if found.state_bytes is None else found.state_bytes
    # All that a checkpoint holds is copied; then each file is put together in memory, twice over: not in a GPU's.
    copies = sizes.weights + state + sizes.averages + 2 * max(state, sizes.weights)
    writing = 0 if config.train.device == "cuda" else copies
    if found.peak is not None:
        return found.peak + writing
    rows = config.train.rows // config.train.accumulation
    if found.first_peak is not None and found.row_bytes is not None:
        return found.first_peak + state + sizes.averages + round(found.row_bytes * rows) + writing
    return base + sizes.training + round((found.row_bytes or 0.0) * rows) + writing


def _run_seconds(config: RunConfig, material: Material, found: Rehearsal, sizes: Sizes, out: Path) -> float | None:
    """Return how long the run will take, in all."""
    if found.step_seconds is None:
        return None
    train, first = config.train, material.parts[0]
    steps, begin, work = train.steps or 1, 0.0, 0.0
    for part in material.parts:
        size = part.rows * part.reader.row_length / (first.rows * first.reader.row_length)
        work += (part.until - begin) * size
        begin = part.until
    rows = min(train.validate_rows, material.held_out.rows_per_epoch)
    batches = max(1, math.ceil(rows / train.rows))
    # Half of a training step's arithmetic is forward and backward through activations that validation does not keep.
    validation = batches * (found.validation_seconds or 0.35 * found.step_seconds) * rows / (batches * train.rows)
    every, saved = train.validate_steps or steps, train.checkpoint_steps or steps
    validations = {*range(every, steps + 1, every), steps}
    checkpoints = {*range(saved, steps + 1, saved), *validations}  # one that is better is kept at once
    writing = _writing_seconds(out, sizes.checkpoint)
    return found.step_seconds * steps * work + (len(validations) + 1) * validation + len(checkpoints) * writing


def _writing_seconds(out: Path, size: int) -> float:
    """Return how long it takes to write so many bytes where the run's folder will be, and to be sure of them."""
    there = next((path for path in out.absolute().parents if path.exists()), Path())
    some = bytes(min(size, _WRITTEN_AT_ONCE))
    begun = perf_counter()
    try:
        with TemporaryFile(dir=there, buffering=0) as file:
            file.write(some)
            os.fsync(file.fileno())
    except OSError:
        return 0.0  # what is wrong with the folder is said when it is made
    return (perf_counter() - begun) * max(1.0, size / max(1, len(some))) + 2 * size / 1e9


def _measured_lines(
    config: RunConfig,
    found: Rehearsal,
    run_seconds: float | None,
    needed: int,
    machine: Machine,
    disk: int,
    sizes: Sizes,
) -> Iterator[str]:
    if run_seconds is not None and found.step_seconds is not None:
        about = "about" if found.validation_seconds is not None else "roughly"
        yield (
            f"time       {about} {duration(run_seconds)}: {config.train.steps:,} steps of "
            f"{1000 * found.step_seconds:.3g} ms, validation and checkpoints"
        )
    free = "" if machine.memory is None else f"; {in_bytes(machine.memory)} are free"
    yield f"memory     {in_bytes(needed)} at most{free}"
    yield (
        f"disk       {in_bytes(disk)} at most, {in_bytes(sizes.checkpoint)} a checkpoint; "
        f"{in_bytes(machine.disk)} are free"
    )
    if found.first_loss is not None:
        yield f"first loss {found.first_loss:.2f} (chance {math.log(config.model.vocabulary_size):.2f})"
    if found.overfit is not None and found.overfit.losses:
        yield (
            f"by heart   one batch of {found.overfit.rows} rows, {len(found.overfit.losses)} steps: loss "
            f"{found.overfit.losses[0]:.2f} to {found.overfit.last:.2f}"
        )
    if found.not_tried:
        yield f"not tried  {found.not_tried}"


def duration(seconds: float) -> str:
    """Return a time in the unit that is read most easily."""
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
