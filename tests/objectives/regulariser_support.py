"""Small networks in float64, packed batches with labels, and what papers say of their logits."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from support import PACKED, VOCABULARY_SIZE, lively, packed_batch, tiny, with_dropout
from trivium.core.batch import Batch, Term
from trivium.core.random import Key
from trivium.model.heads import Network
from trivium.objectives.base import Learned, Predicted, predicted_tokens
from trivium.objectives.regularisers.build import regularised
from trivium.objectives.regularisers.config import (
    FgmConfig,
    LabelSmoothingConfig,
    NeftuneConfig,
    RDropConfig,
    RegulariserConfig,
    SmartConfig,
    ZLossConfig,
)

SIZE, CAPACITY = 32, 6
KEY = Key(7)
ALL: tuple[RegulariserConfig, ...] = (
    LabelSmoothingConfig(),
    ZLossConfig(),
    RDropConfig(),
    FgmConfig(),
    SmartConfig(),
    NeftuneConfig(),
)
FAMILIES = ("encoder", "decoder", "encoder_decoder")


@dataclass(frozen=True)
class Tokens:
    """The plainest thing that predicts; it keeps the batches that it is asked about."""

    seen: list[Batch]

    def counts(self, batch: Batch) -> dict[str, float]:
        return {"tokens": float(batch.weights_BN.sum())}

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        return self.predicted(network, batch, key).terms

    def predicted(self, network: nn.Module, batch: Batch, key: Key) -> Predicted:
        self.seen.append(batch)
        assert isinstance(network, Network)
        return predicted_tokens("tokens", network, batch)


@dataclass(frozen=True)
class Losing:
    """A loss without logits: the squares of the hidden states."""

    def counts(self, batch: Batch) -> dict[str, float]:
        return {"squares": float(batch.num_tokens)}

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        return (Term("squares", network(batch).square().sum()),)


def network_of(family: str, dropout: float = 0.0) -> Network:
    return lively(with_dropout(tiny(family), dropout)).double().train()


def labelled_batch(family: str, seed: int = 3) -> Batch:
    """Packed documents with labels at some places; some of the capacity is not used, some labels weigh a half."""
    batch, rng = packed_batch(family, seed=seed), torch.Generator().manual_seed(seed)
    used_B = torch.tensor([sum(document >= 0 for document in row) for row in PACKED])
    shape = (len(used_B), CAPACITY)
    weights_BN = torch.tensor([0.0, 0.5, 1.0])[torch.randint(0, 3, shape, generator=rng)]
    return replace(
        batch,
        places_BN=torch.randint(0, 1000, shape, generator=rng) % used_B[:, None],
        labels_BN=torch.randint(0, VOCABULARY_SIZE, shape, generator=rng),
        weights_BN=weights_BN.float(),
    )


def wrapped(*configs: RegulariserConfig, network: nn.Module, seen: list[Batch] | None = None) -> Learned:
    tokens = Tokens([] if seen is None else seen)
    return regularised(configs, tokens, name="tokens", network=network, hidden_size=SIZE)


def logits(network: Network, batch: Batch) -> Tensor:
    return predicted_tokens("tokens", network, batch).logits_NV


def weighted(values_N: Tensor, batch: Batch) -> float:
    return float((values_N.detach() * batch.weights_BN.reshape(-1)).sum())


def nats(logits_NV: Tensor, batch: Batch) -> Tensor:
    return -logits_NV.softmax(-1).gather(1, batch.labels_BN.reshape(-1, 1))[:, 0].log()


def divergence(one_NV: Tensor, other_NV: Tensor) -> Tensor:
    p, q = one_NV.softmax(-1), other_NV.softmax(-1)
    return (p * (p / q).log()).sum(-1) + (q * (q / p).log()).sum(-1)


def total(terms: tuple[Term, ...]) -> float:
    return sum(term.weight * float(term.sum.detach()) for term in terms)


def by_name(terms: tuple[Term, ...]) -> dict[str, Term]:
    found = {term.name: term._replace(sum=term.sum.detach()) for term in terms}
    assert len(found) == len(terms)
    return found


def documents_of(batch: Batch) -> Iterator[tuple[int, Tensor]]:
    for row, document_L in enumerate(batch.layout.document_BL):
        for document in sorted(set(document_L.tolist()) - {-1}):
            yield row, document_L == document


def embeddings_of(network: Network, batch: Batch) -> dict[str, Tensor]:
    """What each stack embeds."""
    stacks = {"own": network.writer} if batch.source is None else {"own": network.writer, "source": network.reader}
    reads = {"own": batch, "source": batch.source}
    return {name: stack.embedding(reads[name]) for name, stack in stacks.items()}
