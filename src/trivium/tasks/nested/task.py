"""Labelled spans of words that may lie inside each other and overlap: every span of a few words is scored."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np
from torch import Tensor, nn

from trivium.core.batch import Batch, Term
from trivium.core.errors import DataError
from trivium.core.random import Key
from trivium.data.labelled import Labelled, NestedExample, Span, cut_text, read_nested, whole_text
from trivium.model.config import DEFAULT_READOUT, ReadoutConfig
from trivium.model.heads import labelled_states
from trivium.tasks import metrics
from trivium.tasks.base import TaskReader, Unlabelled, check_known, class_logits
from trivium.tasks.metrics.bootstrap import f1
from trivium.tasks.metrics.likely import counted_interval
from trivium.tasks.nested.spans import Judged, chosen_spans, judge_spans, overlaps_of, span_classes, span_nats
from trivium.tasks.nested.windows import ELSEWHERE, encode_spans
from trivium.tasks.pieces import Encoded, Reading
from trivium.tasks.scores import Mistake, Scores, WorstMistakes
from trivium.tasks.settings import NESTED_SETTINGS, NestedSettings, Overlaps

NO_SPAN = "no span"
_MOST_WORDS = 32  # of the longest span, where the settings do not say
_AROUND = 8  # words that are shown on each side of one


@dataclass(frozen=True)
class Nested:
    """The label, or none, of every span of at most `max_words` words (Yu, Bohnet & Poesio 2020; see `SpanHead`).

    A word is read where `Label` reads it. Each span is judged once, in the window that shows most around it; no span
    goes on from one text into the next. The loss is the cross-entropy, the mean over all of them. Of those that are
    likelier to have some label than none the likeliest are given first, as far as they go together (see
    `chosen_spans`).

    Right spans that are never judged count as missed: they are longer than `max_words` or than a window, or have a
    second label at the same place. `coverage` is the share of those that are judged.

    Args:
        labels: of spans; "no span" is not one of them.
        readout: which stack is read, and what is done to its states; the head's other parts are the task's own.
        settings: once learned, how long spans are and how they overlap.
    """

    labels: tuple[str, ...]
    readout: ReadoutConfig = DEFAULT_READOUT
    settings: NestedSettings = NESTED_SETTINGS
    name: ClassVar[str] = "nested"
    is_chained: ClassVar[bool] = False
    chosen_by: ClassVar[str] = "f1"
    num_places: ClassVar[int] = 1

    @property
    def num_outputs(self) -> int:
        """Number of classes: the labels, and before them that of no span."""
        return 1 + len(self.labels)

    @property
    def max_words(self) -> int:
        """Words of the longest span that is judged."""
        return self.settings.max_words or _MOST_WORDS

    @property
    def overlaps(self) -> Overlaps:
        """Which spans are given together."""
        return self.settings.overlaps or "nested"

    def read(self, path: Path, *, min_classes: int) -> Labelled[NestedExample]:
        """Read texts with spans in characters, or words with tags of any scheme."""
        columns, scheme = self.settings.columns, self.settings.scheme
        return read_nested(path, columns=columns, scheme=scheme, min_classes=min(min_classes, 1))

    def learned(self, examples: Sequence[NestedExample]) -> "Nested":
        """Return the task with the labels of the training examples; how long spans are and how they overlap, too.

        Raises:
            DataError: there is no span.
        """
        spans = [span for example in examples for span in example.spans]
        if not spans:
            raise DataError("no training example has a span; expected at least one.")
        longest = min(_MOST_WORDS, max(span.end - span.start for span in spans))
        found = {overlaps_of([span[:2] for span in example.spans]) for example in examples}
        most = max(found, key=get_args(Overlaps).index)
        changed = {
            "max_words": self.settings.max_words or longest,
            "overlaps": self.settings.overlaps or most,
        }
        labels = tuple(sorted({span.label for span in spans}))
        return replace(self, labels=labels, settings=self.settings.model_copy(update=changed))

    def check(self, examples: Sequence[NestedExample], source: str) -> None:
        """Raise DataError naming the first label that was not in the training examples."""
        known = set(self.labels)
        for number, example in enumerate(examples, start=1):
            where = example.where or f"{source}: example {number}"
            check_known((span.label for span in example.spans), known, where)

    def unlabelled(self, value: Unlabelled) -> NestedExample:
        """Return words, or a string cut into them as texts of files are, as an example."""
        if isinstance(value, Mapping):
            raise DataError("nested reads a text, or a list of words; found an object.")
        if not isinstance(value, str):
            return NestedExample(tuple(value), ())
        cut = cut_text(value)
        return NestedExample(cut.tokens, (), cut.spaces, before=cut.before)

    def encode(self, examples: Sequence[NestedExample], reading: Reading, *, known: bool = True) -> Encoded:
        """Return examples as pieces, see `encode_spans`."""
        classes = {label: number for number, label in enumerate(self.labels, start=1)}
        return encode_spans(examples, reading, classes=classes, max_words=self.max_words, known=known)

    def states(self, part: TaskReader, batch: Batch) -> Tensor:
        """Return the hidden state at each word's place."""
        return labelled_states(part, batch)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the number of spans that are judged."""
        return {self.name: float((span_classes(batch) != ELSEWHERE).sum())}

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        """Return the cross-entropy of the spans' classes."""
        nats = span_nats(class_logits(network, batch), span_classes(batch))
        return (Term(self.name, nats),)

    def answered(
        self, network: nn.Module, examples: Sequence[NestedExample], encoded: Encoded
    ) -> Iterator[dict[str, Any]]:
        """Yield each text, its words, and the spans in characters; a span's `score` is its label's probability."""
        for example, judged in zip(examples, judge_spans(network, encoded), strict=True):
            text, starts = whole_text(example)
            rows = []
            for number in self._given(judged):
                first, end, class_ = judged.spans_S3[number].tolist()
                begin, stop = starts[first], starts[end - 1] + len(example.tokens[end - 1])
                score = round(float(np.exp(judged.log_probability_S[number])), 6)
                place = {"start": begin, "end": stop, "label": self.labels[class_ - 1]}
                rows.append({**place, "text": text[begin:stop], "score": score})
            yield {"text": text, "tokens": list(example.tokens), "spans": rows}

    def score(self, network: nn.Module, encoded: Encoded) -> Scores:
        """Return precision, recall and F1 of whole spans, see `metrics.Spans`; the loss is nats a judged span."""
        counted, worst = metrics.Spans(), WorstMistakes()
        counts: Counter[tuple[float, ...]] = Counter()
        nats, looked_at, reached = 0.0, 0, 0
        for number, (gold_S3, lost, judged) in enumerate(
            zip(encoded.gold, encoded.lost, judge_spans(network, encoded), strict=True)
        ):
            given = self._given(judged)
            counts[counted.add(self._named(gold_S3), self._named(judged.spans_S3[given]), lost)] += 1
            for mistake in self._mistakes(number, judged, given):
                worst.add(mistake)
            nats, looked_at = nats + judged.nats, looked_at + judged.looked_at
            reached += int((judged.right_S > 0).sum())
        right = encoded.num_answers
        shares = {"loss": nats / max(1, looked_at), "coverage": reached / right if right else 1.0}
        return Scores(
            counted.metrics() | shares,
            counted.by_label(),
            mistakes=worst.worst_first(),
            likely=partial(counted_interval, counts, f1),
        )

    def shown(self, example: NestedExample, answer: int) -> str:
        """Return the span, marked, and the words around it."""
        first, width = divmod(answer, self.max_words)
        words, end, begin = list(example.tokens), first + width + 1, max(0, first - _AROUND)
        return " ".join([*words[begin:first], f"[{' '.join(words[first:end])}]", *words[end : end + _AROUND]])

    def _given(self, judged: Judged) -> np.ndarray:
        """Return the numbers of the spans that are given."""
        some = np.flatnonzero(judged.spans_S3[:, 2])
        chosen = chosen_spans(judged.spans_S3[some], judged.log_probability_S[some], self.overlaps)
        given: np.ndarray = some[chosen]
        return given

    def _named(self, spans_S3: np.ndarray) -> list[Span]:
        return [Span(first, end, self.labels[class_ - 1]) for first, end, class_ in spans_S3.tolist()]

    def _mistakes(self, example: int, judged: Judged, given: np.ndarray) -> Iterator[Mistake]:
        """Yield the spans that are given and wrong, and those that are right and taken for none."""
        names, given_S = (NO_SPAN, *self.labels), np.zeros(len(judged.right_S), dtype=bool)
        given_S[given] = True
        wrong_S = (judged.spans_S3[:, 2] != judged.right_S) & (given_S | (judged.spans_S3[:, 2] == 0))
        for number in np.flatnonzero(wrong_S):
            first, end, class_ = judged.spans_S3[number].tolist()
            answer = first * self.max_words + end - first - 1
            sure = float(np.exp(judged.log_probability_S[number]))
            yield Mistake(sure, example, answer, names[judged.right_S[number]], names[class_])
