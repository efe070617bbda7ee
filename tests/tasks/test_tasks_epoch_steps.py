"""Steps of epochs: every step lies in one, and the parts of an epoch's steps are the whole."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from trivium.tasks.epoch_steps import EpochSteps


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 40))
def test_steps_lie_in_their_epochs_and_share_what_there_is(steps: list[int], count: int) -> None:
    epochs = EpochSteps.counted(steps)
    places = [epochs.place(step) for step in range(epochs.total)]
    assert [(place.epoch, place.number) for place in places] == [
        (epoch, number) for epoch, many in enumerate(steps) for number in range(many)
    ]
    assert [place.steps for place in places] == [many for many in steps for _ in range(many)]
    for epoch, many in enumerate(steps):
        parts = [place.part(count) for place in places if place.epoch == epoch]
        assert (parts[0][0], parts[-1][1]) == (0, count)
        assert all(before[1] == after[0] for before, after in pairwise(parts))
        assert {stop - first for first, stop in parts} <= {count // many, -(-count // many)}


def test_ends_are_steps_done() -> None:
    epochs = EpochSteps.counted([3, 1, 2])
    assert (epochs.ends, epochs.total) == ((3, 4, 6), 6)
