"""Position schemes that act on embeddings or on scores; those on queries and keys are in `rotary`."""

import math

import torch
from torch import Tensor, nn


class LearnedPositions(nn.Module):
    """A trained vector for each position, for the embedding; position 0 has row `offset` of the table."""

    def __init__(self, *, max_length: int, offset: int, size: int) -> None:
        super().__init__()
        self.offset = offset
        self.weight = nn.Parameter(torch.empty(max_length, size))

    def forward(self, position_BL: Tensor) -> Tensor:
        """Return the vectors_BLD of the positions; each must be below `max_length` less `offset`."""
        return nn.functional.embedding(position_BL + self.offset if self.offset else position_BL, self.weight)


class SinusoidalPositions(nn.Module):
    """Sines in the even and cosines in the odd places of the vector (Vaswani et al. 2017, section 3.5)."""

    def __init__(self, *, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, position_BL: Tensor) -> Tensor:
        """Return the vectors_BLD of the positions, in float32."""
        even = torch.arange(0, self.size, 2, device=position_BL.device, dtype=torch.float32)
        angle_BLK = position_BL[..., None].float() * torch.exp(even * (-math.log(10_000.0) / self.size))
        pair_BLK2 = torch.stack((angle_BLK.sin(), angle_BLK.cos()), dim=-1)
        return pair_BLK2.flatten(-2)[..., : self.size]


class AlibiScores(nn.Module):
    """A penalty of slope x distance for each head (Press et al. 2022); symmetric where reading is bidirectional."""

    def __init__(self, *, num_heads: int) -> None:
        super().__init__()
        self.slopes = _alibi_slopes(num_heads)

    def forward(self, query_BL: Tensor, key_BM: Tensor) -> Tensor:
        """Return the scores_BHLM to add, from the positions of queries and keys."""
        slopes_H11 = torch.tensor(self.slopes, device=query_BL.device)[:, None, None]
        distance_BLM = (query_BL[:, :, None] - key_BM[:, None, :]).abs()
        return -slopes_H11 * distance_BLM[:, None].float()


class RelativeBucketScores(nn.Module):
    """A trained score for each head and bucket of distances (T5: exact buckets, then logarithmic ones)."""

    def __init__(self, *, num_heads: int, num_buckets: int, max_distance: int, bidirectional: bool) -> None:
        super().__init__()
        self.num_buckets = num_buckets
        self.max_distance = max_distance
        self.bidirectional = bidirectional
        self.weight = nn.Parameter(torch.empty(num_buckets, num_heads))

    def forward(self, query_BL: Tensor, key_BM: Tensor) -> Tensor:
        """Return the scores_BHLM to add, from the positions of queries and keys."""
        offset_BLM = key_BM[:, None, :] - query_BL[:, :, None]
        # Farther than max_distance is one bucket, so that a short table of distances stands for all pairs.
        reach = self.max_distance
        table_TH = self.weight[self._buckets(torch.arange(-reach, reach + 1, device=query_BL.device))]
        index_BLM = offset_BLM.clamp(-reach, reach).long() + reach
        return _take(table_TH, index_BLM)

    def _buckets(self, offset_T: Tensor) -> Tensor:
        """Return the bucket of each offset (key - query)."""
        num_buckets = self.num_buckets
        bucket_T = torch.zeros_like(offset_T)
        if self.bidirectional:
            num_buckets //= 2
            bucket_T = bucket_T + (offset_T > 0).long() * num_buckets
            distance_T = offset_T.abs()
        else:
            distance_T = (-offset_T).clamp(min=0)
        exact = num_buckets // 2
        # float32, as T5 computes it: the bucket borders depend on the rounding.
        far_T = (
            exact
            + (
                torch.log(distance_T.clamp(min=1).float() / exact)
                / math.log(self.max_distance / exact)
                * (num_buckets - exact)
            ).long()
        )
        return bucket_T + torch.where(distance_T < exact, distance_T, far_T.clamp(max=num_buckets - 1))


def _take(table_TH: Tensor, index_BLM: Tensor) -> Tensor:
    flat = table_TH.t().index_select(1, index_BLM.reshape(-1))
    return flat.view(table_TH.shape[1], *index_BLM.shape).transpose(0, 1)


def _alibi_slopes(num_heads: int) -> list[float]:
    def powers(count: int) -> list[float]:
        return [2.0 ** (-8.0 * (head + 1) / count) for head in range(count)]

    nearest = 2 ** math.floor(math.log2(num_heads))
    # Not a power of two: the paper's code fills up with every second slope of twice as many heads.
    return powers(nearest) + powers(2 * nearest)[0::2][: num_heads - nearest]
