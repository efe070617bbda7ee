"""Reversible maps between the names and layouts of a Hugging Face checkpoint and those of our network."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trivium.core.errors import HubError

Tensors = dict[str, Tensor]
Shapes = Mapping[str, torch.Size]


class Layout(NamedTuple):
    """How a stacked parameter lies in the checkpoint; each function undoes the other."""

    to_ours: Callable[[Tensor], Tensor]
    to_theirs: Callable[[Tensor], Tensor]


AS_IS = Layout(lambda tensor: tensor, lambda tensor: tensor)
# A matrix kept the other way round (GPT-2's Conv1D); `t` of a bias is the bias.
TRANSPOSED = Layout(Tensor.t, Tensor.t)


def interleaved(num_heads: int, num_parts: int = 3) -> Layout:
    """Return the layout in which the parts (query, key, value) of one head lie together, head after head."""
    return Layout(
        lambda tensor: _swapped(tensor, num_heads, num_parts),
        lambda tensor: _swapped(tensor, num_parts, num_heads),
    )


def _swapped(tensor: Tensor, outer: int, inner: int) -> Tensor:
    apart = tensor.reshape(outer, inner, -1, *tensor.shape[1:])
    return apart.transpose(0, 1).reshape(tensor.shape)


class Entry(NamedTuple):
    """One module of ours and the modules of theirs whose rows, stacked, make it.

    It stands for each parameter (`weight`, `bias`) that our module has. `rows` are those of each of theirs, none =
    equal shares.
    """

    ours: str
    theirs: tuple[str, ...]
    rows: tuple[int, ...] = ()
    layout: Layout = AS_IS


class Copy(NamedTuple):
    """A parameter that repeats another one.

    Args:
        name: the repeated parameter's key.
        of: the key of what it repeats; where that is missing, the copy stands for it.
        dead: nothing reads it: it need not equal what it repeats, and is written.
    """

    name: str
    of: str
    dead: bool = False


class KeyMap(NamedTuple):
    """All that may be in a checkpoint.

    Args:
        entries: what our network is made of.
        copies: see `Copy`.
        spare: patterns of keys that are known and left out: buffers, heads of other objectives.
        prefix: what the checkpoint of a base model leaves out before the names of its body.
    """

    entries: tuple[Entry, ...]
    copies: tuple[Copy, ...] = ()
    spare: tuple[str, ...] = ()
    prefix: str = ""


def to_ours(keymap: KeyMap, tensors: Tensors, shapes: Shapes) -> Tensors:
    """Return a checkpoint's tensors by our names.

    Args:
        keymap: the family's map.
        tensors: by the checkpoint's names; each is accounted for.
        shapes: the parameters that our network has.

    Raises:
        HubError: keys that are missing, unexpected or of another shape, or copies that are none.
    """
    sources = {name: _theirs(keymap, name) for name in shapes}
    wanted = {key for keys in sources.values() for key in keys}
    found, unexpected = _named(keymap, tensors, wanted)
    found |= {copy.of: found[copy.name] for copy in keymap.copies if copy.name in found and copy.of not in found}
    untied = [
        copy
        for copy in keymap.copies
        if not copy.dead and copy.name in found and copy.of in wanted and not equal(found[copy.name], found[copy.of])
    ]
    result, misshapen = {}, []
    for name, shape in shapes.items():
        entry = _entry(keymap, name)
        for key, part in zip(sources[name], _split(entry, torch.empty(shape, device="meta")), strict=True):
            if key in found and found[key].shape != part.shape:
                misshapen.append(f"{key} {tuple(found[key].shape)} instead of {tuple(part.shape)}")
        if not misshapen and all(key in found for key in sources[name]):
            parts = [found[key] for key in sources[name]]
            result[name] = entry.layout.to_ours(parts[0] if len(parts) == 1 else torch.cat(parts)).contiguous()
    problems = (
        _counted("missing", sorted(wanted - found.keys())),
        _counted("unexpected", unexpected),
        _counted("of another shape", misshapen),
        _counted("untied, though config.json says tied", [f"{copy.name} from {copy.of}" for copy in untied]),
    )
    if any(problems):
        told = "; ".join(problem for problem in problems if problem)
        raise HubError(f"the weights are not those that config.json describes: {told}.")
    return result


def to_theirs(keymap: KeyMap, tensors: Tensors) -> Tensors:
    """Return our tensors by the names of a checkpoint, as transformers saves them: no copies but dead ones."""
    result: Tensors = {}
    for name, tensor in tensors.items():
        for key, part in zip(_theirs(keymap, name), _split(_entry(keymap, name), tensor), strict=True):
            # A clone: parts of one tensor share its memory, which no file can express.
            result[key] = part.clone(memory_format=torch.contiguous_format)
    return result | {copy.name: result[copy.of].clone() for copy in keymap.copies if copy.dead and copy.of in result}


def equal(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are equal to the bit, in type and shape too."""
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)


def _entry(keymap: KeyMap, name: str) -> Entry:
    module = name.rpartition(".")[0]
    for entry in keymap.entries:
        if entry.ours == module:
            return entry
    raise HubError(f"`{name}`: this parameter of ours has no counterpart in the family.")


def _theirs(keymap: KeyMap, name: str) -> tuple[str, ...]:
    kind = name.rpartition(".")[2]
    return tuple(f"{module}.{kind}" for module in _entry(keymap, name).theirs)


def _split(entry: Entry, tensor: Tensor) -> Sequence[Tensor]:
    tensor = entry.layout.to_theirs(tensor)
    if len(entry.theirs) == 1:
        return (tensor,)
    return torch.split(tensor, list(entry.rows) or tensor.shape[0] // len(entry.theirs))


def _named(keymap: KeyMap, tensors: Tensors, wanted: set[str]) -> tuple[Tensors, list[str]]:
    """Return what is known of the checkpoint, by today's full names, and the keys that are not."""
    known = wanted | {copy.name for copy in keymap.copies} | {copy.of for copy in keymap.copies}
    spare = re.compile("|".join(keymap.spare) or r"(?!)")
    found: Tensors = {}
    unexpected = []
    for key, tensor in tensors.items():
        name = _today(key)
        full = name if name in known or spare.fullmatch(name) else keymap.prefix + name
        if full in known and full not in found:
            found[full] = tensor
        elif full in known or not spare.fullmatch(full):
            unexpected.append(key)
    return found, sorted(unexpected)


def _today(key: str) -> str:
    """Return the name of a norm's parameter as it has been since 2019."""
    return re.sub(r"(LayerNorm)\.(gamma|beta)$", lambda match: f"{match[1]}.{_NORM[match[2]]}", key)


_NORM = {"gamma": "weight", "beta": "bias"}


def _counted(what: str, names: Iterable[str]) -> str:
    """Return the first three names and how many more there are, or nothing for no names."""
    names = list(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{what}: {', '.join(names[:3])}{more}" if names else ""
