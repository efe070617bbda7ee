"""The main job: three families pretrained for equal time on text that every Python has, fine-tuned and compared."""

import json
import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from time import perf_counter
from typing import Any, NamedTuple

import torch
from rich.table import Table

from trivium.core.config import parse, read_toml
from trivium.core.files import refuse_existing, write_json, write_text
from trivium.core.progress import Progress, phases
from trivium.data.builtin import builtin_documents, label_examples
from trivium.data.labelled import LabelExample, read_label, write_jsonl
from trivium.data.prepare import PrepareOptions, prepare_texts
from trivium.data.shards import PreparedData
from trivium.evaluate.budget import Budget
from trivium.evaluate.perplexity import CountModels, measure_quality
from trivium.evaluate.quickstart_page import quickstart_report
from trivium.evaluate.quickstart_words import examples_of, verdict
from trivium.evaluate.speed import Speed, network_reader, reading_speed
from trivium.model.folder import SavedModel, load_model
from trivium.tasks.build import learned_task
from trivium.tasks.config import FinetuneConfig, finetune_config
from trivium.tasks.finetune import finetune
from trivium.tasks.fit import fit
from trivium.tasks.start import Start, open_run, random_start
from trivium.train.config import DataConfig, RunConfig, load_recipe
from trivium.train.log import read_log
from trivium.train.run import pretrain

VOCABULARY_SIZE, NUM_LABELLED, NUM_SEEDS = 4096, 200, 3
_NUM_VALID, _NUM_TEST, _MAX_QUALITY_ROWS = 100, 400, 512


class Family(NamedTuple):
    """One of the three roads."""

    name: str
    like: str
    preset: str
    settings: tuple[str, ...] = ()


FAMILIES = (
    Family("encoder", "BERT", "encoder-tiny"),
    Family("decoder", "GPT", "decoder-tiny"),
    # Half of the text is hidden, not T5's 15 %: in a minute or two that is too little to write (docs/experiments.md).
    Family("seq2seq", "T5", "seq2seq-tiny", ("objective.parts.0.objective.rate=0.5",)),
)
# Seconds of the six minutes; in proportion for other budgets.
_SHARES = (
    {"prepare": 16.0, "count models": 4.0}
    | {f"pretrain {family.name}": 84.0 for family in FAMILIES}
    | {f"fine-tune {family.name}": 27.0 for family in FAMILIES}
    | {"measure": 8.0, "report": 2.0}
)


@dataclass(frozen=True)
class _Job:
    """What all phases share."""

    out: Path
    seed: int
    data: PreparedData
    counts: CountModels
    examples: Mapping[str, Sequence[LabelExample]]
    budget: Budget
    progress: Progress


def quickstart(out: Path, *, seed: int, minutes: float, progress: Progress) -> dict[str, Any]:
    """Run the main job into `out` and return its summary (also `summary.json` and `report.html` there).

    Args:
        out: the folder to make; must not exist.
        seed: of everything drawn.
        minutes: the time to fit into; a phase that takes longer leaves less for those after it.
        progress: shown what is going on.

    Raises:
        ConfigError: `out` is there already.
    """
    refuse_existing(out)
    budget = Budget(_SHARES, minutes * 60.0)
    plan = ", ".join(f"{name} {seconds:.0f}" for name, seconds in budget.planned.items())
    progress.line(f"the plan, in seconds: {plan}")
    out.mkdir(parents=True, exist_ok=True)
    with budget.phase("prepare"):
        data = _prepare(out / "data", progress)
        examples = _label_files(out / "label")
    job = _Job(out, seed, data, CountModels(data), examples, budget, progress)
    with budget.phase("count models"):
        progress.start("count", 2, "models")
        unigram = _fit_counts(job)
    for family in FAMILIES:
        with budget.phase(f"pretrain {family.name}") as seconds:
            _pretrain(job, family, seconds)
    tuned = {}
    for family in FAMILIES:
        with budget.phase(f"fine-tune {family.name}") as seconds:
            tuned[family.name] = _finetune(job, family, seconds)
    with budget.phase("measure"):
        saved = [load_model(out / family.name / "model") for family in FAMILIES]
        readers = [network_reader(each.network, each.config) for each in saved]
        speeds = reading_speed(readers, length=DataConfig().row_length, progress=progress)
        measured = [
            _measure(job, family, each, tuned[family.name], speed) | {"curve": _curve(out / family.name, unigram)}
            for family, each, speed in zip(FAMILIES, saved, speeds, strict=True)
        ]
    with budget.phase("report"):
        summary = _summary(job, measured)
        write_json(out / "summary.json", summary)
        write_text(out / "report.html", quickstart_report(summary))
    if budget.overrun > 0.1:
        progress.line(f"this took {budget.overrun:.0%} longer than planned: the machine was slower or busy.")
    return summary


def _prepare(folder: Path, progress: Progress) -> PreparedData:
    options = PrepareOptions(tokenizer="bpe", vocabulary_size=VOCABULARY_SIZE)
    return prepare_texts(builtin_documents, folder, options, report=phases(progress, "bytes"))


def _label_files(folder: Path) -> dict[str, Sequence[LabelExample]]:
    """Write the labelled snippets as files, so that the same can be done by hand, and read them."""
    folder.mkdir()
    sizes = {"train": NUM_LABELLED, "validation": _NUM_VALID, "test": _NUM_TEST}
    for split, size in sizes.items():
        write_jsonl(folder / f"{split}.jsonl", label_examples(split)[:size])  # type: ignore[arg-type]
    return {split: read_label(folder / f"{split}.jsonl") for split in sizes}


def _fit_counts(job: _Job) -> float:
    """Fit the count models; return the unigram's nats a token on the validation split."""
    ngram = job.counts.ngram
    job.progress.advance(1)
    bits = ngram.bits_per_token(list(job.data.split("validation").documents()), order=1)
    _ = job.counts.neighbours
    job.progress.advance(2)
    return bits * math.log(2.0)


def _recipe(job: _Job, family: Family) -> RunConfig:
    return load_recipe(family.preset, [f"seed={job.seed}", *family.settings])


def _pretrain(job: _Job, family: Family, seconds: float) -> None:
    job.progress.line(f"pretraining the {family.name} ({family.preset}) for {seconds:.0f} s")
    pretrain(_recipe(job, family), job.data, job.out / family.name, minutes=seconds / 60.0, progress=job.progress)


class _Tuned(NamedTuple):
    """Test accuracies of the seeds, and those of the baselines."""

    pretrained: list[float]
    scratch: list[float]
    baselines: Mapping[str, Mapping[str, Any]]


def _finetune(job: _Job, family: Family, seconds: float) -> _Tuned:
    """Fine-tune from the pretrained and from random weights, with each seed; the first is kept as a run folder."""
    pretrained = open_run(job.out / family.name)
    scratch = random_start(pretrained.config, pretrained.tokenizer, row_length=pretrained.row_length)
    config = _task_config(job, pretrained, seconds / (2 * NUM_SEEDS))
    results = finetune(
        pretrained,
        config,
        train=job.out / "label" / "train.jsonl",
        valid=job.out / "label" / "validation.jsonl",
        test=job.out / "label" / "test.jsonl",
        out=job.out / f"{family.name}-label",
        progress=job.progress,
    )
    scores = {"pretrained": [results["test"]["accuracy"]], "scratch": []}
    for number in range(NUM_SEEDS):
        seeded = config.model_copy(update={"seed": job.seed + number})
        if number:
            scores["pretrained"].append(_test_accuracy(job, pretrained, seeded))
        scores["scratch"].append(_test_accuracy(job, scratch, seeded))
    return _Tuned(scores["pretrained"], scores["scratch"], results["baselines"])


def _task_config(job: _Job, start: Start, seconds_a_fit: float) -> FinetuneConfig:
    """Return the usual settings, with fewer epochs where one fit would take longer than it may."""
    config = finetune_config("label", [f"seed={job.seed}", "optimiser.lr=0.002"])
    task = learned_task("label", job.examples["train"])
    train, valid = (task.encode(job.examples[split], start.reading()) for split in ("train", "validation"))
    begun = perf_counter()
    fit(start, task, train, valid, config.model_copy(update={"epochs": 1}))
    epoch_seconds = perf_counter() - begun
    epochs = min(config.epochs, max(5, int(0.85 * seconds_a_fit / epoch_seconds)))
    if epochs < config.epochs:
        job.progress.line(f"{epoch_seconds:.1f} s an epoch: {epochs} epochs instead of {config.epochs}")
    return config.model_copy(update={"epochs": epochs})


def _test_accuracy(job: _Job, start: Start, config: FinetuneConfig) -> float:
    task = learned_task("label", job.examples["train"])
    encoded = {split: task.encode(examples, start.reading()) for split, examples in job.examples.items()}
    fitted = fit(start, task, encoded["train"], encoded["validation"], config, progress=job.progress)
    return task.score(fitted.tuned.model, encoded["test"]).metrics["accuracy"]


def _measure(job: _Job, family: Family, saved: SavedModel, tuned: _Tuned, speed: Speed) -> dict[str, Any]:
    """Return what the summary says of one family, but for its curve."""
    run = job.out / family.name
    config = parse(RunConfig, read_toml(run / "config.toml"), str(run / "config.toml"))
    quality = measure_quality(
        saved.network,
        config.objective,
        job.data,
        "test",
        row_length=config.data.row_length,
        counts=job.counts,
        progress=job.progress,
        max_rows=_MAX_QUALITY_ROWS,
    )
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    name, baseline = max(tuned.baselines.items(), key=lambda item: item[1].get("accuracy", 0.0))
    return {
        "name": family.name,
        "like": family.like,
        "preset": family.preset,
        "parameters": results["parameters"],
        "steps": config.train.steps,
        "tokens_per_second": results["tokens"] / results["seconds"],
        "latency_ms": speed.latency_ms,
        "quality": quality._asdict(),
        "task": {
            "name": "label",
            "metric": "accuracy",
            "pretrained": _spread(tuned.pretrained),
            "scratch": _spread(tuned.scratch),
            "baseline": {"name": name, "score": baseline["accuracy"]},
        },
        "examples": examples_of(run, job.out / f"{family.name}-label", label_examples("test")),
    }


def _curve(run: Path, unigram: float) -> dict[str, Any]:
    log = read_log(run / "log.jsonl")
    return {
        "train": [[line["step"], line["loss"]] for line in log if "split" not in line],
        "validation": [[line["step"], line["loss"]] for line in log if line.get("split") == "validation"],
        "reference": {"unigram": unigram},
    }


def _spread(scores: Sequence[float]) -> dict[str, Any]:
    return {"mean": mean(scores), "sd": stdev(scores) if len(scores) > 1 else 0.0, "scores": list(scores)}


def _summary(job: _Job, families: list[dict[str, Any]]) -> dict[str, Any]:
    splits = job.data.manifest.splits.values()
    return {
        "title": "Three families on one text",
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "data": {
            "documents": sum(split.documents for split in splits),
            "bytes": sum(split.bytes for split in splits),
            "tokens": sum(split.tokens for split in splits),
            "vocabulary_size": job.data.tokenizer.vocabulary_size,
            "what": "the documentation, docstrings and source of this Python's standard library",
        },
        "phases": [phase._asdict() for phase in job.budget.spent],
        "families": families,
        "verdict": verdict(families),
    }


def quickstart_table(summary: Mapping[str, Any]) -> Table:
    """Return the comparison as a table for the terminal, a column a family."""
    families = summary["families"]
    table = Table(title="Three families, equal time to pretrain")
    table.add_column("")
    for family in families:
        table.add_column(f"{family['name']} (like {family['like']})", justify="right")
    lines: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "predicts held-out text": lambda family: f"{family['quality']['model']:.3f} {family['quality']['unit']}",
        "  a count model does": lambda family: f"{family['quality']['baseline']:.3f} {family['quality']['unit']}",
        "`label`: names right, pretrained": lambda family: _score(family["task"]["pretrained"]),
        "  from random weights": lambda family: _score(family["task"]["scratch"]),
        "  simple baseline": lambda family: f"{family['task']['baseline']['score']:.1%}",
        "parameters": lambda family: f"{family['parameters']:,}",
        "training": lambda family: f"{family['tokens_per_second']:,.0f} tokens/s",
        "latency, one text of 128 tokens": lambda family: f"{family['latency_ms']:.1f} ms",
    }
    for name, line in lines.items():
        table.add_row(name, *(line(family) for family in families))
    return table


def _score(spread: Mapping[str, Any]) -> str:
    return f"{spread['mean']:.1%} ± {spread['sd']:.1%}"
