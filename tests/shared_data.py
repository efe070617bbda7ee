"""The labelled sets that tests read in their original formats, where they are: $TRIVIUM_DATA or ../shared/data."""

import os
import tarfile
from pathlib import Path

import pytest

DATA = Path(os.environ.get("TRIVIUM_DATA", Path(__file__).parents[2] / "shared" / "data"))


def unpacked(name: str, folder: Path) -> Path:
    """Unpack a set into a folder and return that; skip the test where the set is not there."""
    archive = DATA / f"{name}.tar.xz"
    if not archive.is_file():
        pytest.skip(f"{archive} is not there; TRIVIUM_DATA says where the data are")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder
