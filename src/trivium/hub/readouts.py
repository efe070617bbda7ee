"""Heads of tasks that several families have."""

from trivium.hub.family import HeadKind, Readout
from trivium.hub.keymap import Entry
from trivium.model.config import ReadoutConfig, TransformConfig
from trivium.model.parts import Activation


def first_token(name: str, dense: str, last: str, activation: Activation) -> Readout:
    """Return the head of a text that reads its first token through a dense layer.

    Args:
        name: what the architectures' names begin with.
        dense: the name of that layer.
        last: the name of the projection.
        activation: between the two.
    """
    readout = ReadoutConfig(pooling="first", transform=TransformConfig(activation=activation))
    named = (Entry("head.transform.dense", (dense,)), *projection(last))
    return Readout("classify", (f"{name}ForSequenceClassification",), named, lambda tree: readout)


def last_token(name: str) -> Readout:
    """Return the head of a text that reads its last token and has no bias."""
    readout = ReadoutConfig(pooling="last", bias=False)
    return Readout("classify", (f"{name}ForSequenceClassification",), projection("score"), lambda tree: readout)


def words(name: str, *, label: str = "classifier", prefix: str | None = None) -> Readout:
    """Return the head of words that is one projection, called `label`."""
    return _plain("label", f"{name}ForTokenClassification", label, prefix)


def ends(name: str, *, prefix: str | None = None) -> Readout:
    """Return the head of an answer's first and last word that is one projection."""
    return _plain("answer", f"{name}ForQuestionAnswering", "qa_outputs", prefix)


def projection(name: str) -> tuple[Entry, ...]:
    """Return the entries of a head that is one projection."""
    return (Entry("head.projection", (name,)),)


def _plain(kind: HeadKind, model: str, name: str, prefix: str | None) -> Readout:
    return Readout(kind, (model,), projection(name), lambda tree: ReadoutConfig(), prefix=prefix)
