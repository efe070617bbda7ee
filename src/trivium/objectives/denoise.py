"""Denoising (BART, Lewis et al. 2020, section 2.2): the encoder reads a spoilt text, the decoder writes it whole."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from trivium.core.batch import Batch, Rows, reading
from trivium.core.config import Config
from trivium.core.errors import ConfigError
from trivium.core.layout import TokenLayout, positions_of
from trivium.core.random import Key
from trivium.core.special import SpecialTokens
from trivium.model.build import build_network
from trivium.model.config import EncoderDecoder, ModelConfig
from trivium.objectives.base import PredictsTokens
from trivium.objectives.pieces import pieces_of, without_ends

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class DenoiseConfig(Config):
    """What is done to a text; the usual values are those of BART's large model.

    Args:
        rate: share of the tokens that is taken out in spans (text infilling).
        mean_length: of a span, which is Poisson; one of length 0 puts a mask between two tokens.
        shuffled: share of the documents whose sentences change places.
        deleted: share of the remaining tokens that is dropped without a trace.
    """

    kind: Literal["denoise"] = "denoise"
    rate: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.3
    mean_length: Annotated[float, Field(ge=1.0)] = 3.0
    shuffled: Share = 1.0
    deleted: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0


@dataclass(frozen=True)
class Denoise(PredictsTokens):
    """The denoising objective; begin and end tokens stay, and a spoilt document is never longer than it was.

    Raises:
        ConfigError: the tokenizer has no mask token.
    """

    config: DenoiseConfig
    special: SpecialTokens
    name: ClassVar[str] = "denoise"

    def __post_init__(self) -> None:
        self.special.mask_for("objective `denoise`")

    @property
    def speaks(self) -> bool:
        """Nobody asks for a text that is spoilt so: there are no sentinels in it."""
        return False

    def network(self, config: ModelConfig) -> nn.Module:
        """Build an encoder-decoder."""
        if not isinstance(config.family, EncoderDecoder):
            raise ConfigError("objective `denoise` trains an encoder-decoder; this model has one stack.")
        return build_network(config)

    def make(self, rows: Rows, key: Key, done: float = 1.0) -> Batch:
        """Spoil each document for the encoder; the decoder writes it, beginning with bos."""
        tokens_BL = rows.tokens_BL[:, :-1]
        document_BL = np.ascontiguousarray(rows.document_BL[:, :-1])
        source_BL = np.full_like(tokens_BL, self.special.pad)
        source_document_BL = np.full_like(document_BL, -1)
        inputs_BL = np.full_like(tokens_BL, self.special.pad)
        for b, document_L in enumerate(document_BL):
            rng = key.child("denoise", rows.epoch_B[b], rows.row_B[b]).numpy()
            filled = 0
            for piece in pieces_of(document_L):
                whole = tokens_BL[b, piece.start : piece.stop]
                sentences = rows.sentence_start_BL[b, piece.start : piece.stop]
                read = self._spoilt(whole, sentences, rng)
                place = slice(filled, filled + len(read))
                source_BL[b, place], source_document_BL[b, place] = read, piece.document
                inputs_BL[b, piece.start : piece.stop] = np.concatenate(([self.special.bos], whole[:-1]))
                filled = place.stop
        both_ways, past = (
            (torch.from_numpy(document), torch.from_numpy(positions_of(document)))
            for document in (source_document_BL, document_BL)
        )
        return Batch(
            tokens_BL=torch.from_numpy(inputs_BL),
            layout=TokenLayout.causal(*past),
            labels_BN=torch.from_numpy(np.ascontiguousarray(tokens_BL)),
            places_BN=torch.from_numpy(np.tile(np.arange(tokens_BL.shape[1]), (len(tokens_BL), 1))),
            weights_BN=torch.from_numpy((document_BL >= 0).astype(np.float32)),
            source=reading(torch.from_numpy(source_BL), TokenLayout.bidirectional(*both_ways)),
        )

    def _spoilt(self, whole_L: np.ndarray, sentence_start_L: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        inside = without_ends(whole_L, self.special)
        text, starts = whole_L[inside], np.flatnonzero(sentence_start_L[inside])
        if rng.random() < self.config.shuffled:
            text = shuffled_sentences(text, starts, rng)
        mask = self.special.mask_for("objective `denoise`")
        text = infilled(text, self.config.rate, self.config.mean_length, mask, rng)
        if self.config.deleted:
            kept = (rng.random(len(text)) >= self.config.deleted) | (text == mask)
            # Something must be left to look at.
            text = text[kept] if kept.any() else text[:1]
        return np.concatenate((whole_L[: inside.start], text, whole_L[inside.stop :]))


def shuffled_sentences(text_L: np.ndarray, starts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a text with its sentences in random order; what comes before the first start is one of them.

    Args:
        text_L: int64 [tokens].
        starts: where sentences begin, increasing.
        rng: of the order.
    """
    parts = np.split(text_L, starts[starts > 0])
    return np.concatenate([parts[number] for number in rng.permutation(len(parts))])


def infilled(text_L: np.ndarray, rate: float, mean_length: float, mask: int, rng: np.random.Generator) -> np.ndarray:
    """Return a text in which spans have given way to one mask each (text infilling).

    Spans have Poisson lengths, do not touch, and cover `rate` of the tokens together. A span of length 0 puts a mask
    between two tokens, if that makes the text no longer than it was.

    Args:
        text_L: int64 [tokens].
        rate: share of the tokens that is covered.
        mean_length: of a span.
        mask: id of the mask.
        rng: of lengths and places.
    """
    budget = round(rate * len(text_L))
    lengths: list[int] = []
    inserted = 0
    while budget > 0:
        length = min(int(rng.poisson(mean_length)), budget)
        # As many masks are put in at most as the spans before them have taken out.
        if length == 0 and inserted + 1 > sum(lengths) - (len(lengths) - inserted):
            continue
        lengths.append(length)
        inserted += length == 0
        budget -= length
    kept = len(text_L) - sum(lengths)
    lengths = lengths[: kept + 1]
    gaps = np.sort(rng.permutation(kept + 1)[: len(lengths)])  # before which kept token each span stands
    pieces: list[np.ndarray] = []
    place = taken = 0
    for gap, length in zip(gaps, rng.permutation(lengths).astype(np.int64), strict=True):
        pieces += [text_L[place : gap + taken], np.array([mask])]
        taken += length
        place = gap + taken
    return np.concatenate([*pieces, text_L[place:]]) if pieces else text_L
