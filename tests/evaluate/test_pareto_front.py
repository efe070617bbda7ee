"""The front against its definition, point by point."""

import numpy as np

from trivium.evaluate.front import best_by_budget, pareto_front


def beaten(point: np.ndarray, points: np.ndarray) -> bool:
    return any(bool((other <= point).all() and (other < point).any()) for other in points)


def test_front_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    checked = 0
    for _ in range(200):
        size, costs = int(rng.integers(1, 12)), int(rng.integers(1, 4))
        points = rng.integers(0, 5, (size, costs)).astype(float)  # small integers: many ties and equal points
        expected = [not beaten(point, points) for point in points]
        assert pareto_front(points.tolist()) == expected
        assert any(expected)
        checked += size
    assert checked > 500


def test_no_points() -> None:
    assert pareto_front([]) == []
    assert best_by_budget([], []) == []


def test_what_is_measured_may_differ_a_little() -> None:
    better, slower_by_noise = (-0.8, 10.0, 1.02), (-0.7, 10.0, 1.00)
    assert pareto_front([better, slower_by_noise]) == [True, True]
    assert pareto_front([better, slower_by_noise], tolerances=(0.0, 0.0, 0.03)) == [True, False]
    assert pareto_front([better, (-0.7, 10.0, 0.5)], tolerances=(0.0, 0.0, 0.03)) == [True, True]


def test_front_with_tolerance_is_never_empty() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        points = rng.uniform(0.9, 1.1, (int(rng.integers(1, 10)), 3))
        assert any(pareto_front(points.tolist(), tolerances=(0.0, 0.0, 0.1)))


def test_a_little_more_for_a_better_one_is_paid() -> None:
    costs, qualities = [7.03, 7.08, 7.09, 20.0], [0.42, 0.4475, 0.448, 0.9]
    assert best_by_budget(costs, qualities) == [0, 1, 2, 3]
    assert best_by_budget(costs, qualities, tolerance=0.03) == [2, 3]


def test_best_for_each_budget() -> None:
    rng = np.random.default_rng(2)
    for _ in range(100):
        size = int(rng.integers(1, 10))
        costs, qualities = rng.integers(1, 6, size).tolist(), rng.integers(0, 5, size).tolist()
        chosen = best_by_budget(costs, qualities)
        for budget in range(1, 6):
            affordable = [number for number in range(size) if costs[number] <= budget]
            paid = [number for number in chosen if costs[number] <= budget]
            assert bool(paid) == bool(affordable)
            if affordable:
                assert qualities[paid[-1]] == max(qualities[number] for number in affordable)
