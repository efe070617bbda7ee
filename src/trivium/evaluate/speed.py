"""How fast a saved model reads on this machine: one text alone, and packed rows."""

from collections.abc import Callable, Sequence
from statistics import median, quantiles
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trivium.core.batch import Batch, read_again
from trivium.core.errors import ConfigError
from trivium.core.layout import TokenLayout, positions_of
from trivium.core.progress import Progress, Silent
from trivium.data.packing import first_fit
from trivium.model.config import DEFAULT_READOUT, Decoder, ModelConfig, ReadoutConfig
from trivium.model.heads import Network

LENGTH, ROWS = 128, 16
# Short turns, many of them: a machine that is busy for a moment then slows every reader.
_ROUNDS, _REPEATS, _PACKED_ROUNDS = 20, 5, 6
_SHORTEST = 16  # tokens, of the texts that packed rows are made of


class Reader(NamedTuple):
    """What is timed: from a batch to the hidden states, or to a task's answers."""

    forward: Callable[[Batch], Tensor]
    config: ModelConfig
    readout: ReadoutConfig = DEFAULT_READOUT  # what reads
    num_places: int = 1  # that each answer is read off


class Speed(NamedTuple):
    """How fast a reader is; a median of several rounds in which all readers took turns."""

    latency_ms: float  # of one text alone in its batch
    latency_p95_ms: float  # one text in twenty takes longer
    tokens_per_second: float  # of packed rows; a token that both stacks read counts once
    length: int  # tokens of the one text, and of each row
    threads: int  # that PyTorch computes with


def network_reader(network: Network, config: ModelConfig) -> Reader:
    """Return what reads text in a pretrained network: its only stack, or the encoder of an encoder-decoder."""
    return Reader(network.reader, config)


def reading_speed(
    readers: Sequence[Reader], *, length: int = LENGTH, rows: int = ROWS, progress: Progress | None = None
) -> list[Speed]:
    """Measure readers side by side, taking turns, so that what else the machine does slows all of them alike.

    Args:
        readers: of loaded networks.
        length: tokens of the one text and of each packed row, at most the shortest `max_length`.
        rows: packed rows a batch, for the throughput.
        progress: shown the rounds.
    """
    longest = min((reader.config.max_length for reader in readers), default=length)
    if not 1 <= length <= longest:
        raise ConfigError(f"speed is measured on texts of 1 to {longest} tokens (the models' length), found {length}.")
    alone, packed = (
        [reading_batch(each.config, lengths, each.readout, num_places=each.num_places) for each in readers]
        for lengths in ([[length]], _packed_lengths(length, rows))
    )
    progress = progress or Silent()
    progress.start("measure speed", _ROUNDS + _PACKED_ROUNDS, "rounds")
    with torch.inference_mode():
        latencies = in_turns(_calls(readers, alone), rounds=_ROUNDS, repeats=_REPEATS, done=progress.advance)
        batches = in_turns(
            _calls(readers, packed),
            rounds=_PACKED_ROUNDS,
            repeats=1,
            done=lambda count: progress.advance(_ROUNDS + count),
        )
    return [
        Speed(
            latency_ms=1000.0 * median(seconds),
            latency_p95_ms=1000.0 * quantiles(seconds, n=20, method="inclusive")[-1],
            tokens_per_second=(batch.source or batch).num_tokens / median(batch_seconds),
            length=length,
            threads=torch.get_num_threads(),
        )
        for seconds, batch_seconds, batch in zip(latencies, batches, packed, strict=True)
    ]


def reading_batch(
    config: ModelConfig,
    lengths: Sequence[Sequence[int]],
    readout: ReadoutConfig = DEFAULT_READOUT,
    *,
    num_places: int = 1,
) -> Batch:
    """Return a batch to read: random tokens, with one answer a text.

    Args:
        config: says how many different tokens there are, and whether texts are read both ways.
        lengths: tokens of the texts in each row; all rows are as long as the longest.
        readout: says which stacks read.
        num_places: that the answer for each text is read off.
    """
    rows, size = len(lengths), max(sum(row) for row in lengths)
    most = max(len(row) for row in lengths)
    document_BL = np.full((rows, size), -1, dtype=np.int32)
    places_BN, weights_BN = np.zeros((rows, most), dtype=np.int64), np.zeros((rows, most), dtype=np.float32)
    for number, row in enumerate(lengths):
        document_BL[number, : sum(row)] = np.repeat(np.arange(len(row)), row)
        places_BN[number, : len(row)] = np.cumsum([0, *row[:-1]])
        weights_BN[number, : len(row)] = 1.0
    tokens_BL = np.random.default_rng(0).integers(0, config.vocabulary_size, (rows, size))
    causal = isinstance(config.family, Decoder)
    layout = TokenLayout.causal if causal else TokenLayout.bidirectional
    batch = Batch(
        tokens_BL=torch.from_numpy(tokens_BL),
        layout=layout(torch.from_numpy(document_BL), torch.from_numpy(positions_of(document_BL))),
        labels_BN=torch.zeros(rows, most, dtype=torch.int64),
        places_BN=torch.from_numpy(places_BN.repeat(num_places, axis=1)),
        weights_BN=torch.from_numpy(weights_BN),
    )
    return read_again(batch, 0) if readout.stack == "writer" else batch


def in_turns(
    calls: Sequence[Callable[[], object]], *, rounds: int, repeats: int, done: Callable[[float], None] | None = None
) -> list[list[float]]:
    """Return the seconds of each call: `rounds` rounds in which each is made once to warm up and `repeats` times timed.

    Args:
        calls: what is timed.
        rounds: how often all of them have their turn, every other round in the opposite order.
        repeats: timed calls a turn.
        done: told how many rounds are done.
    """
    seconds: list[list[float]] = [[] for _ in calls]
    for number in range(rounds):
        order = range(len(calls)) if number % 2 == 0 else reversed(range(len(calls)))
        for place in order:
            calls[place]()
            for _ in range(repeats):
                begun = perf_counter()
                calls[place]()
                seconds[place].append(perf_counter() - begun)
        if done is not None:
            done(number + 1)
    return seconds


def _calls(readers: Sequence[Reader], batches: Sequence[Batch]) -> list[Callable[[], object]]:
    def call(reader: Reader, batch: Batch) -> Callable[[], object]:
        return lambda: reader.forward(batch)

    return [call(reader, batch) for reader, batch in zip(readers, batches, strict=True)]


def _packed_lengths(length: int, rows: int) -> list[list[int]]:
    """Return texts of many lengths, packed into `rows` rows."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(min(_SHORTEST, length), length + 1, size=4 * rows).tolist()
    packed = first_fit(lengths, length)
    # From all over: the first rows hold the longest texts, alone.
    return [[lengths[number] for number in packed[row * len(packed) // rows]] for row in range(rows)]
