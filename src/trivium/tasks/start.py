"""What fine-tuning begins with: a pretrained model, or the random weights of a preset."""

from pathlib import Path
from typing import NamedTuple, Self

from trivium.core.config import parse, read_toml
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.data.tokenizer import Tokenizer
from trivium.hub.open import history_of, open_pretrained, require_vocabulary
from trivium.model.build import build_network
from trivium.model.config import DEFAULT_READOUT, ModelConfig, ReadoutConfig, with_max_length, with_vocabulary
from trivium.model.folder import SavedModel, load_tensors, model_folder, unique_tensors
from trivium.model.heads import Network
from trivium.model.history import Made
from trivium.model.initialise import initialise
from trivium.model.presets import preset
from trivium.objectives.build import DistilConfig, MixedConfig, ObjectiveConfig
from trivium.objectives.prefix import PrefixConfig
from trivium.tasks.base import Part, TaskModel, reading_of, reading_part
from trivium.tasks.folder import TASK, TunedModel, load_tuned
from trivium.tasks.pieces import Reading
from trivium.tasks.write.config import WriteConfig
from trivium.train.config import DataConfig, RunConfig


class Start(NamedTuple):
    """An architecture, its tokenizer, and its weights where it has been pretrained."""

    config: ModelConfig
    tokenizer: Tokenizer
    network: Network | None  # None: drawn anew for every seed
    row_length: int  # tokens of the rows that it was, or would be, pretrained on
    name: str  # what results say it is
    prefix: bool = False  # one stack that was pretrained to read the beginning of a text both ways
    history: tuple[Made, ...] = ()  # how the weights came to be
    lost: frozenset[str] = frozenset()  # parameters that an earlier fine-tuning has not kept, by their names

    @classmethod
    def of(cls, saved: SavedModel, *, row_length: int, name: str) -> Self:
        """Return the start of a loaded model; raise CheckpointError when its tokenizer is another model's."""
        tokenizer = Tokenizer.from_bytes(saved.tokenizer)
        require_vocabulary(saved.config, tokenizer, name)
        return cls(saved.config, tokenizer, saved.network, row_length, name)

    def reader(self, seed: int, readout: ReadoutConfig | None = DEFAULT_READOUT) -> Part:
        """Return what reads text for a head: of the pretrained network itself, or of one drawn from this seed.

        Raises:
            ConfigError: the head reads a stack that the model has not, or has not kept.
        """
        network = self.network
        if network is None:
            network = build_network(self.config)
            initialise(network, self.config, Key(seed))
        part = reading_part(network, readout)
        lost = {id(parameter) for name, parameter in network.named_parameters() if name in self.lost}
        if any(id(parameter) in lost for parameter in part.parameters()):
            raise ConfigError(
                f"{self.name}: was fine-tuned before and kept only what read for that task; "
                "begin with the pretrained run it came from, or choose a head that reads the same stack."
            )
        return part

    def reading(self, readout: ReadoutConfig | None = DEFAULT_READOUT) -> Reading:
        """Return how this model reads texts for a head; raise ConfigError as `reader` does."""
        return reading_of(self.tokenizer, self.row_length, self.config, readout)

    def for_rows(self, row_length: int) -> Self:
        """Return the start with rows of this length; raise ConfigError when the model cannot read as far."""
        config = self.config
        if row_length > config.max_length:
            config = with_max_length(config, row_length)
        return self._replace(config=config, row_length=row_length)


def open_run(run: Path, name: str | None = None) -> Start:
    """Return the start that a run is, or its `model` folder, or a Hugging Face folder.

    Of a fine-tuned run what reads is kept, and its head is left out: another task's is drawn anew.

    Args:
        run: the folder.
        name: what its user calls it; None = the path.

    Raises:
        CheckpointError: it is missing or damaged, or its tokenizer does not fit.
    """
    folder, name = model_folder(run), name or str(run)
    if (folder / TASK).is_file():
        return _tuned_start(load_tuned(run), name)._replace(history=history_of(folder, name))
    saved = open_pretrained(folder, speaks=False)
    row_length, prefix = DataConfig().row_length, False
    if folder != run and (run / "config.toml").is_file():
        config = parse(RunConfig, read_toml(run / "config.toml"), str(run / "config.toml"))
        row_length, prefix = config.data.row_length, _reads_prefixes(config.objective)
    row_length = min(row_length, saved.config.max_length)
    start = Start.of(saved, row_length=row_length, name=name)
    return start._replace(prefix=prefix, history=history_of(folder, name))


def _tuned_start(tuned: TunedModel, name: str) -> Start:
    """Return the start that a fine-tuned model is: the stack, or the stacks, that its task has trained."""
    network = build_network(tuned.config)
    initialise(network, tuned.config, Key(0))
    part = reading_part(network, tuned.task.readout)
    trained = tuned.model.reader if isinstance(tuned.model, TaskModel) else tuned.model
    load_tensors(part, unique_tensors(trained), name)
    kept = {id(parameter) for parameter in part.parameters()}
    lost = frozenset(key for key, parameter in network.named_parameters() if id(parameter) not in kept)
    prefix = isinstance(tuned.task.settings, WriteConfig) and bool(tuned.task.settings.prefix)
    reading = tuned.reading
    start = Start(tuned.config, reading.tokenizer, network.eval(), reading.row_length, name, prefix)
    return start._replace(lost=lost)


def random_start(architecture: str | ModelConfig, tokenizer: Tokenizer, *, row_length: int | None = None) -> Start:
    """Return the random weights of a preset, drawn anew for each seed, for texts cut by this tokenizer.

    Args:
        architecture: a preset's name, or its configuration; its vocabulary becomes the tokenizer's.
        tokenizer: cuts the texts.
        row_length: tokens a row; None = as pretraining has.

    Raises:
        ConfigError: there is no preset of that name.
    """
    config = preset(architecture) if isinstance(architecture, str) else architecture
    config = with_vocabulary(config, tokenizer.vocabulary_size)
    name = f"{architecture if isinstance(architecture, str) else 'model'}, random weights"
    return Start(config, tokenizer, None, row_length or min(DataConfig().row_length, config.max_length), name)


def _reads_prefixes(objective: ObjectiveConfig) -> bool:
    """Return whether an objective teaches one stack to go on after a prefix that it has read both ways."""
    match objective:
        case PrefixConfig():
            return True
        case MixedConfig(parts=parts):
            return any(_reads_prefixes(part.objective) for part in parts)
        case DistilConfig(objective=inner):
            return _reads_prefixes(inner)
        case _:
            return False
