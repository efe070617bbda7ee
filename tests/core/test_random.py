"""Keys: equal ones give equal choices, different ones independent choices, in any order of asking."""

import numpy as np

from trivium.core.random import Key


def test_a_choice_is_a_function_of_its_key() -> None:
    assert np.array_equal(Key(3).child("a", 1).numpy().random(9), Key(3, ("a", 1)).numpy().random(9))
    assert Key(3).child("a").child(1).integer() == Key(3).child("a", 1).integer()


def test_choices_are_the_same_on_every_machine() -> None:
    assert Key(0).child("order", 1).integer() == 9_180_782_576_595_095_856
    assert Key(0).numpy().integers(0, 1000, 4).tolist() == [611, 67, 862, 790]


def test_numbers_of_numpy_are_numbers() -> None:
    row = np.array([5], dtype=np.int64)[0]
    assert Key(1).child("row", row).integer() == Key(1).child("row", 5).integer()
    assert Key(np.int64(1)).child("row").integer() == Key(1).child("row").integer()


def test_no_two_purposes_share_their_choices() -> None:
    keys = [
        Key(seed).child(purpose, epoch, row)
        for seed in range(3)
        for purpose in ("masked", "spans", 1)
        for epoch in range(4)
        for row in range(20)
    ]
    keys += [Key(1), Key(11), Key(1).child(1), Key(1).child("1"), Key(1).child("a", "b"), Key(1).child("ab")]
    integers = [key.integer() for key in keys]
    assert len(set(integers)) == len(keys) == 726
    assert all(0 <= integer < 2**63 for integer in integers)
    assert len({key.numpy().random() for key in keys}) == len(keys)


def test_neighbouring_keys_are_independent() -> None:
    draws = np.array([Key(0).child("row", row).numpy().random(200) for row in range(200)])
    correlation = np.corrcoef(draws)[np.triu_indices(200, 1)]
    assert np.abs(correlation).max() < 5.5 / np.sqrt(200)
    assert abs(draws.mean() - 0.5) < 4.5 * np.sqrt(1 / 12 / draws.size)
