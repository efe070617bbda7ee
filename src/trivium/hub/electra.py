"""ELECTRA: BERT's stack over embeddings of another size; the generator is a masked language model.

The discriminator's own head, which tells replaced tokens, is left out: what is read of it is the stack, for tasks.
"""

from trivium.hub.bert import body as bert_body
from trivium.hub.bert import read_encoder, write_encoder
from trivium.hub.family import BUFFERS, HubFamily, Names
from trivium.hub.keymap import Entry
from trivium.hub.options import Tree, option, required
from trivium.hub.readouts import ends, first_token, words
from trivium.hub.vocabulary_heads import transformed
from trivium.model.config import ModelConfig


def _read(tree: Tree) -> ModelConfig:
    size = option(tree, "embedding_size", 128)
    projected = None if size == required(tree, "hidden_size") else size
    return read_encoder(tree, embedding_size=projected, head_activation="gelu")


def _write(config: ModelConfig) -> Tree:
    return {**write_encoder(config), "embedding_size": config.embedding_size or config.hidden_size}


def _body(config: ModelConfig) -> Names:
    return Names((*bert_body(config).entries, Entry("stack.embedding.project", ("embeddings_project",))))


def _language(config: ModelConfig) -> Names:
    tokens = "electra.embeddings.word_embeddings"
    return transformed(config, "generator_predictions.", "dense", "LayerNorm", "generator_lm_head", tokens)


ELECTRA = HubFamily(
    model_type="electra",
    read=_read,
    write=_write,
    body=_body,
    language=_language,
    language_models=("ElectraForMaskedLM",),
    base_models=("ElectraModel", "ElectraForPreTraining"),
    prefix="electra.",
    readouts=(
        first_token("Electra", "classifier.dense", "classifier.out_proj", "gelu"),
        words("Electra"),
        ends("Electra"),
    ),
    spare=(*BUFFERS, r"discriminator_predictions\..*"),
)
