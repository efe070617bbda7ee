"""What spans that may overlap are measured against: those that were labelled in the training examples."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from trivium.data.labelled import NestedExample, Span
from trivium.tasks.metrics import Spans
from trivium.tasks.nested.spans import chosen_spans
from trivium.tasks.nested.task import Nested

DICTIONARY = "spans of the training examples, longest first"


def nested_baselines(
    task: Nested, train: Sequence[NestedExample], test: Sequence[NestedExample]
) -> dict[str, dict[str, float | str]]:
    """Return the metrics of a dictionary: what was a span in training is one again, with its most frequent label.

    Longer ones are taken first, and such as go together by the task's settings.
    """
    labels: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for example in train:
        for span in example.spans:
            labels[example.tokens[span.start : span.end]][span.label] += 1
    known = {words: min(found, key=lambda label: (-found[label], label)) for words, found in labels.items()}
    longest, counted = max(map(len, known), default=0), Spans()
    for example in test:
        count = len(example.tokens)
        places = [(n, end) for n in range(count) for end in range(n + 1, min(count, n + longest) + 1)]
        found = [Span(n, end, known[words]) for n, end in places if (words := example.tokens[n:end]) in known]
        spans_S3 = np.array([(span.start, span.end, 1) for span in found], dtype=np.int64).reshape(-1, 3)
        chosen = chosen_spans(spans_S3, spans_S3[:, 1] - spans_S3[:, 0], task.overlaps)
        counted.add(example.spans, [found[number] for number in chosen], example.lost)
    return {DICTIONARY: dict(counted.metrics())}
