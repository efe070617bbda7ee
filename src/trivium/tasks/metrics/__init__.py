"""Scores of tasks: accumulators that take examples as they come and keep nothing, or at most 32 bytes an example."""

from trivium.tasks.metrics.answer_text import Answers, cmrc_score, squad_score
from trivium.tasks.metrics.bleu import Bleu
from trivium.tasks.metrics.calibration import Calibration, Temperature, fit_temperature
from trivium.tasks.metrics.chrf import Chrf
from trivium.tasks.metrics.confusion import Confusion
from trivium.tasks.metrics.distinct import Distinct
from trivium.tasks.metrics.multilabel import MultiLabel
from trivium.tasks.metrics.ranking import OneVersusRest, RocArea
from trivium.tasks.metrics.regression import RankCorrelation, Regression
from trivium.tasks.metrics.relations import JointRelations, Relations
from trivium.tasks.metrics.retrieval import Retrieval
from trivium.tasks.metrics.rouge import Rouge
from trivium.tasks.metrics.spans import Span, Spans

__all__ = [
    "Answers",
    "Bleu",
    "Calibration",
    "Chrf",
    "Confusion",
    "Distinct",
    "JointRelations",
    "MultiLabel",
    "OneVersusRest",
    "RankCorrelation",
    "Regression",
    "Relations",
    "Retrieval",
    "RocArea",
    "Rouge",
    "Span",
    "Spans",
    "Temperature",
    "cmrc_score",
    "fit_temperature",
    "squad_score",
]
