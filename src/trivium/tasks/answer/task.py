"""Questions that are answered by a piece of a given text, or by saying that it does not answer them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from trivium.core.batch import Batch, Term
from trivium.core.errors import DataError
from trivium.core.random import Key
from trivium.data.labelled import AnswerExample, Labelled, read_answers
from trivium.data.labelled.checks import kind
from trivium.data.labelled.files import json_line
from trivium.model.config import DEFAULT_READOUT, ReadoutConfig
from trivium.model.heads import labelled_states
from trivium.tasks.answer.scores import AnswerTotals, Judged, candidates_of, chosen_threshold, judged, some_unanswerable
from trivium.tasks.answer.spans import boundaries, boundary_nats, find_spans
from trivium.tasks.answer.windows import encode_questions
from trivium.tasks.base import TaskReader, Unlabelled, class_logits
from trivium.tasks.pieces import Encoded, Reading
from trivium.tasks.scores import Scores
from trivium.tasks.settings import ANSWER_SETTINGS, AnswerSettings

_READ = '{"question": "...", "context": "..."}'
_AROUND = 80  # characters that are shown on each side of an answer


@dataclass(frozen=True)
class Answer:
    """The start and the end of an answer, read off each token of the context (Devlin et al. 2019, section 4.2).

    Question and context are read as a pair, the question whole (cut where it is longer than half a row), the context in
    windows that overlap. Of each window the right start and end are those of the first right answer that it holds, else
    the place of "no answer": the piece's first token, or, for who reads from left to right, what the tokenizer puts
    after the texts, an end token where it puts nothing. An answer's worth is how much more likely its start and end are
    than that place, so that windows can be compared; the likeliest answer over all windows is given, or none if it is
    worth less than the threshold.

    Args:
        readout: the head; it reads each token, whatever its pooling.
        settings: windows, and how long answers may be.
        threshold: the log-odds from which on an answer is given; None = one is always given; "open" = it is chosen when
            the task is scored on questions some of which have no answer.
    """

    readout: ReadoutConfig = DEFAULT_READOUT
    settings: AnswerSettings = ANSWER_SETTINGS
    threshold: float | Literal["open"] | None = None
    num_places: ClassVar[int] = 1
    name: ClassVar[str] = "answer"
    is_chained: ClassVar[bool] = False
    chosen_by: ClassVar[str] = "f1"
    labels: ClassVar[tuple[str, ...]] = ("start", "end")

    @property
    def num_outputs(self) -> int:
        """Number of numbers a token: of a start and of an end."""
        return len(self.labels)

    def read(self, path: Path, *, min_classes: int) -> Labelled[AnswerExample]:
        """Read questions, contexts and answers."""
        return read_answers(path)

    def learned(self, examples: Sequence[AnswerExample]) -> "Answer":
        """Return the task with its threshold still open; raise DataError when no question has an answer."""
        if not any(example.answers for example in examples):
            raise DataError("no training question has an answer in its context; expected at least one.")
        return replace(self, threshold="open")

    def settled(self, chosen: Mapping[str, float]) -> "Answer":
        """Return the task with the threshold that the metrics of the validation examples name; none = no threshold."""
        return replace(self, threshold=chosen.get("threshold")) if self.threshold == "open" else self

    def check(self, examples: Sequence[AnswerExample], source: str) -> None:
        """Find nothing wrong: whatever is in a context can be answered."""

    def unlabelled(self, value: Unlabelled) -> AnswerExample:
        """Return a question and a context, or a line of JSON that holds them, as an example."""
        if isinstance(value, str):
            value = _parsed(value)
        question, context = (value.get(key) if isinstance(value, Mapping) else None for key in ("question", "context"))
        if not isinstance(question, str) or not isinstance(context, str):
            raise DataError(f"answer reads {_READ}, found {_found(value)}.")
        if not question.strip():
            raise DataError("answer: the question is empty.")
        return AnswerExample("", None, context, question, ())

    def encode(self, examples: Sequence[AnswerExample], reading: Reading, *, known: bool = True) -> Encoded:
        """Return questions as pieces, one for each window over their contexts."""
        return encode_questions(examples, reading, self.settings, known=known)

    def states(self, part: TaskReader, batch: Batch) -> Tensor:
        """Return the hidden state at each candidate."""
        return labelled_states(part, batch)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the number of right starts and ends: two a window."""
        return {self.name: float(boundaries(batch).sum())}

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        """Return the cross-entropy of starts and ends, each among the candidates of its window."""
        nats = boundary_nats(class_logits(network, batch), batch)
        return (Term(self.name, nats),)

    def answered(
        self, network: nn.Module, examples: Sequence[AnswerExample], encoded: Encoded
    ) -> Iterator[dict[str, Any]]:
        """Yield each question, its answer, the answer's characters in the context, its probability, and the others."""
        threshold = None if self.threshold == "open" else self.threshold
        for example, found in zip(examples, find_spans(network, encoded, self.settings), strict=True):
            known = candidates_of(example.context, found.spans, may_be_none=threshold is not None)
            others = [other.row() for other in known.others(threshold)]
            yield {"question": example.question, **known.best(threshold).row(), "others": others}

    def score(self, network: nn.Module, encoded: Encoded) -> Scores:
        """Return exact match and F1, by the rules of CMRC 2018 where the context is Chinese, else by SQuAD's.

        Where some questions may have no answer, also the share that is given one, and the threshold. The loss is nats a
        start or end. Questions whose answer cannot be given (see `Encoded.said`) count as missed.
        """
        is_open = self.threshold == "open"
        may_be_none = self.threshold is not None
        if is_open:
            may_be_none = some_unanswerable(asked.example for asked in encoded.asked)
        found, nats, windows = list[Judged](), 0.0, 0
        for asked, spans in zip(encoded.asked, find_spans(network, encoded, self.settings), strict=True):
            known = candidates_of(asked.example.context, spans.spans, may_be_none=may_be_none)
            found.append(judged(asked.example, known))
            nats, windows = nats + spans.nats, windows + spans.windows
        threshold = None
        if may_be_none:
            threshold = chosen_threshold(found) if self.threshold == "open" else self.threshold
        totals, answered = AnswerTotals(), 0
        for number, (asked, each) in enumerate(zip(encoded.asked, found, strict=True)):
            given = each.candidates.best(threshold)
            totals.add(number, asked.example, given.text, given.score)
            answered += bool(given.text)
        count = max(1, len(found))
        told = {} if threshold is None else {"answered": answered / count, "threshold": threshold}
        held = sum(asked.is_held for asked in encoded.asked)
        told |= {"loss": nats / max(1, 2 * windows), "coverage": held / count}
        return Scores(totals.metrics() | told, mistakes=totals.worst(), likely=totals.likely())

    def shown(self, example: AnswerExample, answer: int) -> str:
        """Return the question, and the context around the first right answer, which is marked."""
        if not example.answers:
            return f"{example.question} | {example.context[: 2 * _AROUND]}"
        start, text = example.answers[0]
        stop = start + len(text)
        before, after = example.context[max(0, start - _AROUND) : start], example.context[stop : stop + _AROUND]
        return f"{example.question} | {before}[{text}]{after}"


def _parsed(line: str) -> Any:
    try:
        return json_line(line, "answer")
    except DataError:
        raise DataError(f"answer reads {_READ}, found no JSON: {line[:40]!r}.") from None


def _found(value: object) -> str:
    """Return what stands where a question was expected, for a message."""
    return f"an object of {', '.join(map(str, value)) or 'nothing'}" if isinstance(value, Mapping) else kind(value)
