"""Labelled spans of words, such as names: found as tags of words, scored and given as whole spans."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from trivium.core.batch import Batch, Term
from trivium.core.errors import DataError
from trivium.core.random import Key
from trivium.data.labelled import (
    LabelExample,
    Labelled,
    cut_text,
    is_word_file,
    label_examples,
    read_entities,
    read_spans,
    spans_of_tags,
    whole_text,
)
from trivium.model.config import DEFAULT_READOUT, ReadoutConfig
from trivium.objectives.base import Predicted
from trivium.tasks import metrics
from trivium.tasks.base import TaskReader, Unlabelled, check_known, class_logits, predicted_classes, task_model
from trivium.tasks.class_answers import Answers, ClassScores, answers
from trivium.tasks.metrics.bootstrap import f1
from trivium.tasks.metrics.likely import counted_interval
from trivium.tasks.pieces import Encoded, Reading
from trivium.tasks.scores import Scores
from trivium.tasks.settings import SPAN_SETTINGS, SpanSettings
from trivium.tasks.words.label import Label
from trivium.tasks.words.viterbi import Chain, best_path, bio_chain, learned_chain, path_nats


@dataclass(frozen=True)
class Spans:
    """Spans of words, through a BIO tag for each word, which is learned and read as `Label` learns and reads it.

    What is given is the most probable sequence of tags in which every span begins with its B, over the whole text,
    however many windows it was read in.

    Args:
        labels: the tags, "O" among them.
        readout: the head; it reads each word, whatever its pooling.
        settings: what is read, and whether the chain over the tags is learned too.
    """

    labels: tuple[str, ...]
    readout: ReadoutConfig = DEFAULT_READOUT
    settings: SpanSettings = SPAN_SETTINGS
    words: Label = field(init=False, repr=False)
    num_places: ClassVar[int] = 1
    name: ClassVar[str] = "spans"
    chosen_by: ClassVar[str] = "f1"

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", Label(self.labels, self.readout, self.settings))

    @property
    def num_outputs(self) -> int:
        """Number of tags."""
        return len(self.labels)

    @property
    def is_chained(self) -> bool:
        """Whether a chain over the tags is learned."""
        return self.settings.chain == "trained"

    def read(self, path: Path, *, min_classes: int) -> Labelled[LabelExample]:
        """Read words with tags of any scheme, or texts with spans in characters; the tags become BIO."""
        if is_word_file(path):
            found = read_entities(path, columns=self.settings.columns, scheme=self.settings.scheme)
            return Labelled(found.examples, found.problems)
        texts, problems = read_spans(path, text=self.settings.columns.text)
        words = label_examples(texts)
        return Labelled(words.examples, [*problems, *words.problems])

    def learned(self, examples: Sequence[LabelExample]) -> "Spans":
        """Return the task with the tags of every label of the training examples' spans; raise DataError without any."""
        found = {span.label for example in examples for span in spans_of_tags(example.labels)}
        if not found:
            raise DataError("no training example has a span; expected at least one.")
        suffixes = [f"-{label}" if label else "" for label in sorted(found)]
        return replace(self, labels=("O", *(f"{letter}{suffix}" for suffix in suffixes for letter in "BI")))

    def check(self, examples: Sequence[LabelExample], source: str) -> None:
        """Raise DataError naming the first tag that was not in the training examples."""
        known = set(self.labels)
        for number, example in enumerate(examples, start=1):
            check_known(self.words.gold(example), known, example.where or f"{source}: example {number}")

    def unlabelled(self, value: Unlabelled) -> LabelExample:
        """Return words, or a string cut into them as texts of files are, as an example."""
        if isinstance(value, str):
            cut = cut_text(value)
            return LabelExample(cut.tokens, ("",) * len(cut.tokens), cut.spaces, cut.before)
        return self.words.unlabelled(value)

    def encode(self, examples: Sequence[LabelExample], reading: Reading, *, known: bool = True) -> Encoded:
        """Return examples as pieces; UNSCORED words are context only."""
        encoded = self.words.encode(examples, reading, known=known)
        return encoded._replace(lost=[example.lost for example in examples])

    def states(self, part: TaskReader, batch: Batch) -> Tensor:
        """Return the hidden state at each word's place."""
        return self.words.states(part, batch)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the number of labelled words."""
        return {self.name: float(batch.weights_BN.sum())}

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        """Return the cross-entropy of the tags; with a chain, that of whole sequences of tags."""
        return self.predicted(network, batch, key).terms

    def predicted(self, network: nn.Module, batch: Batch, key: Key) -> Predicted:
        """Return the logits of the tags, and the loss."""
        chain = task_model(network).chain
        if chain is None:
            return predicted_classes(self.name, network, batch)
        logits_NC = class_logits(network, batch)
        used_BN = batch.weights_BN > 0
        document_BN = batch.layout.document_BL.gather(1, batch.places_BN)
        same_BN = (document_BN == document_BN.roll(1, dims=1)) & used_BN & used_BN.roll(1, dims=1)
        same_BN[:, 0] = False
        nats = chain.nats(logits_NC.view(*used_BN.shape, -1), batch.labels_BN, same_BN, used_BN)
        return Predicted(logits_NC, (Term(self.name, nats),))

    def answered(
        self, network: nn.Module, examples: Sequence[LabelExample], encoded: Encoded
    ) -> Iterator[dict[str, Any]]:
        """Yield the words of each example, the tag of each, and the spans in characters of the text.

        A span's `score` is the probability that all its words have their tags, taken one by one.
        """
        for example, (path_A, answer) in zip(examples, self._paths(network, encoded), strict=True):
            tags = [self.labels[number] for number in path_A]
            text, starts = whole_text(example)
            found = []
            for span in spans_of_tags(tags):
                end = starts[span.end - 1] + len(example.tokens[span.end - 1])
                chosen = answer.outputs_AC[np.arange(span.start, span.end), path_A[span.start : span.end]]
                score = round(float(np.exp(chosen.sum())), 6)
                place = {"start": starts[span.start], "end": end}
                found.append({**place, "label": span.label, "text": text[starts[span.start] : end], "score": score})
            yield {"text": text, "tokens": list(example.tokens), "labels": tags, "spans": found}

    def score(self, network: nn.Module, encoded: Encoded) -> Scores:
        """Return precision, recall and F1 of whole spans (see `metrics.Spans`), beside the share of words right."""
        counted, words, nats = metrics.Spans(), ClassScores(self.labels), 0.0
        counts: Counter[tuple[float, ...]] = Counter()
        chain = _trained_chain(network)
        for number, (gold_A, lost, (path_A, answer)) in enumerate(
            zip(encoded.gold, encoded.lost, self._paths(network, encoded), strict=True)
        ):
            right, given = (spans_of_tags([self.labels[n] for n in each]) for each in (gold_A, path_A))
            counts[counted.add(right, given, lost)] += 1
            words.add(number, gold_A, path_A, answer)
            if chain is not None:
                nats += path_nats(gold_A, answer.outputs_AC, chain)
        found = words.scores(encoded)
        # With a learned chain, what is said of a word by itself is no probability.
        names = ("accuracy", "loss", "coverage", *(("ece", "brier", "nll") if chain is None else ()))
        kept = {name: found.metrics[name] for name in names}
        if chain is not None:
            kept["loss"], found = nats / max(1, encoded.num_answers), found._replace(reliability=None)
        likely = partial(counted_interval, counts, f1)
        return found._replace(
            metrics=counted.metrics() | kept, by_label=counted.by_label(), confusion=None, likely=likely
        )

    def shown(self, example: LabelExample, answer: int) -> str:
        """Return the word, marked, and those around it."""
        return self.words.shown(example, answer)

    def _paths(self, network: nn.Module, encoded: Encoded) -> Iterator[tuple[np.ndarray, Answers]]:
        """Yield the best tags of each example, and the logarithm of each tag's probability by itself."""
        learned, chain = _trained_chain(network), bio_chain(self.labels)
        if learned is not None:
            chain = chain.plus(learned)
        for answer in answers(network, encoded, num_outputs=self.num_outputs, logarithms=learned is None):
            # What is added to all tags of a word changes neither path nor chain.
            normal_AC = answer.outputs_AC - np.logaddexp.reduce(answer.outputs_AC, axis=1, keepdims=True)
            yield best_path(normal_AC, chain), answer._replace(outputs_AC=normal_AC)


def _trained_chain(network: nn.Module) -> Chain | None:
    chain = task_model(network).chain
    return None if chain is None else learned_chain(chain)
