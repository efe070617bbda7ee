"""No false alarm: runs as they should be are neither refused nor warned of."""

from collections.abc import Callable
from pathlib import Path

import pytest
from preflight_support import LR, changed, looked, prepared, run_of, texts

from trivium.core.progress import Silent
from trivium.core.ramp import Ramp
from trivium.data.normal import normal_losses
from trivium.data.shards import PreparedData
from trivium.data.tokenizer import Tokenizer
from trivium.objectives.build import MixedConfig, PartConfig, Ul2Config
from trivium.objectives.causal import CausalConfig
from trivium.objectives.denoise import DenoiseConfig
from trivium.objectives.fill_in import FillInConfig
from trivium.objectives.hiding import WholeWords
from trivium.objectives.masked import MaskedConfig
from trivium.objectives.permuted import PermutedConfig
from trivium.objectives.prefix import PrefixConfig
from trivium.objectives.replaced import ReplacedConfig
from trivium.objectives.sentences import SentencesConfig
from trivium.train.config import RunConfig
from trivium.train.log import read_log
from trivium.train.optimiser_config import MuonConfig
from trivium.train.run import pretrain

_HYBRID = MixedConfig(
    parts=(
        PartConfig(objective=MaskedConfig(rate=Ramp(start=0.3, stop=0.15), predicted_from="before"), name="masked"),
        PartConfig(objective=CausalConfig()),
    )
)
# By name: the text, and the run. The usual learning rate at this width is 0.0125; half of the runs are below it.
GOOD: dict[str, tuple[str, Callable[[], RunConfig]]] = {
    "encoder": ("english", lambda: run_of("encoder-tiny")),
    "decoder": ("english", lambda: run_of("decoder-tiny")),
    "encoder-decoder": ("english", lambda: run_of("seq2seq-tiny")),
    "encoder, Chinese": ("chinese", lambda: run_of("encoder-tiny", lr=2 * LR, seed=1)),
    "decoder, Chinese": ("chinese", lambda: run_of("decoder-tiny", lr=3 * LR, seed=2)),
    "encoder-decoder, Chinese": ("chinese", lambda: run_of("seq2seq-tiny", lr=2 * LR, seed=3)),
    "decoder, a third of the rate": ("english", lambda: run_of("decoder-tiny", lr=1.4 * LR, rows=16, steps=700)),
    "decoder, three times the rate": ("english", lambda: run_of("decoder-tiny", lr=9 * LR)),
    "encoder, three times the rate": ("english", lambda: run_of("encoder-tiny", lr=6 * LR, seed=4)),
    "BERT": ("english", lambda: run_of("bert-base", seed=5)),
    "BERT, long rows": ("chinese", lambda: changed(run_of("bert-base", rows=4), "data", row_length=64)),
    "GPT-2": ("english", lambda: run_of("gpt2", lr=3 * LR)),
    "T5": ("english", lambda: run_of("t5-small")),
    "WordPiece, whole words": (
        "wordpiece",
        lambda: run_of("encoder-tiny", objective=MaskedConfig(unit=WholeWords(), rate=0.3)),
    ),
    "accumulation, Muon": (
        "english",
        lambda: run_of("decoder-tiny", accumulation=4).model_copy(update={"optimiser": MuonConfig(lr=LR)}),
    ),
    "masked and causal": ("english", lambda: run_of("decoder-tiny", objective=_HYBRID)),
    "pairs": ("english", lambda: run_of("bert-base", objective=SentencesConfig(question="order"))),
    "replaced tokens": ("english", lambda: run_of("encoder-tiny", objective=ReplacedConfig())),
    "permuted": ("english", lambda: run_of("encoder-tiny", objective=PermutedConfig())),
    "prefix": ("english", lambda: run_of("decoder-tiny", objective=PrefixConfig())),
    "fill in": ("english", lambda: run_of("decoder-tiny", objective=FillInConfig(), lr=2 * LR)),
    "UL2": ("english", lambda: run_of("seq2seq-tiny", objective=Ul2Config())),
    "denoise": ("english", lambda: run_of("seq2seq-tiny", objective=DenoiseConfig(), lr=2 * LR)),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PreparedData]:
    """Three texts: 50,000 tokens and more each, so that no run here reads one too often."""
    folder = tmp_path_factory.mktemp("good")
    english, chinese = ((texts(300, chinese=script), texts(20, seed=1, chinese=script)) for script in (False, True))
    return {
        "english": prepared(folder / "english", *english),
        "chinese": prepared(folder / "chinese", *chinese),
        "wordpiece": prepared(folder / "wordpiece", *english, tokenizer=Tokenizer.train(english[0], "wordpiece", 500)),
    }


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_found_before_step_0(name: str, data: dict[str, PreparedData], tmp_path: Path) -> None:
    text, config = GOOD[name]
    found = looked(config(), data[text], tmp_path / "out", seconds=8.0)
    assert found.findings == ()
    assert found.rehearsal.first_loss is not None
    assert sum(line.startswith("example") for line in found.lines) >= 3


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_warned_of_on_the_way(name: str, data: dict[str, PreparedData], tmp_path: Path) -> None:
    text, config = GOOD[name]
    normal = normal_losses(data[text].folder, data[text])
    pretrain(config(), data[text], tmp_path / "run", progress=Silent(), normal=normal)
    lines = read_log(tmp_path / "run" / "log.jsonl")
    assert len(lines) > 20
    assert [line for line in lines if "warning" in line] == []


def test_there_are_enough_good_runs() -> None:
    assert len(GOOD) >= 20
