"""How many answers of each class there are, of every task's examples."""

from trivium.data.labelled import (
    UNSCORED,
    Answer,
    AnswerExample,
    ClassifyExample,
    LabelExample,
    MultiLabelExample,
    NestedExample,
    RegressionExample,
    RelationExample,
    Span,
)
from trivium.tasks.balance import balance_text, class_counts
from trivium.tasks.build import build_task


def test_classes_are_counted_the_most_frequent_first() -> None:
    texts = [ClassifyExample("a", label, None) for label in ("no", "yes", "yes")]
    assert list(class_counts(build_task("classify"), texts).items()) == [("yes", 2), ("no", 1)]
    several = [MultiLabelExample("a", labels, None) for labels in (("x", "y"), (), ("y",))]
    assert class_counts(build_task("multi_label"), several) == {"y": 2, "x": 1}
    head, tail = Span(0, 1, ""), Span(2, 3, "")
    assert class_counts(build_task("relate"), [RelationExample("a b", head, tail, "r")]) == {"r": 1}
    answers = [AnswerExample("1", None, "a b", "b?", found) for found in ((), (Answer("b", 2),))]
    assert class_counts(build_task("answer"), answers) == {"no answer": 1, "answered": 1}


def test_words_are_counted_where_they_are_scored_and_spans_once_however_long() -> None:
    words = LabelExample(("a", "b", "c", "d"), ("B-X", "I-X", UNSCORED, "B-Y"))
    assert class_counts(build_task("label"), [words]) == {"B-X": 1, "I-X": 1, "B-Y": 1}
    assert class_counts(build_task("spans"), [words, words]) == {"X": 2, "Y": 2}
    nested = NestedExample(("a", "b"), (Span(0, 2, "X"), Span(1, 2, "X")))
    assert class_counts(build_task("nested"), [nested]) == {"X": 2}


def test_numbers_have_no_classes() -> None:
    assert class_counts(build_task("regress"), [RegressionExample("a", 1.0, None)]) == {}


def test_a_line_says_how_many_and_of_which() -> None:
    assert balance_text(4000, {"positive": 3000, "negative": 1000}) == (
        "4,000 examples; positive 3,000 (75%), negative 1,000 (25%)"
    )
    many = {f"c{number}": 10 - number for number in range(9)}
    assert balance_text(9, many).endswith("c5 5 (9%), 3 more, the rarest c8 2")
    assert balance_text(1, {}) == "1 example"
