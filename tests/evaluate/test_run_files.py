"""What is known of a metric by its name."""

import numpy as np
import pytest

from trivium.evaluate.run_files import lower_is_better
from trivium.tasks.metrics import Calibration, Confusion, RankCorrelation, Regression, Relations, Retrieval, Spans


def test_errors_are_better_when_they_are_lower() -> None:
    errors, scores = set(), set()
    for metric in (Calibration(), Confusion("ab"), RankCorrelation(), Regression(), Relations(), Retrieval(), Spans()):
        for name in metric.metrics():
            (errors if lower_is_better(name) else scores).add(name)
    assert errors == {"ece", "brier", "nll", "mse", "mae"}
    assert len(scores) > 20


@pytest.mark.parametrize("name", ["loss", "bits_per_byte", "validation_loss"])
def test_losses_are_better_when_they_are_lower(name: str) -> None:
    assert lower_is_better(name)
    assert not np.any([lower_is_better(other) for other in ("accuracy", "macro_f1", "smallest")])
