"""What a run's settings amount to, in words, and which of them are out of the ordinary."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

from trivium.core.ramp import extremes
from trivium.model.config import Decoder, Encoder, NormalInit
from trivium.objectives.build import ObjectiveConfig
from trivium.objectives.causal import CausalConfig
from trivium.objectives.fill_in import FillInConfig
from trivium.objectives.masked import MaskedConfig
from trivium.objectives.prefix import PrefixConfig
from trivium.train.config import RunConfig
from trivium.train.findings import Finding, config_error
from trivium.train.material import Material
from trivium.train.optimiser_config import usual_lr
from trivium.train.paces import run_paces

# Repetition: up to 4 passes are as good as new text, from 16 on they give next to nothing (Muennighoff et al. 2023).
# What is hidden is another part each time, so that other objectives go on learning for longer.
_MOST_EPOCHS, _MOST_EPOCHS_DRAWN = 16.0, 100.0
_MOST_LR, _LEAST_LR, _MOST_DECAY, _MOST_WARMUP = 20.0, 0.02, 0.01, 0.5
_MOST_MASKED, _LEAST_PACE = 0.6, 1e-3
_USUAL_STD = (1e-4, 0.5)


class Amount(NamedTuple):
    """How much a run reads."""

    steps: int
    tokens: int  # places of all steps' rows
    epochs: float  # how often the training text is read


def amount_of(config: RunConfig, material: Material) -> Amount:
    """Return how much the run reads, its stages added up."""
    steps, begin, tokens, epochs = config.train.steps or 0, 0, 0, 0.0
    for part in material.parts:
        end = round(part.until * steps)
        rows = (end - begin) * part.rows
        tokens += rows * part.reader.row_length
        epochs += rows / part.reader.rows_per_epoch
        begin = end
    return Amount(steps, tokens, epochs)


def plan_lines(config: RunConfig, material: Material) -> list[str]:
    """Return the run's amounts in words."""
    train, last, amount = config.train, material.parts[-1], amount_of(config, material)
    rows, length = last.rows, last.reader.row_length
    cut = "" if train.accumulation == 1 else f" in {train.accumulation} micro-batches of {rows // train.accumulation}"
    staged = "" if len(material.parts) == 1 else f" in the last of {len(material.parts)} stages"
    warmup = round(config.schedule.warmup_share * amount.steps)
    return [
        f"reads      {amount.steps:,} steps of {rows} rows x {length} tokens = {rows * length:,} tokens a step"
        f"{staged}{cut}; {amount.tokens:,} tokens: the text {times(amount.epochs)}",
        f"schedule   {config.optimiser.kind}, learning rate up to {config.optimiser.lr:g} in {warmup:,} steps, "
        f"then {config.schedule.kind.replace('_', ' ')}; gradients cut to length {train.max_gradient_norm:g}",
    ]


def times(epochs: float) -> str:
    """Return how often a text is read, in words."""
    if epochs < 0.95:
        return f"in part, {100 * epochs:.2g} % of it"
    return f"{epochs:.1f} times" if epochs < 100 else f"{epochs:,.0f} times"


def plan_findings(config: RunConfig, material: Material, network: nn.Module) -> Iterator[Finding]:
    """Yield what is out of the ordinary in the settings; `network` is only asked for its parameters' names."""
    yield from _amount_findings(config, material)
    yield from _optimiser_findings(config)
    yield from _objective_findings(config)
    yield from _pace_findings(config, network)


def _amount_findings(config: RunConfig, material: Material) -> Iterator[Finding]:
    amount, last = amount_of(config, material), material.parts[-1]
    drawn = not isinstance(config.objective, CausalConfig | PrefixConfig | FillInConfig)
    most = _MOST_EPOCHS_DRAWN if drawn else _MOST_EPOCHS
    if last.rows > last.reader.rows_per_epoch:
        yield Finding(
            "step",
            f"one step has {last.rows} rows and the text {last.reader.rows_per_epoch}: each step reads all of it "
            f"{last.rows / last.reader.rows_per_epoch:.1f} times; lower train.rows or data.row_length, or add text.",
        )
    if amount.epochs > most:
        yield Finding(
            "epochs",
            f"the text is read {times(amount.epochs)}; beyond about {most:.0f} times the same text gives next to "
            f"nothing: train for {max(1, int(amount.steps * most / amount.epochs)):,} steps or fewer, or add text.",
        )
    used = material.parts[-1].reader.split.num_tokens / (last.reader.rows_per_epoch * last.reader.row_length)
    if used < 0.5:
        yield Finding(
            "rows",
            f"rows of {last.reader.row_length} tokens are filled to {100 * used:.0f} %: the text has "
            f"{last.reader.split.num_tokens:,} tokens in all; lower data.row_length.",
        )


def _optimiser_findings(config: RunConfig) -> Iterator[Finding]:
    optimiser, lr = config.optimiser, config.optimiser.lr
    usual = usual_lr(optimiser.kind, config.model.hidden_size)
    if config.start_from is None and not _LEAST_LR <= lr / usual <= _MOST_LR:
        word = f"{lr / usual:,.0f} times" if lr > usual else f"1/{usual / lr:,.0f} of"
        yield Finding(
            "lr", f"optimiser.lr {lr:g} is {word} what is usual for this width, {usual:g}; see `trivium find-lr`."
        )
    if lr * optimiser.weight_decay > _MOST_DECAY:
        yield Finding(
            "weight_decay",
            f"optimiser.weight_decay {optimiser.weight_decay:g} takes {100 * lr * optimiser.weight_decay:.2g} % of "
            f"every weight in each step; usual are 0.01 % to 0.1 %: lower it to about {0.0005 / lr:.2g}.",
        )
    if config.schedule.warmup_share > _MOST_WARMUP:
        yield Finding(
            "warmup",
            f"schedule.warmup_share {config.schedule.warmup_share:g}: the learning rate rises for most of the run; "
            "usual are 0.01 to 0.1.",
        )


def _objective_findings(config: RunConfig) -> Iterator[Finding]:
    family, objective = config.model.family, config.objective
    if isinstance(family, Encoder) and _reads(objective) == "past":
        yield Finding(
            "direction",
            f"objective `{objective.kind}` teaches to read from left to right, and an encoder is read both ways by "
            "every task: use a decoder, or objective masked.",
        )
    if isinstance(family, Decoder) and _reads(objective) == "all":
        yield Finding(
            "direction",
            f"objective `{objective.kind}` teaches to read both ways, and a decoder is read from left to right by "
            "`generate` and every task: use an encoder, or objective causal.",
        )
    if isinstance(objective, MaskedConfig):
        rate = extremes(objective.rate)[1]
        if rate > _MOST_MASKED:
            yield Finding(
                "mask_rate",
                f"objective.rate {rate:g} hides so much that little is left to tell it from; usual are 0.15 to 0.4.",
            )
    first = config.model.initialisation
    if isinstance(first, NormalInit) and not _USUAL_STD[0] <= first.std <= _USUAL_STD[1]:
        yield Finding(
            "initialisation",
            f"model.initialisation.std {first.std:g} is out of the ordinary; usual is about "
            f"{math.sqrt(0.4 / config.model.hidden_size):.2g} for this width.",
        )


def _reads(objective: ObjectiveConfig) -> str:
    match objective:
        case CausalConfig() | FillInConfig():
            return "past"
        case MaskedConfig(predicted_from="itself"):
            return "all"
        case _:
            return "mixed"


def _pace_findings(config: RunConfig, network: nn.Module) -> Iterator[Finding]:
    """Yield what a run would never train, or hardly."""
    steps = config.train.steps or 0
    found = run_paces(config, network)
    late = [name for name, pace in found.items() if pace.first_step >= steps]
    slow = [name for name, pace in found.items() if pace.scale < _LEAST_PACE]
    if late:
        yield config_error(
            "unfreezing",
            f"train.unfreezing: {len(late)} of {len(found)} parameters would join in after the run's {steps} steps, "
            f"and never learn ({late[0]}); lower train.unfreezing.every.",
        )
    if slow and config.model.parametrisation is None:
        yield Finding(
            "layer_decay",
            f"train.layer_decay {config.train.layer_decay:g}: {len(slow)} of {len(found)} parameters have less than a "
            f"thousandth of the learning rate ({slow[0]}); usual are 0.7 to 1.",
        )
