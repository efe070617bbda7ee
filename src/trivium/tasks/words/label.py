"""A label for each word."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from trivium.core.batch import Batch, Term
from trivium.core.errors import DataError
from trivium.core.random import Key
from trivium.data.labelled import (
    UNSCORED,
    LabelExample,
    Labelled,
    cut_text,
    read_conllu,
    read_label,
    text_of,
    whole_text,
)
from trivium.model.config import DEFAULT_READOUT, ReadoutConfig
from trivium.model.heads import labelled_states
from trivium.objectives.base import Predicted
from trivium.tasks.base import TaskReader, Unlabelled, check_known, class_numbers, classes_of, predicted_classes
from trivium.tasks.class_answers import class_answers, score_classes
from trivium.tasks.pieces import Encoded, Piece, Reading, best_windows, window_starts
from trivium.tasks.scores import Scores
from trivium.tasks.settings import WORD_SETTINGS, WordSettings
from trivium.tasks.words.apart import encode_apart

_AROUND = 8  # words that are shown on each side of one


@dataclass(frozen=True)
class Label:
    """One label a word: read off its first token both ways, off its last token from left to right.

    Words are joined as in their text (see `data.labelled.text_of`) and tokenised together. An example longer than a
    row is read in windows that overlap by half; each word is answered once, in the window that shows most around it.

    Args:
        labels: the classes.
        readout: the head; it reads each word, whatever its pooling.
        settings: which columns are read.
    """

    labels: tuple[str, ...]
    readout: ReadoutConfig = DEFAULT_READOUT
    settings: WordSettings = WORD_SETTINGS
    name: ClassVar[str] = "label"
    is_chained: ClassVar[bool] = False
    chosen_by: ClassVar[str] = "accuracy"
    num_places: ClassVar[int] = 1

    @property
    def num_outputs(self) -> int:
        """Number of labels."""
        return len(self.labels)

    def read(self, path: Path, *, min_classes: int) -> Labelled[LabelExample]:
        """Read words and their labels; of a file that is named as CoNLL-U, the column that the settings say."""
        columns = self.settings.columns
        if path.name.removesuffix(".gz").endswith(".conllu"):
            return Labelled(read_conllu(path, column=columns.treebank, min_classes=min_classes), [])
        return Labelled(read_label(path, columns=columns, min_classes=min_classes), [])

    def gold(self, example: LabelExample) -> Sequence[str]:
        """Return the labels of the words that are scored."""
        return [label for label in example.labels if label != UNSCORED]

    def learned(self, examples: Sequence[LabelExample]) -> "Label":
        """Return the task with the labels of the training examples."""
        return replace(self, labels=classes_of(label for example in examples for label in self.gold(example)))

    def check(self, examples: Sequence[LabelExample], source: str) -> None:
        """Raise DataError naming the first label that was not in the training examples."""
        known = set(self.labels)
        for number, example in enumerate(examples, start=1):
            check_known(self.gold(example), known, example.where or f"{source}: example {number}")

    def unlabelled(self, value: Unlabelled) -> LabelExample:
        """Return words, or a string cut into them as texts of files are, as an example."""
        if isinstance(value, Mapping):
            raise DataError("label reads a text, or a list of words; found an object.")
        if not isinstance(value, str):
            return LabelExample(tuple(value), ("",) * len(value))
        cut = cut_text(value)
        return LabelExample(cut.tokens, ("",) * len(cut.tokens), cut.spaces, cut.before)

    def encode(self, examples: Sequence[LabelExample], reading: Reading, *, known: bool = True) -> Encoded:
        """Return examples as pieces; UNSCORED words are context only."""
        texts, starts = zip(*map(text_of, examples), strict=True) if examples else ((), ())
        encodings = encode_apart(reading.tokenizer, texts, starts, [example.tokens for example in examples])
        pieces: list[Piece] = []
        gold: list[np.ndarray] = class_numbers(map(self.gold, examples), self.labels) if known else []
        for number, (example, start_W, spans) in enumerate(zip(examples, starts, encodings, strict=True)):
            token_W = align(example.tokens, start_W, spans.starts, spans.ends, both_ways=reading.both_ways)
            if known:
                token_A = token_W[[label != UNSCORED for label in example.labels]]
            else:
                token_A = token_W
                gold.append(np.zeros(len(token_W), dtype=np.int64))
            pieces += _pieces(spans.ids, token_A, gold[number], number, reading)
        return Encoded(pieces, gold, reading)

    def states(self, part: TaskReader, batch: Batch) -> Tensor:
        """Return the hidden state at each word's place."""
        return labelled_states(part, batch)

    def answered(
        self, network: nn.Module, examples: Sequence[LabelExample], encoded: Encoded
    ) -> Iterator[dict[str, Any]]:
        """Yield each text, its words, and for each its characters in the text, its likeliest label and how likely."""
        given = class_answers(network, encoded, num_classes=len(self.labels))
        for example, answer in zip(examples, given, strict=True):
            text, starts = whole_text(example)
            best_A = answer.outputs_AC.argmax(axis=1)
            labels = [self.labels[number] for number in best_A]
            likely_A = np.exp(answer.outputs_AC.max(axis=1, initial=-np.inf))
            words = [
                {"start": start, "end": start + len(word), "label": label, "probability": round(float(likely), 6)}
                for word, start, label, likely in zip(example.tokens, starts, labels, likely_A, strict=True)
            ]
            yield {"text": text, "tokens": list(example.tokens), "labels": labels, "words": words}

    def score(self, network: nn.Module, encoded: Encoded) -> Scores:
        """Return how good the answers to labelled examples are."""
        return score_classes(network, self.labels, encoded)

    def shown(self, example: LabelExample, answer: int) -> str:
        """Return the word, marked, and those around it."""
        word = [number for number, label in enumerate(example.labels) if label != UNSCORED][answer]
        first = max(0, word - _AROUND)
        words = list(example.tokens[first : word + _AROUND + 1])
        words[word - first] = f"[{words[word - first]}]"
        return " ".join(words)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the number of labelled words."""
        return {self.name: float(batch.weights_BN.sum())}

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        """Return the cross-entropy of the labels."""
        return self.predicted(network, batch, key).terms

    def predicted(self, network: nn.Module, batch: Batch, key: Key) -> Predicted:
        """Return the logits of the classes, and the loss."""
        return predicted_classes(self.name, network, batch)


def align(
    words: Sequence[str], starts: Sequence[int], starts_T: np.ndarray, ends_T: np.ndarray, *, both_ways: bool
) -> np.ndarray:
    """Return the token that answers for each word, int64 [words]; -1 = the begin token.

    It is the first (both ways) or last (left to right) token that holds a character of the word. A word of which the
    tokenizer keeps nothing (a control character) is answered by the last token that begins before its end.

    Args:
        words: of the text.
        starts: where each of them begins in it.
        starts_T, ends_T: the characters of each token, from its first to one past its last; neither ever decreases.
        both_ways: how the text is read.
    """
    holds = np.flatnonzero(ends_T > starts_T)  # tokens without characters hold none of any word
    start_W = np.asarray(starts, dtype=np.int64)
    end_W = start_W + np.array([len(word) for word in words], dtype=np.int64)
    first_W = np.searchsorted(ends_T[holds], start_W, side="right")
    last_W = np.searchsorted(starts_T[holds], end_W, side="left") - 1
    chosen_W = np.where(first_W <= last_W, first_W, last_W) if both_ways else last_W
    return np.append(holds, -1)[chosen_W]


def _pieces(ids: np.ndarray, token_A: np.ndarray, gold_A: np.ndarray, example: int, reading: Reading) -> list[Piece]:
    frame = reading.tokenizer.frame
    size = reading.row_length - frame.size(1)
    starts_W = window_starts(len(ids), size, overlap=size // 2)
    shown_A = np.maximum(token_A, 0)  # the begin token stands before the first one
    window_A = best_windows(shown_A, shown_A, starts_W, size=size, both_ways=reading.both_ways)
    order = np.argsort(window_A, kind="stable")
    edges = np.searchsorted(window_A[order], np.arange(len(starts_W) + 1))
    pieces = []
    for start, (begin, end) in zip(starts_W, pairwise(edges), strict=True):
        answers = order[begin:end]
        if not len(answers):
            continue
        tokens_L, segments_L = frame.around([ids[start : start + size]])
        if not len(tokens_L):  # nothing is left of the words, and nothing is put around them
            tokens_L, segments_L = np.array([reading.tokenizer.special.bos]), np.zeros(1, dtype=np.int64)
        # Before the first token of a text stands the begin token, if there is one (T5 has none).
        places_N = np.maximum(token_A[answers] - start + len(frame.before), 0)
        pieces.append(Piece(tokens_L, places_N, gold_A[answers], answers, example, 1.0, segments_L=segments_L))
    return pieces
