"""Fixtures that several tests use."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from support import MadeUpSplit, made_up_text

# What is measured of the machine is kept beside the tests' own cache, not in the user's.
os.environ["XDG_CACHE_HOME"] = str(Path(__file__).parents[1] / ".pytest_cache" / "xdg")
# The networks are so small that a second thread costs more than it does, many times more beside other work.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def made_up_split() -> MadeUpSplit:
    """Some thousand tokens of made-up text in memory."""
    return made_up_text(120, seed=5)


@pytest.fixture
def float64() -> Iterator[None]:
    """Compute in float64 where nothing else is said."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
