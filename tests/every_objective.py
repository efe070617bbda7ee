"""Every objective, with a small network that it trains."""

from support import shrink
from trivium.core.ramp import Ramp
from trivium.model.config import ModelConfig
from trivium.model.presets import preset
from trivium.objectives.build import (
    MixedConfig,
    ObjectiveConfig,
    PartConfig,
    Ul2Config,
)
from trivium.objectives.causal import CausalConfig
from trivium.objectives.contrastive import ContrastiveConfig
from trivium.objectives.denoise import DenoiseConfig
from trivium.objectives.fill_in import FillInConfig
from trivium.objectives.hiding import GeometricSpans, Ngrams, WholeWords
from trivium.objectives.masked import MaskedConfig
from trivium.objectives.permuted import PermutedConfig
from trivium.objectives.prefix import PrefixConfig
from trivium.objectives.replaced import ReplacedConfig
from trivium.objectives.sentences import SentencesConfig
from trivium.objectives.spans import SpansConfig

_HYBRID = MixedConfig(
    parts=(
        PartConfig(objective=MaskedConfig(predicted_from="before", rate=Ramp(start=0.3, stop=0.15)), share=3.0),
        PartConfig(objective=CausalConfig(), share=1.0),
    )
)
_BESIDE = MixedConfig(
    parts=(PartConfig(objective=MaskedConfig()), PartConfig(objective=DenoiseConfig(shuffled=0.0), share=3.0))
)
# name: (preset, objective)
CASES: dict[str, tuple[str, ObjectiveConfig]] = {
    "masked": ("encoder-tiny", MaskedConfig()),
    "masked-words": ("encoder-tiny", MaskedConfig(unit=WholeWords())),
    "masked-spans": ("encoder-tiny", MaskedConfig(unit=GeometricSpans())),
    "masked-ngrams": ("encoder-tiny", MaskedConfig(unit=Ngrams())),
    "masked-rare": ("encoder-tiny", MaskedConfig(rarity=0.5)),
    "masked-ramp": ("encoder-tiny", MaskedConfig(rate=Ramp(start=0.4, stop=0.1))),
    "masked-next": ("decoder-tiny", MaskedConfig(predicted_from="before")),
    "causal": ("decoder-tiny", CausalConfig()),
    "prefix": ("decoder-tiny", PrefixConfig()),
    "fill-in": ("decoder-tiny", FillInConfig(rate=1.0)),
    "permuted": ("encoder-tiny", PermutedConfig()),
    "next-sentence": ("bert-tiny", SentencesConfig(question="next")),
    "sentence-order": ("encoder-tiny", SentencesConfig(question="order")),
    "replaced": ("encoder-tiny", ReplacedConfig()),
    "replaced-shared": ("bert-tiny", ReplacedConfig(embeddings="shared", generator_share=0.25)),
    "replaced-separate": ("albert-base", ReplacedConfig(embeddings="separate")),
    "contrastive": ("bert-tiny", ContrastiveConfig(group_rows=4)),
    "spans": ("seq2seq-tiny", SpansConfig()),
    "suffix": ("seq2seq-tiny", SpansConfig(placement="end", rate=0.25)),
    "ul2": ("t5-small", Ul2Config()),
    "denoise": ("seq2seq-tiny", DenoiseConfig()),
    "hybrid": ("decoder-tiny", _HYBRID),
    "masked-beside": ("seq2seq-tiny", _BESIDE),
}


def small(name: str) -> ModelConfig:
    """The network that a case trains."""
    return shrink(preset(CASES[name][0]))
