"""trivium average: one model of a run's last checkpoints."""

from pathlib import Path
from typing import Annotated

import typer

from trivium.cli.options import Json, Out


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished pretraining run.")],
    out: Out,
    last: Annotated[int, typer.Option(min=2, help="How many of the last checkpoints that it keeps.")] = 2,
    data: Annotated[
        Path | None, typer.Option("--data", help="What the run was trained on: the held-out loss is measured.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Average the weights of a run's last checkpoints into a model."""
    import json

    from trivium.cli.environment import set_up_process

    set_up_process()
    from trivium.cli.locate import located
    from trivium.data.shards import PreparedData
    from trivium.train.average_run import average_run

    averaged = average_run(located(run), out, last=last, data=None if data is None else PreparedData.open(data))
    if as_json:
        typer.echo(json.dumps(averaged._asdict()))
        return
    steps = ", ".join(f"{step:,}" for step in averaged.steps)
    measured = "" if averaged.loss is None else f" Held-out loss {averaged.loss:.3f}."
    typer.echo(
        f"{out}: the mean of the weights after steps {steps}.{measured} `trivium evaluate {out} --data DATA` scores it."
    )
