"""TensorFlow's tensor bundles, read without TensorFlow: an index in LevelDB's table format beside shards of raw bytes.

Source: LevelDB's doc/table_format.md; TensorFlow's core/util/tensor_bundle and core/protobuf/tensor_bundle.proto.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trivium.core.errors import HubError
from trivium.hub.crc32c import masked_crc32c
from trivium.hub.files import one_line, require_file

_FOOTER_BYTES, _TRAILER_BYTES = 48, 5
_MAGIC = 0xDB4775248B80FB57
_TYPES = {1: torch.float32, 3: torch.int32, 9: torch.int64, 14: torch.bfloat16, 19: torch.float16}
_OTHER_TYPES = {
    2: "float64",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    8: "complex64",
    10: "bool",
    13: "resource",
}
# Of TensorFlow 2's checkpoints, which name variables by their way through Python's objects.
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"

Field = tuple[int, int | bytes]


class Entry(NamedTuple):
    """Where a tensor lies (bytes `offset` to `offset + size` of a shard), and what it is."""

    type_number: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    masked_crc: int


class Index(NamedTuple):
    """What an index says: into how many shards the tensors are cut, and where each lies, in the order of names."""

    num_shards: int
    entries: dict[str, Entry]


def read_index(path: Path) -> Index:
    """Read NAME.index; raise HubError when it is damaged, compressed, or says what is not read here."""
    require_file(path)
    try:
        rows = list(_table(path.read_bytes()))
        if not rows or rows[0][0] != b"":
            raise ValueError("it has no header")
        num_shards = _header(rows[0][1])
        entries = {_name(key): _entry(_name(key), value) for key, value in rows[1:]}
    except OSError as error:
        raise HubError(f"{path}: cannot be read: {one_line(error)}.") from None
    except ValueError as error:
        raise HubError(f"{path}: expected the index of a TensorFlow checkpoint, but {one_line(error)}.") from None
    if not entries:
        raise HubError(f"{path}: expected variables, found a checkpoint without any.")
    return Index(num_shards, entries)


def read_tensor(prefix: Path, num_shards: int, name: str, entry: Entry) -> Tensor:
    """Read one tensor of the checkpoint NAME; raise HubError when its bytes are missing or are not what was written."""
    path = prefix.with_name(f"{prefix.name}.data-{entry.shard:05d}-of-{num_shards:05d}")
    kind = _TYPES.get(entry.type_number)
    if kind is None:
        found = _OTHER_TYPES.get(entry.type_number, f"type {entry.type_number}")
        raise HubError(f"{prefix}.index: `{name}` should be float32, float16, bfloat16, int32 or int64, found {found}.")
    if entry.size != math.prod(entry.shape) * kind.itemsize:
        raise HubError(f"{prefix}.index: `{name}` of shape {entry.shape} does not fit its {entry.size} bytes.")
    require_file(path)
    try:
        # Asked first: numpy would make room for as much as a damaged index says.
        there = max(0, path.stat().st_size - entry.offset)
        data = np.fromfile(path, dtype=np.uint8, count=min(entry.size, there), offset=entry.offset)
    except OSError as error:
        raise HubError(f"{path}: cannot be read: {one_line(error)}.") from None
    if data.size != entry.size:
        raise HubError(f"{path}: cut short: `{name}` should have {entry.size} bytes, found {data.size}.")
    if masked_crc32c(data) != entry.masked_crc:
        raise HubError(f"{path}: damaged: `{name}` is not what was written (its checksum differs).")
    # No bytes have no stride to view them by.
    return (
        torch.from_numpy(data).view(kind).reshape(entry.shape) if entry.size else torch.empty(entry.shape, dtype=kind)
    )


# The table -----------------------------------------------------------------------------------------------------------


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows of a LevelDB table, in the order of their keys; raise ValueError when it is none or is damaged."""
    footer = data[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise ValueError("the magic number at its end is not there: it is cut short or another kind of file")
    _, place = _handle(footer, 0)  # of the meta index, which TensorFlow leaves empty
    (offset, size), _ = _handle(footer, place)
    last: bytes | None = None
    for _, handle in _rows(_block(data, offset, size)):
        for key, value in _rows(_block(data, *_handle(handle, 0)[0])):
            if last is not None and key <= last:
                raise ValueError("its keys are out of order")
            last = key
            yield key, value


def _block(data: bytes, offset: int, size: int) -> bytes:
    stop = offset + size
    if stop + _TRAILER_BYTES > len(data) - _FOOTER_BYTES:
        raise ValueError(f"a block ends at byte {stop + _TRAILER_BYTES}, which it does not have: it is cut short")
    if masked_crc32c(np.frombuffer(data, np.uint8, size + 1, offset)) != struct.unpack_from("<I", data, stop + 1)[0]:
        raise ValueError(f"the block at byte {offset} is damaged: its checksum differs")
    if data[stop]:
        raise ValueError(f"it is compressed (type {data[stop]}), which is not read: save it again uncompressed")
    return data[offset:stop]


def _rows(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys, each cut by what it has in common with the one before, and values; skip the restart points."""
    num_restarts = struct.unpack("<I", block[-4:])[0] if len(block) >= 4 else 0
    stop = len(block) - 4 * (num_restarts + 1)
    if not num_restarts or stop < 0:
        raise ValueError("a block has no restart points: it is damaged")
    key, place = b"", 0
    while place < stop:
        shared, place = _varint(block, place)
        rest, place = _varint(block, place)
        length, place = _varint(block, place)
        if shared > len(key) or place + rest + length > stop:
            raise ValueError("a row goes beyond its block: it is damaged")
        key = key[:shared] + block[place : place + rest]
        yield key, block[place + rest : place + rest + length]
        place += rest + length


def _handle(data: bytes, place: int) -> tuple[tuple[int, int], int]:
    """Return offset and size of a block, and the place behind them."""
    offset, place = _varint(data, place)
    size, place = _varint(data, place)
    return (offset, size), place


# The messages --------------------------------------------------------------------------------------------------------


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Return the number of seven bits a byte at `place`, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        value |= (data[place] & 0x7F) << shift
        place += 1
        if data[place - 1] < 0x80:
            return value, place
    raise ValueError("a number in it does not end: it is damaged")


def _fields(data: bytes) -> Iterator[Field]:
    """Yield number and value of each field of a Protocol Buffers message, by the wire format alone."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        value: int | bytes
        match tag & 7:
            case 0:
                value, place = _varint(data, place)
            case 1 | 2 | 5 as wire:
                length = {1: 8, 5: 4}.get(wire, 0)
                if wire == 2:
                    length, place = _varint(data, place)
                if place + length > len(data):
                    raise ValueError("a field goes beyond its message: it is damaged")
                raw = data[place : place + length]
                value = raw if wire == 2 else int.from_bytes(raw, "little")
                place += length
            case wire:
                raise ValueError(f"a field is of wire type {wire}, which there is not: it is damaged")
        yield tag >> 3, value


def _number(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("a message is where a number should be: it is damaged")
    return value


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number is where a message should be: it is damaged")
    return value


def _header(data: bytes) -> int:
    """Return the number of shards that a BundleHeaderProto tells."""
    num_shards = 0
    for number, value in _fields(data):
        match number:
            case 1:
                num_shards = _number(value)
            case 2 if value:
                raise ValueError("its numbers are big-endian, which is not read")
    if not 1 <= num_shards < 100_000:
        raise ValueError(f"it says that there are {num_shards} shards: it is damaged")
    return num_shards


def _name(key: bytes) -> str:
    # TensorFlow writes a slice under a key of its own kind, which begins so.
    if key.startswith(b"\0"):
        raise ValueError("a variable is saved in slices (partitioned), which is not read: save it whole")
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise ValueError(f"the name {key!r} is not UTF-8: it is damaged") from None


def _entry(name: str, data: bytes) -> Entry:
    """Return what a BundleEntryProto tells."""
    if name == _OBJECT_GRAPH:
        raise ValueError("it is of TensorFlow 2's objects, not of TensorFlow 1's named variables")
    numbers = {1: 0, 3: 0, 4: 0, 5: 0, 6: 0}
    shape: tuple[int, ...] = ()
    for number, value in _fields(data):
        if number in numbers:
            numbers[number] = _number(value)
        elif number == 2:
            shape = _shape(name, _message(value))
        elif number == 7:
            raise ValueError(f"`{name}` is saved in slices (partitioned), which is not read: save it whole")
    return Entry(numbers[1], shape, numbers[3], numbers[4], numbers[5], numbers[6])


def _shape(name: str, data: bytes) -> tuple[int, ...]:
    """Return the sizes that a TensorShapeProto tells."""
    sizes = []
    for number, value in _fields(data):
        if number == 2:
            dimension = dict(_fields(_message(value)))
            sizes.append(_number(dimension.get(1, 0)))
        elif number == 3 and value:
            raise ValueError(f"`{name}` has no shape: it is damaged")
    if any(size >= 1 << 63 for size in sizes):
        raise ValueError(f"`{name}` has a negative size: it is damaged")
    return tuple(sizes)
