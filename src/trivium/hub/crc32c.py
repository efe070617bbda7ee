"""CRC-32C (Castagnoli) of large buffers in numpy: what TensorFlow's checkpoints are checked with."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78  # reflected
_MASK_DELTA = 0xA282EAD8
_MAX_COLUMNS = 1 << 12  # more would not fit the processor's cache: each column keeps a line of it
_MIN_ROWS = 64

Words = NDArray[np.uint32]


def masked_crc32c(data: NDArray[np.uint8]) -> int:
    """Return the CRC-32C of the bytes, masked as LevelDB and TensorFlow store it.

    Source: RFC 3720, appendix B.4, for the checksum; LevelDB's util/crc32c.h for the mask.
    """
    crc = _advance(0xFFFFFFFF, data) ^ 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def _advance(register: int, data: NDArray[np.uint8]) -> int:
    """Return the register after the bytes: cut into columns that are read abreast, then folded into one."""
    low, high = _tables()
    while data.size >= 4 * _MIN_ROWS:
        columns = 1 << min(_MAX_COLUMNS.bit_length() - 1, (data.size // (4 * _MIN_ROWS)).bit_length() - 1)
        rows = data.size // (4 * columns)
        words = data[: 4 * rows * columns].view("<u4").reshape(columns, rows)
        registers = np.zeros(columns, dtype=np.uint32)
        registers[0] = register
        for row in range(rows):
            mixed = registers ^ words[:, row]
            registers = low[mixed & 0xFFFF] ^ high[mixed >> 16]
        register = _fold(registers, 4 * rows)
        data = data[4 * rows * columns :]
    for byte in data.tolist():
        register = int(_byte_table()[(register ^ byte) & 0xFF]) ^ (register >> 8)
    return register


def _fold(registers: Words, num_bytes: int) -> int:
    """Return the register after all columns, each of so many bytes, one behind the other.

    The register is linear in what came before: that of two columns is the first's, moved on over as many zeros as the
    second has bytes, plus the second's.
    """
    over = _zeros(num_bytes)
    while registers.size > 1:
        registers = _apply(over, registers[0::2]) ^ registers[1::2]
        over = _apply(over, over)
    return int(registers[0])


def _zeros(num_bytes: int) -> Words:
    """Return how each of the register's 32 bits moves on over so many zero bytes (a matrix over GF(2), by columns)."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    power = _byte_table()[bits & 0xFF] ^ (bits >> 8)
    result = bits
    while num_bytes:
        if num_bytes & 1:
            result = _apply(power, result)
        power = _apply(power, power)
        num_bytes >>= 1
    return result


def _apply(matrix: Words, registers: Words) -> Words:
    result = np.zeros_like(registers)
    for bit in range(32):
        result ^= ((registers >> np.uint32(bit)) & np.uint32(1)) * matrix[bit]
    return result


@cache
def _byte_table() -> Words:
    table: Words = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ (table & np.uint32(1)) * np.uint32(_POLYNOMIAL)
    return table


@cache
def _tables() -> tuple[Words, Words]:
    """Return what the lower and the upper 16 bits of the mixed register become after four bytes."""
    halves: Words = np.arange(1 << 16, dtype=np.uint32)
    over = _zeros(4)
    return _apply(over, halves), _apply(over, halves << np.uint32(16))
