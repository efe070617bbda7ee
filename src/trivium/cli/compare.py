"""trivium compare: quality, parameters and speed side by side."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from trivium.cli.options import Json, Out, Quiet


def command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders of runs, or of Hugging Face models.")],
    out: Out,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare runs by quality, parameters and speed measured now, as table, JSON and page."""
    import json

    from trivium.cli.locate import located
    from trivium.cli.progress import shown
    from trivium.evaluate.compare import compare, comparison_table

    with shown(quiet=quiet) as progress:
        result = compare([located(run) for run in runs], out, progress=progress)
    if as_json:
        typer.echo(json.dumps(result, ensure_ascii=False))
        return
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 140).print(comparison_table(result))
    typer.echo(out / "comparison.html")
