"""Spans and the relations among them: a model that labels words in front of one that relates pairs of spans."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from trivium.core.errors import ConfigError
from trivium.data.labelled import (
    JointExample,
    Relation,
    RelationExample,
    SpanExample,
    spans_of_tags,
    text_of,
    words_of,
)
from trivium.data.labelled.spans import Span
from trivium.data.words import word_starts
from trivium.tasks.folder import TunedModel
from trivium.tasks.label import Label
from trivium.tasks.metrics import JointRelations
from trivium.tasks.relate import Relate


def predict_joint(labeller: TunedModel, relater: TunedModel, texts: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield `{"text", "spans", "relations"}` of each text, in the form that `read_joint` reads.

    Args:
        labeller: fine-tuned to label words with tags of spans (BIO or another scheme).
        relater: fine-tuned to relate pairs of spans of the types that the labeller finds.
        texts: plain texts; read one at a time.

    Raises:
        ConfigError: a model of another task.
        DataError: a label of the labeller is no tag of a span.
    """
    _require(relater)
    for text in texts:
        spans = find_spans(labeller, text)
        relations = find_relations(relater, text, spans)
        yield {
            "text": text,
            "spans": [span._asdict() for span in spans],
            "relations": [relation._asdict() for relation in relations],
        }


def find_spans(labeller: TunedModel, text: str) -> tuple[Span, ...]:
    """Return the spans that a model finds in a text, in characters.

    Raises:
        ConfigError: a model of another task.
        DataError: a label of it is no tag of a span.
    """
    if not isinstance(labeller.task, Label):
        raise ConfigError(f"spans are found by a model of the task label, found one of {labeller.task.name}.")
    if not word_starts(text).any():
        return ()
    words, _ = words_of(SpanExample(text, ()))
    encoded = labeller.task.encode([words], labeller.reading, known=False)
    [answer] = labeller.task.answered(labeller.model, [words], encoded)
    joined, starts = text_of(words)
    before = len(text) - len(joined)  # white space that is of no word
    ends = [start + len(word) for start, word in zip(starts, words.tokens, strict=True)]
    found = spans_of_tags(answer["labels"])
    return tuple(Span(before + starts[span.start], before + ends[span.end - 1], span.label) for span in found)


def find_relations(relater: TunedModel, text: str, spans: Sequence[Span]) -> tuple[Relation, ...]:
    """Return the relations that a model finds among spans of a text, of each span to each other one.

    Where no label says that there is no relation, each span is related to each.

    Raises:
        ConfigError: a model of another task.
    """
    task = _require(relater)
    ends = [(head, tail) for head in range(len(spans)) for tail in range(len(spans)) if head != tail]
    pairs = [RelationExample(text, spans[head], spans[tail], "") for head, tail in ends]
    answers = task.answered(relater.model, pairs, task.encode(pairs, relater.reading, known=False))
    given = [answer["relation"] for answer in answers]
    return tuple(
        Relation(head, tail, label)
        for (head, tail), label in zip(ends, given, strict=True)
        if label != task.settings.none
    )


def score_joint(
    relater: TunedModel, examples: Iterable[JointExample], *, labeller: TunedModel | None = None
) -> dict[str, float]:
    """Return how good the relations are that are found in texts: precision, recall and F1, see `JointRelations`.

    Args:
        relater: relates pairs of spans.
        examples: texts with their right spans and relations.
        labeller: finds the spans; None = the right ones are given.

    Raises:
        ConfigError: a model of another task.
        DataError: a label of the labeller is no tag of a span.
    """
    _require(relater)
    scores = JointRelations()
    for example in examples:
        spans = example.spans if labeller is None else find_spans(labeller, example.text)
        found = find_relations(relater, example.text, spans)
        scores.add(_named(example.spans, example.relations), _named(spans, found))
    return scores.metrics()


def _named(spans: Sequence[Span], relations: Iterable[Relation]) -> list[tuple[Span, Span, str]]:
    return [(spans[head], spans[tail], label) for head, tail, label in relations]


def _require(relater: TunedModel) -> Relate:
    if not isinstance(relater.task, Relate):
        raise ConfigError(f"relations are found by a model of the task relate, found one of {relater.task.name}.")
    return relater.task
