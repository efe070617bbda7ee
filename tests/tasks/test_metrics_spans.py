"""Spans and relations: against seqeval's, nervaluate's and SemEval's own numbers, SciPy's matching, and by hand."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import f1_score
from span_inputs import flat_spans, relation_labels

from trivium.core.errors import DataError
from trivium.tasks.metrics import JointRelations, Relations, Span, Spans
from trivium.tasks.metrics.matching import most_pairs, overlapping

FIXTURES = Path(__file__).parents[1] / "fixtures"
EXACT = 1e-9
KNOWN = json.loads((FIXTURES / "span_scores.json").read_text(encoding="utf-8"))


def test_spans_that_cannot_be_given_are_missed() -> None:
    """They count as spans that lie where nothing is given."""
    lost, far = Spans(), Spans()
    right, given = [(0, 2, "a"), (3, 4, "b")], [(0, 2, "a"), (3, 5, "c"), (6, 7, "a")]
    elsewhere = [(90, 91, "a"), (91, 92, "a"), (92, 93, "d")]
    assert lost.add(right, given, ["a", "a", "d"]) == far.add([*right, *elsewhere], given)
    assert lost.metrics() == far.metrics() and lost.by_label() == far.by_label()
    assert lost.metrics()["recall"] == 1 / 5


def random_spans(rng: np.random.Generator, most: int) -> list[Span]:
    starts, sizes = rng.integers(0, 12, most), rng.integers(1, 5, most)
    rows = zip(starts, sizes, rng.integers(0, 3, most), strict=True)
    return [(int(start), int(start + size), "ABC"[label]) for start, size, label in rows]


def scored(*examples: tuple[list[Span], list[Span]]) -> dict[str, float]:
    spans = Spans()
    for right, given in examples:
        spans.add(right, given)
    return spans.metrics()


@pytest.mark.parametrize("seed", range(12))
def test_spans_score_as_seqeval_and_nervaluate_scored_them(seed: int) -> None:
    examples = flat_spans(seed)
    halves = Spans(), Spans()
    for number, (right, given) in enumerate(examples):
        halves[number % 2].add(right, [*given, *given[:2]])  # named twice: counts once
    halves[0].merge(halves[1])
    found = halves[0].metrics()
    known = dict(KNOWN["spans"][seed])
    del known["weighted_precision"], known["weighted_recall"]
    assert len(known) == 9
    assert {name: found[name] for name in known} == pytest.approx(known, abs=EXACT)


@pytest.mark.parametrize("seed", range(40))
def test_as_many_pairs_as_possible_are_made(seed: int) -> None:
    rng = np.random.default_rng(seed)
    right, given = (sorted(set(random_spans(rng, int(rng.integers(0, 12))))) for _ in range(2))

    def best(worth: np.ndarray) -> float:
        return float(worth[linear_sum_assignment(worth, maximize=True)].sum())

    def each(related: Callable[[Span, Span], bool]) -> np.ndarray:
        return np.array([related(g, r) for g in given for r in right], dtype=bool).reshape(len(given), len(right))

    overlap = each(lambda g, r: g[0] < r[1] and r[0] < g[1])
    labels = each(lambda g, r: g[2] == r[2])
    same = each(lambda g, r: g[:2] == r[:2])
    near = overlapping([g[:2] for g in given], [r[:2] for r in right])
    assert [sorted(row) for row in near] == [list(np.flatnonzero(row)) for row in overlap]
    assert most_pairs(near) == best(overlap.astype(float))
    spans = Spans()
    spans.add(right, given)
    assert spans.type.hits == best((overlap & labels).astype(float))
    assert spans.boundaries.hits == best(same.astype(float))
    # Equal spans first, whatever that costs; then the most halves.
    assert spans.partial.hits == best(1000.0 * same + 0.5 * (overlap & ~same)) - 999.0 * spans.boundaries.hits


def test_a_long_chain_of_overlaps_is_no_recursion() -> None:
    right = [(2 * place, 2 * place + 2, "A") for place in range(3000)]
    given = [(2 * place + 1, 2 * place + 3, "A") for place in range(3000)][::-1]
    assert scored((right, given))["partial_f1"] == pytest.approx(0.5)
    assert scored((right, given))["type_f1"] == pytest.approx(1.0)


def test_ways_of_counting_by_hand() -> None:
    right: list[Span] = [(0, 2, "A"), (3, 6, "B"), (8, 9, "A")]
    given: list[Span] = [(0, 2, "A"), (3, 5, "B"), (8, 9, "B"), (20, 21, "A")]
    found = scored((right, given))
    assert found["precision"] == 1 / 4
    assert found["recall"] == 1 / 3
    assert found["f1"] == pytest.approx(2 / 7)
    assert found["partial_f1"] == pytest.approx(2 * 2.5 / 7)
    assert found["type_f1"] == pytest.approx(2 * 2 / 7)
    assert found["boundaries_f1"] == pytest.approx(2 * 2 / 7)
    spans = Spans()
    assert spans.add(right, given) == (1, 3, 4)
    assert spans.by_label()["A"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "count": 2}
    assert spans.by_label()["B"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "count": 1}


def test_no_spans_score_nothing_and_empty_ones_are_refused() -> None:
    assert set(Spans().metrics().values()) == {0.0}
    assert set(scored(([], []), ([], [(0, 1, "A")])).values()) == {0.0}
    for span in ((3, 3, "A"), (-1, 2, "A"), (4, 2, "A")):
        with pytest.raises(DataError, match="0 <= start < end"):
            Spans().add([], [span])


@pytest.mark.parametrize("seed", range(12))
def test_relations_score_as_semevals_scorer_scored_them(seed: int) -> None:
    right, given = relation_labels(seed)
    halves = Relations(), Relations()
    halves[0].add(right[::2], given[::2])
    halves[1].add(right[1::2], given[1::2])
    halves[0].merge(halves[1])
    found = halves[0].metrics()
    known = KNOWN["relations"][seed]
    assert {name: found[name] for name in known} == pytest.approx(known, abs=EXACT)
    labels = sorted({*right, *given} - {"Other"})
    wanted = f1_score(right, given, labels=labels, average="micro", zero_division=0)
    assert found["micro_f1"] == pytest.approx(wanted, abs=EXACT)
    assert found["accuracy"] == np.mean([a == b for a, b in zip(right, given, strict=True)])


def test_a_relation_the_wrong_way_round_is_no_hit() -> None:
    relations = Relations(none="no relation")
    assert set(relations.metrics().values()) == {0.0}
    relations.add(["r(e1,e2)", "r(e2,e1)", "no relation", "s"], ["r(e2,e1)", "r(e2,e1)", "s", "s"])
    assert relations.by_relation() == {"r": (1, 2, 2), "s": (1, 1, 2)}
    assert relations.metrics()["macro_f1"] == pytest.approx((1 / 2 + 2 / 3) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_joint_relations_need_both_spans(seed: int) -> None:
    rng = np.random.default_rng(seed)
    joint, other = JointRelations(), JointRelations()
    counts = np.zeros((2, 3))
    for number in range(30):
        sides = []
        for _ in range(2):
            heads, tails = random_spans(rng, 25), random_spans(rng, 25)
            labels = rng.choice(["r", "s"], 25)
            sides.append([(h, t, str(label)) for h, t, label in zip(heads, tails, labels, strict=True)])
        sides[1] += sides[0][:7]
        sides[1] += [((h[0], h[1], "Z"), t, label) for h, t, label in sides[0][7:9]]
        (joint, other)[number % 2].add(*sides)
        for row, key in enumerate((lambda r: r, lambda r: (r[0][:2], r[1][:2], r[2]))):
            unique = [{key(relation) for relation in side} for side in sides]
            counts[row] += [sum(r in unique[0] for r in unique[1]), len(unique[0]), len(unique[1])]
    joint.merge(other)
    strict, loose = counts
    assert joint.metrics() == pytest.approx(
        {
            "precision": strict[0] / strict[2],
            "recall": strict[0] / strict[1],
            "f1": 2 * strict[0] / (strict[1] + strict[2]),
            "boundaries_f1": 2 * loose[0] / (loose[1] + loose[2]),
        },
        abs=EXACT,
    )
    assert loose[0] > strict[0] > 0
