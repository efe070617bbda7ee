"""Shards: what was written is what is read, and damage is found before it is read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trivium.core.errors import DataError
from trivium.data.manifest import DroppedEntry, Ledger
from trivium.data.shards import DataWriter, PreparedData, ShardWriter, Split
from trivium.data.tokenizer import Tokenizer
from trivium.data.words import WORD_BIT

LEDGER = Ledger(documents_in=3, bytes_in=30, kept_documents=2, kept_bytes=20, dropped={})


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["some text"], "bpe", 400)


def documents(count: int, seed: int, vocabulary_size: int = 360) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 50, count)
    return [(rng.integers(106, vocabulary_size, n), rng.integers(0, 4, n).astype(np.uint8)) for n in lengths]


def make(folder: Path, tokenizer: Tokenizer, *, max_shard_tokens: int = 200, seed: int = 0) -> PreparedData:
    folder.mkdir()
    with DataWriter(folder, tokenizer, max_shard_tokens=max_shard_tokens) as writer:
        for split, count in (("validation", 7), ("train", 60)):
            for tokens, bits in documents(count, seed):
                writer.add(split, tokens, bits, np.array([len(tokens)]), 2 * len(tokens))
        writer.finish(ledger=LEDGER, lossless=True, boundary="line")
    return PreparedData.open(folder)


def test_documents_come_back_from_any_shard(tmp_path: Path, tokenizer: Tokenizer) -> None:
    data = make(tmp_path / "data", tokenizer)
    split = data.split("train")
    written = documents(60, 0)
    assert len(data.manifest.splits["train"].shards) > 3
    assert split.num_documents == 60
    assert split.num_bytes == sum(2 * len(tokens) for tokens, _ in written)
    assert split.num_tokens == sum(len(tokens) + 2 for tokens, _ in written) == int(split.lengths_S.sum())
    assert split.lengths_S.dtype == np.int64
    assert split.lengths_S.tolist() == [len(tokens) + 2 for tokens, _ in written]
    rng = np.random.default_rng(1)
    for number, (stored, (tokens, bits)) in enumerate(zip(split.documents(), written, strict=True)):
        whole = np.array([tokenizer.special.bos, *tokens, tokenizer.special.eos])
        np.testing.assert_array_equal(stored, whole)
        start, stop = np.sort(rng.integers(0, len(whole) + 1, 2)).tolist()
        read_tokens, read_bits = split.read(number, start, stop)
        assert read_tokens.dtype == np.dtype("<u2")
        np.testing.assert_array_equal(read_tokens, whole[start:stop])
        np.testing.assert_array_equal(read_bits, np.array([WORD_BIT, *bits, WORD_BIT])[start:stop])
    for wrong in ((60, 0, 1), (-1, 0, 1), (0, 0, int(split.lengths_S[0]) + 1), (0, -1, 0), (0, 2, 1)):
        with pytest.raises(IndexError):
            split.read(*wrong)
    data.verify()


def test_large_vocabularies_take_four_bytes(tmp_path: Path) -> None:
    for vocabulary_size, dtype in ((65_535, "<u2"), (65_536, "<u4"), (250_000, "<u4")):
        folder = tmp_path / str(vocabulary_size)
        writer = ShardWriter(folder, vocabulary_size=vocabulary_size)
        tokens = np.array([0, 300, vocabulary_size - 1])
        writer.add(tokens, np.zeros(3, dtype=np.uint8), np.array([3]), 9)
        split = Split("train", folder, writer.close(), vocabulary_size)
        assert split.read(0, 0, 3)[0].tolist() == tokens.tolist()
        assert split.read(0, 0, 3)[0].dtype == np.dtype(dtype)
        assert (folder / "000.tokens").stat().st_size == 3 * np.dtype(dtype).itemsize


def test_the_writer_holds_no_documents_and_refuses_uneven_ones(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "train", vocabulary_size=1000, max_shard_tokens=10)
    with pytest.raises(ValueError, match="differ in length"):
        writer.add(np.zeros(3), np.zeros(2, dtype=np.uint8), np.array([3]), 1)
    for _ in range(4):
        writer.add(np.zeros(5), np.zeros(5, dtype=np.uint8), np.array([5]), 1)
    assert [shard.documents for shard in writer.close().shards] == [2, 2]


def test_the_fingerprint_names_the_content(tmp_path: Path, tokenizer: Tokenizer) -> None:
    first = make(tmp_path / "a", tokenizer)
    assert make(tmp_path / "b", tokenizer).fingerprint == first.fingerprint
    assert (tmp_path / "a" / "manifest.json").read_bytes() == (tmp_path / "b" / "manifest.json").read_bytes()
    other = Tokenizer.train(["some other text, some other text"], "bpe", 400)
    changed = {
        first.fingerprint,
        make(tmp_path / "c", tokenizer, seed=1).fingerprint,
        make(tmp_path / "d", tokenizer, max_shard_tokens=10_000).fingerprint,
        make(tmp_path / "e", other).fingerprint,
    }
    assert len(changed) == 4


def test_a_missing_split_lists_those_there(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="expected a split `test`, found train, validation"):
        make(tmp_path / "data", tokenizer).split("test")


def edit(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "manifest.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-1]) and None


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "no folder": (shutil.rmtree, "no such folder"),
    "not prepared": (lambda folder: (folder / "manifest.json").unlink(), "found no manifest.json"),
    "not JSON": (lambda folder: (folder / "manifest.json").write_text("{") and None, "damaged"),
    "JSON of another kind": (lambda folder: (folder / "manifest.json").write_text("[]") and None, "damaged"),
    "another format": (edit(format_version=99), "expected data of format 1, found format 99"),
    "a wrong field": (edit(vocabulary_size="many"), "`vocabulary_size`.*Prepare the data again"),
    "tokens cut": (cut("train/001.tokens"), "train/001.tokens: damaged: expected"),
    "bits cut": (cut("train/000.bits"), "train/000.bits: damaged: expected"),
    "offsets cut": (cut("validation/000.offsets"), "validation/000.offsets: damaged: expected"),
    "a shard lost": (lambda folder: (folder / "train/000.bits").unlink(), "train/000.bits: damaged: .*no such file"),
    "the tokenizer lost": (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json: missing or damaged"),
    "the tokenizer changed": (cut("tokenizer.json"), "tokenizer.json: missing or damaged"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_on_opening(tmp_path: Path, tokenizer: Tokenizer, damage: str) -> None:
    folder = tmp_path / "data"
    make(folder, tokenizer)
    do, expected = DAMAGE[damage]
    do(folder)
    with pytest.raises(DataError, match=expected) as caught:
        PreparedData.open(folder)
    assert "\n" not in str(caught.value)


def test_verify_finds_a_changed_bit(tmp_path: Path, tokenizer: Tokenizer) -> None:
    data = make(tmp_path / "data", tokenizer)
    file = tmp_path / "data" / "train" / "002.bits"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="train/002: damaged"):
        PreparedData.open(data.folder).verify()


def test_a_ledger_adds_up_or_not() -> None:
    dropped = {"empty": DroppedEntry(documents=1, bytes=10)}
    assert LEDGER.model_copy(update={"dropped": dropped}).adds_up()
    assert not LEDGER.adds_up()
