"""Pairs of texts: does the second follow the first (next sentence), are they in order (sentence order); with masks.

Next sentence: Devlin et al. 2019, section 3.1. Sentence order: ALBERT, Lan et al. 2020, section 3.1.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trivium.core.batch import AnyBatch, Batch, Labels, Rows, Term
from trivium.core.config import Config
from trivium.core.random import Key
from trivium.core.special import SpecialTokens
from trivium.model.build import build_network, build_readout
from trivium.model.config import ModelConfig, ReadoutConfig, TransformConfig
from trivium.model.heads import Network, Readout
from trivium.model.view import Tally
from trivium.objectives.base import Predicted, plain, predicted_from, require_one_stack, token_counts, token_terms_from
from trivium.objectives.masked import Masked, MaskedConfig
from trivium.objectives.pieces import Piece, pieces_of, without_ends

_TOKENS_A_PAIR = 16  # a row has room for this many tokens a pair; more pairs than that are read and not asked about
_POOLER = ReadoutConfig(pooling="first", transform=TransformConfig(activation="tanh"))
YES, NO = 1, 0


class SentencesConfig(Config):
    """What is asked of a pair, and what is hidden of it.

    Args:
        question: `next`: does the second text follow the first, or is it from another document; `order`: do they
            stand in their order, or were they exchanged. Either is true of half of the pairs.
        masked: what is hidden.
    """

    kind: Literal["sentences"] = "sentences"
    question: Literal["next", "order"] = "order"
    masked: MaskedConfig = MaskedConfig()


class WithPooler(nn.Module):
    """A network, and a head over the first token of each pair."""

    def __init__(self, *, network: Network, pooler: Readout) -> None:
        super().__init__()
        self.network = network
        self.pooler = pooler


class _Text(NamedTuple):
    """Some tokens, and where words and sentences begin in them."""

    tokens_L: np.ndarray
    word_start_L: np.ndarray
    sentence_start_L: np.ndarray

    def part(self, start: int, stop: int | None = None) -> "_Text":
        """Return the tokens from `start` to `stop`."""
        return _Text(*(column[start:stop] for column in self))


class _Pair(NamedTuple):
    """Two texts made of a piece, and whether the answer is yes."""

    first: _Text
    second: _Text
    answer: int


@dataclass(frozen=True)
class Sentences:
    """A document's piece is cut in two where a sentence begins, near a random place of its middle half.

    Written `bos first sep second eos`, as pairs are read in fine-tuning; what that adds is taken from the piece's end.
    Of a piece with one sentence the cut falls where a word begins; one of fewer than four words makes no pair. The
    other document of a false `next` pair is another piece of the same row or of its neighbour; where there is none the
    pair is a true one.

    Raises:
        ConfigError: the tokenizer has no mask token.
    """

    config: SentencesConfig
    special: SpecialTokens
    masked: Masked
    segments: bool
    rows_together: ClassVar[int] = 2
    speaks: ClassVar[bool] = True
    balanced: bool = field(default=False, kw_only=True)

    def network(self, config: ModelConfig) -> nn.Module:
        """Build an encoder (or a decoder's stack, read both ways) and the head over pairs, which is not kept."""
        require_one_stack(config, "sentences")
        pooler = build_readout(_POOLER, hidden_size=config.hidden_size, num_classes=2, dropout=0.0)
        return WithPooler(network=build_network(config), pooler=pooler)

    def make(self, rows: Rows, key: Key, done: float = 1.0) -> Batch:
        """Make pairs, hide tokens of them, label both."""
        pieces = [list(pieces_of(document_L)) for document_L in rows.document_BL[:, :-1]]
        tokens_BL, document_BL = np.full_like(rows.tokens_BL, self.special.pad), np.full_like(rows.document_BL, -1)
        word_start_BL = np.ones(tokens_BL.shape, dtype=bool)
        segments_BL = np.zeros_like(rows.tokens_BL)
        num_rows, length = len(tokens_BL), tokens_BL.shape[1] - 1
        shape = (num_rows, max(1, length // _TOKENS_A_PAIR))
        places_BN, answers_BN = (np.zeros(shape, dtype=np.int64) for _ in range(2))
        weights_BN = np.zeros(shape, dtype=np.float32)
        for b in range(num_rows):
            rng = key.child("sentences", rows.epoch_B[b], rows.row_B[b]).numpy()
            filled = asked = 0
            for piece in pieces[b]:
                pair = self._pair(rows, b, piece, pieces, rng)
                written, second = self._written(rows, b, piece, pair)
                written = written.part(0, length - filled)
                place = slice(filled, filled + len(written.tokens_L))
                tokens_BL[b, place], document_BL[b, place] = written.tokens_L, piece.document
                word_start_BL[b, place] = written.word_start_L
                segments_BL[b, filled + second : place.stop] = 1
                if pair is not None and asked < shape[1]:
                    places_BN[b, asked], answers_BN[b, asked], weights_BN[b, asked] = filled, pair.answer, 1.0
                    asked += 1
                filled = place.stop
        made = rows._replace(tokens_BL=tokens_BL, document_BL=document_BL, word_start_BL=word_start_BL)
        batch = self.masked.make(made, key, done)
        labels = Labels(*(torch.from_numpy(part) for part in (answers_BN, places_BN, weights_BN)))
        segments = torch.from_numpy(np.ascontiguousarray(segments_BL[:, :-1])) if self.segments else None
        return replace(batch, documents=labels, segments_BL=segments)

    def counts(self, batch: AnyBatch) -> dict[str, float]:
        """Return the numbers of hidden tokens and of pairs."""
        batch = plain(batch)
        counts = token_counts("masked", batch, balanced=self.balanced)
        return counts | {self.config.question: float(_documents(batch).weights_BN.sum())}

    def loss(self, network: nn.Module, batch: AnyBatch, key: Key) -> tuple[Term, ...]:
        """Return the cross-entropy of the hidden tokens and of the answers."""
        batch, both, tally = plain(batch), _as_pooled(network), Tally()
        hidden_ND, pooled_ND = _read(both, batch, tally)
        hidden = token_terms_from("masked", both.network, hidden_ND, batch, tally)
        return *hidden, self._answers(both, pooled_ND, batch)

    def predicted(self, network: nn.Module, batch: AnyBatch, key: Key) -> Predicted:
        """Return the logits of the hidden tokens, and the terms of `loss`."""
        batch, both, tally = plain(batch), _as_pooled(network), Tally()
        hidden_ND, pooled_ND = _read(both, batch, tally)
        hidden = predicted_from("masked", both.network, hidden_ND, batch, tally)
        return Predicted(hidden.logits_NV, (*hidden.terms, self._answers(both, pooled_ND, batch)))

    def _answers(self, both: WithPooler, pooled_ND: Tensor, batch: Batch) -> Term:
        """Return the cross-entropy of the answers about pairs."""
        asked = _documents(batch)
        logits_NC = both.pooler(pooled_ND)
        logits_NC = logits_NC if logits_NC.dtype == torch.float64 else logits_NC.float()
        nats_N = functional.cross_entropy(logits_NC, asked.labels_BN.reshape(-1), reduction="none")
        weights_N = asked.weights_BN.reshape(-1).to(nats_N.dtype)
        return Term(self.config.question, torch.dot(nats_N, weights_N))

    def exported(self, network: nn.Module) -> Network:
        """Return the network without the head over pairs."""
        return _as_pooled(network).network

    def trained_name(self, name: str) -> str:
        """Return the parameter's name within the network that is trained with something beside."""
        return f"network.{name}"

    def _pair(
        self, rows: Rows, b: int, piece: Piece, pieces: list[list[Piece]], rng: np.random.Generator
    ) -> _Pair | None:
        """Return the pair that a piece becomes, no longer than it; None where it is too short."""
        near, wanted, flip = rng.random(), rng.random(), rng.random() < 0.5
        text = self._inside(rows, b, piece).part(0, piece.length - 3)
        size = len(text.tokens_L)
        begins = np.flatnonzero(text.sentence_start_L[1:]) + 1
        if not len(begins):
            begins = np.flatnonzero(text.word_start_L[1:]) + 1
        if size < 4 or not len(begins):
            return None
        cut = int(begins[np.abs(begins - (0.25 + 0.5 * near) * size).argmin()])
        first, second = text.part(0, cut), text.part(cut)
        if not flip:
            return _Pair(first, second, YES)
        if self.config.question == "order":
            return _Pair(second, first, NO)
        partner = b ^ 1
        others = [(b, other) for other in pieces[b] if other.document != piece.document]
        others += [(partner, other) for other in pieces[partner]] if partner < len(pieces) else []
        if not others:
            return _Pair(first, second, YES)
        strange = self._inside(rows, *others[int(wanted * len(others))])
        # From a sentence's begin, as late as leaves enough of it.
        begins = np.flatnonzero(strange.sentence_start_L)
        fitting = begins[begins <= max(0, len(strange.tokens_L) - (size - cut))]
        start = int(fitting[-1]) if len(fitting) else 0
        strange = strange.part(start, start + size - cut)
        return _Pair(first, strange, NO) if len(strange.tokens_L) else _Pair(first, second, YES)

    def _inside(self, rows: Rows, b: int, piece: Piece) -> _Text:
        """Return a piece's text without begin and end token."""
        whole = _text(rows, b, piece)
        inside = without_ends(whole.tokens_L, self.special)
        return whole.part(inside.start, inside.stop)

    def _written(self, rows: Rows, b: int, piece: Piece, pair: _Pair | None) -> tuple[_Text, int]:
        """Return what is read in place of a piece, and where in it the second text begins."""
        if pair is None:
            return _text(rows, b, piece), piece.length
        marks = (self.special.bos, self.special.sep, self.special.eos)
        begin, between, end = (_Text(np.array([mark]), np.array([True]), np.array([False])) for mark in marks)
        parts = (begin, pair.first, between, pair.second, end)
        written = _Text(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        return written, len(pair.first.tokens_L) + 2


def _text(rows: Rows, b: int, piece: Piece) -> _Text:
    place = slice(piece.start, piece.stop)
    return _Text(rows.tokens_BL[b, place], rows.word_start_BL[b, place], rows.sentence_start_BL[b, place])


def _read(both: WithPooler, batch: Batch, tally: Tally) -> tuple[Tensor, Tensor]:
    """Return the hidden states at the hidden tokens and at the begins of the pairs, hidden_ND each."""
    begins_BN = _documents(batch).places_BN
    hidden_BND: Tensor = both.network(batch, tally, torch.cat((batch.places_BN, begins_BN), dim=1))
    hidden, pooled = torch.split(hidden_BND, [batch.places_BN.shape[1], begins_BN.shape[1]], dim=1)
    return hidden.flatten(0, 1), pooled.flatten(0, 1)


def _documents(batch: Batch) -> Labels:
    if batch.documents is None:
        raise TypeError("expected a batch with labels of documents")
    return batch.documents


def _as_pooled(network: nn.Module) -> WithPooler:
    if not isinstance(network, WithPooler):
        raise TypeError(f"expected a network with a head over pairs, found {type(network).__name__}")
    return network
