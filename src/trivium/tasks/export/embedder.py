"""What embeds texts, written for sentence-transformers: a model of transformers, and files that say what is after."""

from pathlib import Path

from trivium.core.errors import HubError
from trivium.core.random import Key
from trivium.hub.sentence_folder import write_sentence_files
from trivium.model.build import build_network
from trivium.model.config import DEFAULT_READOUT, EncoderDecoder
from trivium.model.folder import load_tensors, unique_tensors
from trivium.model.heads import LanguageModel, Network, Readout
from trivium.model.initialise import initialise
from trivium.tasks.base import task_model
from trivium.tasks.folder import TunedModel


def reading_network(tuned: TunedModel) -> Network:
    """Return a network that reads as a fine-tuned model does; its head over the vocabulary has learned nothing.

    Raises:
        HubError: it is half of an encoder-decoder, or its projection is more than a matrix.
    """
    if isinstance(tuned.config.family, EncoderDecoder):
        raise HubError("what embeds texts is written of an encoder or a decoder; this model is an encoder-decoder.")
    readout = tuned.task.readout or DEFAULT_READOUT
    if tuned.task.num_outputs and readout.transform is not None:
        raise HubError(
            "the projection has a layer before it (`readout.transform`), and sentence-transformers has none."
        )
    network = build_network(tuned.config)
    if not isinstance(network, LanguageModel):
        raise TypeError(f"expected a network of one stack, found {type(network).__name__}")
    initialise(network, tuned.config, Key(0))
    load_tensors(network.stack, unique_tensors(task_model(tuned.model).reader), "the fine-tuned model")
    return network.eval()


def write_after_reading(folder: Path, tuned: TunedModel) -> None:
    """Write beside a model of transformers what stands for a text, and the projection where there is one."""
    head = task_model(tuned.model).head
    write_sentence_files(
        folder,
        pooling=(tuned.task.readout or DEFAULT_READOUT).pooling,
        size=tuned.config.hidden_size,
        max_length=tuned.reading.row_length,
        projection=unique_tensors(head.projection) if isinstance(head, Readout) else None,
    )
