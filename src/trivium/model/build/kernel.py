"""Which attention kernel a network is built with; what it cannot compute is refused before anything is built."""

from collections.abc import Iterator
from typing import assert_never

import torch

from trivium.core.errors import ConfigError
from trivium.model.config import ModelConfig, StackConfig
from trivium.model.kernels import KernelName
from trivium.model.parts import Alibi, AttentionConfig, RelativeBuckets


def choose_kernel(config: ModelConfig, device: torch.device) -> KernelName:
    """Return the kernel for this architecture on this kind of device.

    On CPU the one that is faster for the type at hand. On CUDA the fused kernel is taken where it can do the work; the
    others have not been measured yet.
    """
    if device.type == "cpu":
        return "dense"
    return "matmul" if list(_obstacles("sdpa", config, device)) else "sdpa"


def require_kernel(name: KernelName, config: ModelConfig, device: torch.device) -> None:
    """Raise ConfigError naming the first thing of this architecture, or device, that the kernel cannot do."""
    for obstacle in _obstacles(name, config, device):
        raise ConfigError(f"the attention kernel `{name}` {obstacle}; `{choose_kernel(config, device)}` can do it.")


def _obstacles(name: KernelName, config: ModelConfig, device: torch.device) -> Iterator[str]:
    for stack in config.stacks():
        for attention in _attentions(stack):
            match name:
                case "reference" | "dense" | "matmul":
                    pass
                case "sdpa":
                    if attention.soft_cap is not None:
                        yield "has no `soft_cap`"
                case "varlen":
                    if attention.soft_cap is not None:
                        yield "has no `soft_cap`"
                    if attention.dropout:
                        yield f"has no dropout (attention.dropout {attention.dropout:g})"
                    if isinstance(stack.position, RelativeBuckets | Alibi):
                        yield f"adds no position scores (position.kind {stack.position.kind})"
                    if device.type not in ("cuda", "meta"):
                        yield f"runs on CUDA, not on {device.type}"
                case "flex":
                    if attention.dropout:
                        yield f"has no dropout (attention.dropout {attention.dropout:g})"
                    if device.type not in ("cuda", "meta"):
                        yield f"has no backward pass on {device.type}"
                case _:
                    assert_never(name)


def _attentions(stack: StackConfig) -> Iterator[AttentionConfig]:
    for block in stack.pattern:
        yield block.attention
        if block.cross_attention is not None:
            yield block.cross_attention
