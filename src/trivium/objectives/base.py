"""What an objective is, and the one loss that all of them are made of."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from trivium.core.batch import AnyBatch, Batch, Rows, Term
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.model.config import EncoderDecoder, ModelConfig
from trivium.model.heads import LanguageModel, Network, SequenceToSequence, labelled_states
from trivium.model.parts import MixtureOfExpertsConfig
from trivium.model.view import Tally

BALANCE = "balance"  # the term that keeps experts equally busy


class Objective(Protocol):
    """Pure functions. `make` runs in the loader, on numpy; `counts` and `loss` in the loop; the rest around."""

    @property
    def rows_together(self) -> int:
        """How many neighbouring rows are compared with each other; a micro-batch holds a multiple of them."""
        ...

    @property
    def speaks(self) -> bool:
        """Whether what is kept has learned to name tokens where `fill` and `generate` ask for them."""
        ...

    def network(self, config: ModelConfig) -> nn.Module:
        """Build what is trained; raise ConfigError when the architecture cannot learn this."""
        ...

    def make(self, rows: Rows, key: Key, done: float = 1.0) -> AnyBatch:
        """Hide and label. Each row's choices depend on the key, its epoch and its number only, and on `done`.

        Args:
            rows: packed rows; they stay as they are.
            key: of all choices.
            done: the share of the run that is over, in [0, 1], for what changes with it.
        """
        ...

    def counts(self, batch: AnyBatch) -> dict[str, float]:
        """Return the count of each term of this batch before anything is computed; terms divide by their sum."""
        ...

    def loss(self, network: nn.Module, batch: AnyBatch, key: Key) -> tuple[Term, ...]:
        """Return the terms of the loss on this batch."""
        ...

    def exported(self, network: nn.Module) -> Network:
        """Return what is kept of the trained network."""
        ...

    def trained_name(self, name: str) -> str:
        """Return what the trained network calls a parameter of the kept one, so that a run can begin with one."""
        ...


class Learned(Protocol):
    """What the loop asks of an objective or a task."""

    def counts(self, batch: Any) -> dict[str, float]:
        """Return the count of each term of a batch before anything is computed."""
        ...

    def loss(self, network: nn.Module, batch: Any, key: Key) -> tuple[Term, ...]:
        """Return the terms of the loss on a batch.

        Args:
            network: what is trained.
            batch: some rows of a step.
            key: of the step; what is drawn for a row is drawn by the row's number in the step (`Batch.first_row`).
        """
        ...


class Predicted(NamedTuple):
    """What a network makes of the labelled places, and what is learned from it."""

    logits_NV: Tensor  # over the vocabulary or the classes, float32 or better
    terms: tuple[Term, ...]  # of the loss; the first is the cross-entropy of these logits


@runtime_checkable
class Predicts(Learned, Protocol):
    """An objective or a task that predicts the label of each labelled place, and shows how."""

    def predicted(self, network: nn.Module, batch: Any, key: Key) -> Predicted:
        """Return the logits at the labelled places and the terms that `loss` makes of them."""
        ...


@dataclass(frozen=True)
class PredictsTokens:
    """What objectives share that train the network itself, by the cross-entropy of the tokens at labelled places.

    Args:
        balanced: the network has experts, whose load is balanced beside (see `has_experts`).
    """

    name: ClassVar[str]  # of the term
    rows_together: ClassVar[int] = 1
    balanced: bool = field(default=False, kw_only=True)

    def counts(self, batch: AnyBatch) -> dict[str, float]:
        """Return the number of labelled places."""
        return token_counts(self.name, plain(batch), balanced=self.balanced)

    def loss(self, network: nn.Module, batch: AnyBatch, key: Key) -> tuple[Term, ...]:
        """Return the cross-entropy of the tokens at labelled places."""
        return token_terms(self.name, as_network(network), plain(batch))

    def predicted(self, network: nn.Module, batch: AnyBatch, key: Key) -> Predicted:
        """Return the logits at labelled places, and their cross-entropy."""
        return predicted_tokens(self.name, as_network(network), plain(batch))

    @property
    def speaks(self) -> bool:
        """Whether what is kept has learned to name tokens where it is asked."""
        return True

    def exported(self, network: nn.Module) -> Network:
        """Return the network itself."""
        return as_network(network)

    def trained_name(self, name: str) -> str:
        """Return the name itself."""
        return name


class Scored(NamedTuple):
    """How each labelled place was predicted."""

    nats_BN: Tensor  # float32, minus the natural logarithm of the label's probability
    correct_BN: Tensor  # bool, the label was the most probable


def score_labels(network: Network, batch: Batch) -> Scored:
    """Predict every labelled place of the batch; the vocabulary is projected to at those places only."""
    logits_NV = vocabulary_logits(network, labelled_states(network, batch))
    labels_N = batch.labels_BN.reshape(-1)
    nats_N = functional.cross_entropy(logits_NV, labels_N, reduction="none")
    correct_N = logits_NV.argmax(-1) == labels_N
    return Scored(nats_N.view_as(batch.labels_BN), correct_N.view_as(batch.labels_BN))


def token_terms(name: str, network: Network, batch: Batch) -> tuple[Term, ...]:
    """Return the terms of `predicted_tokens`, without the logits."""
    tally = Tally()
    return token_terms_from(name, network, labelled_states(network, batch, tally), batch, tally)


def token_terms_from(name: str, network: Network, hidden_ND: Tensor, batch: Batch, tally: Tally) -> tuple[Term, ...]:
    """Return what `token_terms` does, of hidden states of the labelled places that are computed already."""
    weights_N = batch.weights_BN.reshape(-1)
    nats = network.head.summed_nats(hidden_ND, batch.labels_BN.reshape(-1), weights_N)
    return Term(name, nats), *balance_terms(tally, batch)


def predicted_tokens(name: str, network: Network, batch: Batch) -> Predicted:
    """Return the logits of the labelled tokens, and their summed cross-entropy.

    A network that has experts adds the load balance of theirs.
    """
    tally = Tally()
    return predicted_from(name, network, labelled_states(network, batch, tally), batch, tally)


def predicted_from(name: str, network: Network, hidden_ND: Tensor, batch: Batch, tally: Tally) -> Predicted:
    """Return what `predicted_tokens` does, of hidden states of the labelled places that are computed already."""
    logits_NV = vocabulary_logits(network, hidden_ND)
    return Predicted(logits_NV, (label_term(name, logits_NV, batch), *balance_terms(tally, batch)))


def balance_terms(tally: Tally, batch: Batch) -> tuple[Term, ...]:
    """Return the load balance that the layers have left, of a network that has experts."""
    if not tally.balance:
        return ()
    return (Term(BALANCE, torch.stack(tally.balance).sum()),)


def label_term(name: str, logits_NV: Tensor, batch: Batch) -> Term:
    """Return the summed cross-entropy of the labelled places."""
    return labelled(name, functional.cross_entropy(logits_NV, batch.labels_BN.reshape(-1), reduction="none"), batch)


def labelled(name: str, values_N: Tensor, batch: Batch, weight: float = 1.0) -> Term:
    """Return a term that sums a number of each labelled place, places that are not used left out."""
    weights_N = batch.weights_BN.reshape(-1)
    return Term(name, torch.dot(values_N, weights_N.to(values_N.dtype)), weight)


def token_counts(name: str, batch: Batch, *, balanced: bool) -> dict[str, float]:
    """Return the counts of the terms of `predicted_tokens`; `balanced`: the network has experts."""
    counts = {name: float(batch.weights_BN.sum())}
    return counts | {BALANCE: float(len(batch.tokens_BL))} if balanced else counts


def has_experts(config: ModelConfig) -> bool:
    """Return whether a network of this architecture has a load to balance."""
    # Blocks and not the pattern, of which shared layers may leave a part unused.
    blocks = (stack.block(number) for stack in config.stacks() for number in range(stack.num_blocks))
    return any(isinstance(block.feed_forward, MixtureOfExpertsConfig) for block in blocks)


def require_one_stack(config: ModelConfig, objective: str) -> None:
    """Raise ConfigError when the architecture is an encoder-decoder."""
    if isinstance(config.family, EncoderDecoder):
        raise ConfigError(f"objective `{objective}` trains an encoder or a decoder; this model is an encoder-decoder.")


def as_network(network: nn.Module) -> Network:
    """Return the trained module as the network it is."""
    if not isinstance(network, LanguageModel | SequenceToSequence):
        raise TypeError(f"expected a network, found {type(network).__name__}")
    return network


def plain(batch: AnyBatch) -> Batch:
    """Return the batch of one objective as what it is."""
    if not isinstance(batch, Batch):
        raise TypeError(f"expected the batch of one objective, found {type(batch).__name__}")
    return batch


def vocabulary_logits(network: Network, hidden_ND: Tensor) -> Tensor:
    """Return logits_NV of the labelled places, in float32 or better: a softmax over a vocabulary needs the digits."""
    logits_NV = network.head(hidden_ND)
    return logits_NV if logits_NV.dtype == torch.float64 else logits_NV.float()
