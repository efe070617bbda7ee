"""Multi-head attention over a view of who sees whom."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from trivium.model.cache import LayerCache
from trivium.model.kernels import Kernel, Scoring
from trivium.model.linear import Linear
from trivium.model.places import rows_at_places
from trivium.model.rotary import RotaryPositions
from trivium.model.view import View


@dataclass(frozen=True)
class Source:
    """What a decoder's cross-attention looks at: the encoder's hidden states and the view of them."""

    hidden_BMD: Tensor
    view: View

    def at(self, places_BN: Tensor) -> "Source":
        """Return the same, looked at from some of the places only."""
        return Source(self.hidden_BMD, self.view.at(places_BN))

    def anew(self) -> "Source":
        """Return the same, of whose view nothing is made yet."""
        return Source(self.hidden_BMD, self.view.anew())


class Asked(NamedTuple):
    """Some places of each row, where alone hidden states are asked for.

    Args:
        places_BN: int64, which of the row's places.
        view: of these places, of all that they may see.
    """

    places_BN: Tensor
    view: View

    def of(self, hidden_BLD: Tensor) -> Tensor:
        """Return the hidden states at the places, [B, N, D]."""
        return rows_at_places(hidden_BLD, self.places_BN)

    def anew(self) -> "Asked":
        """Return the same, of whose view nothing is made yet."""
        return Asked(self.places_BN, self.view.anew())


class SelfAttention(nn.Module):
    """Queries, keys and values of the same places, in one product (Vaswani et al. 2017; Ainslie et al. 2023).

    Args:
        num_key_value_heads: G; the other heads that `qkv` makes are queries.
        head_size: K.
        qkv: from D to all heads of queries, then keys, then values.
        out: from the heads of queries to D.
        gate: from D to one number a head, whose sigmoid multiplies what the head gives; None = no gate.
        query_norm, key_norm: over each head, before positions; the identity where there is none.
        rotary: how queries and keys are turned; None = they are not.
        scoring: how scores are made; its dropout is left out outside training.
        kernel: computes the attention.
    """

    def __init__(
        self,
        *,
        num_key_value_heads: int,
        head_size: int,
        qkv: Linear,
        out: nn.Linear,
        gate: nn.Linear | None,
        query_norm: nn.Module,
        key_norm: nn.Module,
        rotary: RotaryPositions | None,
        scoring: Scoring,
        kernel: Kernel,
    ) -> None:
        super().__init__()
        self.num_heads = out.in_features // head_size
        self.num_key_value_heads = num_key_value_heads
        self.head_size = head_size
        self.rotary = rotary
        self.scoring = scoring
        self.kernel = kernel
        self.qkv = qkv
        self.out = out
        self.gate = gate
        self.query_norm = query_norm
        self.key_norm = key_norm

    def forward(
        self, hidden_BLD: Tensor, view: View, cache: LayerCache | None = None, asked: Asked | None = None
    ) -> Tensor:
        """Return what each place, or each that is asked for, takes from the places it sees, [B, L or N, D]."""
        asking_BLD, looks = (hidden_BLD, view) if asked is None else (asked.of(hidden_BLD), asked.view)
        query_BHLK, key_BGLK, value_BGLK = self._queries_keys_values(hidden_BLD, None if asked is None else asking_BLD)
        query_BHLK, key_BGLK = self.query_norm(query_BHLK), self.key_norm(key_BGLK)
        if self.rotary is not None:
            query_BHLK = looks.rotation(self.rotary, hidden_BLD.dtype).apply(query_BHLK)
            key_BGLK = view.rotation(self.rotary, hidden_BLD.dtype).apply(key_BGLK)
        if cache is not None:
            key_BGLK, value_BGLK = cache.append(key_BGLK, value_BGLK)
        # A cache may be wider than the network, see `LayerCache`.
        scoring = self.scoring.when(training=self.training)
        mixed_BHLK = self.kernel(query_BHLK.to(key_BGLK.dtype), key_BGLK, value_BGLK, looks, scoring)
        return self.out(_joined(mixed_BHLK, self.gate, asking_BLD))

    def _queries_keys_values(self, hidden_BLD: Tensor, asking_BND: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the heads of all places, the queries of the asking ones only where these are not all."""
        groups = self.num_key_value_heads
        if asking_BND is None:
            heads_BXLK = _heads(self.qkv(hidden_BLD), self.head_size)
            query_BHLK, key_BGLK, value_BGLK = heads_BXLK.split_with_sizes((self.num_heads, groups, groups), dim=1)
            return query_BHLK, key_BGLK, value_BGLK
        cut = self.num_heads * self.head_size
        query_BHNK = _heads(self.qkv.part(asking_BND, slice(cut)), self.head_size)
        key_BGLK, value_BGLK = _heads(self.qkv.part(hidden_BLD, slice(cut, None)), self.head_size).chunk(2, dim=1)
        return query_BHNK, key_BGLK, value_BGLK


class CrossAttention(nn.Module):
    """Queries from the decoder's places, keys and values from the encoder's.

    Args:
        head_size: K.
        query: from D to the heads of queries.
        key_value: from D to the heads of keys, then values.
        out, gate, query_norm, key_norm, scoring, kernel: as in `SelfAttention`.
    """

    def __init__(
        self,
        *,
        head_size: int,
        query: nn.Linear,
        key_value: nn.Linear,
        out: nn.Linear,
        gate: nn.Linear | None,
        query_norm: nn.Module,
        key_norm: nn.Module,
        scoring: Scoring,
        kernel: Kernel,
    ) -> None:
        super().__init__()
        self.head_size = head_size
        self.scoring = scoring
        self.kernel = kernel
        self.query = query
        self.key_value = key_value
        self.out = out
        self.gate = gate
        self.query_norm = query_norm
        self.key_norm = key_norm

    def forward(self, hidden_BLD: Tensor, source: Source, cache: LayerCache | None = None) -> Tensor:
        """Return what each place takes from the source's places of its document, [B, L, D]."""
        query_BHLK = self.query_norm(_heads(self.query(hidden_BLD), self.head_size))
        if cache is not None and cache.source is not None:
            key_BGMK, value_BGMK = cache.source
        else:
            key_BGMK, value_BGMK = _heads(self.key_value(source.hidden_BMD), self.head_size).chunk(2, dim=1)
            key_BGMK = self.key_norm(key_BGMK)
            if cache is not None:
                key_BGMK, value_BGMK = key_BGMK.to(cache.key_BGMK.dtype), value_BGMK.to(cache.value_BGMK.dtype)
                cache.source = (key_BGMK, value_BGMK)
        scoring = self.scoring.when(training=self.training)
        mixed_BHLK = self.kernel(query_BHLK.to(key_BGMK.dtype), key_BGMK, value_BGMK, source.view, scoring)
        return self.out(_joined(mixed_BHLK, self.gate, hidden_BLD))


def _heads(states_BLX: Tensor, head_size: int) -> Tensor:
    """Return the product's columns as heads, [B, X, L, K]."""
    return states_BLX.view(*states_BLX.shape[:-1], -1, head_size).transpose(1, 2)


def _joined(mixed_BHLK: Tensor, gate: nn.Linear | None, hidden_BLD: Tensor) -> Tensor:
    """Return what all heads give, side by side and in the hidden states' type, [B, L, H * K]."""
    mixed_BLHK = mixed_BHLK.to(hidden_BLD.dtype).transpose(1, 2)
    if gate is not None:
        mixed_BLHK = mixed_BLHK * gate(hidden_BLD).sigmoid()[..., None]
    return mixed_BLHK.flatten(-2)
