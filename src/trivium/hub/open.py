"""A Hugging Face folder, or one of the original BERT's, where a folder of ours is expected."""

from pathlib import Path

from trivium.core.errors import CheckpointError, HubError
from trivium.core.random import Key
from trivium.data.tokenizer import Tokenizer
from trivium.hub.files import read_json
from trivium.hub.folder import CONFIG, HubModel, read_folder, read_model
from trivium.hub.tensorflow import bert_from_tensorflow, read_bert_config, read_tensorflow
from trivium.hub.tokenizers import read_tokenizer
from trivium.hub.weights import hash_weights
from trivium.model.build import build_network
from trivium.model.config import ModelConfig, task_name
from trivium.model.folder import CONFIG as OUR_CONFIG
from trivium.model.folder import SavedModel, load_matching, load_model, load_tensors, unique_tensors
from trivium.model.heads import Network
from trivium.model.history import Made, read_history
from trivium.model.initialise import initialise

TENSORFLOW_CONFIG = "bert_config.json"


def is_foreign(folder: Path) -> bool:
    """Return whether a folder holds a model of transformers or of google-research/bert, and none of ours."""
    if (folder / OUR_CONFIG).is_file():
        return False
    if (folder / TENSORFLOW_CONFIG).is_file():
        return True
    return (folder / CONFIG).is_file() and "model_type" in read_json(folder / CONFIG)


def read_foreign(folder: Path) -> HubModel:
    """Return the model of a folder that `is_foreign`; raise HubError when it cannot be read."""
    if (folder / CONFIG).is_file():
        return read_folder(folder)
    return read_model(read_bert_config(folder), bert_from_tensorflow(read_tensorflow(folder)))


def open_pretrained(folder: Path, *, speaks: bool) -> SavedModel:
    """Open a model folder of ours, or a foreign one, as a pretrained network with its tokenizer.

    Args:
        folder: holds the model.
        speaks: the head over the vocabulary is wanted; else one that the checkpoint lacks is drawn anew.

    Raises:
        CheckpointError, HubError: it is missing, damaged, or has no such head.
    """
    if not is_foreign(folder):
        saved = load_model(folder)
        if speaks and not saved.config.head.trained:
            raise CheckpointError(
                f"{folder}: its objective has not taught it to name tokens where it is asked (`denoise` does not, nor "
                "do hidden tokens named from the place before); fine-tune it."
            )
        return saved
    model = read_foreign(folder)
    if speaks and model.head != "language":
        raise HubError(f"{folder}: a checkpoint without a head over the vocabulary (its head: {model.head}).")
    tokenizer = read_tokenizer(folder)
    require_vocabulary(model.config, tokenizer, str(folder))
    return SavedModel(model.config, network_of(model).eval(), tokenizer.to_bytes())


def history_of(folder: Path, name: str) -> tuple[Made, ...]:
    """Return how the weights of a model folder came to be; of a foreign one, that they were found under this name.

    Args:
        folder: a model folder of ours, or a foreign one.
        name: what its user calls it.

    Raises:
        CheckpointError: the record is damaged.
    """
    if is_foreign(folder):
        return (Made(verb="found", name=name, weights=hash_weights(folder)),)
    return read_history(folder, name)


def require_vocabulary(config: ModelConfig, tokenizer: Tokenizer, name: str) -> None:
    """Raise CheckpointError when a tokenizer has ids for which the model has no row; more rows than ids are usual."""
    if tokenizer.vocabulary_size > config.vocabulary_size:
        raise CheckpointError(
            f"{name}: the tokenizer has {tokenizer.vocabulary_size} ids, the model {config.vocabulary_size}; "
            "they do not belong together."
        )


def network_of(model: HubModel) -> Network:
    """Return the network of a foreign model; what the checkpoint lacks (a head) is drawn anew."""
    network = build_network(model.config)
    if model.head == "language":
        load_tensors(network, model.tensors, model.family)
        return network
    initialise(network, model.config, Key(0))
    tensors = model.tensors
    if model.readout is not None:
        # A task's head has names that the head over the vocabulary has too: only what reads is taken.
        named = {name: task_name(name, model.config, model.readout) for name in unique_tensors(network)}
        tensors = {name: tensors[theirs] for name, theirs in named.items() if theirs is not None}
    load_matching(network, tensors)
    return network
