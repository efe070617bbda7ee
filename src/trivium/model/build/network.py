"""Stacks, heads and whole networks from their configuration."""

from typing import assert_never

import torch
from torch import nn

from trivium.model.build.block import build_block, build_dropout
from trivium.model.build.feed_forward import build_activation
from trivium.model.build.norm import build_norm
from trivium.model.build.position import build_position
from trivium.model.config import Decoder, Encoder, EncoderDecoder, ModelConfig, StackConfig
from trivium.model.embedding import Embedding
from trivium.model.heads import LanguageHead, LanguageModel, Network, SequenceToSequence, Transform
from trivium.model.kernels import Kernel, KernelName, default_kernel
from trivium.model.kernels import kernel as named_kernel
from trivium.model.stack import Stack


def build_network(
    config: ModelConfig, *, kernel: KernelName | None = None, device: torch.device | str = "cpu"
) -> Network:
    """Return the network, its parameters not yet initialised (see `trivium.model.initialise`).

    Args:
        config: the architecture.
        kernel: the attention kernel; None = the one that measured fastest for the device.
        device: where to build; "meta" builds without memory, for counting.
    """
    device = torch.device(device)
    chosen = named_kernel(kernel or default_kernel(device))
    with device:
        tokens = nn.Embedding(config.vocabulary_size, config.hidden_size)
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


def _build_stack(config: StackConfig, model: ModelConfig, tokens: nn.Embedding, kernel: Kernel) -> Stack:
    size = model.hidden_size
    position = build_position(config, size)
    embedding = Embedding(
        tokens=tokens,
        positions=position.embedding,
        segments=nn.Embedding(config.num_segments, size) if config.num_segments else None,
        norm=build_norm(config.embedding_norm, size),
        dropout=build_dropout(config.embedding_dropout),
    )
    return Stack(
        embedding=embedding,
        rotary=position.rotary,
        scores=position.scores,
        blocks=nn.ModuleList(build_block(config.block(i), size, kernel) for i in range(config.num_layers)),
        final_norm=build_norm(config.final_norm, size),
    )


def _build_head(config: ModelConfig, tokens: nn.Embedding) -> LanguageHead:
    head = config.head
    transform: nn.Module = nn.Identity()
    if head.transform is not None:
        transform = Transform(
            hidden_size=config.hidden_size,
            activation=build_activation(head.transform.activation),
            norm=build_norm(head.transform.norm, config.hidden_size),
        )
    projection = tokens if head.tied else nn.Linear(config.hidden_size, config.vocabulary_size, bias=False)
    bias = nn.Parameter(torch.zeros(config.vocabulary_size)) if head.bias else None
    return LanguageHead(projection=projection, bias=bias, scale=head.scale, transform=transform)
