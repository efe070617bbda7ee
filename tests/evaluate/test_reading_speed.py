"""Speed: what is timed, in which order, and what is made of it."""

import itertools
from time import sleep

import pytest
import torch

from support import tiny
from trivium.core.batch import Batch
from trivium.core.errors import ConfigError
from trivium.evaluate import speed
from trivium.evaluate.speed import Reader, in_turns, network_reader, reading_batch, reading_speed
from trivium.model.build import build_network
from trivium.model.config import Decoder, ReadoutConfig
from trivium.tasks.base import reading_part


@pytest.mark.parametrize("family", ["encoder", "decoder", "encoder_decoder"])
def test_a_reading_batch_is_read_as_its_family_reads(family: str) -> None:
    config = tiny(family)
    batch = reading_batch(config, [[3, 4], [6]])
    assert batch.tokens_BL.shape == (2, 7) and batch.num_tokens == 13
    assert int(batch.tokens_BL.max()) < config.vocabulary_size
    assert batch.layout.document_BL.tolist() == [[0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, -1]]
    assert batch.layout.position_BL[0].tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert batch.places_BN.tolist() == [[0, 3], [0, 0]] and batch.weights_BN.tolist() == [[1, 1], [1, 0]]
    assert batch.layout.kind == ("past" if isinstance(config.family, Decoder) else "all")
    hidden_BLD = network_reader(build_network(config), config).forward(batch)
    assert hidden_BLD.shape == (2, 7, config.hidden_size)


def test_a_reading_batch_for_both_stacks_has_the_text_for_each_and_its_tokens_count_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, readout = tiny("encoder_decoder"), ReadoutConfig(stack="writer")
    batch, plain = reading_batch(config, [[3, 4], [6]], readout), reading_batch(config, [[3, 4], [6]])
    assert batch.source is not None and torch.equal(batch.source.tokens_BL, plain.tokens_BL)
    assert (batch.layout.kind, batch.source.layout.kind, batch.num_tokens) == ("past", "all", 2 * plain.num_tokens)
    hidden_BLD = reading_part(build_network(config), readout)(batch)
    assert hidden_BLD.shape == (2, 7, config.hidden_size)

    # Every call takes a second.
    monkeypatch.setattr(speed, "in_turns", lambda calls, **how: [[1.0, 1.0]] * len(calls))
    readers = [Reader(lambda batch: batch.tokens_BL, config, each) for each in (ReadoutConfig(), readout)]
    plain_speed, again_speed = reading_speed(readers, length=16, rows=2)
    assert again_speed.tokens_per_second == plain_speed.tokens_per_second > 16


def test_calls_take_turns() -> None:
    made: list[int] = []
    rounds: list[float] = []
    seconds = in_turns([lambda: made.append(0), lambda: made.append(1)], rounds=3, repeats=2, done=rounds.append)
    assert made == [0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1]  # each once to warm up, twice timed
    assert [len(each) for each in seconds] == [6, 6]
    assert rounds == [1, 2, 3]


def test_the_slower_reader_is_slower() -> None:
    config = tiny("encoder")

    def slow(batch: Batch) -> torch.Tensor:
        sleep(0.004)
        return batch.tokens_BL

    def quick(batch: Batch) -> torch.Tensor:
        sleep(0.001)
        return batch.tokens_BL

    first, second = reading_speed([Reader(slow, config), Reader(quick, config)], length=16, rows=2)
    assert first.latency_ms > 4 and second.latency_ms > 1
    assert first.latency_ms > second.latency_ms and first.tokens_per_second < second.tokens_per_second
    assert first.latency_p95_ms >= first.latency_ms
    assert first.length == 16 and first.threads == torch.get_num_threads()
    # 2 rows of at most 16 tokens in at least 4 ms
    assert first.tokens_per_second <= 32 / 0.004


def test_nothing_is_learned_while_measuring() -> None:
    config = tiny("decoder")
    modes: list[bool] = []

    def forward(batch: Batch) -> torch.Tensor:
        modes.append(torch.is_inference_mode_enabled())
        return batch.tokens_BL

    reading_speed([Reader(forward, config)], length=8, rows=1)
    assert modes and all(modes)


def test_rows_longer_than_the_model_are_refused() -> None:
    readers = [Reader(lambda batch: batch.tokens_BL, tiny(family)) for family in ("encoder", "decoder")]
    longest = readers[0].config.max_length
    for length in (0, longest + 1):
        with pytest.raises(ConfigError, match=f"1 to {longest} tokens"):
            reading_speed(readers, length=length)


def test_packed_rows_are_full() -> None:
    config = tiny("encoder")
    seen: list[Batch] = []

    def forward(batch: Batch) -> torch.Tensor:
        seen.append(batch)
        return batch.tokens_BL

    reading_speed([Reader(forward, config)], length=64, rows=8)
    alone, packed = seen[0], seen[-1]
    assert alone.tokens_BL.shape == (1, 64)
    assert packed.tokens_BL.shape[0] == 8 and packed.num_tokens > 0.75 * 8 * 64
    documents = packed.layout.document_BL.tolist()
    assert sum(len(set(row) - {-1}) > 1 for row in documents) >= 3
    assert all(a <= b or b == -1 for row in documents for a, b in itertools.pairwise(row))
