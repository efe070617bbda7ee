"""trivium finetune: a pretrained model to one that does a task."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trivium.cli.options import Json, Out, Quiet, Set, Track

if TYPE_CHECKING:
    from trivium.data.tokenizer import Tokenizer
    from trivium.tasks.config import FinetuneConfig
    from trivium.tasks.start import Start

_TRAINED_VOCABULARY = 4096


def command(
    start: Annotated[
        str,
        typer.Argument(
            metavar="RUN|PRESET",
            help="A run, pretrained or fine-tuned, or a Hugging Face folder; a preset's name = random weights.",
        ),
    ],
    task: Annotated[
        str, typer.Option(help="classify, multi_label, regress, label, spans, relate, answer, embed or write.")
    ],
    train: Annotated[Path, typer.Option(help="Labelled file to learn from; of `write` also a folder of mails.")],
    valid: Annotated[Path, typer.Option(help="Labelled file that chooses the best epoch.")],
    out: Out,
    test: Annotated[Path | None, typer.Option(help="Labelled file that is scored once, at the end.")] = None,
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
    """Fine-tune a model on labelled examples and compare it with simple baselines."""
    import json

    from trivium.cli.environment import set_up_process
    from trivium.core.files import refuse_existing

    set_up_process()
    from trivium.cli.describe import show_scores
    from trivium.cli.progress import shown
    from trivium.tasks.config import finetune_config
    from trivium.tasks.finetune import finetune
    from trivium.train.distributed import require_one_process
    from trivium.train.trackers import open_trackers

    require_one_process("finetune")
    assignments = list(settings or [])
    assignments += [f"epochs={epochs}"] * (epochs is not None)
    assignments += [f"seed={seed}"] * (seed is not None)
    config = finetune_config(task, assignments)
    trackers = open_trackers(track or [])
    if not resume:
        refuse_existing(out)
    begin = _start(start, tokenizer, config, train)
    with shown(quiet=quiet) as progress:
        results = finetune(
            begin,
            config,
            train=train,
            valid=valid,
            test=test,
            out=out,
            progress=progress,
            resume=resume,
            trackers=trackers,
        )
    if as_json:
        typer.echo(json.dumps(results, ensure_ascii=False))
        return
    split = "test" if "test" in results else "valid"
    show_scores(f"{out} on {split}", results[split], results["baselines"])
    typer.echo(f"`trivium predict {out} TEXT` uses it; `trivium report {out}` draws it.")


def _start(start: str, tokenizer: Path | None, config: "FinetuneConfig", train: Path) -> "Start":
    """Open the run, or draw a preset for the tokenizer named or for one made from the training texts."""
    from trivium.cli.locate import located
    from trivium.core.errors import ConfigError, nearest
    from trivium.model.presets import PRESETS
    from trivium.tasks.start import open_run, random_start

    if start in PRESETS and Path(start).is_dir():
        raise ConfigError(f"`{start}` is a preset and a folder here; say ./{start} for the folder, or rename it.")
    if start in PRESETS:
        return random_start(start, _tokenizer(tokenizer, config, train))
    if not (Path(start).is_dir() or start.startswith("hf:")):
        raise ConfigError(f"{start}: no such run folder, and no preset of that name.{nearest(start, list(PRESETS))}")
    if tokenizer is not None:
        raise ConfigError("--tokenizer goes with a preset: a run brings its own.")
    return open_run(located(start), start)


def _tokenizer(path: Path | None, config: "FinetuneConfig", train: Path) -> "Tokenizer":
    from trivium.cli.locate import open_tokenizer
    from trivium.data.tokenizer import Tokenizer
    from trivium.tasks.build import build_task, texts_of

    if path is None:
        examples = build_task(config.task, settings=config.settings).read(train, min_classes=2).examples
        return Tokenizer.train(texts_of(examples), "bpe", _TRAINED_VOCABULARY)
    return open_tokenizer(path)
