"""Optimisers from their configuration, one file each, and their state by the parameters' names."""

from trivium.train.optimisers.base import Optimiser
from trivium.train.optimisers.build import Pace, build_optimiser, drop_frozen, set_lr
from trivium.train.optimisers.tensors import load_optimiser_tensors, optimiser_tensors

__all__ = [
    "Optimiser",
    "Pace",
    "build_optimiser",
    "drop_frozen",
    "load_optimiser_tensors",
    "optimiser_tensors",
    "set_lr",
]
