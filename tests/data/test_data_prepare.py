"""Prepare: from text to shards, twice the same, with nothing lost that is not said."""

import errno
import gzip
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trivium.core.errors import ConfigError, DataError
from trivium.data import survey
from trivium.data.prepare import PrepareOptions, prepare, prepare_texts
from trivium.data.sample import Sample
from trivium.data.shards import PreparedData, ShardWriter
from trivium.data.tokenizer import Tokenizer
from trivium.data.words import token_bits

WORDS = "the cat sat on a mat. Why? 我 喜欢 中文。 é 😀 [MASK] x_1 3.14 don't [EOS]"
SMALL = PrepareOptions(vocabulary_size=400, sample_bytes=100_000)


def made_up(count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    words = np.array(WORDS.split())
    return [" ".join([str(number), *rng.choice(words, size=rng.integers(1, 40))]) for number in range(count)]


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def texts_of(data: PreparedData) -> dict[str, list[str]]:
    splits = {name: data.split(name) for name in data.manifest.splits}
    return {name: [data.tokenizer.decode(tokens) for tokens in split.documents()] for name, split in splits.items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_every_document_arrives_and_every_byte_is_said(tmp_path: Path) -> None:
    texts = made_up(300)
    folder = tmp_path / "in"
    write(folder / "a.txt", "\n\n".join(texts[:100]))  # the last one ends without a line's end
    write(folder / "b.jsonl.gz", gzip.compress("\n".join(json.dumps({"text": t}) for t in texts[90:200]).encode()))
    write(folder / "c" / "d.txt", b"\xef\xbb\xbf" + "\r\n\r\n".join(texts[200:]).encode() + b"\r\n\n \n")
    write(folder / "c" / "empty.txt", "")
    data = prepare([folder], tmp_path / "out", SMALL)
    found = texts_of(data)
    assert sorted(found["train"] + found["validation"]) == sorted(texts)
    assert 2 <= len(found["validation"]) <= 40
    ledger = data.manifest.ledger
    plain = sum((folder / name).stat().st_size for name in ("a.txt", "c/d.txt"))
    packed = len(gzip.decompress((folder / "b.jsonl.gz").read_bytes()))
    assert ledger.bytes_in == plain + packed
    assert (ledger.documents_in, ledger.kept_documents) == (311, 300)
    assert ledger.adds_up()
    assert ledger.kept_bytes == sum(len(text.encode()) for text in texts)
    assert {reason: entry.documents for reason, entry in ledger.dropped.items()} == {
        "byte order mark": 0,
        "duplicate": 10,
        "empty": 1,
        "json syntax": 0,
        "separators": 0,
    }
    assert sum(split.bytes for split in data.manifest.splits.values()) == ledger.kept_bytes
    assert data.manifest.lossless
    assert (data.manifest.segmenter, data.manifest.boundary, data.manifest.tokenizer.kind) == (
        "uax29",
        "blank-line",
        "bpe",
    )
    assert (data.manifest.vocabulary_requested, data.manifest.vocabulary_size) == (400, 400)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, kind: str) -> None:
    file = write(tmp_path / "a.txt", "\n".join(made_up(200)))
    options = SMALL.model_copy(update={"tokenizer": kind, "boundary": "line", "max_shard_tokens": 500})
    first = prepare([file], tmp_path / "one", options)
    second = prepare([file], tmp_path / "two", options)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert first.fingerprint == second.fingerprint
    assert first.manifest.lossless == (kind != "wordpiece")
    first.verify()


def test_batches_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "a.txt", "\n".join(made_up(100)))
    options = SMALL.model_copy(update={"boundary": "line"})
    prepare([file], tmp_path / "one", options)
    monkeypatch.setattr(survey, "_PART_ITEMS", 3)
    prepare([file], tmp_path / "two", options)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_bits_are_those_of_each_document_alone(tmp_path: Path) -> None:
    pieces = [
        "\u0301x",
        "🇩🇪🇫",
        "a.",
        "small.\u201d",
        "\n",
        ". ",
        "Why? ",
        "。",
        "'",
        "1,",
        " \n  ",
        "Dr.",
        "e.g.",
        "\r",
        "\t我",
    ]
    rng = np.random.default_rng(5)
    texts = [f"{n}{''.join(rng.choice(pieces, size=rng.integers(1, 12)))}"[len(str(n)) :] for n in range(300)]
    texts = sorted({text for text in texts if text.strip()})
    data = prepare_texts(lambda: ((text, "train") for text in texts), tmp_path / "out", SMALL)
    split = data.split("train")
    for number, text in enumerate(texts):
        (spans,) = data.tokenizer.encode_batch([text])
        tokens, bits = split.read(number, 0, int(split.lengths_S[number]))
        np.testing.assert_array_equal(tokens[1:-1], spans.ids)
        np.testing.assert_array_equal(bits[1:-1], token_bits(text, spans.starts, spans.ends), err_msg=ascii(text))
    assert len(texts) > 200


def test_a_document_stays_in_its_split_when_others_come(tmp_path: Path) -> None:
    texts = made_up(400)
    options = SMALL.model_copy(update={"boundary": "line", "validation_share": 0.2, "test_share": 0.1})
    half = texts_of(prepare([write(tmp_path / "a.txt", "\n".join(texts[:200]))], tmp_path / "half", options))
    shuffled = "\n".join(texts[number] for number in np.random.default_rng(0).permutation(400))
    whole = texts_of(prepare([write(tmp_path / "b.txt", shuffled)], tmp_path / "whole", options))
    assert set(whole) == {"train", "validation", "test"}
    for name, found in half.items():
        assert set(found) <= set(whole[name])
    assert 50 < len(whole["validation"]) < 120
    assert 20 < len(whole["test"]) < 70


@pytest.mark.parametrize(("count", "sizes"), [(2, (1, 1, 0)), (3, (1, 1, 1)), (4, None), (9, None)])
def test_few_documents_fill_every_split(tmp_path: Path, count: int, sizes: tuple[int, int, int] | None) -> None:
    for seed in range(4):
        texts = "\n".join(f"{seed} text {text}" for text in made_up(count, seed))
        file = write(tmp_path / f"{seed}.txt", texts)
        shares = {"boundary": "line", "validation_share": 0.45, "test_share": 0.45}
        found = texts_of(prepare([file], tmp_path / f"out{seed}", SMALL.model_copy(update=shares)))
        assert sum(map(len, found.values())) == count
        assert len(found["train"]) >= 1 <= len(found["validation"])
        if sizes:
            assert tuple(len(found.get(name, [])) for name in ("train", "validation", "test")) == sizes


def test_no_validation_when_none_is_wanted(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "one document only")
    data = prepare([file], tmp_path / "out", SMALL.model_copy(update={"validation_share": 0.0}))
    assert list(data.manifest.splits) == ["train"]


def test_one_document_is_told_of_boundaries(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "one\ndocument\nonly")
    with pytest.raises(DataError, match="--boundary, now blank-line: try line"):
        prepare([file], tmp_path / "out", SMALL)
    twice = write(tmp_path / "b.txt", "the same\n\nthe same\n\nthe same")
    with pytest.raises(DataError, match="2 different documents"):
        prepare([twice], tmp_path / "out", SMALL)
    with pytest.raises(DataError, match="found none"):
        prepare([write(tmp_path / "c.txt", " \n \n")], tmp_path / "out", SMALL)
    assert not (tmp_path / "out").exists()


def test_texts_whose_split_is_given(tmp_path: Path) -> None:
    pairs = [("kept where it is", "test"), ("to learn from", "train"), ("held out", "validation"), (" ", "train")]
    pairs += [("to learn from", "validation"), ("lone \ud800 surrogate", "train")]
    data = prepare_texts(lambda: iter(pairs), tmp_path / "out", SMALL)
    assert texts_of(data) == {
        "train": ["to learn from", "lone \ufffd surrogate"],
        "validation": ["held out"],
        "test": ["kept where it is"],
    }
    assert data.manifest.boundary == "given"
    dropped = data.manifest.ledger.dropped
    assert {reason: entry.documents for reason, entry in dropped.items()} == {"duplicate": 1, "empty": 1}
    with pytest.raises(DataError, match="Did you mean `validation`"):
        prepare_texts(lambda: [("x", "valid")], tmp_path / "other", SMALL)
    with pytest.raises(DataError, match="split `train`, found none"):
        prepare_texts(lambda: [("x", "test")], tmp_path / "other", SMALL)


def test_held_out_text_does_not_train_the_tokenizer(tmp_path: Path) -> None:
    pairs = [("plain words " * 20 + str(n), "train") for n in range(20)]
    pairs += [("zyzzyva zyzzyva " * 20 + str(n), "validation") for n in range(20)]
    data = prepare_texts(lambda: iter(pairs), tmp_path / "out", SMALL)
    assert len(data.tokenizer.encode(" plain")) == 1
    assert len(data.tokenizer.encode(" zyzzyva")) >= 7
    file = write(tmp_path / "a.txt", "\n".join(f"{text} {number * 7919}" for number, text in enumerate(made_up(60))))
    options = SMALL.model_copy(update={"boundary": "line", "validation_share": 0.4})
    data = prepare([file], tmp_path / "split", options)
    found = texts_of(data)
    assert data.tokenizer.to_bytes() == Tokenizer.train(found["train"], "bpe", 400).to_bytes()
    assert data.tokenizer.to_bytes() != Tokenizer.train(found["train"] + found["validation"], "bpe", 400).to_bytes()


def test_a_tokenizer_can_be_given(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "\n\n".join(made_up(50)))
    first = prepare([file], tmp_path / "one", SMALL)
    for path in (tmp_path / "one", tmp_path / "one" / "tokenizer.json"):
        options = PrepareOptions(tokenizer=str(path))
        second = prepare([file], tmp_path / f"from-{path.name}", options)
        assert second.tokenizer.to_bytes() == first.tokenizer.to_bytes()
        assert second.fingerprint == first.fingerprint
        assert second.manifest.vocabulary_requested is None
    with pytest.raises(ConfigError, match=r"found neither.*Did you mean `unigram`"):
        prepare([file], tmp_path / "out", PrepareOptions(tokenizer="unigramm"))
    with pytest.raises(ConfigError, match="at least 362"):
        prepare([file], tmp_path / "out", PrepareOptions(vocabulary_size=300))


def test_documents_without_tokens_are_in_the_ledger(tmp_path: Path) -> None:
    texts = [*made_up(20), "\x01\x02", "\x00"]  # BERT's normaliser takes control signs away
    data = prepare_texts(
        lambda: ((text, "train") for text in texts),
        tmp_path / "out",
        SMALL.model_copy(update={"tokenizer": "wordpiece"}),
    )
    assert data.manifest.ledger.dropped["no tokens"].documents == 2
    assert data.manifest.ledger.kept_documents == 20


def test_nothing_is_left_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "in" / "a.txt", "\n\n".join(made_up(50)))
    (tmp_path / "mine").mkdir()
    write(tmp_path / "mine" / "precious", "")
    with pytest.raises(ConfigError, match="already exists"):
        prepare([file], tmp_path / "mine", SMALL)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(ShardWriter, "add", full)
    with pytest.raises(DataError, match="out: cannot be written: No space left on device"):
        prepare([file], tmp_path / "out", SMALL)
    assert sorted(tmp_path.rglob("*")) == before


def test_text_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    for change in ([("two", "train")], [("one", "train"), ("more", "train")], []):
        passes = iter([[("one", "train")], change])
        with pytest.raises(DataError, match="changed while it was being read"):
            prepare_texts(lambda passes=passes: next(passes), tmp_path / "out", SMALL)


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="leave some documents to train on"):
        PrepareOptions(validation_share=0.5, test_share=0.5)
    with pytest.raises(ValueError, match="Did you mean `vocabulary_size`"):
        PrepareOptions.model_validate({"vocab_size": 1})


def test_progress_runs_from_nothing_to_all(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "\n\n".join(made_up(5000)))
    said: dict[str, list[tuple[float, float]]] = {}
    prepare([file], tmp_path / "out", SMALL, report=lambda phase, *done: said.setdefault(phase, []).append(done))
    assert list(said) == ["read", "tokenizer", "write"]
    for steps in said.values():
        done = [step for step, _ in steps]
        assert done == sorted(done)
        assert done[-1] == steps[-1][1] > 0
    assert said["read"][-1][0] == file.stat().st_size == said["write"][-1][0]


def test_the_sample_is_bounded_and_does_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(2)
    documents = [("é" * int(rng.integers(1, 30_000)), int(rng.integers(0, 2**63))) for _ in range(200)]
    everyone = frozenset(digest for _, digest in documents)
    samples = []
    for _ in range(3):
        sample = Sample(500_000)
        order = rng.permutation(len(documents))
        for some in np.array_split(order, rng.choice([1, 7, 200])):
            texts, digests = zip(*(documents[number] for number in some), strict=True)
            sample.add(texts, np.array(digests, dtype=np.uint64))
        sample.add(documents[0][:1], np.array(documents[0][1:], dtype=np.uint64))  # a duplicate counts once
        samples.append(sample.texts(everyone))
    assert samples[0] == samples[1] == samples[2]
    assert 450_000 < sum(len(text.encode()) for text in samples[0]) <= 500_000


def test_memory_does_not_grow_with_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "_PART_BYTES", 20_000)
    token_bits("warm", np.array([0]), np.array([4]))

    def peak(count: int) -> int:
        def texts() -> Iterator[tuple[str, str]]:
            return ((f"{number} " + "some words to read and to forget " * 25, "train") for number in range(count))

        tracemalloc.start()
        try:
            prepare_texts(texts, tmp_path / str(count), SMALL)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = peak(800), peak(3200)
    assert many < few + 400_000  # for 2 MB more text; some tens of bytes a document are allowed
