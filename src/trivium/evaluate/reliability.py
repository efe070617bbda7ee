"""How sure a model is against how right it is: a reliability diagram (Guo et al. 2017, figure 1) and its sums."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from trivium.evaluate.axes import HALF, colour_class, drawing, frame, label, line, linear_scale, marker
from trivium.evaluate.formatting import compact_text, is_number, number_text, percent_text
from trivium.evaluate.markup import Markup, element
from trivium.evaluate.page import Cell, Column, Row, card, figure, grid, paragraph, section, table
from trivium.evaluate.run_files import metrics_of, scored_split
from trivium.evaluate.run_files import table as subtree

CALIBRATION = ("ece", "brier", "nll")
_NAMES = {"ece": "calibration error (ECE)", "brier": "Brier score", "nll": "nats an answer (NLL)"}
_BINS, _BARS, _LEFT, _RIGHT = 15, 44.0, 52.0, 14.0  # of `Calibration`; px: the highest bar, and the borders
_HOW = (
    "Each mark is answers of which the model was about as sure. On the dashed line it is right as often as it says, "
    "below the line it is too sure. The bars say how many answers there are of each."
)


class Bin(NamedTuple):
    """Answers that a model was about as sure of."""

    answers: float
    sure: float  # the mean probability that the model gave to its answers
    right: float  # the share that is right

    @property
    def text(self) -> str:
        """What it says, in words."""
        return f"{compact_text(self.answers)} answers: sure {percent_text(self.sure)}, right {percent_text(self.right)}"


def reliability_section(results: Mapping[str, Any]) -> Markup | None:
    """Return how sure the model is against how right it is; None where the results do not say."""
    bins = reliability_bins(subtree(results, "reliability"))
    if not bins:
        return None
    split = scored_split(results)
    drawn = figure(lambda width: reliability_chart(bins, split=split, width=width), _HOW, width=HALF)
    cards = [card(drawn, heading=f"How sure and how right, on {split}"), card(*_numbers(results), heading="In numbers")]
    return section("Can its probabilities be believed?", grid(*cards, pairs=True))


def reliability_bins(tree: Mapping[str, Any]) -> list[Bin]:
    """Return the bins that have answers, of what `Calibration.bins` has written; none where it is not whole."""
    columns: list[list[float]] = []
    for name in ("counts", "confidence", "hits"):
        column = tree.get(name)
        if not isinstance(column, list) or not all(map(is_number, column)):
            return []
        columns.append(column)
    if len(set(map(len, columns))) > 1:
        return []
    rows = zip(*columns, strict=True)
    return [Bin(answers, sure / answers, right / answers) for answers, sure, right in rows if answers > 0]


def reliability_chart(bins: Sequence[Bin], *, split: str, width: float) -> Markup:
    """Draw the share that is right over how sure the model was, and below it how many answers there are of each.

    Args:
        bins: those that have answers.
        split: what was scored.
        width: pixels.
    """
    height = 0.6 * width + _BARS + 62
    low = min(min(each.sure, each.right) for each in bins)
    shares = (0.0 if low < 0.4 else min(low, 0.5), 1.0)
    horizontal = linear_scale(shares, start=_LEFT, end=width - _RIGHT, room=0.02)
    vertical = linear_scale(shares, start=0.6 * width, end=26.0, room=0.02)
    parts = frame(horizontal, vertical, "", "share that is right", x_text=percent_text, y_text=percent_text)
    low_end, high_end = ((horizontal.place(share), vertical.place(share)) for share in shares)
    parts.append(line(*low_end, *high_end, "c-reference"))
    floor, most = height - 24, max(each.answers for each in bins)
    bar = max(0.6 * (horizontal.place(1.0) - horizontal.place(1.0 - 1.0 / _BINS)), 3.0)
    bars, marks = [], []
    for each in bins:
        x, tall = horizontal.place(each.sure), max(_BARS * each.answers / most, 1.0)
        hint = element("title", each.text)
        place = {"x": x - bar / 2, "y": floor - tall, "width": bar, "height": tall, "rx": 1.0}
        bars.append(element("rect", hint, **place, fill="currentColor", class_="c-bar"))
        marks.append(line(x, vertical.place(each.sure), x, vertical.place(each.right), "c-leader"))
        size = 3.0 + 4.0 * (each.answers / most) ** 0.5
        marks.append(marker(x, vertical.place(each.right), shape=0, size=size, hint=each.text))
    parts += [element("g", *bars, class_=colour_class(None)), element("g", *marks, class_=colour_class(0))]
    parts.append(line(_LEFT, floor, width - _RIGHT, floor, "c-base"))
    middle = (_LEFT + width - _RIGHT) / 2
    parts.append(label(middle, height - 9, "how sure it is", anchor="middle", kind="c-muted"))
    said = "; ".join(each.text for each in bins)
    title = f"How sure and how right it is, on {split}"
    return drawing(width, height, title=title, description=f"{said}.", parts=parts)


def _numbers(results: Mapping[str, Any]) -> list[Markup]:
    """Return the scores of calibration as a table, before and after the temperature, and what that is."""
    temperature = subtree(results, "temperature")
    value = temperature.get("value")
    scores = {"valid, as trained": metrics_of(subtree(temperature, "before"))} if is_number(value) else {}
    scores |= {split: metrics_of(subtree(results, split)) for split in ("valid", "test")}
    scores = {name: found for name, found in scores.items() if not found.keys().isdisjoint(CALIBRATION)}
    rows: list[Row] = [
        [Cell(_NAMES[name]), *(Cell(number_text(found.get(name)), found.get(name)) for found in scores.values())]
        for name in CALIBRATION
    ]
    shown = [table([Column("", numeric=False), *map(Column, scores)], rows)] if scores else []
    if is_number(value):
        was = "too sure" if value > 1 else "not sure enough"
        said = (
            f"The network was {was} of itself: all logits are divided by one temperature, {number_text(value, 3)}, "
            "fitted to the validation examples when all else was learned. It is in the head's weights, so that exports "
            "have it too, and changes no answer."
        )
        shown.append(paragraph(said, "note under"))
    return shown
