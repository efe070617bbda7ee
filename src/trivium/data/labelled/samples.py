"""A small valid file of every labelled kind, to look at and to begin from."""

import shutil
from importlib import resources
from pathlib import Path

from trivium.core.errors import ConfigError
from trivium.core.files import new_folder

_FILES = "sample_files"


def write_examples(folder: Path) -> list[Path]:
    """Write a hand-made file of every kind that is read, in English and Chinese, and a README.md that names them.

    Args:
        folder: where to; an existing one is refused unless it is empty.

    Returns:
        the files and folders written, README.md first.

    Raises:
        ConfigError: the folder is there, or is a file.
    """
    if not folder.name or folder.is_file() or (folder.exists() and any(folder.iterdir())):
        raise ConfigError(
            f"--write-examples {folder}: already exists; choose another folder or remove it. Nothing was changed."
        )
    with resources.as_file(resources.files(__package__) / _FILES) as source, new_folder(folder) as partial:
        shutil.copytree(source, partial, dirs_exist_ok=True)
    written = sorted(path for path in folder.iterdir() if path.name != "README.md")
    return [folder / "README.md", *written]
