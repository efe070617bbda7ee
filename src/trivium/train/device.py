"""Where a run computes: on the processor, or on a GPU."""

import os
from typing import Literal

import torch

from trivium.core.errors import ConfigError

DeviceName = Literal["auto", "cpu", "cuda"]
CPU = torch.device("cpu")


def settled_device(name: DeviceName) -> DeviceName:
    """Return the kind of device to compute on; auto is cuda where PyTorch sees a GPU."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def open_device(name: DeviceName) -> torch.device:
    """Return the device of this process: each of several that `torchrun` has started on a machine has a GPU of its own.

    Raises:
        ConfigError: PyTorch sees no GPU, or fewer than there are processes on this machine.
    """
    if settled_device(name) == "cpu":
        return CPU
    number, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if not torch.cuda.is_available():
        raise ConfigError("`device` is cuda, and PyTorch sees no GPU here; device=cpu computes on the processor.")
    if number >= count:
        raise ConfigError(
            f"`device` is cuda: process {number + 1} of this machine needs a GPU of its own; found {count}."
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)
