"""What a family of Hugging Face models is: options both ways, and names both ways, as a value."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

from trivium.hub.keymap import AS_IS, Copy, Entry, KeyMap, Layout
from trivium.hub.options import Tree
from trivium.model.build import build_network
from trivium.model.config import ModelConfig, ReadoutConfig, StackConfig, task_name

HeadKind = Literal["language", "classify", "label", "answer", "none"]
# Buffers that old versions saved.
BUFFERS = (r".*\.position_ids", r".*\.token_type_ids", r".*rotary_emb\.inv_freq")


class Names(NamedTuple):
    """Entries of a body or a head, and the copies beside them."""

    entries: tuple[Entry, ...] = ()
    copies: tuple[Copy, ...] = ()


class Readout(NamedTuple):
    """A head of a task.

    Args:
        kind: what it answers.
        models: the architectures that have it; the first is written.
        entries: its modules, by their full names.
        read: its configuration, from the options of config.json.
        write: the options that say so; `read` of them gives the configuration back.
        prefix: what the body's names begin with, where it is not the family's.
    """

    kind: HeadKind
    models: tuple[str, ...]
    entries: tuple[Entry, ...]
    read: Callable[[Tree], ReadoutConfig]
    write: Callable[[ReadoutConfig], Tree] = lambda readout: {}
    prefix: str | None = None


@dataclass(frozen=True)
class HubFamily:
    """A family of models.

    Args:
        model_type: as in config.json.
        read: options to our configuration; raises HubError for what we do not have.
        write: our configuration to options; of another family's, the nearest there is.
        body: names below the prefix, of the stacks.
        language: full names, of the language head.
        language_models: architectures with a language head; the first is written.
        base_models: architectures with a body only.
        prefix: what the body's names begin with when there is a head.
        readouts: heads of tasks.
        spare: patterns of keys that are known and left out.
        tied_by_weights: the weights, not config.json, say whether the head is tied.
        pad_option: the options fix the id of the padding token (RoBERTa's positions begin after it).
    """

    model_type: str
    read: Callable[[Tree], ModelConfig]
    write: Callable[[ModelConfig], Tree]
    body: Callable[[ModelConfig], Names]
    language: Callable[[ModelConfig], Names]
    language_models: tuple[str, ...]
    base_models: tuple[str, ...]
    prefix: str = ""
    readouts: tuple[Readout, ...] = ()
    spare: tuple[str, ...] = BUFFERS
    tied_by_weights: bool = False
    pad_option: bool = False

    def readout(self, kind: HeadKind) -> Readout | None:
        """Return the head of a task, None where the family has none."""
        return next((readout for readout in self.readouts if readout.kind == kind), None)

    def keymap(self, config: ModelConfig, kind: HeadKind, read: ReadoutConfig | None = None) -> KeyMap:
        """Return the map of a model with one kind of head; `read` is that of a task."""
        body, readout = self.body(config), self.readout(kind)
        prefix = self.prefix if readout is None or readout.prefix is None else readout.prefix
        head = self.language(config) if kind == "language" else Names(() if readout is None else readout.entries)
        entries = [entry._replace(theirs=tuple(prefix + name for name in entry.theirs)) for entry in body.entries]
        if read is not None:
            # What does not read keeps its name: no parameter of the task's network has it.
            entries = [entry._replace(ours=task_name(entry.ours, config, read) or entry.ours) for entry in entries]
        copies = [copy._replace(name=prefix + copy.name, of=prefix + copy.of) for copy in body.copies]
        return KeyMap((*entries, *head.entries), (*copies, *head.copies), self.spare, prefix)


def network_shapes(config: ModelConfig) -> dict[str, torch.Size]:
    """Return the parameters of a network with its language head."""
    network = build_network(config, device="meta")
    return {name: parameter.shape for name, parameter in network.named_parameters()}


def body_shapes(config: ModelConfig) -> dict[str, torch.Size]:
    """Return the parameters of a network without its head."""
    return {name: shape for name, shape in network_shapes(config).items() if not name.startswith("head.")}


def task_shapes(config: ModelConfig, readout: ReadoutConfig, num_classes: int) -> dict[str, torch.Size]:
    """Return the parameters of what reads for a task and of its head."""
    size, transform = config.hidden_size, readout.transform
    shapes = {
        own: shape
        for name, shape in network_shapes(config).items()
        if (own := task_name(name, config, readout)) is not None
    }
    if transform is not None:
        shapes["head.transform.dense.weight"] = torch.Size((size, size))
        if transform.bias:
            shapes["head.transform.dense.bias"] = torch.Size((size,))
        for kind in ("weight", "bias"):
            if transform.norm is not None and getattr(transform.norm, kind):
                shapes[f"head.transform.norm.{kind}"] = torch.Size((size,))
    shapes["head.projection.weight"] = torch.Size((num_classes, size))
    if readout.bias:
        shapes["head.projection.bias"] = torch.Size((num_classes,))
    return shapes


def entries(ours: str, theirs: str, pairs: tuple[tuple[str, str], ...], layout: Layout = AS_IS) -> list[Entry]:
    """Return an entry for each pair of module names below `ours` and `theirs`."""
    return [Entry(ours + one, (theirs + other,), (), layout) for one, other in pairs]


def block_entries(
    stack: StackConfig, ours: str, theirs: str, pairs: tuple[tuple[str, str], ...], layout: Layout = AS_IS
) -> list[Entry]:
    """Return the entries of all blocks.

    Args:
        stack: the stack whose blocks they are.
        ours: our name of the stack.
        theirs: their name of a block, `{}` for its number.
        pairs: module names below a block; several of theirs are parted by spaces and stacked in this order.
        layout: that of what is a matrix in the block: all but the norms, whose vectors are the same in every layout.
    """
    result = []
    for number in range(stack.num_blocks):
        attention = stack.block(number).attention
        groups = attention.num_key_value_heads * attention.head_size
        for one, other in pairs:
            names = tuple(f"{theirs.format(number)}.{name}" for name in other.split())
            rows = (attention.num_heads * attention.head_size, groups, groups)
            result.append(Entry(f"{ours}.blocks.{number}.{one}", names, rows if len(names) == 3 else (), layout))
    return result
