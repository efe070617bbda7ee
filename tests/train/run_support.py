"""A whole run on text in memory, and what tests ask of its folder."""

from dataclasses import dataclass, field
from pathlib import Path

from stopping import without_times
from support import SPECIAL, VOCABULARY_SIZE, MadeUpSplit, made_up_text
from training import run_config
from trivium.core.progress import Silent
from trivium.core.special import SpecialTokens
from trivium.model.folder import load_model
from trivium.train.checkpoint import checkpoints
from trivium.train.config import RunConfig
from trivium.train.log import read_log
from trivium.train.run import pretrain

STEPS = 12


@dataclass(frozen=True)
class MadeUpTokenizer:
    name: bytes = b"made up"
    special: SpecialTokens = SPECIAL
    vocabulary_size: int = VOCABULARY_SIZE

    def to_bytes(self) -> bytes:
        return self.name


@dataclass(frozen=True)
class MadeUpData:
    """What `train.run` asks of `data.shards.PreparedData`."""

    seed: int = 5
    tokenizer: MadeUpTokenizer = field(default_factory=MadeUpTokenizer)

    @property
    def fingerprint(self) -> str:
        return f"made up from {self.seed}"

    def split(self, name: str) -> MadeUpSplit:
        number = {"train": 80, "validation": 20}[name]
        return made_up_text(number, seed=self.seed + (name != "train"), name=name)


def config_of(name: str = "decoder-tiny", **train: object) -> RunConfig:
    config = run_config(name, dropout=0.1 if name in ("bert-tiny", "t5-small") else 0.0)
    settings: dict[str, object] = {
        "steps": STEPS,
        "log_steps": 1,
        "validate_steps": 4,
        "validate_rows": 6,
        "checkpoint_steps": 3,
        "prefetch": 2,
    }
    return config.model_copy(
        update={
            "train": config.train.model_copy(update=settings | train),
            "data": config.data.model_copy(update={"row_length": 48}),
        }
    )


def run(config: RunConfig, out: Path, **options: object) -> dict[str, object]:
    start = None if config.start_from is None else lambda: load_model(Path(str(config.start_from)) / "model")
    options = {"data": MadeUpData(), "progress": Silent(), "start": start} | options
    return pretrain(config, out=out, **options)  # type: ignore[arg-type]


def model_bytes(out: Path) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in (out / "model").iterdir()}
    assert set(found) == {"weights.safetensors", "model.toml", "tokenizer.json", "history.json", "checksums.json"}
    return found


def log_of(out: Path) -> list[dict[str, object]]:
    return [without_times(line) for line in read_log(out / "log.jsonl")]


def newest_step(out: Path) -> int:
    return max((int(path.name.removeprefix("step-")) for path in checkpoints(out)), default=0)
