"""trivium find-lr: which learning rate to pretrain with."""

from pathlib import Path
from typing import Annotated

import typer

from trivium.cli.options import Json, Out, Quiet, Set


def command(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe (.toml) or a preset's name.")],
    data: Annotated[Path, typer.Option("--data", help="Folder that `trivium prepare` made.")],
    out: Out,
    steps: Annotated[int, typer.Option(min=20, help="Steps to try, one learning rate each.")] = 120,
    low: Annotated[float | None, typer.Option(help="First learning rate (a thousandth of the recipe's).")] = None,
    high: Annotated[float | None, typer.Option(help="Last learning rate (a hundred times the recipe's).")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of all random choices.")] = None,
    settings: Set = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a throw-away network at a growing learning rate and say which one to try."""
    import json

    from trivium.cli.environment import set_up_process
    from trivium.core.errors import ConfigError
    from trivium.core.files import new_folder, refuse_existing, write_json, write_text

    for name, value in (("--low", low), ("--high", high)):
        if value is not None and value <= 0:
            raise ConfigError(f"{name} expects a learning rate above 0, found {value:g}.")
    refuse_existing(out)
    set_up_process()
    from trivium.cli.progress import shown
    from trivium.data.shards import PreparedData
    from trivium.evaluate.find_lr_page import find_lr_page, lines
    from trivium.evaluate.find_lr_page import shown as shown_steps
    from trivium.train.config import load_recipe
    from trivium.train.distributed import require_one_process
    from trivium.train.find_lr import find_lr

    require_one_process("find-lr")
    config = load_recipe(recipe, [*(settings or []), *([f"seed={seed}"] * (seed is not None))])
    if config.start_from is not None:
        raise ConfigError(f"find-lr begins with random weights; remove `start_from` from {recipe}.")
    optimiser = config.optimiser
    with shown(quiet=quiet) as progress:
        found = find_lr(config, PreparedData.open(data), steps=steps, low=low, high=high, progress=progress)
    results = {
        "recipe": recipe,
        "optimiser": optimiser.kind,
        "lr": optimiser.lr,
        "suggestion": found.suggestion,
        "steepest": found.steepest,
        "lowest": found.lowest,
        "seed": config.seed,
        "tried": [each._asdict() for each in found.tried],
    }
    with new_folder(out) as folder:
        write_json(folder / "results.json", results)
        page = find_lr_page(found, name=Path(recipe).stem, optimiser=optimiser.kind, usual=optimiser.lr)
        write_text(folder / "find-lr.html", page)
    if as_json:
        typer.echo(json.dumps(results))
        return
    typer.echo("learning rate      loss  smoothed")
    for each in shown_steps(found):
        typer.echo(f"{each.lr:>13.2e} {each.loss:>9.3f} {each.smoothed:>9.3f}")
    for line in lines(found, optimiser.lr):
        typer.echo(line)
    typer.echo(out / "find-lr.html")
