"""Raw text to a prepared folder: two passes in bounded memory, and a ledger that adds up."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate, compress
from pathlib import Path
from typing import NamedTuple, Self, cast

import numpy as np
from pydantic import Field, model_validator

from trivium.core.config import Config
from trivium.core.errors import ConfigError, DataError, nearest
from trivium.core.files import new_folder, refuse_existing
from trivium.data.file_bytes import Document, Dropped
from trivium.data.manifest import DroppedEntry, Ledger
from trivium.data.readers import (
    Boundary,
    check_encoding,
    find_files,
    read_documents,
    text_bytes,
    without_surrogates,
)
from trivium.data.shards import DEFAULT_SHARD_TOKENS, SPLITS, DataWriter, PreparedData
from trivium.data.survey import DUPLICATE, TRAIN, Assigned, Report, Stream, Survey, parts
from trivium.data.tables import require_columns
from trivium.data.tokenizer import TokenBatch, Tokenizer
from trivium.data.tokenizer_training import KINDS, TokenizerKind, check_vocabulary_size
from trivium.data.words import token_bits

_NOWHERE = -2
_CHECKED_CHARACTERS = 1_000_000
_CHANGED = "the text changed while it was being read; run again when nothing writes to it."


class PrepareOptions(Config):
    """How text becomes prepared data.

    Args:
        tokenizer: "bpe", "wordpiece" or "unigram" to train one; or the path of a tokenizer.json or of a folder with
            one, which brings its own vocabulary.
        vocabulary_size: of a tokenizer that is trained, special tokens included.
        boundary: what separates documents in a text file.
        field: the key of a JSON line, or the column of a table, that holds the text.
        encoding: of the files.
        validation_share: share of the documents held out for validation, [0, 1); at least one, unless 0.
        test_share: share held out for testing, [0, 1).
        sample_bytes: text that a tokenizer is trained on, at most.
        max_shard_tokens: tokens after which a new shard begins.
    """

    tokenizer: str = "bpe"
    vocabulary_size: int = 8192
    boundary: Boundary = "blank-line"
    field: str = "text"
    encoding: str = "utf-8"
    validation_share: float = Field(0.05, ge=0, lt=1)
    test_share: float = Field(0.0, ge=0, lt=1)
    sample_bytes: int = Field(50_000_000, ge=100_000)
    max_shard_tokens: int = Field(DEFAULT_SHARD_TOKENS, ge=1)

    @model_validator(mode="after")
    def _leave_some_to_train_on(self) -> Self:
        if self.validation_share + self.test_share >= 1:
            raise ValueError("`validation_share` and `test_share` must leave some documents to train on")
        return self


class _Batch(NamedTuple):
    """Documents that are kept: their texts, bytes in the files, int64, and splits, places in SPLITS."""

    texts: list[str]
    num_bytes: np.ndarray
    splits: np.ndarray


def prepare(
    paths: Sequence[Path],
    out: Path,
    options: PrepareOptions,
    *,
    tokenizer: Tokenizer | None = None,
    report: Report | None = None,
) -> PreparedData:
    """Make a prepared folder of files, folders and globs.

    A document's split is a function of its text alone, so it stays where it is when others are added. Documents that
    are the same to the byte are kept once. Memory is bounded by the tokenizer's sample, the largest document, and some
    tens of bytes a document.

    Args:
        paths: see `readers.read_documents`.
        out: the folder to make; it appears whole or not at all.
        options: how.
        tokenizer: one that is open already; None = that of the options.
        report: is told (phase, done, total), phases "read", "tokenizer" and "write", in bytes of text.

    Raises:
        ConfigError: `out` is there already; options that cannot be met.
        DataError: input that cannot be read, or too little of it; a disk that cannot be written to.
    """
    total = float(sum(text_bytes(file) for file in find_files(paths)))
    require_columns(paths, field=options.field, encoding=check_encoding(options.encoding))

    def stream() -> Iterator[Document | Dropped]:
        return read_documents(paths, boundary=options.boundary, field=options.field, encoding=options.encoding)

    return _prepare(stream, out, options, options.boundary, total, report, tokenizer)


def prepare_texts(
    texts: Callable[[], Iterable[tuple[str, str | None]]],
    out: Path,
    options: PrepareOptions,
    *,
    tokenizer: Tokenizer | None = None,
    report: Report | None = None,
) -> PreparedData:
    """Make a prepared folder of texts whose split is decided: "train", "validation" or "test"; or of none of them.

    Args:
        texts: gives the same (text, split) pairs each time it is called; it is called twice. Where the first split is
            None, all are divided by the options' shares.
        out: the folder to make.
        options: how; boundary, field and encoding are not used, nor are shares where splits are given.
        tokenizer: one that is open already; None = that of the options.
        report: see `prepare`; the first pass, whose length is not known, is not reported.

    Raises:
        ConfigError, DataError: see `prepare`; a split of another name; no text to train on.
    """

    def stream() -> Iterator[Document | Assigned | Dropped]:
        for text, split in texts():
            if split is not None and split not in SPLITS:
                raise DataError(f"split {split!r}: not known.{nearest(split, list(SPLITS))}")
            mended = without_surrogates(text)
            num_bytes = len(mended.encode())
            if not mended or mended.isspace():
                yield Dropped("empty", "", 1, num_bytes)
            elif split is None:
                yield Document(mended, "", num_bytes)
            else:
                yield Assigned(mended, num_bytes, SPLITS.index(split))

    return _prepare(stream, out, options, "given", 0.0, report, tokenizer)


def _prepare(
    stream: Stream,
    out: Path,
    options: PrepareOptions,
    boundary: str,
    total: float,
    report: Report | None,
    tokenizer: Tokenizer | None = None,
) -> PreparedData:
    report = report or (lambda phase, done, total: None)
    refuse_existing(out)
    requested = options.vocabulary_size if tokenizer is None and options.tokenizer in KINDS else None
    tokenizer = tokenizer or _given_tokenizer(options)
    survey = Survey(options.sample_bytes if tokenizer is None else _CHECKED_CHARACTERS)
    survey.read(stream, total, report)
    plan = survey.plan((options.validation_share, options.test_share), options.boundary)
    sample = survey.sample.texts(survey.digests(plan, TRAIN))
    if tokenizer is None:
        size = float(sum(map(len, sample)))
        report("tokenizer", 0.0, size)
        tokenizer = Tokenizer.train(sample, cast("TokenizerKind", options.tokenizer), options.vocabulary_size)
        report("tokenizer", size, size)
    ends = accumulate(map(len, sample))
    lossless = tokenizer.is_lossless(text for text, end in zip(sample, ends, strict=True) if end <= _CHECKED_CHARACTERS)
    try:
        with (
            new_folder(out) as folder,
            DataWriter(folder, tokenizer, max_shard_tokens=options.max_shard_tokens) as writer,
        ):
            ledger = _write(stream, survey, plan, tokenizer, writer, report)
            writer.finish(ledger=ledger, lossless=lossless, boundary=boundary, vocabulary_requested=requested)
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error.strerror or error}. Nothing was kept.") from None
    return PreparedData.open(out)


def _given_tokenizer(options: PrepareOptions) -> Tokenizer | None:
    """Return the tokenizer that the options point to, or None when one is to be trained."""
    name = options.tokenizer
    if name in KINDS:
        check_vocabulary_size(name, options.vocabulary_size)
        return None
    if not Path(name).exists():
        raise ConfigError(
            f"--tokenizer {name}: expected a kind or the path of a tokenizer.json, found neither."
            + nearest(name, list(KINDS))
        )
    return Tokenizer.from_file(Path(name))


def _write(
    stream: Stream, survey: Survey, plan: np.ndarray, tokenizer: Tokenizer, writer: DataWriter, report: Report
) -> Ledger:
    """Tokenise and write in a second pass, and return what became of all that came in."""
    dropped = _Tally()
    kept_documents = kept_bytes = 0
    total = float(max(survey.bytes_in, 1))
    report("write", 0.0, total)
    for batch, tokens in _tokenised(tokenizer, _batches(stream, survey, plan, dropped)):
        bits = _bits(batch.texts, tokens)
        bytes_in, bytes_written = batch.num_bytes, np.array([len(text.encode()) for text in batch.texts])
        split_N = np.where(tokens.counts > 0, batch.splits.astype(np.int64), _NOWHERE)
        for split in np.unique(split_N).tolist():
            mine = split_N == split
            if split == _NOWHERE:
                dropped.add("no tokens", int(mine.sum()), int(bytes_in[mine].sum()))
                continue
            of_mine_T = np.repeat(mine, tokens.counts)
            chosen = tokens.ids[of_mine_T], bits[of_mine_T], tokens.counts[mine]
            writer.add(SPLITS[split], *chosen, int(bytes_written[mine].sum()))
            kept_documents += int(mine.sum())
            kept_bytes += int(bytes_in[mine].sum())
        report("write", min(float(kept_bytes + sum(dropped.num_bytes.values())), total), total)
    report("write", total, total)
    ledger = Ledger(
        documents_in=survey.documents_in,
        bytes_in=survey.bytes_in,
        kept_documents=kept_documents,
        kept_bytes=kept_bytes,
        dropped=dropped.entries(),
    )
    if not ledger.adds_up():
        raise RuntimeError(f"the ledger does not add up: {ledger}")
    return ledger


class _Tally:
    """Documents and bytes that were dropped, by reason."""

    def __init__(self) -> None:
        self.documents: Counter[str] = Counter()
        self.num_bytes: Counter[str] = Counter()

    def add(self, reason: str, documents: int, num_bytes: int) -> None:
        self.documents[reason] += documents
        self.num_bytes[reason] += num_bytes

    def entries(self) -> dict[str, DroppedEntry]:
        return {
            reason: DroppedEntry(documents=self.documents[reason], bytes=self.num_bytes[reason])
            for reason in sorted(self.num_bytes)
        }


def _batches(stream: Stream, survey: Survey, plan: np.ndarray, dropped: _Tally) -> Iterator[_Batch]:
    """Yield the documents to keep, with their splits, in batches of bounded size."""
    number = 0
    for part in parts(stream):
        for item in part.dropped:
            dropped.add(item.reason, item.documents, item.num_bytes)
        if not survey.are_same(number, part.texts):
            raise DataError(_CHANGED)
        splits, num_bytes = plan[number : number + len(part.texts)], np.array(part.num_bytes, dtype=np.int64)
        number += len(part.texts)
        kept = splits != DUPLICATE
        if not kept.all():
            dropped.add("duplicate", int((~kept).sum()), int(num_bytes[~kept].sum()))
        if kept.any():
            yield _Batch(list(compress(part.texts, kept)), num_bytes[kept], splits[kept])
    if number != len(survey):
        raise DataError(_CHANGED)


def _tokenised(tokenizer: Tokenizer, batches: Iterable[_Batch]) -> Iterator[tuple[_Batch, TokenBatch]]:
    """Yield each batch with its tokens; the next one is tokenised meanwhile, in native code beside this thread."""
    with ThreadPoolExecutor(1) as worker:
        waiting: tuple[_Batch, Future[TokenBatch]] | None = None
        for batch in batches:
            following = batch, worker.submit(tokenizer.encode_together, batch.texts)
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = following
        if waiting is not None:
            yield waiting[0], waiting[1].result()


def _bits(texts: list[str], tokens: TokenBatch) -> np.ndarray:
    """Return the bits of all documents' tokens, found in one go: a blank line parts them as the text's ends do."""
    gap = "\n\n"
    shifts = np.cumsum([0] + [len(text) + len(gap) for text in texts[:-1]])
    shift_T = np.repeat(shifts, tokens.counts)
    return token_bits(gap.join(texts), tokens.starts + shift_T, tokens.ends + shift_T)
