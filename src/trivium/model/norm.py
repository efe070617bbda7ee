"""Normalisation layers. Shapes: see docs/conventions.md."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class LayerNorm(nn.Module):
    """Subtract the mean, divide by the standard deviation, scale and shift (Ba et al. 2016)."""

    def __init__(self, *, size: int, eps: float, weight: bool, bias: bool) -> None:
        super().__init__()
        self.size = size
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size)) if weight else None
        self.bias = nn.Parameter(torch.zeros(size)) if bias else None

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """Return the normalised hidden states, of the same shape."""
        return functional.layer_norm(hidden_BLD, (self.size,), self.weight, self.bias, self.eps)


class RMSNorm(nn.Module):
    """Divide by the root mean square and scale (Zhang & Sennrich 2019); the mean square is taken in float32."""

    def __init__(self, *, size: int, eps: float, weight: bool, bias: bool) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size)) if weight else None
        self.bias = nn.Parameter(torch.zeros(size)) if bias else None

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """Return the normalised hidden states, of the same shape and type."""
        wide_BLD = hidden_BLD if hidden_BLD.dtype == torch.float64 else hidden_BLD.float()
        scale_BL1 = torch.rsqrt(wide_BLD.square().mean(-1, keepdim=True) + self.eps)
        normed_BLD = hidden_BLD * scale_BL1.to(hidden_BLD.dtype)
        if self.weight is not None:
            normed_BLD = normed_BLD * self.weight
        return normed_BLD if self.bias is None else normed_BLD + self.bias
