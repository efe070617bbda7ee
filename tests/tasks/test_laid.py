"""Pieces side by side in a batch's rows, against one piece after another."""

import numpy as np
import pytest

from trivium.tasks.laid import Laid


def test_parts_lie_one_piece_after_another() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        shape = (int(rng.integers(1, 5)), int(rng.integers(1, 20)))
        sizes_BU = [_sizes(rng, shape[1]) for _ in range(int(rng.integers(0, shape[0] + 1)))]
        parts = [rng.integers(1, 99, size) for sizes in sizes_BU for size in sizes]
        laid = Laid.side_by_side(list(map(len, sizes_BU)), list(map(len, parts)), shape)
        expected_BL, numbers_BL = np.full(shape, -7), np.full(shape, -1)
        left = iter(parts)
        for row, sizes in enumerate(sizes_BU):
            filled = 0
            for number, size in enumerate(sizes):
                expected_BL[row, filled : filled + size] = next(left)
                numbers_BL[row, filled : filled + size] = number
                filled += size
        assert np.array_equal(laid.all(parts, unused=-7), expected_BL)
        assert np.array_equal(laid.each(laid.number_U, unused=-1), numbers_BL)


@pytest.mark.parametrize(("counts", "sizes", "shape"), [([2], [3, 4], (1, 6)), ([1, 1], [1, 1], (1, 6))])
def test_what_does_not_fit_is_refused(counts: list[int], sizes: list[int], shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="do not fit into"):
        Laid.side_by_side(counts, sizes, shape)


def _sizes(rng: np.random.Generator, room: int) -> list[int]:
    sizes: list[int] = []
    while sum(sizes) < room and rng.random() < 0.8:
        sizes.append(int(rng.integers(0, room - sum(sizes) + 1)))
    return sizes
