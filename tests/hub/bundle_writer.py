"""A small writer of TensorFlow's tensor bundles, byte for byte as TensorFlow's Saver writes them; slow and plain."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

NUMBER_OF_TYPE = {torch.float32: 1, torch.int32: 3, torch.int64: 9, torch.bfloat16: 14, torch.float16: 19}
MAGIC = bytes.fromhex("57fb808b247547db")
Row = tuple[bytes, bytes]


def slow_crc32c(data: bytes) -> int:
    """The checksum, a byte at a time."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _table_entry(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


TABLE = [_table_entry(byte) for byte in range(256)]


def masked(data: bytes) -> bytes:
    crc = slow_crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def varint(number: int) -> bytes:
    result = b""
    while number > 127:
        result += bytes([number & 127 | 128])
        number >>= 7
    return result + bytes([number])


def number_field(number: int, value: int) -> bytes:
    """Nothing for 0: so are defaults written."""
    return varint(number << 3) + varint(value) if value else b""


def message_field(number: int, message: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(message)) + message


def header(num_shards: int = 1) -> Row:
    return b"", number_field(1, num_shards) + message_field(3, number_field(1, 1))


def entry(type_number: int, shape: Sequence[int], shard: int, offset: int, content: bytes) -> bytes:
    sizes = b"".join(message_field(2, number_field(1, size)) for size in shape)
    place = number_field(3, shard) + number_field(4, offset) + number_field(5, len(content))
    return number_field(1, type_number) + message_field(2, sizes) + place + b"\x35" + masked(content)


def block(rows: Sequence[Row]) -> bytes:
    result, restarts, last = b"", [0], b""
    for number, (key, value) in enumerate(rows):
        shared = 0
        if number and number % 16 == 0:
            restarts.append(len(result))
        elif number:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        result += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return result + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def table(rows: Sequence[Row], *, rows_a_block: int = 1000, kind: int = 0) -> bytes:
    """The rows as a LevelDB table; `kind` is each block's type byte (0: not compressed)."""
    result, handles = b"", []

    def add(content: bytes) -> bytes:
        nonlocal result
        handle = varint(len(result)) + varint(len(content))
        result += content + bytes([kind]) + masked(content + bytes([kind]))
        return handle

    for start in range(0, len(rows), rows_a_block):
        part = rows[start : start + rows_a_block]
        # Behind the last block stands any key that is not before it: TensorFlow takes the shortest.
        is_last = start + rows_a_block >= len(rows)
        behind = bytes([part[-1][0][0] + 1]) if is_last and part[-1][0] else part[-1][0]
        handles.append((behind, add(block(part))))
    footer = (add(block([])) + add(block(handles))).ljust(40, b"\0") + MAGIC
    return result + footer


def content_of(tensor: Tensor) -> bytes:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def rows_of(tensors: Mapping[str, Tensor], num_shards: int = 1) -> tuple[list[Row], list[bytes]]:
    """The rows of the index and the shards; the tensors go to the shards in turn."""
    rows, shards = [header(num_shards)], [b""] * num_shards
    for number, (name, tensor) in enumerate(sorted(tensors.items(), key=lambda item: item[0].encode())):
        shard, content = number % num_shards, content_of(tensor)
        place = entry(NUMBER_OF_TYPE[tensor.dtype], tensor.shape, shard, len(shards[shard]), content)
        rows.append((name.encode(), place))
        shards[shard] += content
    return rows, shards


def write_bundle(prefix: Path, tensors: Mapping[str, Tensor], *, num_shards: int = 1, rows_a_block: int = 1000) -> None:
    """Write NAME.index and its shards."""
    rows, shards = rows_of(tensors, num_shards)
    prefix.with_name(f"{prefix.name}.index").write_bytes(table(rows, rows_a_block=rows_a_block))
    for number, content in enumerate(shards):
        prefix.with_name(f"{prefix.name}.data-{number:05d}-of-{num_shards:05d}").write_bytes(content)
