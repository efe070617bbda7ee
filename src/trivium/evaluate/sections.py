"""What several reports show alike: loss curves, what a model says, labelled words."""

import keyword
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from trivium.evaluate.axes import THIRD, ReferenceLine
from trivium.evaluate.charts import Event, Series, line_chart
from trivium.evaluate.formatting import ABSENT, is_number, percent_text
from trivium.evaluate.markup import Markup, element
from trivium.evaluate.page import code_block, meters, paragraph

Curve = Sequence[tuple[float, float]]

FAMILY_COLOURS = {"encoder": 0, "decoder": 1, "seq2seq": 2, "encoder_decoder": 2}
LIKE = {"encoder": "BERT", "decoder": "GPT", "seq2seq": "T5", "encoder_decoder": "T5"}
_ROLES = ("module", "class", "function", "method", "attribute", "parameter", "keyword", "local", "global")
_UNLABELLED = frozenset({"", "_", "O", "None"})
_BLANKS = ("[MASK]", *(f"<extra_id_{number}>" for number in range(100)))
_MAY_BREAK = Markup("<wbr>")
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")


def smoothed(points: Curve, *, share: float = 0.03) -> list[tuple[float, float]]:
    """Return the mean of each point and its neighbours, for display.

    Args:
        points: in order of x; those that are not finite are left out.
        share: of all points that lie in one mean.
    """
    known = [(x, y) for x, y in points if is_number(x) and is_number(y)]
    reach = int(len(known) * share / 2)
    sums = [0.0]
    for _, y in known:
        sums.append(sums[-1] + y)
    result = []
    for number, (x, _) in enumerate(known):
        # As many on both sides, so that the ends of the curve are not drawn towards its middle.
        room = min(reach, number, len(known) - 1 - number)
        result.append((x, (sums[number + room + 1] - sums[number - room]) / (2 * room + 1)))
    return result


def loss_chart(
    train: Curve,
    validation: Curve,
    reference: Mapping[str, float],
    *,
    title: str,
    colour: int | None,
    y_label: str = "loss, nats a token",
    events: Sequence[Event] = (),
    width: float = THIRD,
    height: float = 240,
) -> Markup:
    """Draw a run's loss: training faint and smoothed, validation strong, dashed what is normal; ticks for events."""
    return line_chart(
        [Series("train", smoothed(train), colour, "faint"), Series("validation", validation, colour)],
        title=title,
        x_label="step",
        y_label=y_label,
        reference_lines=[ReferenceLine(name, value) for name, value in reference.items()],
        events=events,
        width=width,
        height=height,
    )


def example_markup(example: Mapping[str, Any], styles: Mapping[str, str], colour: int) -> Markup:
    """Return something a model said: hidden words filled, a continuation, or labelled words.

    Args:
        example: `what` and `prompt`, and `answers`, `completion`, or `tokens` and `labels` (and `gold`).
        styles: see `label_styles`.
        colour: of the model.
    """
    prompt = str(example.get("prompt") or "")
    parts: list[Markup] = [paragraph(example.get("what") or "an example", "what")]
    if "tokens" in example:
        parts.append(
            labelled_words(example["tokens"], example.get("labels") or [], styles, prompt, example.get("gold"))
        )
    elif "completion" in example:
        said = element("span", example["completion"], class_=f"said c{colour}")
        parts.append(code_block(Markup.joined(prompt, said), wrap=True))
    else:
        parts.append(code_block(_with_blanks(prompt, colour), wrap=True))
        answers = example.get("answers") or []
        groups = answers if answers and isinstance(answers[0], list | tuple) else [answers]
        parts += [meters([_answer(answer) for answer in group], percent_text, colour) for group in groups]
    return element("div", *parts, class_="example")


def label_styles(labels: Iterable[str]) -> dict[str, str]:
    """Return the classes that each label is shown with: a colour, and an underline that tells equal colours apart."""
    wanted = {str(label) for label in labels} - _UNLABELLED
    order = [role for role in _ROLES if role in wanted] + sorted(wanted - set(_ROLES))
    places = {role: number for number, role in enumerate(_ROLES)} if wanted <= set(_ROLES) else {}
    numbers = {label: places.get(label, number) for number, label in enumerate(order)}
    return {label: f"role c{number % 6} u{number // 6 % 4}" for label, number in numbers.items()}


def label_legend(styles: Mapping[str, str], *, wrong: bool = False) -> Markup | None:
    """Return what each style stands for, and the mark of wrong labels; None when there are no labels."""
    items = [element("li", element("span", label, class_=style)) for label, style in styles.items()]
    items += [element("li", element("span", "\u00a0wrong\u00a0", class_="wrong"))] * (wrong and bool(items))
    return element("ul", *items, class_="legend") if items else None


def labelled_words(
    tokens: Sequence[object],
    labels: Sequence[object],
    styles: Mapping[str, str],
    text: str = "",
    gold: Sequence[object] | None = None,
) -> Markup:
    """Return words as running text, each in the style of its label.

    Args:
        tokens: the words.
        labels: one a word; words without a label stand plain.
        styles: see `label_styles`.
        text: what the words were taken from; when it holds all of them in order, its spaces and lines are kept.
        gold: the right labels; words labelled otherwise are marked, words that have none stand plain.
    """
    words = [str(token) for token in tokens]
    parts: list[object] = []
    for number, (space, word) in enumerate(zip(_spaces(words, text), words, strict=True)):
        label = str(labels[number]) if number < len(labels) else ""
        right = str(gold[number]) if gold is not None and number < len(gold) else None
        if right in _UNLABELLED:  # only context: what the model says of it was never learned
            label = ""
        wrong = right is not None and right not in _UNLABELLED and right != label
        style = " ".join([styles.get(label, "")] * (label not in _UNLABELLED) + ["wrong"] * wrong).strip()
        hint = f"{label or ABSENT}, right: {right}" if wrong else label
        parts += [space, element("span", word, class_=style, title=hint) if style else word]
        parts += [_MAY_BREAK] * (word in _OPENING)
    return element("pre", element("code", *parts), class_="wrap code")


def _answer(answer: object) -> tuple[str, float | None]:
    text, probability = answer, None
    if isinstance(answer, Mapping):
        text, probability = answer.get("text", ""), answer.get("probability")
    shown = str(text).replace("\n", "\u23ce").strip()
    return shown or "\u2423", probability


def _with_blanks(prompt: str, colour: int) -> Markup:
    """Return the prompt with its hidden places drawn as such."""
    shown = Markup.joined(prompt)
    for blank in _BLANKS:
        if blank in prompt:
            name = "  ?  " if blank == "[MASK]" else blank.strip("<>")
            shown = Markup(shown.replace(Markup.joined(blank), element("span", name, class_=f"blank c{colour}")))
    return shown


def _spaces(words: Sequence[str], text: str) -> list[str]:
    """Return what stands before each word: as in the text it is from, else as Python code is usually written."""
    spaces, place = [], 0
    for word in words:
        found = text.find(word, place)
        if found < 0 or text[place:found].strip():
            break
        spaces.append(text[place:found])
        place = found + len(word)
    if len(spaces) == len(words):
        return spaces
    depth, result = 0, [""] * bool(words)
    for before, word in pairwise(words):
        depth += (before in _OPENING) - (before in _CLOSING)
        result.append("" if _joined(before, word, depth) else " ")
    return result


def _joined(before: str, word: str, depth: int) -> bool:
    """Say whether Python code is usually written without a space between the two."""
    if before in _OPENING or word in _CLOSING or word in {",", ":", ";", "."} or before in {".", "@"}:
        return True
    if word in {"(", "["}:
        return (before.isidentifier() and not keyword.iskeyword(before)) or before in _CLOSING
    return depth > 0 and "=" in (before, word)
