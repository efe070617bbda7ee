"""DistilBERT: BERT without segments, by names of its own.

Differs from Hugging Face in training only: dropout after the attention's output too.
"""

from trivium.hub.bert import read_encoder, write_encoder
from trivium.hub.family import BUFFERS, HubFamily, Names, block_entries, entries
from trivium.hub.options import Tree, option
from trivium.hub.readouts import ends, first_token, words
from trivium.hub.vocabulary_heads import transformed
from trivium.model.config import ModelConfig

# What BERT calls each option.
_OPTIONS = {
    "vocab_size": "vocab_size",
    "max_position_embeddings": "max_position_embeddings",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "dim": "hidden_size",
    "hidden_dim": "intermediate_size",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "activation": "hidden_act",
    "initializer_range": "initializer_range",
    "tie_word_embeddings": "tie_word_embeddings",
}
_BLOCK = (
    ("attention.branch.qkv", "attention.q_lin attention.k_lin attention.v_lin"),
    ("attention.branch.out", "attention.out_lin"),
    ("attention.after", "sa_layer_norm"),
    ("feed_forward.branch.up", "ffn.lin1"),
    ("feed_forward.branch.down", "ffn.lin2"),
    ("feed_forward.after", "output_layer_norm"),
)
_EMBEDDING = (("tokens", "word_embeddings"), ("positions", "position_embeddings"), ("norm", "LayerNorm"))


def _read(tree: Tree) -> ModelConfig:
    # Sinusoidal positions are tables in the checkpoint too: `sinusoidal_pos_embds` says how they began.
    defaults = {"n_layers": 6, "n_heads": 12, "dim": 768, "hidden_dim": 4 * 768, "vocab_size": 30522}
    renamed = {bert: option(tree, ours, defaults.get(ours)) for ours, bert in _OPTIONS.items()}
    return read_encoder({**tree, **renamed, "layer_norm_eps": 1e-12}, segments=False)


def _write(config: ModelConfig) -> Tree:
    options = write_encoder(config)
    return {ours: options[bert] for ours, bert in _OPTIONS.items()}


def _body(config: ModelConfig) -> Names:
    (stack,) = config.stacks()
    layers = block_entries(stack, "stack", "transformer.layer.{}", _BLOCK)
    return Names((*entries("stack.embedding.", "embeddings.", _EMBEDDING), *layers))


def _language(config: ModelConfig) -> Names:
    tokens = "distilbert.embeddings.word_embeddings"
    return transformed(config, "vocab_", "transform", "layer_norm", "vocab_projector", tokens)


DISTILBERT = HubFamily(
    model_type="distilbert",
    read=_read,
    write=_write,
    body=_body,
    language=_language,
    language_models=("DistilBertForMaskedLM",),
    base_models=("DistilBertModel",),
    prefix="distilbert.",
    readouts=(
        first_token("DistilBert", "pre_classifier", "classifier", "relu"),
        words("DistilBert"),
        ends("DistilBert"),
    ),
    spare=BUFFERS,
)
