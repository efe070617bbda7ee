"""A curve in one line of text, in blocks of eight heights."""

from collections.abc import Sequence

from trivium.evaluate.formatting import is_number

BLOCKS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"


def sparkline(points: Sequence[tuple[float, float]], width: int) -> str:
    """Return the curve in at most `width` characters; empty when there is nothing to draw.

    What the first fifth has above all the rest is cut off: how a loss falls at the beginning would make the rest flat.

    Args:
        points: in order of x; those that are not finite are left out.
        width: characters; more points than that are averaged over equal parts of x.
    """
    known = [(x, y) for x, y in points if is_number(x) and is_number(y)]
    if not known or width < 1:
        return ""
    values = [y for _, y in known] if len(known) <= width else _binned(known, width)
    low, high = min(values), max(values[len(values) // 5 :])
    if high <= low:
        return BLOCKS[3] * len(values)
    heights = [min(round((value - low) / (high - low) * (len(BLOCKS) - 1)), len(BLOCKS) - 1) for value in values]
    return "".join(BLOCKS[height] for height in heights)


def _binned(points: Sequence[tuple[float, float]], width: int) -> list[float]:
    first, last = points[0][0], points[-1][0]
    bins: list[list[float]] = [[] for _ in range(width)]
    for x, y in points:
        share = (x - first) / (last - first) if last > first else 0.0
        bins[min(int(share * width), width - 1)].append(y)
    values: list[float] = []
    for each in bins:
        values.append(sum(each) / len(each) if each else values[-1])  # the first point is in the first of them
    return values
