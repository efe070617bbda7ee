"""What is worth choosing: the models that no other beats in everything, and the best for each budget."""

from collections.abc import Sequence


def pareto_front(points: Sequence[Sequence[float]], *, tolerances: Sequence[float] | None = None) -> list[bool]:
    """Return whether each point is on the front: no other is as good in everything and better in something.

    Args:
        points: their costs, less is better in each.
        tolerances: by what share two costs may differ and count as equal, one a cost: what is measured is not exact.
    """
    allowed = list(tolerances) if tolerances is not None else [0.0] * (len(points[0]) if points else 0)
    return [not any(_dominates(other, point, allowed) for other in points) for point in points]


def best_by_budget(costs: Sequence[float], qualities: Sequence[float], *, tolerance: float = 0.0) -> list[int]:
    """Return which points are the best of those that cost no more, the cheapest first; more quality is better.

    The best choice for a budget is the last of them that it pays for.

    Args:
        costs, qualities: of the points.
        tolerance: a better point that costs only this share more takes the place of a cheaper one.
    """
    chosen: list[int] = []
    for number in sorted(range(len(costs)), key=lambda each: (costs[each], -qualities[each])):
        if chosen and qualities[number] <= qualities[chosen[-1]]:
            continue
        while chosen and costs[number] <= costs[chosen[-1]] * (1.0 + tolerance):
            chosen.pop()
        chosen.append(number)
    return chosen


def _dominates(other: Sequence[float], point: Sequence[float], tolerances: Sequence[float]) -> bool:
    better = False
    for mine, its, tolerance in zip(other, point, tolerances, strict=True):
        room = tolerance * max(abs(mine), abs(its))
        if mine > its + room:
            return False
        better = better or mine < its - room
    return better
