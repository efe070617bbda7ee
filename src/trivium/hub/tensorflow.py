"""The original BERT checkpoints (TensorFlow 1), read without TensorFlow, under Hugging Face's names."""

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from trivium.core.errors import HubError
from trivium.hub.files import read_json
from trivium.hub.tensor_bundle import read_index, read_tensor

_CONFIG = "bert_config.json"
_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
# Dense layers have a `kernel`, to be transposed, and a `bias`.
_DENSE = {
    "bert/pooler/dense": "bert.pooler.dense",
    "cls/predictions/transform/dense": "cls.predictions.transform.dense",
}
_NORM = {
    "bert/embeddings/LayerNorm": "bert.embeddings.LayerNorm",
    "cls/predictions/transform/LayerNorm": "cls.predictions.transform.LayerNorm",
}
_LAYER_DENSE = {
    "attention/self/query",
    "attention/self/key",
    "attention/self/value",
    "attention/output/dense",
    "intermediate/dense",
    "output/dense",
}
_LAYER_NORM = {"attention/output/LayerNorm", "output/LayerNorm"}
_WHOLE = {
    "bert/embeddings/word_embeddings": "bert.embeddings.word_embeddings.weight",
    "bert/embeddings/position_embeddings": "bert.embeddings.position_embeddings.weight",
    "bert/embeddings/token_type_embeddings": "bert.embeddings.token_type_embeddings.weight",
    "cls/predictions/output_bias": "cls.predictions.bias",
    "cls/seq_relationship/output_weights": "cls.seq_relationship.weight",
    "cls/seq_relationship/output_bias": "cls.seq_relationship.bias",
}
# What the optimiser keeps: BERT's own AdamW and LAMB, and tf.train.AdamOptimizer.
_OPTIMISER = re.compile(r"(.+/)?(adam_m|adam_v|Adam|Adam_1|global_step|beta1_power|beta2_power)")
_LAYER = re.compile(r"bert/encoder/layer_(0|[1-9][0-9]*)/(.+)")


def read_tensorflow(prefix: Path) -> dict[str, Tensor]:
    """Read all variables of a TensorFlow 1 checkpoint of the V2 format, by their names, checking every checksum.

    Args:
        prefix: NAME of NAME.index and NAME.data-00000-of-00001; or the .index file; or a folder that has one only.

    Returns:
        Tensors of float32, float16, bfloat16, int32 or int64, as they were saved.

    Raises:
        HubError: there is none; it is damaged, cut short, compressed, in slices, or of other types.
    """
    prefix = _prefix(prefix)
    num_shards, entries = read_index(prefix.with_name(f"{prefix.name}.index"))
    for name, entry in entries.items():
        if entry.shard >= num_shards:
            raise HubError(f"{prefix}.index: `{name}` is in shard {entry.shard} of {num_shards}: it is damaged.")
    return {name: read_tensor(prefix, num_shards, name, entry) for name, entry in entries.items()}


def bert_from_tensorflow(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the variables of google-research/bert under the names of transformers' `BertForPreTraining`.

    Kernels are transposed (views). What the optimiser kept is left out. The decoder's weights are the word embeddings
    and its bias is `cls.predictions.bias`: as in Hugging Face's files, they are there once.

    Raises:
        HubError: a variable is none of BERT's, or a kernel is no matrix.
    """
    result = {}
    for name, tensor in tensors.items():
        if _OPTIMISER.fullmatch(name):
            continue
        if name in _WHOLE:
            result[_WHOLE[name]] = tensor
            continue
        target = _target(name)
        if name.endswith("/kernel"):
            if tensor.ndim != 2:
                raise HubError(f"`{name}`: expected a matrix, found the shape {tuple(tensor.shape)}.")
            tensor = tensor.T
        result[target] = tensor
    return result


def read_bert_config(folder: Path) -> dict[str, Any]:
    """Read bert_config.json as the `config.json` of transformers' `BertForPreTraining`.

    Differs from google-research/bert: `hidden_act` "gelu" is taken as Hugging Face takes it, exactly; their later code
    computes it by the hyperbolic tangent, the early code, and the paper's, exactly.

    Raises:
        HubError: the file is missing or is no JSON object, or one of BERT's sizes is not a positive whole number.
    """
    path = folder / _CONFIG
    config = read_json(path)
    for key in _SIZES:
        value = config.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise HubError(f"{path}: expected a positive whole number for `{key}`, found {value!r}.")
    # The norm's epsilon is no option there: tf.contrib.layers.layer_norm has this one.
    own = {"model_type": "bert", "architectures": ["BertForPreTraining"], "layer_norm_eps": 1e-12}
    return {**config, **own}


def _prefix(path: Path) -> Path:
    if path.is_dir():
        found = sorted(path.glob("*.index"))
        if len(found) != 1:
            names = ", ".join(file.name for file in found[:5]) or "none"
            raise HubError(
                f"{path}: expected one TensorFlow checkpoint (*.index), found {names}; name the one to read."
            )
        return found[0].with_suffix("")
    if path.suffix == ".index":
        return path.with_suffix("")
    if path.is_file():
        raise HubError(f"{path}: expected NAME of NAME.index and NAME.data-00000-of-00001, found a file.")
    return path


def _target(name: str) -> str:
    """Return Hugging Face's name of a weight in a dense layer or a norm."""
    stem, _, leaf = name.rpartition("/")
    dense, norm = _DENSE.get(stem), _NORM.get(stem)
    layer = _LAYER.fullmatch(stem)
    if layer:
        inner = f"bert.encoder.layer.{layer[1]}.{layer[2].replace('/', '.')}"
        dense = inner if layer[2] in _LAYER_DENSE else None
        norm = inner if layer[2] in _LAYER_NORM else None
    if dense and leaf in {"kernel", "bias"}:
        return f"{dense}.{'weight' if leaf == 'kernel' else 'bias'}"
    if norm and leaf in {"gamma", "beta"}:
        return f"{norm}.{'weight' if leaf == 'gamma' else 'bias'}"
    raise HubError(
        f"`{name}`: expected the variables of google-research/bert's pretraining, found one that it has not."
    )
