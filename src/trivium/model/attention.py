"""Multi-head attention over a view of who sees whom."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trivium.core.layout import TokenLayout, visible
from trivium.model.cache import LayerCache
from trivium.model.kernels import Kernel
from trivium.model.positions import Rotation


class View:
    """What all layers of a stack share in one forward pass: masks, score biases and rotations, each made once."""

    def __init__(
        self, query: TokenLayout, key: TokenLayout, *, rotation: Rotation | None, scores: Tensor | None
    ) -> None:
        self._query = query
        self._key = key
        self._scores_BHLM = scores
        self._bias: dict[tuple[int | None, torch.dtype], Tensor] = {}
        self.rotation = rotation

    def bias(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """Return what is added to the scores, [B, 1 or H, L, M]: 0 or the position's score, very low where unseen."""
        known = self._bias.get((window, dtype))
        if known is not None:
            return known
        mask_B1LM = visible(self._query, self._key, window)[:, None]
        # Not -inf: a place of cross-attention may see nothing at all, and must give a finite gradient.
        low = torch.finfo(dtype).min
        if self._scores_BHLM is None:
            bias = torch.zeros(mask_B1LM.shape, dtype=dtype, device=mask_B1LM.device).masked_fill(~mask_B1LM, low)
        else:
            bias = self._scores_BHLM.to(dtype).masked_fill(~mask_B1LM, low)
        self._bias[(window, dtype)] = bias
        return bias


@dataclass(frozen=True)
class Source:
    """What a decoder's cross-attention looks at: the encoder's hidden states and the view of them."""

    hidden_BMD: Tensor
    view: View


class SelfAttention(nn.Module):
    """Queries, keys and values of the same places, in one product (Vaswani et al. 2017; Ainslie et al. 2023)."""

    def __init__(
        self,
        *,
        hidden_size: int,
        num_heads: int,
        num_key_value_heads: int,
        head_size: int,
        bias: bool,
        scale: float,
        window: int | None,
        dropout: float,
        kernel: Kernel,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_key_value_heads = num_key_value_heads
        self.head_size = head_size
        self.scale = scale
        self.window = window
        self.dropout = dropout
        self.kernel = kernel
        self.qkv = nn.Linear(hidden_size, (num_heads + 2 * num_key_value_heads) * head_size, bias=bias)
        self.out = nn.Linear(num_heads * head_size, hidden_size, bias=bias)

    def forward(self, hidden_BLD: Tensor, view: View, cache: LayerCache | None = None) -> Tensor:
        """Return what each place takes from the places it sees, [B, L, D]."""
        states_BXLK = self.qkv(hidden_BLD).unflatten(-1, (-1, self.head_size)).transpose(1, 2)
        query_BHLK, key_BGLK, value_BGLK = states_BXLK.split(
            (self.num_heads, self.num_key_value_heads, self.num_key_value_heads), dim=1
        )
        if view.rotation is not None:
            query_BHLK, key_BGLK = view.rotation.apply(query_BHLK), view.rotation.apply(key_BGLK)
        if cache is not None:
            key_BGLK, value_BGLK = cache.append(key_BGLK, value_BGLK)
        bias = view.bias(self.window, hidden_BLD.dtype)
        dropout = self.dropout if self.training else 0.0
        mixed_BHLK = self.kernel(query_BHLK, key_BGLK, value_BGLK, bias, self.scale, dropout)
        return self.out(mixed_BHLK.transpose(1, 2).flatten(-2))


class CrossAttention(nn.Module):
    """Queries from the decoder's places, keys and values from the encoder's."""

    def __init__(
        self,
        *,
        hidden_size: int,
        num_heads: int,
        num_key_value_heads: int,
        head_size: int,
        bias: bool,
        scale: float,
        dropout: float,
        kernel: Kernel,
    ) -> None:
        super().__init__()
        self.num_key_value_heads = num_key_value_heads
        self.head_size = head_size
        self.scale = scale
        self.dropout = dropout
        self.kernel = kernel
        self.query = nn.Linear(hidden_size, num_heads * head_size, bias=bias)
        self.key_value = nn.Linear(hidden_size, 2 * num_key_value_heads * head_size, bias=bias)
        self.out = nn.Linear(num_heads * head_size, hidden_size, bias=bias)

    def forward(self, hidden_BLD: Tensor, source: Source, cache: LayerCache | None = None) -> Tensor:
        """Return what each place takes from the source's places of its document, [B, L, D]."""
        query_BHLK = self.query(hidden_BLD).unflatten(-1, (-1, self.head_size)).transpose(1, 2)
        if cache is not None and cache.source is not None:
            key_BGMK, value_BGMK = cache.source
        else:
            states_BXMK = self.key_value(source.hidden_BMD).unflatten(-1, (-1, self.head_size)).transpose(1, 2)
            key_BGMK, value_BGMK = states_BXMK.split(self.num_key_value_heads, dim=1)
            if cache is not None:
                cache.source = (key_BGMK, value_BGMK)
        bias = source.view.bias(None, hidden_BLD.dtype)
        dropout = self.dropout if self.training else 0.0
        mixed_BHLK = self.kernel(query_BHLK, key_BGMK, value_BGMK, bias, self.scale, dropout)
        return self.out(mixed_BHLK.transpose(1, 2).flatten(-2))
