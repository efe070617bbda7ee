"""The relation between two given spans of a text."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from trivium.core.batch import Batch, Term
from trivium.core.errors import ConfigError, DataError, nearest
from trivium.core.random import Key
from trivium.data.labelled import (
    Labelled,
    RelationExample,
    is_joint,
    json_line,
    pairs_of,
    read_joint,
    read_relations,
    unlabelled_relation,
)
from trivium.data.labelled.checks import check_classes
from trivium.model.config import DEFAULT_READOUT, ReadoutConfig
from trivium.model.heads import labelled_states
from trivium.objectives.base import Predicted
from trivium.tasks.base import TaskReader, Unlabelled, check_known, class_numbers, classes_of, predicted_classes
from trivium.tasks.class_answers import ClassScores, class_answers
from trivium.tasks.metrics import Relations
from trivium.tasks.metrics.likely import counted_interval
from trivium.tasks.metrics.relations import macro_f1, micro_f1
from trivium.tasks.pieces import Encoded, Piece, Reading
from trivium.tasks.relate.markers import Ids, Marked, cut_at_spans, mark_spans, markers_of
from trivium.tasks.scores import Scores
from trivium.tasks.settings import RELATE_SETTINGS, RelateSettings

# Names of the label that says that there is no relation, in small letters without other signs; the surest first.
_NONE = ("norelation", "na", "none", "null", "nil", "无关系", "没有关系", "无", "unrelated", "other", "其他", "其它")
_DIRECTED = re.compile(r".+\(e[12],e[12]\)")
_TYPE_SHARE = 8  # a type takes at most this part of a row


@dataclass(frozen=True)
class Relate:
    """One relation for a pair of spans, read off two places of the text in which both are marked.

    Before each span stands a marker that says whether it is the head or the tail, and its type; behind it stands one
    that ends it (typed entity markers, Zhong & Chen 2021). They are sentinels of the vocabulary, which no text holds,
    or punctuation where a foreign vocabulary has none (see `markers.markers_of`), so that no vocabulary grows. The head
    of the network sees the states at both markers side by side: at those before the spans (Baldini Soares et al. 2019),
    or, in a model that reads from left to right and has seen neither span there, at those behind them, of which the
    later one has seen both. (2,500 sentences of SemEval-2010 task 8, decoder-tiny from random weights, two seeds, macro
    F1: 0.55 and 0.55 there, 0.49 and 0.51 at the last tokens, 0.48 and 0.49 at both markers repeated behind the text.)

    A text longer than a row is cut to what is around both spans (see `markers.shown_tokens`). Each pair is answered,
    so that coverage is 1; the metric `whole` is the share of pairs whose spans were read with all the text between
    them. Of a row that does not fit those, the middle of the text between is left out.

    Precision, recall and `micro_f1` are over all pairs, without those of no relation; `macro_f1` is the score of
    SemEval-2010 task 8 (see `metrics.Relations`) and chooses the best epoch where labels are of its form.

    Args:
        labels: the relations.
        readout: the head; it reads each span's marker, whatever its pooling.
        settings: which label says that there is no relation; once learned, a label or "".
    """

    labels: tuple[str, ...]
    readout: ReadoutConfig = DEFAULT_READOUT
    settings: RelateSettings = RELATE_SETTINGS
    name: ClassVar[str] = "relate"
    is_chained: ClassVar[bool] = False
    num_places: ClassVar[int] = 2

    @property
    def num_outputs(self) -> int:
        """Number of relations."""
        return len(self.labels)

    @property
    def chosen_by(self) -> str:
        """SemEval's score for its form of labels (`Cause-Effect(e1,e2)`), micro-averaged F1 for others."""
        return "macro_f1" if any(map(_DIRECTED.fullmatch, self.labels)) else "micro_f1"

    def read(self, path: Path, *, min_classes: int) -> Labelled[RelationExample]:
        """Read texts with two spans and their relation, or with all their spans and relations.

        Of the latter every span is paired with every other one; pairs that are not related have the label `none` of the
        settings, "no_relation" where it is not said; without such a label they are left out.
        """
        if not is_joint(path):
            return read_relations(path, min_classes=min_classes)
        none = "no_relation" if self.settings.none is None else self.settings.none
        examples, problems = read_joint(path)
        pairs = pairs_of(examples, none=none)
        check_classes(path, {pair.relation for pair in pairs.examples}, len(pairs.examples), min_classes)
        return Labelled(pairs.examples, [*problems, *pairs.problems])

    def gold(self, example: RelationExample) -> Sequence[str]:
        """Return the example's relation."""
        return (example.relation,)

    def learned(self, examples: Sequence[RelationExample]) -> "Relate":
        """Return the task with the relations of the training examples.

        Raises:
            DataError: there are fewer than two, or the one that is to say that there is none is not among them.
        """
        labels, none = classes_of(example.relation for example in examples), self.settings.none
        if none is None:
            none = no_relation(labels)
        elif none and none not in labels:
            raise DataError(
                f"`settings.none` {none} is no label of the training examples.{nearest(none, list(labels))}"
            )
        return replace(self, labels=labels, settings=RelateSettings(none=none))

    def check(self, examples: Sequence[RelationExample], source: str) -> None:
        """Raise DataError naming the first relation that was not in the training examples."""
        known = set(self.labels)
        for number, example in enumerate(examples, start=1):
            check_known((example.relation,), known, example.where or f"{source}: example {number}")

    def unlabelled(self, value: Unlabelled) -> RelationExample:
        """Return an object with `text`, `head` and `tail`, or a line of JSON that is one, as an example."""
        where = self.name
        if isinstance(value, str):
            if not value.lstrip().startswith("{"):
                raise DataError(f"relate reads a JSON object with `text`, `head` and `tail`, found {value[:40]!r}.")
            value = json_line(value, where)
        if not isinstance(value, dict):
            raise DataError("relate reads an object with `text`, `head` and `tail`; found a list.")
        return unlabelled_relation(value, where)

    def encode(self, examples: Sequence[RelationExample], reading: Reading, *, known: bool = True) -> Encoded:
        """Return examples as pieces, each of which answers for one example.

        Raises:
            ConfigError: rows too short for two marked spans.
        """
        gold = class_numbers(map(self.gold, examples), self.labels) if known else [_ZERO] * len(examples)
        pieces: list[Piece] = []
        num_whole = 0
        for number, marked in enumerate(marked_texts(examples, reading)):
            tokens_L, segments_L = reading.tokenizer.frame.around([marked.tokens_L])
            # A decoder that reads a text again does so one place late (see `read_again`).
            before = len(reading.tokenizer.frame.before) + reading.again
            places = marked.opens if reading.both_ways else marked.closes
            places_NP = np.array([places], dtype=np.int64) + before
            pieces.append(Piece(tokens_L, places_NP, gold[number], _ZERO, number, 1.0, segments_L=segments_L))
            num_whole += marked.whole
        measured = {"whole": num_whole / max(1, len(pieces))}
        return Encoded(pieces, gold, reading, measured=MappingProxyType(measured))

    def states(self, part: TaskReader, batch: Batch) -> Tensor:
        """Return the states at the head's and the tail's marker side by side, [B * N, 2 * D]."""
        hidden_ND = labelled_states(part, batch)
        return hidden_ND.view(-1, self.num_places * hidden_ND.shape[-1])

    def answered(
        self, network: nn.Module, examples: Sequence[RelationExample], encoded: Encoded
    ) -> Iterator[dict[str, Any]]:
        """Yield each text with its spans, their most probable relation, and the probability of each."""
        given = class_answers(network, encoded, num_classes=len(self.labels))
        for example, answer in zip(examples, given, strict=True):
            probabilities_C = np.exp(answer.outputs_AC[0])
            yield {
                "text": example.text,
                "head": example.head._asdict(),
                "tail": example.tail._asdict(),
                "relation": self.labels[int(probabilities_C.argmax())],
                "probabilities": {
                    name: round(float(p), 6) for name, p in zip(self.labels, probabilities_C, strict=True)
                },
            }

    def score(self, network: nn.Module, encoded: Encoded) -> Scores:
        """Return how good the answers to labelled examples are."""
        relations, found = Relations(self.settings.none or ""), ClassScores(self.labels)
        answered = class_answers(network, encoded, num_classes=len(self.labels))
        for number, (gold_A, answer) in enumerate(zip(encoded.gold, answered, strict=True)):
            given_A = answer.outputs_AC.argmax(axis=1)
            found.add(number, gold_A, given_A, answer)
            relations.add(*([self.labels[label] for label in side] for side in (gold_A, given_A)))
        scores = found.scores(encoded)
        kept = {name: scores.metrics[name] for name in ("loss", "coverage", "ece", "brier", "nll")}
        metric = macro_f1 if self.chosen_by == "macro_f1" else micro_f1
        likely = partial(counted_interval, relations.numbers(), metric)
        return scores._replace(metrics=relation_metrics(relations) | kept | dict(encoded.measured), likely=likely)

    def shown(self, example: RelationExample, answer: int) -> str:
        """Return the text with both spans in brackets, the head's marked 1 and the tail's 2."""
        marks = [(span.start, 1, f"[{n} ") for n, span in ((1, example.head), (2, example.tail))]
        marks += [(span.end, 0, "]") for span in (example.head, example.tail)]
        text = example.text
        for place, _, sign in sorted(marks, reverse=True):
            text = text[:place] + sign + text[place:]
        return text

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the number of pairs."""
        return {self.name: float(batch.weights_BN.sum())}

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        """Return the cross-entropy of the relations."""
        return self.predicted(network, batch, key).terms

    def predicted(self, network: nn.Module, batch: Batch, key: Key) -> Predicted:
        """Return the logits of the relations, and the loss."""
        return predicted_classes(self.name, network, batch)


def marked_texts(examples: Sequence[RelationExample], reading: Reading) -> Iterator[Marked]:
    """Yield the text of each example as a row shows it, without the tokenizer's frame; see `Relate`.

    Raises:
        ConfigError: rows too short for two marked spans.
    """
    tokenizer, markers = reading.tokenizer, markers_of(reading.tokenizer)
    room = reading.row_length - tokenizer.frame.size(1)
    for_types = room - markers.size - markers.least
    if for_types < 0:
        least = reading.row_length - for_types
        raise ConfigError(f"rows of {reading.row_length} tokens do not hold two marked spans; set row_length={least}.")
    longest = min(room // _TYPE_SHARE, for_types // 2)
    types = _types(examples, reading, longest)
    cut = [cut_at_spans(example.text, example.head[:2], example.tail[:2]) for example in examples]
    encodings = iter(tokenizer.encode_batch([part for parts, _ in cut for part in parts]))
    for example, (parts, spans) in zip(examples, cut, strict=True):
        ids = [next(encodings).ids for _ in parts]
        edges = np.concatenate([[0], np.cumsum([len(each) for each in ids], dtype=np.int64)])
        in_tokens = [(int(edges[first]), int(edges[stop])) for first, stop in spans]
        pair = types[example.head.label], types[example.tail.label]
        yield mark_spans(np.concatenate(ids), (in_tokens[0], in_tokens[1]), pair, markers, room)


def no_relation(labels: Iterable[str]) -> str:
    """Return the label that says by its name that there is no relation; "" where none does."""
    by_name = {re.sub(r"[\W_]+", "", label).lower(): label for label in sorted(labels, reverse=True)}
    return next((by_name[name] for name in _NONE if name in by_name), "")


def relation_metrics(relations: Relations) -> dict[str, float]:
    """Return the metrics of pairs by the names that the task gives them."""
    metrics = relations.metrics()
    named = {"accuracy": "accuracy", "macro_f1": "macro_f1", "micro_f1": "micro_f1"}
    named |= {"precision": "micro_precision", "recall": "micro_recall"}
    return {name: metrics[theirs] for name, theirs in named.items()}


def _types(examples: Sequence[RelationExample], reading: Reading, longest: int) -> dict[str, Ids]:
    """Return the tokens of each type of span, as far as they may take room."""
    names = sorted({span.label for example in examples for span in (example.head, example.tail)})
    return {name: tuple(reading.tokenizer.encode(name)[:longest]) for name in names}


_ZERO = np.zeros(1, dtype=np.int64)
