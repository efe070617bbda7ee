"""Keys and values kept while generating, and the layout of the places they came from. One document a row."""

from dataclasses import replace

import torch
from torch import Tensor

from trivium.core.layout import TokenLayout


class LayerCache:
    """Keys and values of one layer: own places written in place, step by step; source places computed once.

    A network in bfloat16 on a CPU keeps and looks at them in float32, in twice the memory: PyTorch's attention of one
    place takes a seventh to a third of the time there.
    """

    def __init__(self, *, rows: int, num_key_value_heads: int, max_length: int, head_size: int, like: Tensor) -> None:
        shape = (rows, num_key_value_heads, max_length, head_size)
        narrow = like.dtype == torch.bfloat16 and like.device.type == "cpu"
        dtype = torch.float32 if narrow else like.dtype
        self.key_BGMK = like.new_empty(shape, dtype=dtype)
        self.value_BGMK = like.new_empty(shape, dtype=dtype)
        self.length = 0
        self.source: tuple[Tensor, Tensor] | None = None

    def append(self, key_BGLK: Tensor, value_BGLK: Tensor) -> tuple[Tensor, Tensor]:
        """Keep these and return all keys and values kept so far."""
        new = key_BGLK.shape[2]
        self.key_BGMK.narrow(2, self.length, new).copy_(key_BGLK)
        self.value_BGMK.narrow(2, self.length, new).copy_(value_BGLK)
        self.length += new
        return self.key_BGMK.narrow(2, 0, self.length), self.value_BGMK.narrow(2, 0, self.length)

    def spread(self, copies: int) -> None:
        """Hold each row so many times, the copies side by side."""
        self.key_BGMK = self.key_BGMK.repeat_interleave(copies, dim=0)
        self.value_BGMK = self.value_BGMK.repeat_interleave(copies, dim=0)
        if self.source is not None:
            key, value = self.source
            self.source = (key.repeat_interleave(copies, dim=0), value.repeat_interleave(copies, dim=0))

    def select(self, rows_B: Tensor, since: int) -> None:
        """Let each row hold, from place `since` on, what the named row holds."""
        for states_BGMK in (self.key_BGMK, self.value_BGMK):
            written_BGMK = states_BGMK[:, :, since : self.length]
            written_BGMK.copy_(written_BGMK.index_select(0, rows_B))


class Cache:
    """The caches of a stack's layers and the layout of all places they hold.

    Rows may be of unequal length: places of document -1 are held and never seen.
    """

    def __init__(self, layers: list[LayerCache], *, max_length: int) -> None:
        self.layers = layers
        self.max_length = max_length
        self.length = 0
        self._places: TokenLayout | None = None
        self._shared = 0
        self._all_used, self._looked_at = True, torch.empty(0)

    def is_open_to(self, layout: TokenLayout) -> bool:
        """Return whether the places of a call, which are in the cache already, are known to see all that it holds.

        One place alone comes after all others of its row, and here all places are known to be of document 0.
        """
        return self._all_used and layout.document_BL.shape[1] == 1

    def extend(self, layout: TokenLayout) -> TokenLayout:
        """Add the places of a call; return the layout of all places kept, to be looked at."""
        if self._places is None:
            like, shape = layout.document_BL, (len(layout.document_BL), self.max_length)
            document_BM, position_BM, rank_BM = (like.new_zeros(shape) for _ in range(3))
            self._places = TokenLayout(document_BM, position_BM, rank_BM, layout.kind)
        # Texts that grow by a token name its document by the same tensor each time; other devices are not waited for.
        if layout.document_BL is not self._looked_at:
            self._looked_at = layout.document_BL
            here = self._looked_at.device.type == "cpu"
            self._all_used = self._all_used and here and not bool(self._looked_at.any())
        stop = self.length + layout.document_BL.shape[1]
        new = (layout.document_BL, layout.position_BL, layout.key_rank_BL)
        for held_BM, new_BL in zip(_tensors(self._places), new, strict=True):
            held_BM[:, self.length : stop] = new_BL
        # The first call's own layout is given back: kernels know by it that queries and keys are the same places.
        seen = replace(self._places.map(lambda held_BM: held_BM[:, :stop]), kind=layout.kind) if self.length else layout
        self.length = stop
        return seen

    def spread(self, copies: int) -> None:
        """Hold each row so many times, the copies side by side; what is held now is what they share."""
        if self._places is not None:
            self._places = self._places.map(lambda held_BM: held_BM.repeat_interleave(copies, dim=0))
        for layer in self.layers:
            layer.spread(copies)
        self._shared = self.length

    def select(self, rows_B: Tensor) -> None:
        """Let each row go on from what the named row holds, which must be a copy of the same row before `spread`.

        What copies share stays where it is: places before `spread`, the source, and the layout.
        """
        for layer in self.layers:
            layer.select(rows_B, self._shared)


def _tensors(layout: TokenLayout) -> tuple[Tensor, Tensor, Tensor]:
    return layout.document_BL, layout.position_BL, layout.rank_BL
