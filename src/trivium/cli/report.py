"""trivium report: a run as a page."""

from pathlib import Path
from typing import Annotated

import typer


def command(run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]) -> None:
    """Draw a run's curves and results into report.html."""
    from trivium.cli.locate import located
    from trivium.evaluate.report import write_report

    typer.echo(write_report(located(run)))
