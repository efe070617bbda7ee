"""EuroBERT: Llama's layers that read both ways; what the `encoder-*` presets are written as."""

from trivium.core.errors import HubError
from trivium.hub.family import BUFFERS, HubFamily, Readout
from trivium.hub.keymap import Entry
from trivium.hub.llama import modern_body, modern_language, read_modern, write_modern
from trivium.hub.options import Tree, option
from trivium.hub.readouts import projection, words
from trivium.model.config import Encoder, HeadConfig, ModelConfig, ReadoutConfig, TransformConfig

_POOLING = {"bos": "first", "mean": "mean"}


def _read(tree: Tree) -> ModelConfig:
    config = read_modern(tree, eps=1e-5, max_length=8192)
    # The head's bias goes with those of the feed-forwards there.
    head = HeadConfig(tied=config.head.tied, bias=option(tree, "mlp_bias", False))
    return config.model_copy(update={"family": Encoder(stack=config.stacks()[0]), "head": head})


def _text(tree: Tree) -> ReadoutConfig:
    pooling = option(tree, "classifier_pooling", "late")
    if pooling not in _POOLING:
        raise HubError(
            f"config.json: `classifier_pooling` {pooling!r} is not supported: it takes the mean of what the dense "
            "layer gives for each token; expected `bos` or `mean`."
        )
    return ReadoutConfig.model_validate({"pooling": _POOLING[pooling], "transform": TransformConfig(activation="gelu")})


def _options(readout: ReadoutConfig) -> Tree:
    return {"classifier_pooling": "mean" if readout.pooling == "mean" else "bos"}


EUROBERT = HubFamily(
    model_type="eurobert",
    read=_read,
    write=write_modern,
    body=modern_body,
    language=modern_language,
    language_models=("EuroBertForMaskedLM",),
    base_models=("EuroBertModel",),
    prefix="model.",
    readouts=(
        Readout(
            "classify",
            ("EuroBertForSequenceClassification",),
            (Entry("head.transform.dense", ("dense",)), *projection("classifier")),
            _text,
            _options,
        ),
        words("EuroBert"),
    ),
    spare=BUFFERS,
)
