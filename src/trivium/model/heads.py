"""From hidden states to a vocabulary, and the networks that are trained on text: a stack, or two, with that head."""

from torch import Tensor, nn
from torch.nn import functional

from trivium.core.batch import Batch
from trivium.core.layout import TokenLayout
from trivium.model.cache import Cache
from trivium.model.cross_entropy import summed_cross_entropy
from trivium.model.feed_forward import ActivationFunction
from trivium.model.linear import Linear
from trivium.model.stack import Stack
from trivium.model.view import Tally


class Transform(nn.Module):
    """A dense layer, an activation and a norm before a projection."""

    def __init__(
        self, *, hidden_size: int, size: int, bias: bool, activation: ActivationFunction, norm: nn.Module
    ) -> None:
        super().__init__()
        self.dense = Linear(hidden_size, size, bias=bias)
        self.activation = activation
        self.norm = norm

    def forward(self, hidden_ND: Tensor) -> Tensor:
        """Return the transformed hidden states, [N, size]."""
        return self.norm(self.activation(self.dense(hidden_ND)))


class LanguageHead(nn.Module):
    """Scores over the vocabulary; `projection` may be the token embedding itself."""

    def __init__(
        self,
        *,
        projection: nn.Embedding | nn.Linear,
        bias: nn.Parameter | None,
        scale: float,
        soft_cap: float | None,
        transform: nn.Module,
    ) -> None:
        super().__init__()
        self.projection = projection
        self.bias = bias
        self.scale = scale
        self.soft_cap = soft_cap
        self.transform = transform

    def forward(self, hidden_ND: Tensor) -> Tensor:
        """Return logits_NV in the type of the hidden states."""
        return self.capped(functional.linear(self.projected(hidden_ND), self.projection.weight, self.bias))

    def summed_nats(self, hidden_ND: Tensor, labels_N: Tensor, weights_N: Tensor) -> Tensor:
        """Return the weighted sum of the labels' cross-entropies, nats; the logits never exist all at once."""
        return summed_cross_entropy(
            self.projected(hidden_ND), self.projection.weight, self.bias, labels_N, weights_N, soft_cap=self.soft_cap
        )

    def projected(self, hidden_ND: Tensor) -> Tensor:
        """Return what the vocabulary is projected to from."""
        hidden_ND = self.transform(hidden_ND)
        return hidden_ND if self.scale == 1.0 else hidden_ND * self.scale

    def capped(self, logits_NV: Tensor) -> Tensor:
        """Return the projection's numbers as logits."""
        return logits_NV if self.soft_cap is None else (logits_NV / self.soft_cap).tanh() * self.soft_cap


class Readout(nn.Module):
    """Scores over the classes of a task, from what stands for a text or a word."""

    def __init__(self, *, transform: nn.Module, dropout: nn.Module, projection: nn.Linear) -> None:
        super().__init__()
        self.transform = transform
        self.dropout = dropout
        self.projection = projection

    def forward(self, hidden_ND: Tensor) -> Tensor:
        """Return logits_NC in the type of the hidden states."""
        return self.projection(self.dropout(self.transform(hidden_ND)))


class LanguageModel(nn.Module):
    """One stack with a vocabulary head: encoder or decoder, as the batch's layout says."""

    def __init__(self, *, stack: Stack, head: LanguageHead) -> None:
        super().__init__()
        self.stack = stack
        self.head = head

    @property
    def reader(self) -> Stack:
        """The stack that reads text for a task."""
        return self.stack

    @property
    def writer(self) -> Stack:
        """The stack whose hidden states the head turns into tokens."""
        return self.stack

    def forward(self, batch: Batch, tally: Tally | None = None, places_BN: Tensor | None = None) -> Tensor:
        """Return hidden_BLD of the places that are predicted from, or hidden_BND at some of them."""
        return self.stack(batch, tally=tally, places_BN=places_BN)

    def encode(self, batch: Batch) -> tuple[Tensor, TokenLayout] | None:
        """Return what the writer's cross-attention looks at: nothing."""
        return None

    def write(self, batch: Batch, source: tuple[Tensor, TokenLayout] | None, cache: Cache) -> Tensor:
        """Return hidden_BLD of new places, given the cache of the earlier ones."""
        return self.stack(batch, source, cache)


class TwoStacks(nn.Module):
    """A stack that reads the batch's source and a stack that looks at it from the batch's own places.

    A batch without a source is only read, by the stack that reads.
    """

    def __init__(self, *, encoder: Stack, decoder: Stack) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, batch: Batch, tally: Tally | None = None, places_BN: Tensor | None = None) -> Tensor:
        """Return hidden_BLD of the decoder's places, or hidden_BND at some; without a source the encoder's."""
        if batch.source is None:
            return self.encoder(batch, tally=tally, places_BN=places_BN)
        return self.decoder(batch, self.encode(batch, tally), tally=tally, places_BN=places_BN)

    def encode(self, batch: Batch, tally: Tally | None = None) -> tuple[Tensor, TokenLayout] | None:
        """Return the encoder's hidden states of the batch's source, and their layout."""
        if batch.source is None:
            raise ValueError("an encoder-decoder needs a batch with a source")
        return self.encoder(batch.source, tally=tally), batch.source.layout


class SequenceToSequence(TwoStacks):
    """Two stacks with one vocabulary, and a head over the decoder's states."""

    def __init__(self, *, encoder: Stack, decoder: Stack, head: LanguageHead) -> None:
        super().__init__(encoder=encoder, decoder=decoder)
        self.head = head

    @property
    def reader(self) -> Stack:
        """The stack that reads text for a task."""
        return self.encoder

    @property
    def writer(self) -> Stack:
        """The stack whose hidden states the head turns into tokens."""
        return self.decoder

    def write(self, batch: Batch, source: tuple[Tensor, TokenLayout] | None, cache: Cache) -> Tensor:
        """Return hidden_BLD of new places of the decoder, given the cache of the earlier ones."""
        return self.decoder(batch, source, cache)


Network = LanguageModel | SequenceToSequence


def labelled_states(network: Stack | LanguageModel | TwoStacks, batch: Batch, tally: Tally | None = None) -> Tensor:
    """Return the hidden states at the batch's labelled places, [B * N, D]; no others are made in the last layer."""
    hidden_BND: Tensor = network(batch, tally=tally, places_BN=batch.places_BN)
    return hidden_BND.flatten(0, 1)
