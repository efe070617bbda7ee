"""A scatter chart whose points are named beside them: what is gained against what it costs."""

from collections.abc import Sequence
from typing import NamedTuple

from trivium.evaluate.axes import (
    LINE_HEIGHT,
    NARROW,
    TEXT_SIZE,
    ReferenceLine,
    colour_class,
    drawing,
    fitted,
    frame,
    label,
    line,
    linear_scale,
    log_scale,
    marker,
    reference,
    text_width,
    tick_texts,
)
from trivium.evaluate.formatting import NumberText, is_number, number_text
from trivium.evaluate.markup import Markup, element

_SMALLEST, _LARGEST = 5.0, 14.0  # radius in px
_NAME_WIDTH = 150.0


class Bubble(NamedTuple):
    """One point: its area grows with `size` (None = all the same); `front` = no other point is better in everything."""

    name: str
    x: float
    y: float
    size: float | None = None
    colour: int | None = 0
    front: bool = True


class _Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "_Box") -> bool:
        """Say whether the two have a point in common."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def scatter_chart(
    bubbles: Sequence[Bubble],
    *,
    title: str,
    x_label: str,
    y_label: str,
    reference_lines: Sequence[ReferenceLine] = (),
    log_x: bool = False,
    x_from_zero: bool = False,
    x_text: NumberText | None = None,
    y_text: NumberText = number_text,
    width: float = NARROW,
    height: float = 280,
) -> Markup:
    """Draw points, each named beside it where there is room; the name also shows when the point is pointed at.

    Args:
        bubbles: points that are not finite are left out, on a logarithmic axis also those that are not positive.
        title: what it shows.
        x_label, y_label: what the axes are, with the unit.
        reference_lines: values of y that say what is normal (baselines).
        log_x: put x on a logarithmic axis.
        x_from_zero: begin the axis of x at zero, so that small differences look small.
        x_text, y_text: how values are written.
        width, height: pixels.
    """
    shown = [each for each in bubbles if is_number(each.x) and is_number(each.y) and (each.x > 0 or not log_x)]
    references = [each for each in reference_lines if is_number(each.value)]
    ys = [each.y for each in shown] + [each.value for each in references]
    vertical = linear_scale(ys, start=height - 42, end=26 + LINE_HEIGHT, room=0.1)
    left = max(map(text_width, tick_texts(vertical, y_text)), default=0.0) + 10
    right = width - 18.0
    xs = [each.x for each in shown]
    if log_x:
        horizontal = log_scale(xs, start=left, end=right, num_ticks=4)
    else:
        horizontal = linear_scale(xs, start=left, end=right, num_ticks=4, include_zero=x_from_zero, room=0.1)
    parts = frame(horizontal, vertical, x_label, y_label, x_text=x_text, y_text=y_text)
    parts += [reference(each, horizontal, vertical) for each in references]
    boxes = [
        _Box(x - radius, y - radius, x + radius, y + radius)
        for each, radius in zip(shown, _radii(shown), strict=True)
        for x, y in [(horizontal.place(each.x), vertical.place(each.y))]
    ]
    hints = [f"{each.name}: {y_text(each.y)} at {(x_text or number_text)(each.x)}" for each in shown]
    parts += _dots(shown, boxes, hints)
    area = _Box(left, 16, right + 8, vertical.start)
    said = "; ".join([*hints, *(f"{each.name}: {y_text(each.value)}" for each in references)])
    marks = [(each, vertical.place(each.value)) for each in references]
    names = [*_reference_names(marks, boxes, area), *_names(shown, boxes, area)]
    description = f"{y_label} over {x_label}. {said}."
    return drawing(width, height, title=title, description=description, parts=[*parts, *names])


def _dots(bubbles: Sequence[Bubble], boxes: Sequence[_Box], hints: Sequence[str]) -> list[Markup]:
    """Draw the points, the largest first, so that none is hidden."""
    parts = []
    for bubble, box, hint in sorted(
        zip(bubbles, boxes, hints, strict=True), key=lambda item: item[1].left - item[1].right
    ):
        x, y, radius = (box.left + box.right) / 2, (box.top + box.bottom) / 2, (box.right - box.left) / 2
        kind = "c-bubble" if bubble.front else "c-behind"
        dot = marker(x, y, shape=bubble.colour or 0, size=radius, kind=kind, hint=hint)
        parts.append(element("g", dot, class_=colour_class(bubble.colour)))
    return parts


def _radii(bubbles: Sequence[Bubble]) -> list[float]:
    """Return the radius of each point, so that areas go by size."""
    sizes = [each.size if is_number(each.size) else None for each in bubbles]
    largest = max((size for size in sizes if size is not None), default=0.0)
    if largest <= 0:
        return [_SMALLEST + 1.0] * len(sizes)
    return [max(_SMALLEST, _LARGEST * (max(size or 0.0, 0.0) / largest) ** 0.5) for size in sizes]


def _reference_names(marks: Sequence[tuple[ReferenceLine, float]], taken: list[_Box], area: _Box) -> list[Markup]:
    """Write the name of each dashed line at one of its ends, where no point is, and add what they take."""
    parts = []
    half = LINE_HEIGHT / 2
    for each, y in marks:
        text = fitted(each.name, area.right - area.left - 16)
        width = text_width(text)
        starts = (area.right - 8 - width, area.left + 4)
        boxes = [_Box(x, y + away - half, x + width, y + away + half) for x in starts for away in (-half - 1, half + 1)]
        free = [box for box in boxes if box.bottom <= area.bottom and not any(box.meets(other) for other in taken)]
        box = (free or boxes)[0]
        taken.append(box)
        parts.append(label(box.left, (box.top + box.bottom) / 2, text, kind="c-muted", whole=each.name))
    return parts


def _names(bubbles: Sequence[Bubble], points: Sequence[_Box], area: _Box) -> list[Markup]:
    """Write the name of each point at the first place near it where it lies on nothing."""
    taken = list(points)
    parts = []
    for bubble, point in zip(bubbles, points, strict=False):  # after the points come the names of the lines
        text = fitted(bubble.name, min(_NAME_WIDTH, area.right - area.left))
        width = text_width(text)
        for box in _places(point, width):
            inside = box.left >= area.left and box.right <= area.right and box.top >= area.top
            if inside and box.bottom <= area.bottom and not any(box.meets(other) for other in taken):
                taken.append(box)
                name = label(box.left, (box.top + box.bottom) / 2, text, kind="c-text" if bubble.front else "c-muted")
                parts.append(element("g", *_leader(point, box), name, class_=colour_class(bubble.colour)))
                break
    return parts


def _places(point: _Box, width: float) -> list[_Box]:
    """Return where a name may stand, the best place first: beside, above, below, then further off."""
    x, y = (point.left + point.right) / 2, (point.top + point.bottom) / 2
    half = LINE_HEIGHT / 2
    found = []
    for away in (4.0, 18.0, 34.0):
        right, left = point.right + away, point.left - away - width
        above, below = point.top - away + 2 - half, point.bottom + away - 2 + half
        found += [(right, y), (left, y), (x - width / 2, above), (x - width / 2, below)]
        found += [(right, above), (right, below), (left, above), (left, below)]
    return [_Box(start, middle - half, start + width, middle + half) for start, middle in found]


def _leader(point: _Box, name: _Box) -> list[Markup]:
    """Return the line from a point to its name when the two are not neighbours."""
    x, y = (point.left + point.right) / 2, (point.top + point.bottom) / 2
    end_x, end_y = min(max(x, name.left), name.right), min(max(y, name.top + 3), name.bottom - 3)
    radius = (point.right - point.left) / 2
    distance = ((end_x - x) ** 2 + (end_y - y) ** 2) ** 0.5
    if distance < radius + TEXT_SIZE:
        return []
    share = radius / distance
    return [line(x + (end_x - x) * share, y + (end_y - y) * share, end_x, end_y, "c-leader")]
