"""What all layers of a stack share in one forward pass, each made once: masks, score biases, rotations."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from trivium.core.layout import TokenLayout, visible
from trivium.model.rotary import RotaryPositions, Rotation

Made = TypeVar("Made")


@dataclass
class Tally:
    """What layers ask to be learned beside the objective: the load balance of experts, one loss_B a layer."""

    balance: list[Tensor] = field(default_factory=list)


class View:
    """Who sees whom, and what position adds to it.

    Args:
        query: layout of the asking places.
        key: layout of the places that may be seen.
        scores_BHLM: what a position scheme adds to the scores; None = nothing.
        tally: where layers leave what is learned beside the objective; None = nobody asks.
        is_open: known beforehand: but for a window every asking place sees every place.
    """

    def __init__(
        self,
        query: TokenLayout,
        key: TokenLayout,
        *,
        scores_BHLM: Tensor | None = None,
        tally: Tally | None = None,
        is_open: bool = False,
    ) -> None:
        self.query = query
        self.key = key
        self.scores_BHLM = scores_BHLM
        self.tally = tally
        self.is_open = is_open
        self._made: dict[Hashable, Any] = {}

    @cached_property
    def used_BL(self) -> Tensor:
        """Which of the asking places hold a token, bool."""
        return self.query.document_BL >= 0

    def at(self, places_BN: Tensor) -> "View":
        """Return the view of some of the asking places, of all that may be seen."""
        scores_BHNM = None
        if self.scores_BHLM is not None:
            size = self.scores_BHLM.shape
            index_B1N1 = places_BN[:, None, :, None].expand(-1, size[1], -1, size[3])
            scores_BHNM = self.scores_BHLM.expand(len(places_BN), -1, -1, -1).gather(2, index_B1N1)
        query = self.query.at(places_BN)
        return View(query, self.key, scores_BHLM=scores_BHNM, tally=self.tally, is_open=self.is_open)

    def anew(self) -> "View":
        """Return a view of the same of which nothing is made yet."""
        return View(self.query, self.key, scores_BHLM=self.scores_BHLM, tally=self.tally, is_open=self.is_open)

    def adds_nothing(self, window: int | None) -> bool:
        """Return whether it is known beforehand that `bias` is 0: it need not be made."""
        within = window is None or self.key.document_BL.shape[1] <= window
        return self.is_open and within and self.scores_BHLM is None

    def bias(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """Return what is added to the scores, [B, 1 or H, L, M]: 0 or the position's score, very low where unseen."""
        return self.once(("bias", window, dtype), lambda: self._make_bias(window, dtype))

    def rotation(self, rotary: RotaryPositions, dtype: torch.dtype) -> Rotation:
        """Return the rotation of the asking places, computed once for all layers of equal frequencies."""
        return self.once((rotary, dtype), lambda: rotary.rotation(self.query.position_BL, dtype))

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return what `make` gives, the same for all layers that ask by this key."""
        if key not in self._made:
            self._made[key] = make()
        made: Made = self._made[key]
        return made

    def _make_bias(self, window: int | None, dtype: torch.dtype) -> Tensor:
        mask_B1LM = visible(self.query, self.key, window)[:, None]
        # Not -inf: a place of cross-attention may see nothing at all, and must give a finite gradient.
        low = torch.finfo(dtype).min
        if self.scores_BHLM is None:
            return torch.zeros(mask_B1LM.shape, dtype=dtype, device=mask_B1LM.device).masked_fill(~mask_B1LM, low)
        return self.scores_BHLM.to(dtype).masked_fill(~mask_B1LM, low)
