"""trivium generate and trivium fill: what a pretrained model says."""

from pathlib import Path
from typing import Annotated

import typer

from trivium.cli.options import Json, ReadAs, Seed, as_text

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A pretrained run, or a Hugging Face folder.")]


def generate_command(
    run: Run,
    prompt: Annotated[str, typer.Option(help="The text to go on with.")],
    max_new_tokens: Annotated[int, typer.Option(min=1, help="At most so many tokens.")] = 100,
    min_new_tokens: Annotated[int, typer.Option(min=0, help="No end before so many tokens.")] = 0,
    greedy: Annotated[bool, typer.Option("--greedy", help="Always the most probable token.")] = False,
    beams: Annotated[int | None, typer.Option(min=1, help="The best of N texts at once; draws nothing.")] = None,
    length_penalty: Annotated[float, typer.Option(help="With --beams: above 0 longer texts, below shorter.")] = 1.0,
    temperature: Annotated[float, typer.Option(min=0.01, help="Below 1 bolder in its habits, above 1 wilder.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(min=1, help="Draw from the K most probable tokens.")] = None,
    top_p: Annotated[float, typer.Option(min=0.01, max=1.0, help="Draw from the likeliest tokens of mass P.")] = 0.95,
    min_p: Annotated[float, typer.Option(min=0.0, max=1.0, help="Draw none less likely than P of the best.")] = 0.0,
    repetition_penalty: Annotated[float, typer.Option(min=0.01, help="Above 1: what is there comes less.")] = 1.0,
    no_repeat_ngram: Annotated[int | None, typer.Option(min=1, help="No N tokens in a row come twice.")] = None,
    seed: Seed = 0,
    precision: ReadAs = "float32",
    as_json: Json = False,
) -> None:
    """Continue a text with a decoder or an encoder-decoder."""
    import json

    from trivium.cli.environment import set_up_process

    set_up_process()
    from trivium.cli.describe import open_speaker
    from trivium.core.config import parse
    from trivium.core.errors import ConfigError
    from trivium.model.decoding import Decoding
    from trivium.model.precision import computing_in
    from trivium.tasks.speak import continue_text

    if greedy and beams is not None:
        raise ConfigError("expected one way to choose tokens, found --greedy and --beams: leave one of them out.")
    method: dict[str, object] = {
        "kind": "sample",
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
    }
    if greedy:
        method = {"kind": "greedy"}
    elif beams is not None:
        method = {"kind": "beam", "size": beams, "length_penalty": length_penalty}
    tree = {
        "method": method,
        "max_new_tokens": max_new_tokens,
        "min_new_tokens": min_new_tokens,
        "repetition_penalty": repetition_penalty,
        "no_repeat_ngram": no_repeat_ngram,
    }
    decoding = parse(Decoding, tree, "generate")
    speaker = open_speaker(run)
    speaker = speaker._replace(network=computing_in(speaker.network, precision))
    found = continue_text(speaker, as_text(prompt), decoding, seed=seed)
    best = found[0]
    if as_json:
        answer: dict[str, object] = {"prompt": prompt, "completion": best.text, "tokens": best.tokens}
        if beams is not None:
            answer["beams"] = [{"completion": said.text, "tokens": said.tokens, "score": said.score} for said in found]
        typer.echo(json.dumps(answer, ensure_ascii=False))
    else:
        typer.echo(prompt + best.text)


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
