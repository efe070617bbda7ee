"""trivium finetune: a pretrained model to one that does a task."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypedDict

import typer

from trivium.cli.options import Json, Out, Quiet, Set, Track

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trivium.core.progress import Progress
    from trivium.data.tokenizer import Tokenizer
    from trivium.tasks.config import FinetuneConfig
    from trivium.tasks.several.config import SeveralConfig
    from trivium.tasks.start import Start
    from trivium.train.track import Tracker

_TRAINED_VOCABULARY = 4096


class _Asked(NamedTuple):
    """What is to be learned."""

    config: "FinetuneConfig | SeveralConfig"
    files: dict[str, Path]  # of one task, by split
    tasks: list[tuple[str, dict[str, Any], Path]]  # each with its settings and its training file


class _How(TypedDict):
    """How a run is made."""

    out: Path
    progress: "Progress"
    resume: bool
    trackers: "Sequence[Tracker]"


def command(
    start: Annotated[
        str,
        typer.Argument(
            metavar="RUN|PRESET",
            help="A run, pretrained or fine-tuned, or a Hugging Face folder; a preset's name = random weights.",
        ),
    ],
    out: Out,
    task: Annotated[
        str | None,
        typer.Option(help="classify, multi_label, regress, label, spans, nested, relate, answer, embed or write."),
    ] = None,
    train: Annotated[
        Path | None, typer.Option(help="Labelled file to learn from; of `write` also a folder of mails.")
    ] = None,
    valid: Annotated[Path | None, typer.Option(help="Labelled file that chooses the best epoch.")] = None,
    test: Annotated[Path | None, typer.Option(help="Labelled file that is scored once, at the end.")] = None,
    tasks: Annotated[
        Path | None,
        typer.Option(help="Several at once: TOML of [[task]] with task, train, valid, test, weight."),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="For a preset: a tokenizer.json, or data or a run that has one; none = made from the texts."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training examples.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of all random choices.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a stopped run was.")] = False,
    track: Track = None,
    settings: Set = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Fine-tune a model on labelled examples and compare it with simple baselines.

    The learning rate goes by the model's width, from 1e-3 at 128 hidden units to 5e-5 at 768; --set optimiser.lr=RATE
    says another.
    """
    import json

    from trivium.cli.environment import set_up_process
    from trivium.core.files import refuse_existing

    set_up_process()
    from trivium.cli.progress import shown
    from trivium.train.distributed import require_one_process
    from trivium.train.trackers import open_trackers

    require_one_process("finetune")
    options = {"epochs": epochs, "seed": seed}
    assignments = [*(settings or []), *(f"{key}={value}" for key, value in options.items() if value is not None)]
    given = {"--task": task, "--train": train, "--valid": valid, "--test": test}
    asked = _one(given, assignments) if tasks is None else _several(tasks, given, assignments)
    trackers = open_trackers(track or [])
    if not resume:
        refuse_existing(out)
    begin = _start(start, tokenizer, asked)
    with shown(quiet=quiet) as progress:
        results = _finetune(begin, asked, {"out": out, "progress": progress, "resume": resume, "trackers": trackers})
    if as_json:
        typer.echo(json.dumps(results, ensure_ascii=False))
    else:
        _show(out, results)


def _one(given: "Mapping[str, str | Path | None]", assignments: list[str]) -> _Asked:
    """Return what one task's options ask for; raise ConfigError when one is missing."""
    from trivium.core.errors import ConfigError
    from trivium.tasks.config import finetune_config

    missing = [name for name in ("--task", "--train", "--valid") if given[name] is None]
    if missing:
        raise ConfigError(f"missing {', '.join(missing)}; or --tasks FILE for several tasks at once.")
    config = finetune_config(str(given["--task"]), assignments)
    files = {name.strip("-"): Path(path) for name, path in given.items() if name != "--task" and path is not None}
    return _Asked(config, files, [(config.task, config.settings, files["train"])])


def _several(file: Path, given: "Mapping[str, str | Path | None]", assignments: list[str]) -> _Asked:
    """Return what a file of several tasks asks for; raise ConfigError when options say of them what it says."""
    from trivium.core.errors import ConfigError
    from trivium.tasks.several.config import several_config

    said = [name for name, value in given.items() if value is not None]
    if said:
        raise ConfigError(f"--tasks {file} names the tasks and their files: leave out {', '.join(said)}.")
    config = several_config(file, assignments)
    return _Asked(config, {}, [(part.task, part.settings, Path(part.train)) for part in config.tasks])


def _finetune(begin: "Start", asked: _Asked, how: _How) -> dict[str, Any]:
    from trivium.tasks.finetune import finetune
    from trivium.tasks.several.config import SeveralConfig
    from trivium.tasks.several.finetune import finetune_several

    if isinstance(asked.config, SeveralConfig):
        return finetune_several(begin, asked.config, **how)
    files = asked.files
    return finetune(begin, asked.config, train=files["train"], valid=files["valid"], test=files.get("test"), **how)


def _show(out: Path, results: dict[str, Any]) -> None:
    """Print the scores of one task, or of each."""
    from trivium.cli.describe import show_scores

    runs = {out / "tasks" / name: found for name, found in results.get("tasks", {}).items()} or {out: results}
    for run, found in runs.items():
        split = "test" if "test" in found else "valid"
        show_scores(f"{run} on {split}", found[split], found)
    first = next(iter(runs))
    asked = "LINE" if runs[first]["task"] in ("relate", "answer") else "TEXT"
    what = " (a line of JSON)" if asked == "LINE" else ""
    typer.echo(f"`trivium predict {first} {asked}` uses it{what}; `trivium report {out}` draws it.")


def _start(start: str, tokenizer: Path | None, asked: _Asked) -> "Start":
    """Open the run, or draw a preset for the tokenizer named or for one made from the training texts."""
    from trivium.cli.locate import located
    from trivium.core.errors import ConfigError, nearest
    from trivium.model.presets import PRESETS
    from trivium.tasks.start import open_run, random_start

    if start in PRESETS and Path(start).is_dir():
        raise ConfigError(f"`{start}` is a preset and a folder here; say ./{start} for the folder, or rename it.")
    if start in PRESETS:
        return random_start(start, _tokenizer(tokenizer, asked))
    if not (Path(start).is_dir() or start.startswith("hf:")):
        raise ConfigError(f"{start}: no such run folder, and no preset of that name.{nearest(start, list(PRESETS))}")
    if tokenizer is not None:
        raise ConfigError("--tokenizer goes with a preset: a run brings its own.")
    return open_run(located(start), start)


def _tokenizer(path: Path | None, asked: _Asked) -> "Tokenizer":
    from trivium.cli.locate import open_tokenizer
    from trivium.data.tokenizer import Tokenizer
    from trivium.tasks.build import build_task, texts_of

    if path is not None:
        return open_tokenizer(path)
    texts = []
    for task, settings, train in asked.tasks:
        texts += texts_of(build_task(task, settings=settings).read(train, min_classes=2).examples)
    return Tokenizer.train(texts, "bpe", _TRAINED_VOCABULARY)
