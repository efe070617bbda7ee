"""Settings of a run in words: every objective is said, whole or in pieces."""

import pytest
from page_support import HOSTILE

from trivium.core.config import Config
from trivium.core.ramp import Ramp
from trivium.evaluate.objective_examples import EXAMPLES
from trivium.evaluate.objective_facts import kinds
from trivium.evaluate.run_words import objective_words
from trivium.objectives.build import DistilConfig, MixedConfig, PartConfig
from trivium.objectives.causal import CausalConfig
from trivium.objectives.denoise import DenoiseConfig
from trivium.objectives.fill_in import FillInConfig
from trivium.objectives.hiding import Ngrams, WholeWords
from trivium.objectives.masked import MaskedConfig
from trivium.objectives.replaced import ReplacedConfig
from trivium.objectives.sentences import SentencesConfig
from trivium.objectives.spans import SpansConfig

_FALLING = MaskedConfig(rate=Ramp(start=0.3, stop=0.15), predicted_from="before")


def said(objective: Config) -> str:
    words = objective_words({"objective": objective.model_dump(mode="json", exclude_none=True)})
    return words.replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        (MaskedConfig(), "hidden tokens (15.0 % of the text)"),
        (MaskedConfig(unit=WholeWords(), rate=0.3), "hidden words (30.0 % of the text)"),
        (MaskedConfig(unit=Ngrams()), "hidden runs of words (15.0 % of the text)"),
        (_FALLING, "hidden tokens (30.0 % falling to 15.0 % of the text), each from the place before it"),
        (MaskedConfig(rate=Ramp(start=0.1, stop=0.2)), "hidden tokens (10.0 % rising to 20.0 % of the text)"),
        (CausalConfig(), "the next token"),
        (FillInConfig(), "the next token, where the middle of 50.0 % of the texts stands last"),
        (SpansConfig(), "hidden spans (15.0 % of the text)"),
        (SpansConfig(placement="end", rate=0.25), "the ends of texts (25.0 % of the text)"),
        (DenoiseConfig(), "whole texts that were spoilt (30.0 % taken out)"),
        (
            SentencesConfig(question="next"),
            "hidden tokens (15.0 % of the text), and whether the second of two texts follows the first",
        ),
        (ReplacedConfig(), "which tokens a generator has put in (15.0 % of the text)"),
        (
            MixedConfig(parts=(PartConfig(objective=MaskedConfig(), share=3.0), PartConfig(objective=CausalConfig()))),
            "hidden tokens (15.0 % of the text) in 75.0 % of the rows and the next token in 25.0 % of the rows",
        ),
        (
            MixedConfig(
                parts=(
                    PartConfig(objective=SpansConfig(), share=Ramp(start=1.0, stop=0.0)),
                    PartConfig(objective=DenoiseConfig()),
                )
            ),
            "hidden spans (15.0 % of the text) and whole texts that were spoilt (30.0 % taken out)",
        ),
        (
            DistilConfig(teacher="t", objective=CausalConfig()),
            "the next token, and what a teacher says of them",
        ),
    ],
)
def test_an_objective_in_words(objective: Config, words: str) -> None:
    assert said(objective) == words


def test_every_kind_has_words_of_its_own() -> None:
    words = {kind: said(EXAMPLES[kind].config) for kind in kinds()}
    assert len(set(words.values())) == len(words) == 13
    assert not [kind for kind, text in words.items() if text in (kind, str(None))]


def test_what_is_absent_or_nonsense_is_left_out() -> None:
    assert objective_words({}) == "an unknown objective"
    assert objective_words({"objective": {"kind": "of the future"}}) == "of the future"
    strange = (None, "much", float("nan"), {"start": 0.1}, {"start": HOSTILE, "stop": 0.1}, [1])
    tried = 0
    for kind in kinds():
        for value in strange:
            tree = dict.fromkeys(("rate", "parts", "masked", "objective", "unit", "share"), value)
            text = objective_words({"objective": {**tree, "kind": kind}})
            assert text and "nan" not in text and "None" not in text and HOSTILE not in text
            tried += 1
    assert tried == 13 * len(strange)
    assert objective_words({"objective": {"kind": "masked"}}) == "hidden tokens"
    assert objective_words({"objective": {"kind": "mixed", "parts": [{"objective": {"kind": "causal"}}]}}).startswith(
        "the next token"
    )
