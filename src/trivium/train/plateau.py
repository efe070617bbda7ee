"""Whether a run that is under way learns: judged by its own log, beside what counting words gives."""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

import numpy as np

from trivium.core.batch import Batch, MixedBatch
from trivium.core.progress import Progress
from trivium.core.ramp import Ramp
from trivium.data.normal import Normal
from trivium.objectives.build import MixedConfig, is_nats_a_token
from trivium.objectives.causal import CausalConfig
from trivium.objectives.masked import MaskedConfig
from trivium.train.config import RunConfig
from trivium.train.findings import Finding
from trivium.train.log import Log, read_log
from trivium.train.material import Material

# Labels that were asked for, a kind of token in the vocabulary: with fewer a good network may still know no more than
# how frequent each is. Measured: decoders are past it after 2 to 25, encoders after 5, BERT (post-norm) after 45.
_LABELS_A_KIND, _HIDDEN_A_KIND, _LEAST_STEPS = 25, 100, 200
_MARGIN = 0.05  # nats
_NEAR_BIGRAM, _FLAT, _BIGRAM_LABELS = 0.02, 0.005, 10
_RISE, _RISE_SHARE, _ENOUGH_LINES = 0.3, 0.1, 50
_FORGOTTEN, _APART = 1.03, 0.9


class Course(NamedTuple):
    """What a run's losses are judged by.

    Args:
        normal: what counting gives; None = not known, or the loss is not nats a token.
        text_share: of the labels; the others are marks of spans.
        enough: steps after which a network has learned something if it learns at all.
        from_left: the next token is asked for, so that a bigram is a fair measure.
        steady: what is asked for stays the same, so that losses of different steps can be compared.
        plain: the loss in training is the objective's own, no regulariser is in it.
        epoch: steps in which the text is read once; before, nothing of it can be known by heart.
    """

    normal: Normal | None
    text_share: float
    enough: int
    from_left: bool
    steady: bool
    plain: bool
    epoch: int


def course_of(config: RunConfig, material: Material, normal: Normal | None) -> Course:
    """Return what a run's losses are judged by."""
    part, steps = material.parts[-1], config.train.steps or 1
    batch = material.objective.make(part.reader.rows(0, part.rows), material.key, 1.0)
    labels = _labels(batch)
    marks = float(np.isin(labels, np.array(sorted(material.sentinels))).mean()) if len(labels) else 0.0
    left = isinstance(config.objective, CausalConfig)
    needed = (_LABELS_A_KIND if left else _HIDDEN_A_KIND) * config.model.vocabulary_size / max(1, len(labels))
    warmup = round(config.schedule.warmup_share * steps)
    objective = config.objective
    changing = bool(config.train.stages)
    match objective:
        case MaskedConfig(rate=Ramp()):
            changing = True
        case MixedConfig(parts=parts):
            changing |= any(isinstance(each.share, Ramp) for each in parts)
        case _:
            pass
    return Course(
        normal if is_nats_a_token(objective) else None,
        1.0 - marks,
        warmup + max(_LEAST_STEPS, round(needed)),
        left,
        not changing and is_nats_a_token(objective),
        not config.regularisers,
        -(-part.reader.rows_per_epoch // part.rows),
    )


def _labels(batch: Batch | MixedBatch) -> np.ndarray:
    parts = [batch] if isinstance(batch, Batch) else [part for part in batch.parts if part is not None]
    return np.concatenate([part.labels_BN[part.weights_BN > 0].numpy() for part in parts])


def course_findings(lines: Sequence[Mapping[str, Any]], course: Course) -> Iterator[Finding]:
    """Yield what a run's log says is going wrong.

    Args:
        lines: of log.jsonl so far.
        course: what they are judged by.
    """
    # An update that was skipped has no loss.
    known = [line for line in lines if line.get("loss") is not None]
    training = [(int(line["step"]), float(line["loss"])) for line in known if "split" not in line]
    held_out = [(int(line["step"]), float(line["loss"])) for line in known if line.get("split") == "validation"]
    yield from _learns_nothing(training, held_out, course)
    if course.steady:
        yield from _goes_wrong(training, held_out, course.epoch)


def _learns_nothing(
    training: Sequence[tuple[int, float]], held_out: Sequence[tuple[int, float]], course: Course
) -> Iterator[Finding]:
    step = max((each[-1][0] for each in (training, held_out) if each), default=0)
    if course.normal is None or step < course.enough:
        return
    unigram = _with_marks(course.normal.unigram, course.text_share)
    if held_out and held_out[-1][0] >= step - course.enough // 2:
        loss, least = held_out[-1][1], unigram - _MARGIN
    elif course.plain and len(training) >= 8:
        # Of the text that is trained on, whose words may be a little harder than those that were counted.
        loss, least = mean(value for _, value in _last(training)), unigram + 2 * _MARGIN
    else:
        return
    if loss > least:
        marks = "" if course.text_share == 1.0 else f", {unigram:.2f} with the marks of spans"
        yield Finding(
            "learning_nothing",
            f"after {step:,} steps the loss is {loss:.2f}, and counting words alone gives {course.normal.unigram:.2f}"
            f"{marks}: the network has learned nothing from context; look at optimiser.lr, the labels and the text.",
        )
        return
    bigram, last = course.normal.bigram, held_out[-3:]
    if bigram is None or not course.from_left or len(last) < 3 or step < _BIGRAM_LABELS * course.enough:
        return
    losses = [value for _, value in last]
    if all(abs(value / bigram - 1.0) < _NEAR_BIGRAM for value in losses) and max(losses) - min(losses) < _FLAT * bigram:
        yield Finding(
            "learning_nothing",
            f"the loss has stayed at {losses[-1]:.2f} since step {last[0][0]:,}, and counting pairs of words gives "
            f"{bigram:.2f}: the network uses no more than the word before; look at attention and positions.",
        )


def _with_marks(unigram: float, text_share: float) -> float:
    """Return what counting gives where some labels are marks, which cost no more than to tell that they are."""
    if not 0.0 < text_share < 1.0:
        return unigram
    marks = 1.0 - text_share
    return text_share * unigram - text_share * math.log(text_share) - marks * math.log(marks)


def _goes_wrong(
    training: Sequence[tuple[int, float]], held_out: Sequence[tuple[int, float]], epoch: int
) -> Iterator[Finding]:
    size = max(5, len(training) // 20)
    windows = [training[start : start + size] for start in range(0, len(training) - size + 1, size)]
    means = [(window[-1][0], mean(value for _, value in window)) for window in windows]
    if len(means) >= 3:
        step, least = min(means, key=lambda pair: pair[1])
        latest = mean(value for _, value in training[-size:])
        # A few steps may be of harder text than those before: what is held out is always the same.
        since = [value for at, value in held_out if at >= step]
        worse = since[-1] > min(value for _, value in held_out) if since else len(training) >= _ENOUGH_LINES
        if worse and latest > least + max(_RISE, _RISE_SHARE * least):
            yield Finding(
                "rising",
                f"the training loss was {least:.2f} about step {step:,} and is {latest:.2f} now: the run has become "
                "unstable; lower optimiser.lr or train.max_gradient_norm, or lengthen schedule.warmup_share.",
            )
    if len(held_out) >= 3 and training and training[-1][0] > epoch:
        step, best = min(held_out, key=lambda pair: pair[1])
        latest = held_out[-1][1]
        learned = mean(value for _, value in _last(training))
        if latest > _FORGOTTEN * best and held_out[-2][1] > best and learned < _APART * latest:
            yield Finding(
                "overfitting",
                f"the held-out loss was {best:.2f} at step {step:,} and is {latest:.2f} now, while the training loss "
                f"falls ({learned:.2f}): the text is learned by heart; train for fewer steps, or on more text.",
            )


def _last(lines: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    return lines[-max(8, len(lines) // 10) :]


def warn(log: Log, course: Course, step: int, progress: Progress) -> None:
    """Say what a run's log shows to be going wrong, each thing once, and write it into the log."""
    lines = read_log(log.path)
    said = {line["check"] for line in lines if "warning" in line}
    for finding in course_findings(lines, course):
        if finding.check not in said:
            progress.warn(f"warning: {finding.text}")
            log.write(step=step, split="warning", check=finding.check, warning=finding.text)
