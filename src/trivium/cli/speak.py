"""trivium generate and trivium fill: what a pretrained model says."""

from pathlib import Path
from typing import Annotated

import typer

from trivium.cli.options import Json, Seed, as_text

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A pretrained run, or a Hugging Face folder.")]


def generate_command(
    run: Run,
    prompt: Annotated[str, typer.Option(help="The text to go on with.")],
    max_new_tokens: Annotated[int, typer.Option(min=1, help="At most so many tokens.")] = 100,
    greedy: Annotated[bool, typer.Option("--greedy", help="Always the most probable token.")] = False,
    temperature: Annotated[float, typer.Option(min=0.01, help="Below 1 bolder in its habits, above 1 wilder.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(min=1, help="Draw from the K most probable tokens.")] = None,
    top_p: Annotated[float, typer.Option(min=0.01, max=1.0, help="Draw from the likeliest tokens of mass P.")] = 0.95,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Continue a text with a decoder or an encoder-decoder."""
    import json

    from trivium.cli.describe import open_speaker
    from trivium.model.generate import Sampling
    from trivium.tasks.speak import continue_text

    speaker = open_speaker(run)
    sampling = None if greedy else Sampling(temperature, top_k, top_p)
    completion, tokens = continue_text(
        speaker, as_text(prompt), max_new_tokens=max_new_tokens, sampling=sampling, seed=seed
    )
    if as_json:
        typer.echo(json.dumps({"prompt": prompt, "completion": completion, "tokens": tokens}, ensure_ascii=False))
    else:
        typer.echo(prompt + completion)


def fill_command(
    run: Run,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Text with [MASK] where something is missing.")],
    top: Annotated[int, typer.Option(min=1, help="Guesses for each mask.")] = 5,
    as_json: Json = False,
) -> None:
    """Say what may stand at each [MASK], with an encoder or an encoder-decoder."""
    import json

    from trivium.cli.describe import open_speaker
    from trivium.tasks.speak import fill_masks

    guesses = fill_masks(open_speaker(run), as_text(text), top=top)
    if as_json:
        masks = [[guess._asdict() for guess in place] for place in guesses]
        typer.echo(json.dumps({"text": text, "masks": masks}, ensure_ascii=False))
        return
    for number, place in enumerate(guesses, 1):
        if len(guesses) > 1:
            typer.echo(f"mask {number}")
        for guess in place:
            typer.echo(f"{guess.probability:7.2%}  {guess.text}")
