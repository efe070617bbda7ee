"""Where a model lies that the user names: a run, a model folder, a Hugging Face folder, or a name on the hub."""

from pathlib import Path
from typing import TYPE_CHECKING

from trivium.core.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from trivium.data.tokenizer import Tokenizer


def located(name: str | Path) -> Path:
    """Return the folder that a user named; `hf://owner/name` is fetched, and nothing else ever is.

    Raises:
        CheckpointError: there is no such folder.
        HubError, MissingExtra: it cannot be fetched.
    """
    # A path of its own accord has one slash where the user wrote two.
    text = str(name)
    if text.startswith("hf:/"):
        from trivium.hub.download import fetch_model, parse_hub_name

        hub_name = parse_hub_name("hf://" + text.removeprefix("hf:").lstrip("/"))
        return fetch_model(hub_name.name, revision=hub_name.revision)
    folder = Path(name)
    if not folder.is_dir():
        raise CheckpointError(f"{name}: no such run folder.")
    return folder


def model_folder(name: str | Path) -> Path:
    """Return the folder of a model that a user named: that of a run is its `model`."""
    from trivium.model.folder import model_folder as folder_of

    return folder_of(located(name))


def open_tokenizer(name: str | Path) -> "Tokenizer":
    """Return the tokenizer of a tokenizer.json, prepared data, a run, or a Hugging Face folder.

    Raises:
        ConfigError, HubError: there is none, or it is damaged.
    """
    from trivium.data.tokenizer import Tokenizer
    from trivium.hub.open import is_foreign
    from trivium.hub.tokenizers import read_tokenizer

    if Path(name).is_file():
        return Tokenizer.from_file(Path(name))
    folder = model_folder(name)
    if is_foreign(folder):
        return read_tokenizer(folder)
    if not (folder / "tokenizer.json").is_file():
        raise ConfigError(f"--tokenizer {name}: no tokenizer.json there.")
    return Tokenizer.from_file(folder)
