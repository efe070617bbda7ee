"""RoBERTa and XLM-RoBERTa: BERT whose positions begin after the padding token's id."""

from trivium.hub.bert import body, read_encoder, write_encoder
from trivium.hub.family import BUFFERS, HubFamily, Names
from trivium.hub.options import Tree, option
from trivium.hub.readouts import ends, first_token, words
from trivium.hub.vocabulary_heads import transformed
from trivium.model.config import ModelConfig
from trivium.model.parts import Learned


def _read(tree: Tree) -> ModelConfig:
    return read_encoder(tree, offset=option(tree, "pad_token_id", 1) + 1, head_activation="gelu")


def _write(config: ModelConfig) -> Tree:
    position = config.stacks()[0].position
    offset = position.offset if isinstance(position, Learned) else 0
    return {**write_encoder(config), "pad_token_id": max(offset - 1, 0)}


def _language(config: ModelConfig) -> Names:
    tokens = "roberta.embeddings.word_embeddings"
    return transformed(config, "lm_head.", "dense", "layer_norm", "lm_head.decoder", tokens, "lm_head")


def _family(model_type: str, name: str) -> HubFamily:
    return HubFamily(
        model_type=model_type,
        read=_read,
        write=_write,
        body=body,
        language=_language,
        language_models=(f"{name}ForMaskedLM",),
        base_models=(f"{name}Model",),
        prefix="roberta.",
        readouts=(
            first_token(name, "classifier.dense", "classifier.out_proj", "tanh"),
            words(name),
            ends(name),
        ),
        spare=(*BUFFERS, r"roberta\.pooler\..*"),
        pad_option=True,
    )


ROBERTA = _family("roberta", "Roberta")
XLM_ROBERTA = _family("xlm-roberta", "XLMRoberta")
