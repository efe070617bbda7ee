"""How many answers there are of each class, for eyes: what is rare is learned badly, and hides behind an accuracy."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trivium.data.labelled import spans_of_tags
from trivium.tasks.answer.task import Answer
from trivium.tasks.base import Task
from trivium.tasks.nested.task import Nested
from trivium.tasks.relate.task import Relate
from trivium.tasks.texts.classify import Classify
from trivium.tasks.texts.multi_label import MultiLabel
from trivium.tasks.words.label import Label
from trivium.tasks.words.spans import Spans

_SHOWN = 6


def class_counts(task: Task, examples: Sequence[Any]) -> dict[str, int]:
    """Return how many answers there are of each class, the most frequent first; none where answers have no class."""
    return dict(Counter(label for example in examples for label in _classes(task, example)).most_common())


def balance_text(num_examples: int, counts: Mapping[str, int]) -> str:
    """Return the classes in a line: 4,000 examples; positive 2,215 (55%), negative 1,785 (45%)."""
    whole, shown = sum(counts.values()), list(counts.items())
    parts = [f"{label} {count:,} ({count / whole:.0%})" for label, count in shown[:_SHOWN]]
    if len(shown) > _SHOWN:
        label, count = shown[-1]
        parts.append(f"{len(shown) - _SHOWN} more, the rarest {label} {count:,}")
    return f"{num_examples:,} example{'s' * (num_examples != 1)}" + (f"; {', '.join(parts)}" if parts else "")


def _classes(task: Task, example: Any) -> Iterator[str]:
    match task:
        case Classify():
            yield example.label
        case MultiLabel():
            yield from example.labels
        case Label():
            yield from task.gold(example)
        case Spans():
            yield from (span.label for span in spans_of_tags(example.labels))
        case Nested():
            yield from (span.label for span in example.spans)
        case Relate():
            yield example.relation
        case Answer():
            yield "answered" if example.answers or example.unplaced else "no answer"
        case _:
            return
