"""Spans and the relations among them: a model that finds spans in front of one that relates pairs of spans."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, permutations
from typing import Any, TypeVar

from trivium.core.errors import ConfigError
from trivium.data.labelled import (
    JointExample,
    Relation,
    RelationExample,
    spans_of_tags,
)
from trivium.data.labelled.spans import Span
from trivium.tasks.base import Task
from trivium.tasks.folder import TunedModel
from trivium.tasks.metrics import JointRelations
from trivium.tasks.metrics import Spans as FoundSpans
from trivium.tasks.nested.task import Nested
from trivium.tasks.relate.task import Relate
from trivium.tasks.words.label import Label
from trivium.tasks.words.spans import Spans

T = TypeVar("T")
_TEXTS = 64  # read at a time


def predict_joint(finder: TunedModel, relater: TunedModel, texts: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield `{"text", "spans", "relations"}` of each text, in the form that `read_joint` reads.

    Args:
        finder: fine-tuned to find spans, which of `nested` may overlap, or to label words with tags of spans (BIO or
            another scheme).
        relater: fine-tuned to relate pairs of spans of the types that the finder finds.
        texts: plain texts; read some at a time.

    Raises:
        ConfigError: a model of another task.
        DataError: a label of the finder is no tag of a span.
    """
    _require(relater)
    for some in _some(texts):
        spans = find_spans(finder, some)
        for text, own, relations in zip(some, spans, find_relations(relater, some, spans), strict=True):
            yield {
                "text": text,
                "spans": [span._asdict() for span in own],
                "relations": [relation._asdict() for relation in relations],
            }


def find_spans(finder: TunedModel, texts: Sequence[str]) -> list[tuple[Span, ...]]:
    """Return the spans that a model finds in each text, in characters.

    Raises:
        ConfigError: a model of another task.
        DataError: a label of it is no tag of a span.
    """
    if not isinstance(finder.task, Label | Spans | Nested):
        raise ConfigError(
            f"spans are found by a model of the task spans, nested or label, found one of {finder.task.name}."
        )
    task: Task = finder.task
    examples = [task.unlabelled(text) for text in texts]
    answers = task.answered(finder.model, examples, task.encode(examples, finder.reading, known=False))
    return [_of_tags(answer) if task.name == "label" else _of_spans(answer) for answer in answers]


def _of_spans(answer: Mapping[str, Any]) -> tuple[Span, ...]:
    """Return the spans of an answer that gives them."""
    return tuple(Span(span["start"], span["end"], span["label"]) for span in answer["spans"])


def _of_tags(answer: Mapping[str, Any]) -> tuple[Span, ...]:
    """Return the spans that the labels of an answer's words mark."""
    words = answer["words"]
    return tuple(
        Span(words[span.start]["start"], words[span.end - 1]["end"], span.label)
        for span in spans_of_tags(answer["labels"])
    )


def find_relations(
    relater: TunedModel, texts: Sequence[str], spans: Sequence[Sequence[Span]]
) -> list[tuple[Relation, ...]]:
    """Return the relations that a model finds among the spans of each text, of each span to each other one.

    Where no label says that there is no relation, each span is related to each.

    Raises:
        ConfigError: a model of another task.
    """
    task = _require(relater)
    ends = [list(permutations(range(len(own)), 2)) for own in spans]
    pairs = [
        RelationExample(text, own[head], own[tail], "")
        for text, own, between in zip(texts, spans, ends, strict=True)
        for head, tail in between
    ]
    answers = task.answered(relater.model, pairs, task.encode(pairs, relater.reading, known=False))
    found = []
    for between in ends:
        given = [(head, tail, next(answers)["relation"]) for head, tail in between]
        found.append(tuple(Relation(*each) for each in given if each[2] != task.settings.none))
    return found


def score_joint(
    relater: TunedModel, examples: Iterable[JointExample], *, finder: TunedModel | None = None
) -> dict[str, float]:
    """Return how good the relations are that are found in texts: precision, recall and F1, see `JointRelations`.

    Args:
        relater: relates pairs of spans.
        examples: texts with their right spans and relations.
        finder: finds the spans; None = the right ones are given.

    Raises:
        ConfigError: a model of another task.
        DataError: a label of the finder is no tag of a span.
    """
    _require(relater)
    scores = JointRelations()
    for some in _some(examples):
        texts = [example.text for example in some]
        spans = [example.spans for example in some] if finder is None else find_spans(finder, texts)
        for example, own, found in zip(some, spans, find_relations(relater, texts, spans), strict=True):
            scores.add(_named(example.spans, example.relations), _named(own, found))
    return scores.metrics()


def score_spans(finder: TunedModel, examples: Iterable[JointExample]) -> dict[str, float]:
    """Return how good the spans are that are found in texts: precision, recall and F1, see `metrics.Spans`.

    Raises:
        ConfigError: a model of another task.
        DataError: a label of the finder is no tag of a span.
    """
    scores = FoundSpans()
    for some in _some(examples):
        for example, spans in zip(some, find_spans(finder, [example.text for example in some]), strict=True):
            scores.add(example.spans, spans)
    return {name: value for name, value in scores.metrics().items() if name in ("precision", "recall", "f1")}


def _some(values: Iterable[T]) -> Iterator[list[T]]:
    """Yield values some at a time, so that what is answered together is of bounded size."""
    remaining = iter(values)
    while taken := list(islice(remaining, _TEXTS)):
        yield taken


def _named(spans: Sequence[Span], relations: Iterable[Relation]) -> list[tuple[Span, Span, str]]:
    return [(spans[head], spans[tail], label) for head, tail, label in relations]


def _require(relater: TunedModel) -> Relate:
    if not isinstance(relater.task, Relate):
        raise ConfigError(f"relations are found by a model of the task relate, found one of {relater.task.name}.")
    return relater.task
