"""Replaced-token detection (ELECTRA, Clark et al. 2020): a generator fills masks, the network tells which."""

from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor, nn
from torch.nn import functional

from trivium.core.batch import AnyBatch, Batch, Rows, Term
from trivium.core.config import Config
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.model.build import build_network, build_readout
from trivium.model.config import ModelConfig, ReadoutConfig, TransformConfig
from trivium.model.embedding import OffsetEmbedding
from trivium.model.folder import load_matching, unique_tensors
from trivium.model.heads import LanguageModel, Network, Readout, labelled_states
from trivium.model.initialise import initialise
from trivium.model.narrow import narrower
from trivium.model.stack import Stack
from trivium.model.view import Tally
from trivium.objectives.base import (
    as_network,
    balance_terms,
    plain,
    predicted_from,
    require_one_stack,
    token_counts,
)
from trivium.objectives.masked import Masked, MaskedConfig

_PLACES = 1024  # whose distributions are summed at once
_DETECTOR = ReadoutConfig(transform=TransformConfig(activation="gelu"))


class ReplacedConfig(Config):
    """The generator's size, what it is asked, and how much its answers' detection weighs.

    Args:
        generator_share: of the network's heads, hidden and feed-forward units; its depth is the same.
        embeddings: what the two have in common: `shared` tokens (Clark et al. 2020), `disentangled`: the network reads
            the generator's vectors, plus offsets of its own, and its gradient goes to these only (DeBERTa-v3, He et al.
            2023), or `separate` ones.
        weight: of the detection, beside 1 for the generator.
        masked: what is hidden; every hidden token becomes a mask.
    """

    kind: Literal["replaced"] = "replaced"
    generator_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    embeddings: Literal["shared", "disentangled", "separate"] = "disentangled"
    weight: PositiveFloat = 50.0
    masked: MaskedConfig = MaskedConfig(mask_share=1.0, random_share=0.0)

    @model_validator(mode="after")
    def _fills_what_it_hides(self) -> Self:
        if self.masked.predicted_from != "itself":
            raise ValueError("`masked.predicted_from` must be itself: a hidden token is filled where it stands")
        return self


class GeneratorAndReader(nn.Module):
    """A generator, the stack that is kept, and what tells at each of its places whether the token was replaced."""

    def __init__(self, *, generator: LanguageModel, reader: Stack, detector: Readout, config: ModelConfig) -> None:
        super().__init__()
        self.generator = generator
        self.reader = reader
        self.detector = detector
        self.config = config  # of the network that the reader is kept in


@dataclass(frozen=True)
class Replaced:
    """The replaced-token objective; the generator's own pick counts as original, as in ELECTRA.

    Differs from ELECTRA: the generator is as deep as the network, and only token embeddings are shared.

    Raises:
        ConfigError: the tokenizer has no mask token.
    """

    config: ReplacedConfig
    masked: Masked
    rows_together: ClassVar[int] = 1
    speaks: ClassVar[bool] = False
    balanced: bool = field(default=False, kw_only=True)

    def network(self, config: ModelConfig) -> nn.Module:
        """Build the generator, the stack of an encoder (or a decoder, read both ways), and the detector."""
        require_one_stack(config, "replaced")
        if config.parametrisation is not None:
            raise ConfigError(
                "objective `replaced` trains two networks of different widths, and `model.parametrisation` is of one; "
                "leave it out."
            )
        generator, reader = build_network(narrower(config, self.config.generator_share)), build_network(config).reader
        tokens = generator.reader.embedding.tokens
        if not isinstance(generator, LanguageModel) or not isinstance(tokens, nn.Embedding):
            raise TypeError("a generator is one stack with a token embedding of its own")
        match self.config.embeddings:
            case "shared":
                reader.embedding.tokens = tokens
            case "disentangled":
                reader.embedding.tokens = OffsetEmbedding(base=tokens)
            case "separate":
                pass
        detector = build_readout(_DETECTOR, hidden_size=config.hidden_size, num_classes=1, dropout=0.0)
        return GeneratorAndReader(generator=generator, reader=reader, detector=detector, config=config)

    def make(self, rows: Rows, key: Key, done: float = 1.0) -> Batch:
        """Hide tokens, and draw the lots that the generator's picks are taken by."""
        batch = self.masked.make(rows, key, done)
        chances_BN = torch.zeros(batch.places_BN.shape)
        for b in range(batch.num_rows):
            rng = key.child("replaced", rows.epoch_B[b], rows.row_B[b]).numpy()
            chances_BN[b] = torch.from_numpy(rng.random(chances_BN.shape[1], dtype="float32"))
        return replace(batch, chances_BN=chances_BN)

    def counts(self, batch: AnyBatch) -> dict[str, float]:
        """Return the number of hidden tokens, and of all tokens."""
        batch = plain(batch)
        return token_counts("masked", batch, balanced=self.balanced) | {"replaced": float(batch.num_tokens)}

    def loss(self, network: nn.Module, batch: AnyBatch, key: Key) -> tuple[Term, ...]:
        """Return the generator's cross-entropy, and the detector's over all tokens."""
        batch, both, tally = plain(batch), _as_pair(network), Tally()
        # What a regulariser adds to the embeddings is meant for what is kept, and of its size.
        asked = replace(batch, noise_BLD=None)
        hidden_ND = labelled_states(both.generator, asked, tally)
        generated = predicted_from("masked", both.generator, hidden_ND, asked, Tally())
        tokens_BL, replaced_BL = replaced_tokens(batch, generated.logits_NV.detach())
        states_BLD: Tensor = both.reader(replace(batch, tokens_BL=tokens_BL), tally=tally)
        logits_BL = both.detector(states_BLD)[..., 0]
        logits_BL = logits_BL if logits_BL.dtype == torch.float64 else logits_BL.float()
        nats_BL = functional.binary_cross_entropy_with_logits(
            logits_BL, replaced_BL.to(logits_BL.dtype), reduction="none"
        )
        used_BL = batch.layout.document_BL >= 0
        detected = Term("replaced", (nats_BL * used_BL).sum(), self.config.weight)
        balance = balance_terms(tally, batch)
        return *generated.terms, *balance, detected

    def exported(self, network: nn.Module) -> Network:
        """Return the network around the stack that reads; its head has learned nothing."""
        both = _as_pair(network)
        kept = build_network(both.config)
        initialise(kept, both.config, Key(0))
        tensors = {f"stack.{name}": tensor for name, tensor in unique_tensors(both.reader).items()}
        tensors["stack.embedding.tokens.weight"] = both.reader.embedding.tokens.weight.detach()
        load_matching(kept, tensors)
        return as_network(kept)

    def trained_name(self, name: str) -> str:
        """Return the name within what reads; token vectors are the generator's where they are not separate."""
        if name == "stack.embedding.tokens.weight" and self.config.embeddings != "separate":
            return "generator.stack.embedding.tokens.weight"
        return name.replace("stack.", "reader.", 1) if name.startswith("stack.") else name


def replaced_tokens(batch: Batch, logits_NV: Tensor) -> tuple[Tensor, Tensor]:
    """Return the text with a token drawn for each hidden one, tokens_BL, and where it is another now, replaced_BL.

    Args:
        batch: its chances decide the draws, so that they are the same however its rows are divided.
        logits_NV: of the hidden tokens, [B * N, V].
    """
    if batch.chances_BN is None:
        raise TypeError("expected a batch with chances")
    chances_N1 = batch.chances_BN.reshape(-1, 1)
    # Some at a time: the distributions are in float64, so that their sums are the same everywhere.
    parts = zip(torch.split(logits_NV, _PLACES), torch.split(chances_N1, _PLACES), strict=True)
    drawn = [_drawn(*part) for part in parts]
    drawn_BN = torch.cat(drawn).view_as(batch.labels_BN)
    # A place of its own behind the row takes what is not used.
    places_BN = torch.where(batch.weights_BN > 0, batch.places_BN, batch.tokens_BL.shape[1])
    tokens_BL = functional.pad(batch.tokens_BL, (0, 1)).scatter(1, places_BN, drawn_BN)[:, :-1]
    replaced_BL = torch.zeros_like(functional.pad(batch.tokens_BL, (0, 1)))
    replaced_BL = replaced_BL.scatter(1, places_BN, (drawn_BN != batch.labels_BN).long())[:, :-1]
    return tokens_BL, replaced_BL.bool()


def _drawn(logits_NV: Tensor, chances_N1: Tensor) -> Tensor:
    """Return the token that each lot falls on, [N, 1]."""
    edges_NV = logits_NV.double().softmax(-1).cumsum(-1)
    drawn_N1 = torch.searchsorted(edges_NV, chances_N1.double() * edges_NV[:, -1:], right=True)
    return drawn_N1.clamp(max=logits_NV.shape[-1] - 1)


def _as_pair(network: nn.Module) -> GeneratorAndReader:
    if not isinstance(network, GeneratorAndReader):
        raise TypeError(f"expected a generator and what reads, found {type(network).__name__}")
    return network
