"""trivium export: a model for other libraries."""

from enum import StrEnum
from typing import Annotated

import typer

from trivium.cli.options import Json, Out


class Target(StrEnum):
    """What a model can be written for."""

    HUGGINGFACE = "huggingface"


def command(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run, pretrained or fine-tuned, or a Hugging Face folder.")
    ],
    out: Out,
    to: Annotated[Target, typer.Option("--to", help="What it is written for.")] = Target.HUGGINGFACE,
    model_type: Annotated[
        str | None, typer.Option(help="The family to write, e.g. llama; else the first that the network is one of.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a model as a folder that transformers opens; it is opened again and compared before it is kept."""
    import json

    from trivium.cli.locate import located
    from trivium.tasks.export.huggingface import export_huggingface

    exported = export_huggingface(located(run), out, model_type=model_type)
    if as_json:
        typer.echo(json.dumps(exported._asdict()))
        return
    typer.echo(
        f"{out}: `{exported.model_type}` of {exported.parameters:,} parameters for {to.value}. Opened again, "
        f"{exported.compared:,} numbers differ by {exported.difference:.1g} at most."
    )
