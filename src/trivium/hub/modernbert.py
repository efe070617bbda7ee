"""ModernBERT: layers that see all of a text, and layers that see a window of it and turn by another base.

Differs from Hugging Face in training only: `attention_dropout` acts on the attention's weights, not on its output too.
"""

from typing import Any

from trivium.hub.compare import shortest
from trivium.hub.family import BUFFERS, HubFamily, Names, Readout, block_entries, entries
from trivium.hub.keymap import Entry
from trivium.hub.options import (
    FULL,
    SLIDING,
    Tree,
    activation,
    activation_name,
    head_size,
    layer_types,
    normal,
    only,
    option,
    parts,
    required,
    sizes,
    slides,
)
from trivium.hub.readouts import projection
from trivium.hub.rotary import read_rotary, write_rotary
from trivium.hub.vocabulary_heads import transformed
from trivium.model.config import (
    BlockConfig,
    EmbeddingConfig,
    Encoder,
    HeadConfig,
    ModelConfig,
    ReadoutConfig,
    StackConfig,
    TransformConfig,
)
from trivium.model.parts import AttentionConfig, Gated, LayerNormConfig, Rotary

_EMBEDDING = (("tokens", "tok_embeddings"), ("norm", "norm"))
_BLOCK = (
    ("attention.into", "attn_norm"),
    ("attention.branch.qkv", "attn.Wqkv"),
    ("attention.branch.out", "attn.Wo"),
    ("feed_forward.into", "mlp_norm"),
    ("feed_forward.branch.gate_up", "mlp.Wi"),
    ("feed_forward.branch.down", "mlp.Wo"),
)


def _read(tree: Tree) -> ModelConfig:
    only(tree)
    size, num_heads = required(tree, "hidden_size"), required(tree, "num_attention_heads")
    max_length, num_layers = option(tree, "max_position_embeddings", 8192), required(tree, "num_hidden_layers")
    every, norm = option(tree, "global_attn_every_n_layers", 3), _norm(tree)
    sees = layer_types(slides(tree, [layer % every > 0 for layer in range(num_layers)]))
    turns = {kind: _rotary(tree, kind, max_length) for kind in (FULL, SLIDING)}

    def block(kind: str) -> BlockConfig:
        return BlockConfig(
            attention=AttentionConfig(
                num_heads=num_heads,
                num_key_value_heads=num_heads,
                head_size=head_size(size, num_heads),
                bias=option(tree, "attention_bias", False),
                # A token sees `local_attention // 2` places to each side, which are less than one more apart.
                window=option(tree, "local_attention", 128) // 2 + 1 if kind == SLIDING else None,
                dropout=option(tree, "attention_dropout", 0.0),
            ),
            feed_forward=Gated(
                size=required(tree, "intermediate_size"),
                activation=activation(tree, "hidden_activation", "gelu"),
                bias=option(tree, "mlp_bias", False),
                dropout=option(tree, "mlp_dropout", 0.0),
            ),
            norm=norm,
            placement="pre",
            position=None if turns[kind] == turns[sees[0]] else turns[kind],
        )

    stack = StackConfig(
        num_layers=num_layers,
        pattern=shortest(tuple(block(kind) for kind in sees)),
        position=turns[sees[0]],
        embedding=EmbeddingConfig(norm=norm, dropout=option(tree, "embedding_dropout", 0.0)),
        first_norm=False,
        final_norm=norm,
    )
    return ModelConfig(
        vocabulary_size=required(tree, "vocab_size"),
        hidden_size=size,
        max_length=max_length,
        family=Encoder(stack=stack),
        head=HeadConfig(
            tied=option(tree, "tie_word_embeddings", True),
            bias=option(tree, "decoder_bias", True),
            transform=_transform(tree),
        ),
        initialisation=normal(tree),
    )


def _norm(tree: Tree) -> LayerNormConfig:
    return LayerNormConfig(eps=option(tree, "norm_eps", 1e-5), bias=option(tree, "norm_bias", False))


def _transform(tree: Tree) -> TransformConfig:
    return TransformConfig(
        activation=activation(tree, "classifier_activation", "gelu"),
        norm=_norm(tree),
        bias=option(tree, "classifier_bias", False),
    )


def _rotary(tree: Tree, kind: str, max_length: int) -> Rotary:
    own: dict[str, Any] = option(option(tree, "rope_parameters", {}), kind, {})
    turns = option(tree, "global_rope_theta", 160_000.0)
    if kind == SLIDING:
        # Null, where it is there, says that all layers turn alike.
        turns = option(tree, "local_rope_theta", turns if "local_rope_theta" in tree else 10_000.0)
    return read_rotary(
        {"rope_parameters": own, "rope_scaling": tree.get("rope_scaling")}, base=turns, max_length=max_length
    )


def _write(config: ModelConfig) -> Tree:
    stack, block, attention, feed_forward, _ = parts(config)
    layers = [stack.block(number) for number in stack.order()]
    sees = layer_types(layer.attention.window is not None for layer in layers)
    turns = {
        kind: next((stack.position_of(layer) for layer, seen in zip(layers, sees, strict=True) if seen == kind), None)
        for kind in (FULL, SLIDING)
    }
    windows = [layer.attention.window for layer in layers if layer.attention.window is not None]
    head = config.head.transform
    return {
        **sizes(config),
        "hidden_activation": activation_name(feed_forward.activation),
        "max_position_embeddings": config.max_length,
        "norm_eps": block.norm.eps,
        "norm_bias": block.norm.bias,
        "attention_bias": attention.bias,
        "attention_dropout": attention.dropout,
        "mlp_bias": feed_forward.bias,
        "mlp_dropout": feed_forward.dropout,
        "embedding_dropout": stack.embedding.dropout,
        "layer_types": sees,
        "local_attention": 2 * (windows[0] - 1) if windows else 128,
        "rope_parameters": {kind: write_rotary(position or Rotary()) for kind, position in turns.items()},
        "decoder_bias": config.head.bias,
        "classifier_bias": False if head is None else head.bias,
        "classifier_activation": activation_name("gelu" if head is None else head.activation),
    }


def _body(config: ModelConfig) -> Names:
    (stack,) = config.stacks()
    layers = block_entries(stack, "stack", "layers.{}", _BLOCK)
    last = Entry("stack.final_norm", ("final_norm",))
    return Names((*entries("stack.embedding.", "embeddings.", _EMBEDDING), *layers, last))


def _language(config: ModelConfig) -> Names:
    return transformed(config, "head.", "dense", "norm", "decoder", "model.embeddings.tok_embeddings")


def _text(tree: Tree) -> ReadoutConfig:
    mean = option(tree, "classifier_pooling", "cls") == "mean"
    return ReadoutConfig(pooling="mean" if mean else "first", transform=_transform(tree))


def _words(tree: Tree) -> ReadoutConfig:
    return ReadoutConfig(transform=_transform(tree))


def _options(readout: ReadoutConfig) -> Tree:
    transform = readout.transform or TransformConfig(activation="gelu")
    return {
        "classifier_pooling": "mean" if readout.pooling == "mean" else "cls",
        "classifier_activation": activation_name(transform.activation),
        "classifier_bias": transform.bias,
    }


_READOUT = (*entries("head.transform.", "head.", (("dense", "dense"), ("norm", "norm"))), *projection("classifier"))
MODERNBERT = HubFamily(
    model_type="modernbert",
    read=_read,
    write=_write,
    body=_body,
    language=_language,
    language_models=("ModernBertForMaskedLM",),
    base_models=("ModernBertModel",),
    prefix="model.",
    readouts=(
        Readout("classify", ("ModernBertForSequenceClassification",), _READOUT, _text, _options),
        Readout("label", ("ModernBertForTokenClassification",), _READOUT, _words, _options),
        Readout("answer", ("ModernBertForQuestionAnswering",), _READOUT, _words, _options),
    ),
    spare=BUFFERS,
)
