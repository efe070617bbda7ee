"""Keys and values kept while generating, and the layout of the places they came from. One document a row."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.core.layout import TokenLayout


class LayerCache:
    """Keys and values of one layer: own places appended step by step, source places computed once."""

    def __init__(self, *, rows: int, num_key_value_heads: int, max_length: int, head_size: int, like: Tensor) -> None:
        shape = (rows, num_key_value_heads, max_length, head_size)
        self.key_BGMK = like.new_zeros(shape)
        self.value_BGMK = like.new_zeros(shape)
        self.length = 0
        self.source: tuple[Tensor, Tensor] | None = None

    def append(self, key_BGLK: Tensor, value_BGLK: Tensor) -> tuple[Tensor, Tensor]:
        """Keep these and return all keys and values kept so far."""
        stop = self.length + key_BGLK.shape[2]
        self.key_BGMK[:, :, self.length : stop] = key_BGLK
        self.value_BGMK[:, :, self.length : stop] = value_BGLK
        self.length = stop
        return self.key_BGMK[:, :, :stop], self.value_BGMK[:, :, :stop]


@dataclass
class Cache:
    """The caches of a stack's layers and the layout of all places they hold (None before the first call).

    Rows may be of unequal length: places of document -1 are held and never seen.
    """

    layers: list[LayerCache]
    layout: TokenLayout | None = None

    def extend(self, layout: TokenLayout) -> TokenLayout:
        """Add the places of a call; return the layout of all places kept."""
        if self.layout is None:
            self.layout = layout
        else:
            old = self.layout
            self.layout = TokenLayout(
                torch.cat((old.document_BL, layout.document_BL), dim=1),
                torch.cat((old.position_BL, layout.position_BL), dim=1),
                torch.cat((old.rank_BL, layout.rank_BL), dim=1),
                layout.kind,
            )
        return self.layout
