"""What the main job found, in sentences, and what its models say."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trivium.data.labelled import UNSCORED
from trivium.model.config import Decoder
from trivium.model.decoding import Decoding, Sample
from trivium.model.folder import load_model
from trivium.tasks.folder import load_tuned
from trivium.tasks.predict import predict_texts
from trivium.tasks.speak import Speaker, continue_text, fill_masks

_FILL = ("Return the [MASK] of the list.", "for i in [MASK](len(self)):")
_CONTINUE = ("def __init__(self, ", "Return the ")
_TALK = Decoding(method=Sample(temperature=0.7, top_p=0.9), max_new_tokens=40)
_MIN_SNIPPET, _MAX_SNIPPET = 15, 40  # words of the code that is shown labelled


def verdict(families: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the numbers say, whoever wins."""
    best = max(families, key=lambda family: float(family["task"]["pretrained"]["mean"]))
    score = best["task"]["pretrained"]
    lines = [
        f"Best on `label`: the {best['name']} with {score['mean']:.1%} of the names right "
        f"(from scratch {best['task']['scratch']['mean']:.1%}, "
        f"{best['task']['baseline']['name']} {best['task']['baseline']['score']:.1%})."
    ]
    lines += [_helped(family) for family in families]
    for family in families:
        quality = family["quality"]
        wins = quality["model"] < quality["baseline"]
        lines.append(
            f"Predicting held-out text, the {family['name']} {'beats' if wins else 'does not beat'} the count model: "
            f"{quality['model']:.2f} against {quality['baseline']:.2f} {quality['unit']} ({quality['baseline_name']})."
        )
    return lines


def _helped(family: Mapping[str, Any]) -> str:
    """Say whether pretraining helped: by more than two standard errors of the difference of the means."""
    with_, without = family["task"]["pretrained"], family["task"]["scratch"]
    gain = with_["mean"] - without["mean"]
    error = math.sqrt(
        with_["sd"] ** 2 / max(len(with_["scores"]), 1) + without["sd"] ** 2 / max(len(without["scores"]), 1)
    )
    name = family["name"]
    if gain > 2 * error:
        return f"Pretraining helps the {name}: {gain * 100:+.1f} points on `label`."
    if gain < -2 * error:
        return f"Pretraining hurts the {name}: {gain * 100:+.1f} points on `label`."
    return f"Pretraining makes no clear difference for the {name}: {gain * 100:+.1f} points on `label`."


def examples_of(run: Path, tuned: Path, snippets: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what a pretrained run and its fine-tuned one say: filled masks or continuations, and labelled code."""
    speaker = Speaker.of(load_model(run / "model"))
    found: list[dict[str, Any]] = []
    if isinstance(speaker.config.family, Decoder):
        for prompt in _CONTINUE:
            [said] = continue_text(speaker, prompt, _TALK)
            found.append({"what": "a continuation", "prompt": prompt, "completion": said.text})
    else:
        for text in _FILL:
            [answers] = fill_masks(speaker, text, top=4)
            found.append({"what": "a filled mask", "prompt": text, "answers": [guess._asdict() for guess in answers]})
    snippet = next(row for row in snippets if _MIN_SNIPPET <= len(row["tokens"]) <= _MAX_SNIPPET)
    [answer] = predict_texts(load_tuned(tuned), [list(snippet["tokens"])])
    # Keywords, builtins and signs have no role: whatever the model says of them means nothing.
    shown = [
        UNSCORED if gold == UNSCORED else given for gold, given in zip(snippet["labels"], answer["labels"], strict=True)
    ]
    found.append(
        {
            "what": "a labelled line of code",
            "tokens": answer["tokens"],
            "labels": shown,
            "gold": list(snippet["labels"]),
        }
    )
    return found
