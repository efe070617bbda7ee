"""Span corruption (T5, Raffel et al. 2020, section 3.1.4): spans are replaced by sentinels, the decoder writes them."""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import nn

from trivium.core.batch import Batch, Rows, Term, reading
from trivium.core.config import Config
from trivium.core.errors import ConfigError
from trivium.core.layout import TokenLayout, positions_of
from trivium.core.random import Key
from trivium.core.special import SpecialTokens
from trivium.model.build import build_network
from trivium.model.config import EncoderDecoder, ModelConfig
from trivium.model.heads import Network
from trivium.objectives.base import Predicted, as_network, predicted_tokens, token_counts


class SpansConfig(Config):
    """Share of the tokens that is hidden, and the mean length of a hidden span."""

    kind: Literal["spans"] = "spans"
    rate: Annotated[float, Field(gt=0.0, le=0.5)] = 0.15
    mean_length: Annotated[float, Field(ge=2.0)] = 3.0


class SpanCounts(NamedTuple):
    """How much of a row is hidden."""

    noise: int  # hidden tokens
    spans: int

    def kept(self, length: int) -> int:
        """Return the length of what the encoder reads of `length` tokens: the others, and a sentinel for each span."""
        return length - self.noise + self.spans


def span_counts(length: int, rate: float, mean_length: float) -> SpanCounts:
    """Return the counts for a text, rounded as T5's `random_spans_noise_mask` does; 0 if it is too short."""
    if length < 2:
        return SpanCounts(0, 0)
    # In float32 as T5 does it: where the product ends in a half (190 x 0.15), float64 goes the other way.
    noise = min(max(round(float(np.float32(length) * np.float32(rate))), 1), length - 1)
    spans = max(round(noise / mean_length), 1)
    return SpanCounts(noise, min(spans, noise, length - noise))


def noise_mask(length: int, counts: SpanCounts, rng: np.random.Generator) -> np.ndarray:
    """Return which tokens of one document are hidden: kept and hidden runs take turns, a kept one first.

    Both kinds of runs get random lengths of at least 1, as in T5.
    """
    mask = np.zeros(length, dtype=bool)
    if counts.spans == 0:
        return mask
    hidden = _random_segments(counts.noise, counts.spans, rng)
    kept = _random_segments(length - counts.noise, counts.spans, rng)
    ends = np.cumsum(np.stack((kept, hidden), axis=1).reshape(-1))
    for start, stop in zip(ends[0::2], ends[1::2], strict=True):
        mask[start:stop] = True
    return mask


@dataclass(frozen=True)
class Spans:
    """The span objective on packed rows.

    Hidden tokens and spans a row are fixed, so that the lengths of both stacks' rows are. No span crosses a document;
    sentinels begin anew in each. Decoder row b holds the hidden spans of the documents in encoder row b; a document
    with no hidden span is read and not written. Only when a row's documents are too short to take their share of
    fixed spans is the end of the encoder's row cut; nothing is hidden there, for the decoder would be asked for what
    the encoder has not read.

    Differs from T5: a document's decoder begins with bos, not with pad; the end token is part of the text, and so of
    its last span, and none is added. A document has as many spans at most as there are sentinels.

    Raises:
        ConfigError: the tokenizer has no sentinels.
    """

    config: SpansConfig
    special: SpecialTokens
    balanced: bool = False

    def __post_init__(self) -> None:
        self.special.sentinels_for("objective `spans`")

    def network(self, config: ModelConfig) -> nn.Module:
        """Build an encoder-decoder."""
        if not isinstance(config.family, EncoderDecoder):
            raise ConfigError("objective `spans` trains an encoder-decoder; this model has one stack.")
        return build_network(config)

    def make(self, rows: Rows, key: Key) -> Batch:
        """Hide spans; the source is what is left with sentinels, the targets are sentinels and hidden spans."""
        tokens_BL, document_BL = rows.tokens_BL[:, :-1], rows.document_BL[:, :-1]
        num_rows, length = tokens_BL.shape
        full = self._counts(length)
        source = _Places(num_rows, full.kept(length), self.special.pad)
        target = _Places(num_rows, full.noise + full.spans, self.special.pad)
        inputs_BL = np.full_like(target.tokens_BL, self.special.pad)
        hidden_BL = self.hidden(rows, key)
        for b in range(num_rows):
            begin = 0
            for number, count in enumerate(_document_lengths(document_BL[b])):
                piece = slice(begin, begin + count)
                begin += count
                kept, written = corrupt(tokens_BL[b, piece], hidden_BL[b, piece], self.special.sentinels)
                source.append(b, number, kept)
                start, stop = target.append(b, number, written)
                inputs_BL[b, start:stop] = np.concatenate(([self.special.bos], written))[: stop - start]
        places_BN = np.tile(np.arange(inputs_BL.shape[1]), (num_rows, 1))
        weights_BN = (target.document_BL >= 0).astype(np.float32)
        return Batch(
            tokens_BL=torch.from_numpy(inputs_BL),
            layout=TokenLayout.causal(*target.layout()),
            labels_BN=torch.from_numpy(target.tokens_BL),
            places_BN=torch.from_numpy(places_BN),
            weights_BN=torch.from_numpy(weights_BN),
            source=reading(torch.from_numpy(source.tokens_BL), TokenLayout.bidirectional(*source.layout())),
        )

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the number of tokens the decoder writes, sentinels included as in T5."""
        return token_counts("spans", batch, balanced=self.balanced)

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        """Return the cross-entropy of sentinels and hidden tokens."""
        return self.predicted(network, batch, key).terms

    def predicted(self, network: nn.Module, batch: Batch, key: Key) -> Predicted:
        """Return the logits of the sentinels and hidden tokens, and the loss."""
        return predicted_tokens("spans", as_network(network), batch)

    def exported(self, network: nn.Module) -> Network:
        """Return the network itself."""
        return as_network(network)

    def hidden(self, rows: Rows, key: Key) -> np.ndarray:
        """Return hidden_BL, which tokens `make` hides; bool [B, L]."""
        document_BL = rows.document_BL[:, :-1]
        hidden_BL = np.zeros(document_BL.shape, dtype=bool)
        for b in range(len(document_BL)):
            rng = key.child("spans", rows.epoch_B[b], rows.row_B[b]).numpy()
            lengths = _document_lengths(document_BL[b])
            shares = share_out(np.array(lengths), self.config, len(self.special.sentinels), rng)
            start, room = 0, self._counts(document_BL.shape[1]).kept(document_BL.shape[1])
            for length, counts in zip(lengths, shares, strict=True):
                room -= counts.kept(length)
                if room >= 0:
                    hidden_BL[b, start : start + length] = noise_mask(length, counts, rng)
                start += length
        return hidden_BL

    def _counts(self, length: int) -> SpanCounts:
        return span_counts(length, self.config.rate, self.config.mean_length)


def _document_lengths(document_L: np.ndarray) -> list[int]:
    """Return the length of each document of a row; unused places come after all of them."""
    return np.bincount(document_L[document_L >= 0], minlength=1).tolist() if (document_L >= 0).any() else []


def corrupt(tokens: np.ndarray, mask: np.ndarray, sentinels: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return (kept tokens with a sentinel for each hidden span, sentinels each followed by its hidden span)."""
    begins = mask & ~np.concatenate(([False], mask[:-1]))
    sentinel_of = np.asarray(sentinels)[np.maximum(np.cumsum(begins) - 1, 0)]
    kept = np.where(begins, sentinel_of, tokens)[~mask | begins]
    # Each hidden token, and before the first of a span its sentinel.
    pairs = np.stack((sentinel_of, tokens), axis=1)
    hidden = pairs[np.stack((begins, mask), axis=1)]
    return kept, hidden


def share_out(lengths: np.ndarray, config: SpansConfig, max_spans: int, rng: np.random.Generator) -> list[SpanCounts]:
    """Return the counts of each document of a row: together the row's, each in proportion to its length by lot."""
    total = span_counts(int(lengths.sum()), config.rate, config.mean_length)
    # A document of n tokens with s spans keeps at least s tokens and hides at least s.
    spans = _apportion(total.spans, lengths, np.minimum(lengths // 2, max_spans), rng)
    extra = _apportion(total.noise - int(spans.sum()), lengths * (spans > 0), lengths - 2 * spans, rng)
    return [SpanCounts(int(s + e), int(s)) for s, e in zip(spans, extra, strict=True)]


def _apportion(total: int, weights: np.ndarray, caps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Split `total` in proportion to the weights, fractions by lot; no part exceeds its cap, even if some is left."""
    parts = np.zeros(len(weights), dtype=np.int64)
    while (left := total - int(parts.sum())) > 0:
        open_ = np.where(parts < caps, weights, 0).astype(float)
        if not open_.sum():
            break
        share = left * open_ / open_.sum()
        whole = np.floor(share).astype(np.int64)
        fraction = share - whole
        rest = left - int(whole.sum())
        if rest:
            lot = rng.random(len(parts)) ** (1.0 / np.maximum(fraction, 1e-12))
            whole[np.argsort(np.where(open_ > 0, lot, -1.0), kind="stable")[::-1][:rest]] += 1
        parts = np.minimum(parts + np.where(open_ > 0, whole, 0), caps)
    return parts


def _random_segments(items: int, segments: int, rng: np.random.Generator) -> np.ndarray:
    """Return the lengths, each at least 1, of `segments` random pieces of `items`."""
    cuts = np.sort(rng.permutation(items - 1)[: segments - 1]) + 1
    return np.diff(np.concatenate(([0], cuts, [items])))


class _Places:
    """Rows that documents are appended to."""

    def __init__(self, rows: int, length: int, pad: int) -> None:
        self.tokens_BL = np.full((rows, length), pad, dtype=np.int64)
        self.document_BL = np.full((rows, length), -1, dtype=np.int32)
        self._used = np.zeros(rows, dtype=np.int64)

    def append(self, row: int, document: int, tokens: np.ndarray) -> tuple[int, int]:
        start = int(self._used[row])
        stop = min(start + len(tokens), self.tokens_BL.shape[1])
        self.tokens_BL[row, start:stop] = tokens[: stop - start]
        self.document_BL[row, start:stop] = document
        self._used[row] = stop
        return start, stop

    def layout(self) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(self.document_BL), torch.from_numpy(positions_of(self.document_BL))
