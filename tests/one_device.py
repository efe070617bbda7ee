"""Whether what is computed stays on one device: shown on the meta device, for most machines have no GPU."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")
# Copying is what may go from one device to another.
MOVES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}


class OneDevice(TorchDispatchMode):
    """Refuses operations whose tensors are on several devices; single numbers may be anywhere, as PyTorch has it.

    A number that is read off the meta device is 1.
    """

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
        devices = {tensor.device.type for tensor in found if tensor.ndim}
        if len(devices) > 1 and func not in MOVES:
            raise AssertionError(f"{func} of tensors on {sorted(devices)}")
        if func is torch.ops.aten._local_scalar_dense.default and found[0].device == META:
            return torch.ones((), dtype=found[0].dtype).item()
        return func(*args, **(kwargs or {}))
