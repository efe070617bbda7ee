"""trivium quickstart: the main job on text that every Python has."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from trivium.cli.options import Quiet, Seed


def command(
    out: Annotated[Path, typer.Option("--out", help="Folder to make; an existing one is refused.")] = Path(
        "runs/quickstart"
    ),
    seed: Seed = 0,
    minutes: Annotated[float, typer.Option(min=0.5, help="Time to fit everything into.")] = 6.0,
    quiet: Quiet = False,
    write_examples: Annotated[
        Path | None,
        typer.Option(
            "--write-examples",
            metavar="DIR",
            help="Only write a small labelled file of every kind that is read into this new folder.",
        ),
    ] = None,
) -> None:
    """Pretrain all three families, fine-tune and compare them, in about six minutes and without a download."""
    if write_examples is not None:
        from trivium.data.labelled.samples import write_examples as write

        typer.echo(f"{write(write_examples)[0]} says what each file is and how it is read.")
        return
    from trivium.cli.environment import set_up_process

    set_up_process()
    from rich.console import Console

    from trivium.cli.progress import shown
    from trivium.evaluate.quickstart import quickstart, quickstart_table

    with shown(quiet=quiet) as progress:
        summary = quickstart(out, seed=seed, minutes=minutes, progress=progress)
    Console(width=None if sys.stdout.isatty() else 140).print(quickstart_table(summary))
    for line in summary["verdict"]:
        typer.echo(line)
    typer.echo(f"{out / 'report.html'} shows it in pictures.")
