"""Which answer is given, and how good it is: by SQuAD's rules, or by CMRC's where the context is Chinese."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from trivium.data.labelled import AnswerExample
from trivium.tasks.answer.spans import Span, best_threshold, probabilities
from trivium.tasks.answer.windows import is_chinese
from trivium.tasks.metrics import Answers, cmrc_score, squad_score
from trivium.tasks.metrics.answer_text import AnswerScore
from trivium.tasks.metrics.bootstrap import mean
from trivium.tasks.metrics.likely import Likely, counted_interval
from trivium.tasks.scores import Mistake, WorstMistakes

NO_ANSWER = "(no answer)"  # in tables of mistakes
_DIGITS = 6  # of a probability


class Given(NamedTuple):
    """An answer: its text, where it stands in the context, and how sure it is; "" = there is none."""

    text: str
    start: int | None
    end: int | None
    score: float

    def row(self) -> dict[str, Any]:
        """Return the answer as it is printed."""
        return {"answer": self.text, "start": self.start, "end": self.end, "score": round(self.score, _DIGITS)}


class Candidates(NamedTuple):
    """What may be answered to a question."""

    log_odds: float  # of the best answer
    answers: list[Given]  # the best first
    none: Given

    def best(self, threshold: float | None) -> Given:
        """Return what is given: "no answer" where the best is worth less than the threshold, or there is none."""
        declined = threshold is not None and self.log_odds < threshold
        return self.none if declined or not self.answers else self.answers[0]

    def others(self, threshold: float | None) -> list[Given]:
        """Return what is not given, the surest first."""
        every = self.answers if threshold is None else [*self.answers, self.none]
        best = self.best(threshold)
        return sorted((each for each in every if each is not best), key=lambda each: -each.score)


class Judged(NamedTuple):
    """Candidates of a question, and how good the best of them and "no answer" would be."""

    candidates: Candidates
    answered: float
    declined: float


class AnswerTotals:
    """Means over questions of any language, and the worst mistakes, in memory that does not grow with them."""

    def __init__(self) -> None:
        self._english, self._chinese, self._worst = Answers(squad_score), Answers(cmrc_score), WorstMistakes()
        self._counts: Counter[tuple[float, ...]] = Counter()  # of questions by their F1

    def add(self, number: int, example: AnswerExample, given: str, sure: float = 1.0) -> None:
        """Count the answer to a question.

        Args:
            number: of the question.
            example: the question.
            given: the answer, "" for none.
            sure: its probability.
        """
        totals = self._chinese if is_chinese(example.context) else self._english
        score = totals.add(given, right_texts(example))
        self._counts[score.f1,] += 1
        if score.exact_match < 1.0:
            right = example.answers[0].text if example.answers else NO_ANSWER
            self._worst.add(Mistake(sure, number, 0, right, given or NO_ANSWER))

    def metrics(self) -> dict[str, float]:
        """Return `exact_match` and `f1`, of questions with and without an answer alone too where there are both."""
        together = Answers(squad_score)
        together.merge(self._english)
        together.merge(self._chinese)
        return together.metrics()

    def likely(self) -> Likely:
        """Return what gives the interval of F1."""
        return partial(counted_interval, self._counts, mean)

    def worst(self) -> tuple[Mistake, ...]:
        """Return the mistakes that were surest."""
        return self._worst.worst_first()


def candidates_of(context: str, spans: Sequence[Span], *, may_be_none: bool) -> Candidates:
    """Return what may be answered, each with its probability among them.

    Args:
        context: what the spans are of.
        spans: the best answers, the best first.
        may_be_none: "no answer" is one of them; where there are no others, it is what is left.
    """
    may_be_none = may_be_none or not spans
    chances = probabilities(spans, may_be_none=may_be_none)
    pairs = zip(spans, chances, strict=not may_be_none)
    answers = [Given(context[span.start : span.end], span.start, span.end, chance) for span, chance in pairs]
    none = Given("", None, None, chances[-1] if may_be_none else 0.0)
    return Candidates(spans[0].log_odds if spans else -math.inf, answers, none)


def judged(example: AnswerExample, candidates: Candidates) -> Judged:
    """Return the F1 of the best candidate and of "no answer"; of the other candidates only the best is kept."""
    kept = candidates._replace(answers=candidates.answers[:1])
    return Judged(kept, answer_score(example, kept.best(None).text).f1, answer_score(example, "").f1)


def chosen_threshold(found: Iterable[Judged]) -> float:
    """Return the threshold of the highest F1 over these questions."""
    rows = [(each.candidates.log_odds, each.answered, each.declined) for each in found]
    odds, answered, declined = zip(*rows, strict=True)
    return best_threshold(odds, answered, declined)


def answer_score(example: AnswerExample, given: str) -> AnswerScore:
    """Return exact match and F1 of one answer."""
    score = cmrc_score if is_chinese(example.context) else squad_score
    return score(given, right_texts(example))


def right_texts(example: AnswerExample) -> list[str]:
    """Return all answers that are right; none where the context does not answer the question."""
    return [*(answer.text for answer in example.answers), *example.unplaced]


def some_unanswerable(examples: Iterable[AnswerExample]) -> bool:
    """Return whether there are questions that their context does not answer."""
    return any(not right_texts(example) for example in examples)
