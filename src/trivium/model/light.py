"""Modules that are called without PyTorch's hooks: those without parameters, and matrices that are only multiplied."""

from typing import Any

from torch import nn


class Light(nn.Module):
    """A module that is called directly: hooks that are registered on it are never called.

    PyTorch's way to call one takes half a microsecond, and a small network calls 80 of these for each token it writes.
    """

    def __call__(self, *args: Any) -> Any:
        """Return what `forward` returns."""
        return self.forward(*args)


class Identity(Light, nn.Identity):
    """What stands where there is nothing."""
