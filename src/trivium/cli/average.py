"""trivium average: one model of a run's last checkpoints."""

from pathlib import Path
from typing import Annotated

import typer

from trivium.cli.options import Json, Out


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished pretraining run.")],
    out: Out,
    last: Annotated[int, typer.Option(min=2, help="How many of the last checkpoints that it keeps.")] = 2,
    as_json: Json = False,
) -> None:
    """Average the weights of a run's last checkpoints into a model."""
    import json

    from trivium.cli.environment import set_up_process

    set_up_process()
    from trivium.cli.locate import located
    from trivium.train.average_run import average_run

    averaged = average_run(located(run), out, last=last)
    if as_json:
        typer.echo(json.dumps(averaged._asdict()))
        return
    steps = ", ".join(f"{step:,}" for step in averaged.steps)
    typer.echo(f"{out}: the mean of the weights after steps {steps}; `trivium evaluate {out} --data DATA` scores it.")
