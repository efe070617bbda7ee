"""Options that several verbs share."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

Out = Annotated[Path, typer.Option("--out", help="Folder to make; an existing one is refused.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, dotted; may be repeated.")
]
StartFrom = Annotated[
    str | None,
    typer.Option(
        "--from", help="A run or a Hugging Face folder to go on from: weights, and architecture but for --set model.*"
    ),
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        metavar="TRACKER",
        help="Send the log elsewhere too: tensorboard, trackio, wandb or mlflow; may be repeated.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress: warnings and results only.")]
ReadAs = Annotated[
    Literal["float32", "bfloat16", "int8"],
    typer.Option(
        "--precision",
        help="What is computed in: int8 is the fastest, bfloat16 where the processor has it; answers differ a little, "
        "and in int8 also with what else is read at once (probabilities by some thousandths, at worst by hundredths).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Results as JSON, for programs.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of all random choices.")]


def as_text(value: str) -> str:
    """Return an argument or a line of input; raise DataError when its bytes were not UTF-8."""
    from trivium.core.errors import DataError

    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"expected UTF-8 text, found other bytes at character {error.start} of {value[:40]!r}."
        ) from None
    return value


def input_lines() -> Iterator[str]:
    """Yield every line of standard input, an empty one too: answers keep their places.

    A byte order mark and carriage returns of other systems are left out, as they are in files.

    Raises:
        DataError: see `as_text`.
    """
    for number, line in enumerate(sys.stdin):
        text = line.removesuffix("\n").removesuffix("\r")
        yield as_text(text.removeprefix("\ufeff") if number == 0 else text)
