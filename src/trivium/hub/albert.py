"""ALBERT: BERT with factorised embeddings and layers that share their weights.

Differs from Hugging Face in training only: dropout after the feed-forward's output too.
"""

from trivium.core.errors import HubError
from trivium.hub.bert import EMBEDDING, read_encoder, write_encoder
from trivium.hub.family import BUFFERS, HubFamily, Names, block_entries, entries
from trivium.hub.keymap import Entry
from trivium.hub.options import Tree, only, option, required
from trivium.hub.readouts import ends, first_token, words
from trivium.hub.vocabulary_heads import transformed
from trivium.model.config import ModelConfig
from trivium.model.parts import Consecutive, Unshared

_BLOCK = (
    ("attention.branch.qkv", "attention.query attention.key attention.value"),
    ("attention.branch.out", "attention.dense"),
    ("attention.after", "attention.LayerNorm"),
    ("feed_forward.branch.up", "ffn"),
    ("feed_forward.branch.down", "ffn_output"),
    ("feed_forward.after", "full_layer_layer_norm"),
)


def _read(tree: Tree) -> ModelConfig:
    only(tree, inner_group_num=1)
    layers, groups = required(tree, "num_hidden_layers"), option(tree, "num_hidden_groups", 1)
    if layers % groups:
        raise HubError(f"config.json: `num_hidden_groups` must divide `num_hidden_layers`: {groups}, {layers}.")
    defaults = {"hidden_act": "gelu_new", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return read_encoder(
        defaults | {key: value for key, value in tree.items() if value is not None},
        embedding_size=option(tree, "embedding_size", 128),
        sharing=Unshared() if groups == layers else Consecutive(num_blocks=groups),
    )


def _write(config: ModelConfig) -> Tree:
    groups = config.stacks()[0].num_blocks
    size = config.embedding_size or config.hidden_size
    return {**write_encoder(config), "num_hidden_groups": groups, "inner_group_num": 1, "embedding_size": size}


def _body(config: ModelConfig) -> Names:
    (stack,) = config.stacks()
    project = Entry("stack.embedding.project", ("encoder.embedding_hidden_mapping_in",))
    layers = block_entries(stack, "stack", "encoder.albert_layer_groups.{}.albert_layers.0", _BLOCK)
    return Names((*entries("stack.embedding.", "embeddings.", EMBEDDING), project, *layers))


def _language(config: ModelConfig) -> Names:
    tokens = "albert.embeddings.word_embeddings"
    return transformed(config, "predictions.", "dense", "LayerNorm", "predictions.decoder", tokens, "predictions")


ALBERT = HubFamily(
    model_type="albert",
    read=_read,
    write=_write,
    body=_body,
    language=_language,
    language_models=("AlbertForMaskedLM", "AlbertForPreTraining"),
    base_models=("AlbertModel",),
    prefix="albert.",
    readouts=(
        first_token("Albert", "albert.pooler", "classifier", "tanh"),
        words("Albert"),
        ends("Albert"),
    ),
    spare=(*BUFFERS, r"albert\.pooler\..*", r"sop_classifier\..*"),
)
