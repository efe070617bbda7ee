"""Stacks, heads and whole networks from their configuration."""

from typing import assert_never

import torch
from torch import nn

from trivium.model.biaffine import SpanHead
from trivium.model.build.block import build_block
from trivium.model.build.dropout import build_dropout
from trivium.model.build.feed_forward import build_activation
from trivium.model.build.kernel import choose_kernel, require_kernel
from trivium.model.build.norm import build_norm
from trivium.model.build.position import build_embedding_positions, build_scores
from trivium.model.config import (
    Decoder,
    Encoder,
    EncoderDecoder,
    ModelConfig,
    ReadoutConfig,
    StackConfig,
    TransformConfig,
)
from trivium.model.embedding import Embedding
from trivium.model.heads import LanguageHead, LanguageModel, Network, Readout, SequenceToSequence, Transform
from trivium.model.kernels import Kernel, KernelName
from trivium.model.kernels import kernel as named_kernel
from trivium.model.light import Identity
from trivium.model.linear import Linear
from trivium.model.parametrise import written_out
from trivium.model.stack import Stack


def build_network(
    config: ModelConfig, *, kernel: KernelName | None = None, device: torch.device | str | None = None
) -> Network:
    """Return the network, its parameters not yet initialised (see `trivium.model.initialise`).

    Args:
        config: the architecture.
        kernel: the attention kernel; None = see `choose_kernel`.
        device: where to build; "meta" builds without memory, for counting. None = where tensors are made now.

    Raises:
        ConfigError: the kernel cannot compute this architecture, or not there.
    """
    device, config = torch.device(device or torch.get_default_device()), written_out(config)
    if kernel is not None:
        require_kernel(kernel, config, device)
    chosen = named_kernel(kernel or choose_kernel(config, device))
    with device:
        tokens = _build_table(config.vocabulary_size, config.embedding_size or config.hidden_size)
        head = _build_head(config, tokens)
        match config.family:
            case Encoder(stack=stack) | Decoder(stack=stack):
                return LanguageModel(stack=_build_stack(stack, config, tokens, chosen), head=head)
            case EncoderDecoder(encoder=encoder, decoder=decoder):
                return SequenceToSequence(
                    encoder=_build_stack(encoder, config, tokens, chosen),
                    decoder=_build_stack(decoder, config, tokens, chosen),
                    head=head,
                )
            case _:
                assert_never(config.family)


def build_readout(
    config: ReadoutConfig, *, hidden_size: int, num_classes: int, dropout: float, num_places: int = 1
) -> Readout:
    """Return the head of a task, its parameters not yet initialised.

    Args:
        config: what it is made of.
        hidden_size: D.
        num_classes: C.
        dropout: before the projection.
        num_places: P, of whose hidden states it sees those of one answer side by side, [N, P * D].
    """
    size = num_places * hidden_size
    return Readout(
        transform=_build_transform(config.transform, size, size),
        dropout=build_dropout(dropout),
        projection=Linear(size, num_classes, bias=config.bias),
    )


def build_span_head(
    config: ReadoutConfig, *, hidden_size: int, size: int, num_classes: int, max_words: int, dropout: float
) -> SpanHead:
    """Return the head that scores spans of words, its parameters not yet initialised.

    Args:
        config: what is done to the hidden states before all else, and whether there are offsets.
        hidden_size: D.
        size: K, numbers of a first word's and of a last word's vector.
        num_classes: C, that of no span among them.
        max_words: W, words of the longest span.
        dropout: of the hidden states and of the vectors.
    """
    return SpanHead(
        transform=_build_transform(config.transform, hidden_size, hidden_size),
        hidden_size=hidden_size,
        size=size,
        num_classes=num_classes,
        max_words=max_words,
        activation=build_activation("gelu"),
        dropout=build_dropout(dropout),
        bias=config.bias,
    )


def _build_table(rows: int, size: int) -> nn.Embedding:
    # Not drawn: `initialise` or a file fills it, and on the meta device PyTorch's draw takes seconds of imports.
    return nn.Embedding(rows, size, _weight=torch.zeros(rows, size))


def _build_stack(config: StackConfig, model: ModelConfig, tokens: nn.Embedding, kernel: Kernel) -> Stack:
    size = tokens.embedding_dim
    embedding = Embedding(
        tokens=tokens,
        scale=config.embedding.scale,
        positions=build_embedding_positions(config.position, size),
        segments=_build_table(config.embedding.num_segments, size) if config.embedding.num_segments else None,
        norm=build_norm(config.embedding.norm, size),
        dropout=build_dropout(config.embedding.dropout),
        project=Identity() if model.embedding_size is None else Linear(size, model.hidden_size),
    )
    blocks = nn.ModuleList(
        build_block(
            config.block(number),
            position=config.position_of(config.block(number)),
            hidden_size=model.hidden_size,
            kernel=kernel,
            first_norm=config.first_norm or number > 0,
            skipped=config.stochastic_depth * (number + 1) / config.num_blocks,
        )
        for number in range(config.num_blocks)
    )
    return Stack(
        embedding=embedding,
        scores=build_scores(config),
        blocks=blocks,
        order=config.order(),
        final_norm=build_norm(config.final_norm, model.hidden_size),
        final_dropout=build_dropout(config.final_dropout),
    )


def _build_transform(config: TransformConfig | None, hidden_size: int, size: int) -> nn.Module:
    if config is None:
        return Identity()
    return Transform(
        hidden_size=hidden_size,
        size=size,
        bias=config.bias,
        activation=build_activation(config.activation),
        norm=build_norm(config.norm, size),
    )


def _build_head(config: ModelConfig, tokens: nn.Embedding) -> LanguageHead:
    head = config.head
    # A transform ends in the embedding's size, so that the embedding can be the projection.
    size = config.hidden_size if head.transform is None else tokens.embedding_dim
    projection = tokens if head.tied else Linear(size, config.vocabulary_size, bias=False)
    return LanguageHead(
        projection=projection,
        bias=nn.Parameter(torch.zeros(config.vocabulary_size)) if head.bias else None,
        scale=head.scale,
        soft_cap=head.soft_cap,
        transform=_build_transform(head.transform, config.hidden_size, size),
    )
