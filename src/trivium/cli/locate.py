"""Where a model lies that the user names: a run, a model folder, a Hugging Face folder, or a name on the hub."""

from pathlib import Path

from trivium.core.errors import CheckpointError


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
    folder = located(name)
    return folder / "model" if (folder / "model").is_dir() else folder
