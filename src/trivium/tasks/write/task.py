"""Texts written from texts: summaries, titles, answers, the next turn of a dialogue, a label in words."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import regex
from torch import Tensor, nn

from trivium.core.batch import Batch, Term
from trivium.core.errors import DataError
from trivium.core.random import Key
from trivium.data.labelled import Labelled, PairExample
from trivium.model.decoding import Greedy
from trivium.model.heads import labelled_states
from trivium.model.view import Tally
from trivium.objectives.base import Predicted, as_network, predicted_from, token_terms_from
from trivium.tasks.base import TaskReader, Unlabelled
from trivium.tasks.pieces import Encoded, Reading
from trivium.tasks.scores import Mistake, Scores
from trivium.tasks.write.config import WriteConfig
from trivium.tasks.write.files import TurnExample, read_examples, unlabelled_example
from trivium.tasks.write.pieces import encode_pairs, room
from trivium.tasks.write.written import (
    brief_scores,
    outputs,
    rouge_interval,
    shortened,
    target_nats,
    text_scores,
    worst_written,
)

_LOOKED_AT = 1000  # targets, to see what script they are in


@dataclass(frozen=True)
class Write:
    """A target for each source, token by token, by the whole of a pretrained decoder or encoder-decoder.

    Args:
        settings: how texts are read and written.
        most: examples that are written out to be scored, spread evenly over those there are, and by few scores; None =
            all of them, by all scores.
    """

    settings: WriteConfig
    most: int | None = None
    name: ClassVar[str] = "write"
    labels: ClassVar[tuple[str, ...]] = ()
    readout: ClassVar[None] = None
    num_outputs: ClassVar[int] = 0
    num_places: ClassVar[int] = 1
    is_chained: ClassVar[bool] = False

    @property
    def chosen_by(self) -> str:
        """ROUGE-L of what is written when an epoch ends, or else the loss."""
        return "rouge_l" if self.settings.valid_outputs else "loss"

    def at_epochs(self) -> "Write":
        """Return the task as it is scored when an epoch ends: a part of the examples, greedily."""
        decoding = self.settings.decoding.model_copy(update={"method": Greedy()})
        settings = self.settings.model_copy(update={"decoding": decoding})
        return replace(self, settings=settings, most=self.settings.valid_outputs)

    def read(self, path: Path, *, min_classes: int) -> Labelled[PairExample]:
        """Read pairs, dialogues or mails."""
        return Labelled(read_examples(path, self.settings), [])

    def learned(self, examples: Sequence[PairExample]) -> "Write":
        """Return the task with what its examples decide: which end of a source is read, how BLEU cuts texts."""
        if not examples:
            raise DataError("there are no training examples; expected at least one pair.")
        keep = "last" if isinstance(examples[0], TurnExample) else "first"
        chinese = _is_chinese(example.targets[0] for example in examples[:_LOOKED_AT])
        found = {"keep": self.settings.keep or keep, "bleu": self.settings.bleu or ("zh" if chinese else "13a")}
        return replace(self, settings=self.settings.model_copy(update=found))

    def check(self, examples: Sequence[PairExample], source: str) -> None:
        """Find nothing: any text may be written."""

    def unlabelled(self, value: Unlabelled) -> PairExample:
        """Return a text, or the turns of a dialogue, as an example; see `unlabelled_example`."""
        if isinstance(value, Mapping):
            value = json.dumps(value)
        return unlabelled_example(value, self.settings)

    def encode(self, examples: Sequence[PairExample], reading: Reading, *, known: bool = True) -> Encoded:
        """Return each example as a piece; see `encode_pairs`."""
        prefix = bool(self.settings.prefix) and not reading.source
        return encode_pairs(examples, self.settings, reading._replace(prefix=prefix), known=known)

    def states(self, part: TaskReader, batch: Batch) -> Tensor:
        """Return the hidden state at each place that a token is predicted from."""
        return labelled_states(part, batch)

    def answered(
        self, network: nn.Module, examples: Sequence[PairExample], encoded: Encoded
    ) -> Iterator[dict[str, Any]]:
        """Yield each source and what is written for it."""
        texts = self._outputs(network, encoded, range(len(examples)))
        for example, text in zip(examples, texts, strict=True):
            yield {"text": example.source, "written": text}

    def score(self, network: nn.Module, encoded: Encoded) -> Scores:
        """Return how good what is written is, the loss of the targets, and their bits a byte.

        There are none of the last where the tokenizer does not give every text back. `coverage` is the share of
        examples whose source and target were read whole.
        """
        written = encoded.written
        if written is None:
            raise ValueError("expected examples that `Write.encode` has made")
        count, metrics, likely, worst = len(encoded.gold), dict[str, float](), None, tuple[Mistake, ...]()
        most = count if self.most is None else min(count, self.most)
        if most:
            numbers = np.linspace(0, count - 1, most).round().astype(int).tolist()
            references = [written.references[number] for number in numbers]
            given = self._outputs(network, encoded, numbers)
            brief = self.most is not None
            worst = worst_written(given, references, numbers)
            likely = partial(rouge_interval, given, references) if self.chosen_by == "rouge_l" else None
            metrics |= (
                brief_scores(given, references)
                if brief
                else text_scores(given, references, self.settings.bleu or "13a")
            )
        nats, tokens = target_nats(as_network(network), encoded)
        metrics["loss"] = nats / max(1, tokens)
        if encoded.reading.tokenizer.is_lossless(written.learned):
            num_bytes = sum(len(text.encode()) for text in written.learned)
            metrics["bits_a_byte"] = nats / math.log(2) / max(1, num_bytes)
        return Scores(metrics | {"coverage": 1.0 - written.cut / max(1, count)}, mistakes=worst, likely=likely)

    def shown(self, example: PairExample, answer: int) -> str:
        """Return the beginning of the source."""
        return shortened(example.source)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the number of tokens to write."""
        return {self.name: float(batch.weights_BN.sum())}

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        """Return the cross-entropy of the targets' tokens."""
        writer = as_network(network)
        return token_terms_from(self.name, writer, labelled_states(writer, batch), batch, Tally())

    def predicted(self, network: nn.Module, batch: Batch, key: Key) -> Predicted:
        """Return the logits where tokens are asked for, and the loss."""
        writer = as_network(network)
        return predicted_from(self.name, writer, labelled_states(writer, batch), batch, Tally())

    def _outputs(self, network: nn.Module, encoded: Encoded, numbers: Sequence[int]) -> list[str]:
        decoding, pieces = self.settings.decoding, [encoded.pieces[number] for number in numbers]
        longest = min(decoding.max_new_tokens, room(self.settings, encoded.reading).target)
        decoding = decoding.model_copy(update={"max_new_tokens": longest})
        return outputs(
            as_network(network), pieces, encoded.reading, decoding, seed=self.settings.seed, told=encoded.told
        )


_LETTER, _HAN = regex.compile(r"\p{L}"), regex.compile(r"\p{Han}")


def _is_chinese(texts: Iterator[str]) -> bool:
    """Return whether most letters are Han characters."""
    text = " ".join(texts)
    return 2 * len(_HAN.findall(text)) > len(_LETTER.findall(text))
