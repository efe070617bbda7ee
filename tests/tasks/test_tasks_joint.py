"""Spans found by one model and related by another: every pair is asked, in characters of the text."""

import json
from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
import pytest
from relate_inputs import relate_examples
from task_support import CHINESE, ENGLISH, lively_model, reading

from support import tiny
from trivium.core.errors import ConfigError, DataError
from trivium.data.labelled import (
    JointExample,
    Relation,
    SpanExample,
    pairs_of,
    spans_of_tags,
    words_of,
    write_jsonl,
)
from trivium.data.labelled.spans import Span
from trivium.tasks.base import Task
from trivium.tasks.build import build_task
from trivium.tasks.folder import TunedModel
from trivium.tasks.metrics.matching import Found
from trivium.tasks.predict import predict_texts
from trivium.tasks.relate.joint import find_relations, find_spans, predict_joint, score_joint, score_spans
from trivium.tasks.relate.task import Relate
from trivium.tasks.settings import RelateSettings

TEXTS = (ENGLISH, CHINESE.replace(" ", ""), "  \n" + ENGLISH, "", "  ")


def tuned(task: Task) -> TunedModel:
    return TunedModel(lively_model("encoder", task), tiny("encoder"), task, reading(row_length=128))


@pytest.fixture(scope="module", params=["label", "spans", "nested"])
def labeller(request: pytest.FixtureRequest) -> TunedModel:
    labels = {"label": ("B-A", "I-A", "B-B", "O"), "spans": ("O", "B-A", "I-A", "B-B", "I-B"), "nested": ("A", "B")}
    return tuned(build_task(request.param, labels[request.param]))


@pytest.fixture(scope="module")
def relater() -> TunedModel:
    return tuned(build_task("relate", ("knows", "none", "of"), settings={"none": "none"}))


def joint_examples(count: int, *, seed: int) -> list[JointExample]:
    rng = np.random.default_rng(seed)
    examples = []
    for text, head, tail, *_ in relate_examples(count, seed=seed):
        spans = (head, tail, Span(0, 1, "A"))
        relations = tuple(
            Relation(int(a), int(b), str(rng.choice(["knows", "of"])))
            for a, b in rng.integers(0, 3, (int(rng.integers(0, 7)), 2))
        )
        examples.append(JointExample(text, spans, relations))
    return examples


@pytest.mark.parametrize("none", ["none", ""])
def test_every_pair_has_the_first_of_its_relations_and_the_others_are_said(none: str) -> None:
    examples = joint_examples(60, seed=1)
    pairs, problems = pairs_of(examples, none=none)
    expected = []
    unsaid = 0
    for text, spans, relations, _ in examples:
        for a, b in permutations(range(3), 2):
            labels = [label for head, tail, label in relations if (head, tail) == (a, b)]
            unsaid += sum(label != labels[0] for label in labels)
            if labels or none:
                expected.append((text, spans[a], spans[b], labels[0] if labels else none))
        unsaid += sum(head == tail for head, tail, _ in relations)
    assert [pair[:4] for pair in pairs] == expected and len(problems) == unsaid > 20


def test_spans_are_those_that_the_words_labels_say(labeller: TunedModel) -> None:
    total = 0
    for text in TEXTS:
        [spans] = find_spans(labeller, [text])
        assert all(text[span.start : span.end].strip() == text[span.start : span.end] != "" for span in spans)
        assert list(spans) == sorted(spans, key=lambda span: (span.start, -span.end))
        if labeller.task.name != "nested":
            assert all(one.end <= other.start for one, other in pairwise(spans))
        assert {span.label for span in spans} <= {"A", "B"}
        total += len(spans)
        if text.isascii() and text.strip():  # the labels are those that the task gives to the same words
            words, _ = words_of(SpanExample(text.strip(), ()))
            if labeller.task.name == "nested":
                words = labeller.task.unlabelled(text.strip())
            [row] = labeller.task.answered(
                labeller.model, [words], labeller.task.encode([words], labeller.reading, known=False)
            )
            assert len(spans) == len(row["spans"] if "spans" in row else spans_of_tags(row["labels"]))
    assert total > 5
    moved = [Span(start + 3, end + 3, label) for start, end, label in find_spans(labeller, TEXTS[:1])[0]]
    assert len(moved) > 1 and all(TEXTS[2][s.start : s.end] == TEXTS[0][s.start - 3 : s.end - 3] for s in moved)


def test_every_pair_of_spans_is_asked(relater: TunedModel) -> None:
    found_any = 0
    for text, spans, *_ in joint_examples(6, seed=2):
        asked = [
            {"text": text, "head": spans[a]._asdict(), "tail": spans[b]._asdict()} for a, b in permutations(range(3), 2)
        ]
        answers = [row["relation"] for row in predict_texts(relater, asked)]
        expected = [
            (a, b, label) for (a, b), label in zip(permutations(range(3), 2), answers, strict=True) if label != "none"
        ]
        assert list(find_relations(relater, [text], [spans])[0]) == expected
        found_any += len(expected)
    assert found_any
    assert find_relations(relater, ["Ada"], [[Span(0, 3, "A")]]) == [()]


def test_scores_are_those_counted_by_hand(labeller: TunedModel, relater: TunedModel) -> None:
    examples = joint_examples(12, seed=3)
    for finder in (None, labeller):
        hits = found = there = 0
        for text, spans, relations, _ in examples:
            given_spans = spans if finder is None else find_spans(finder, [text])[0]
            given = {
                (given_spans[a], given_spans[b], r) for a, b, r in find_relations(relater, [text], [given_spans])[0]
            }
            right = {(spans[a], spans[b], label) for a, b, label in relations}
            hits, found, there = hits + len(given & right), found + len(given), there + len(right)
        scores = score_joint(relater, examples, finder=finder)
        assert scores["precision"] == pytest.approx(hits / found) and scores["recall"] == pytest.approx(hits / there)
        assert found > 5 and there > 20


def test_answers_are_in_the_form_that_is_read(labeller: TunedModel, relater: TunedModel, tmp_path: Path) -> None:
    texts = ["\n" + ENGLISH[:40], *TEXTS[3:], TEXTS[1]]
    rows = list(predict_joint(labeller, relater, texts))
    assert [row["text"] for row in rows] == texts
    assert json.loads(json.dumps(rows)) == rows
    write_jsonl(tmp_path / "a.jsonl", [row for row in rows if row["text"].strip()])
    task = relater.task
    pairs, problems = task.read(tmp_path / "a.jsonl", min_classes=1)
    expected = sum(len(row["spans"]) * (len(row["spans"]) - 1) for row in rows)
    assert len(pairs) == expected > 3 and not problems
    related = sum(pair.relation != "none" for pair in pairs)
    assert related == sum(len(row["relations"]) for row in rows)


def test_a_file_of_all_relations_is_read_as_pairs(tmp_path: Path) -> None:
    row = {
        "text": "Ada met Bob",
        "spans": [{"start": 0, "end": 3, "label": "A"}, {"start": 8, "end": 11, "label": "A"}],
        "relations": [{"head": 0, "tail": 1, "label": "met"}, {"head": 1, "tail": 1, "label": "met"}],
    }
    (tmp_path / "a.jsonl").write_text(f"\n\n{json.dumps(row)}\n", encoding="utf-8")
    pairs, problems = build_task("relate", ()).read(tmp_path / "a.jsonl", min_classes=2)
    assert [pair.relation for pair in pairs] == ["met", "no_relation"]
    [problem] = problems
    assert str(problem) == f"{tmp_path / 'a.jsonl'}:3: left out: the relation `met` of a span to itself."
    for none, labels in (("NA", ["met", "NA"]), ("", ["met"])):
        task = Relate((), settings=RelateSettings(none=none))
        assert [pair.relation for pair in task.read(tmp_path / "a.jsonl", min_classes=1).examples] == labels
    with pytest.raises(DataError, match="only the label `met`; expected at least 2 classes"):
        Relate((), settings=RelateSettings(none="")).read(tmp_path / "a.jsonl", min_classes=2)


def test_many_texts_at_once_are_answered_as_one_by_one(labeller: TunedModel, relater: TunedModel) -> None:
    texts = [example.text for example in joint_examples(20, seed=7)] + list(TEXTS)
    together = find_spans(labeller, texts)
    assert together == [find_spans(labeller, [text])[0] for text in texts] and sum(map(len, together)) > 30
    assert find_relations(relater, texts, together) == [
        find_relations(relater, [text], [spans])[0] for text, spans in zip(texts, together, strict=True)
    ]
    expected = Found()
    examples = joint_examples(20, seed=7)
    for example, spans in zip(examples, together, strict=False):
        right = set(example.spans)
        expected = expected.plus(Found(len(right & set(spans)), len(right), len(set(spans))))
    metrics = expected.metrics()
    assert score_spans(labeller, examples) == pytest.approx(
        {name: metrics[name] for name in ("precision", "recall", "f1")}
    )


def test_models_of_other_tasks_are_refused(labeller: TunedModel, relater: TunedModel) -> None:
    with pytest.raises(ConfigError, match="by a model of the task spans, nested or label, found one of relate"):
        find_spans(relater, ["Ada"])
    with pytest.raises(ConfigError, match="relations are found by a model of the task relate, found one of"):
        find_relations(labeller, ["Ada"], [()])
    words = tuned(build_task("label", ("noun", "verb")))
    with pytest.raises(DataError, match="is no tag of a span"):
        find_spans(words, ["Ada met Bob"])
