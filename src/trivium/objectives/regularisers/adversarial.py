"""Embeddings moved to where the loss is highest (FGM) or the prediction another (SMART), a document at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from trivium.core.batch import Batch, Term
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.objectives.base import Predicted, labelled
from trivium.objectives.regularisers.base import Regularised, divergences, num_labels
from trivium.objectives.regularisers.config import FgmConfig, SmartConfig
from trivium.objectives.regularisers.noise import document_maxima, document_sums, drawn_noises, embedded, with_noise

FGM, SMART = "fgm_", "smart"


@dataclass(frozen=True)
class Fgm(Regularised):
    """The loss of embeddings moved by epsilon g / |g| beside the clean one's (Miyato et al. 2017, section 3).

    g is the gradient of the loss with respect to the embeddings of one document; where there are two stacks, each
    one's are moved by epsilon. The move is a constant: nothing is learned through it. Differs from the paper: token
    vectors are not normed by their frequencies; noise is added where a model's own norm has been.

    Args:
        hidden_size: D.
    """

    config: FgmConfig
    hidden_size: int

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the wrapped counts, and again for the moved pass."""
        counts = self.learned.counts(batch)
        return counts | {FGM + name: count for name, count in counts.items()}

    def predicted(self, network: nn.Module, batch: Batch, key: Key) -> Predicted:
        """Return the clean pass's logits, and the terms of both passes."""
        zeros = _leaves(_zeros(batch, self.hidden_size))
        clean = self.learned.predicted(network, with_noise(batch, zeros), key.child("clean"))
        moves = [
            self.config.epsilon * _over(gradient_BLD, _euclidean(gradient_BLD, part.layout.document_BL))
            for part, gradient_BLD in zip(embedded(batch), _gradients(_total(clean.terms), zeros), strict=True)
        ]
        moved = self.learned.predicted(network, with_noise(batch, moves), key.child("moved"))
        beside = [term._replace(name=FGM + term.name, weight=term.weight * self.config.weight) for term in moved.terms]
        return Predicted(clean.logits_NV, (*clean.terms, *beside))


@dataclass(frozen=True)
class Smart(Regularised):
    """Smoothness-inducing adversarial regularisation (Jiang et al. 2020, section 3.1), with one step of ascent.

    The divergence between the predictions of clean and of moved embeddings; the move begins as noise, climbs by `step`
    along the gradient over its largest number in the document, and is bounded by `epsilon`. All passes drop out the
    same, so that the move alone makes them differ. The paper's second part, Bregman proximal steps, is left out.

    Args:
        hidden_size: D.
    """

    config: SmartConfig
    hidden_size: int

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the wrapped counts and the number of labels."""
        return self.learned.counts(batch) | {SMART: num_labels(batch)}

    def predicted(self, network: nn.Module, batch: Batch, key: Key) -> Predicted:
        """Return the clean pass's logits and terms, and the divergence."""

        def read(moves: Sequence[Tensor]) -> Predicted:
            torch.manual_seed(key.child("dropout", batch.first_row).integer())
            return self.learned.predicted(network, with_noise(batch, moves), key.child("pass"))

        clean = read(_zeros(batch, self.hidden_size))
        draw = partial(_normal, std=self.config.std)
        tried = _leaves(drawn_noises(batch, self.hidden_size, draw, key.child("smart")))
        apart_N = divergences(clean.logits_NV.detach(), read(tried).logits_NV)
        moves = [
            (move + self.config.step * _over(gradient, _largest(gradient, part.layout.document_BL)))
            .detach()
            .clamp(-self.config.epsilon, self.config.epsilon)
            for part, move, gradient in zip(
                embedded(batch), tried, _gradients(labelled(SMART, apart_N, batch).sum, tried), strict=True
            )
        ]
        apart_N = divergences(clean.logits_NV, read(moves).logits_NV)
        return Predicted(clean.logits_NV, (*clean.terms, labelled(SMART, apart_N, batch, self.config.weight)))


def _normal(length: int, size: int, generator: torch.Generator, *, std: float) -> Tensor:
    return std * torch.randn(length, size, generator=generator)


def _zeros(batch: Batch, size: int) -> list[Tensor]:
    return [torch.zeros(*part.tokens_BL.shape, size, device=part.tokens_BL.device) for part in embedded(batch)]


def _leaves(moves: Sequence[Tensor]) -> list[Tensor]:
    return [move.requires_grad_() for move in moves]


def _total(terms: Sequence[Term]) -> Tensor:
    # Sums and not means: a document's direction must not depend on what else is in its micro-batch.
    return torch.stack([term.weight * term.sum for term in terms]).sum()


def _gradients(total: Tensor, moves: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradient with respect to each move; the graph is kept, since parameters are learned through it."""
    gradients = torch.autograd.grad(total, moves, retain_graph=True, allow_unused=True)
    if all(gradient is None for gradient in gradients):
        raise ConfigError("`fgm` and `smart` move a batch's embeddings, and this objective reads none of them.")
    return [
        torch.zeros_like(move) if gradient is None else gradient
        for move, gradient in zip(moves, gradients, strict=True)
    ]


def _euclidean(gradient_BLD: Tensor, document_BL: Tensor) -> Tensor:
    # Divided by the largest number first: squares of small gradients would be 0.
    largest_BL = _largest(gradient_BLD, document_BL)
    return largest_BL * document_sums(_over(gradient_BLD, largest_BL).square().sum(-1), document_BL).sqrt()


def _largest(gradient_BLD: Tensor, document_BL: Tensor) -> Tensor:
    return document_maxima(gradient_BLD.abs().amax(-1), document_BL)


def _over(gradient_BLD: Tensor, size_BL: Tensor) -> Tensor:
    """Return the gradient over its size; 0 in documents that have none (no label)."""
    return gradient_BLD / torch.where(size_BL > 0, size_BL, 1.0)[..., None]
