"""Who sees whom in a batch of packed rows: it travels with the batch, not with the weights."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Kind = Literal["all", "past", "ranked"]


@dataclass(frozen=True)
class TokenLayout:
    """Who sees whom in B rows of L places.

    A query sees a key iff both are in the same document, `rank(key) <= rank(query)`, and they are less than the
    layer's window apart. Bidirectional reading: all ranks 0. Causal: rank = position. Prefix: 0 inside the prefix,
    position after it. Document -1 marks unused places; they see each other (no row of the softmax is empty) and
    nothing sees them.

    Args:
        document_BL: int32, the document of each place within its row, -1 = unused.
        position_BL: int32, the place within its document.
        rank_BL: int32, see above.
        kind: what is known of the ranks beforehand; it only picks the kernel, never the meaning.
        seen_rank_BL: int32, the rank of each place for those that look at it, where that is another than the rank it
            looks with (a place that sees and is not seen); None = the same.
    """

    document_BL: Tensor
    position_BL: Tensor
    rank_BL: Tensor
    kind: Kind
    seen_rank_BL: Tensor | None = None

    @staticmethod
    def bidirectional(document_BL: Tensor, position_BL: Tensor) -> "TokenLayout":
        """Return the layout in which every token sees its whole document."""
        return TokenLayout(document_BL, position_BL, torch.zeros_like(position_BL), "all")

    @staticmethod
    def causal(document_BL: Tensor, position_BL: Tensor) -> "TokenLayout":
        """Return the layout in which every token sees itself and what comes before it in its document."""
        return TokenLayout(document_BL, position_BL, position_BL, "past")

    @staticmethod
    def ranked(
        document_BL: Tensor, position_BL: Tensor, rank_BL: Tensor, seen_rank_BL: Tensor | None = None
    ) -> "TokenLayout":
        """Return the layout with ranks of any kind."""
        return TokenLayout(document_BL, position_BL, rank_BL, "ranked", seen_rank_BL)

    @property
    def key_rank_BL(self) -> Tensor:
        """The rank of each place for those that look at it."""
        return self.rank_BL if self.seen_rank_BL is None else self.seen_rank_BL

    def at(self, places_BN: Tensor) -> "TokenLayout":
        """Return the layout of some places of each row, [B, N]."""
        return self.map(lambda values_BL: values_BL.gather(1, places_BN))

    def map(self, function: Callable[[Tensor], Tensor]) -> "TokenLayout":
        """Return the layout with `function` applied to each of its tensors."""
        return replace(
            self,
            document_BL=function(self.document_BL),
            position_BL=function(self.position_BL),
            rank_BL=function(self.rank_BL),
            seen_rank_BL=None if self.seen_rank_BL is None else function(self.seen_rank_BL),
        )


def visible(query: TokenLayout, key: TokenLayout, window: int | None = None) -> Tensor:
    """Return the boolean mask_BLM that says which key places (M) each query place (L) sees.

    Args:
        query: layout of the asking places.
        key: layout of the places that may be seen; another stack's layout for cross-attention (its ranks are 0).
        window: tokens this many places apart or more do not see each other; None = no limit.
    """
    mask_BLM = query.document_BL[:, :, None] == key.document_BL[:, None, :]
    if not (query.kind == "all" and key.kind == "all"):
        mask_BLM = mask_BLM & (key.key_rank_BL[:, None, :] <= query.rank_BL[:, :, None])
    if window is not None:
        distance_BLM = query.position_BL[:, :, None] - key.position_BL[:, None, :]
        mask_BLM = mask_BLM & (distance_BLM.abs() < window)
    return mask_BLM


def positions_of(document_BL: np.ndarray) -> np.ndarray:
    """Return the place of each token within its document, for documents that lie in one piece in their rows."""
    length = document_BL.shape[1]
    index_L = np.arange(length)
    begins_BL = np.ones(document_BL.shape, dtype=bool)
    begins_BL[:, 1:] = document_BL[:, 1:] != document_BL[:, :-1]
    start_BL = np.maximum.accumulate(np.where(begins_BL, index_L, 0), axis=1)
    return (index_L - start_BL).astype(np.int32)
