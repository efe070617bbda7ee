"""The texts of a folder as vectors on disk, kept up to date, and the exact search for those nearest to a question."""

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trivium.core.errors import DataError
from trivium.core.files import new_folder, sha256, write_json
from trivium.core.progress import Progress, Silent
from trivium.data.file_bytes import Document
from trivium.data.readers import Boundary, find_files, read_documents, way_of_reading
from trivium.tasks.embed.embedder import Embedder, vectors_of
from trivium.tasks.embed.vector_file import RowFile
from trivium.tasks.embed.vectors import unit

MANIFEST, VECTORS, BEGINNINGS = "manifest.json", "vectors.npy", "beginnings.npy"
_FORMAT = 2
_BLOCK = 8192  # vectors compared at a time: what bounds memory
_BEGINNING_BYTES = 256


class IndexedFile(NamedTuple):
    """A file of the folder."""

    path: str  # below the folder
    sha256: str
    texts: int
    problem: str | None = None  # what of it could not be read


class Index(NamedTuple):
    """The texts of a folder, in the order of its files; nothing of it is held in memory."""

    files: tuple[IndexedFile, ...]
    vectors_SD: np.ndarray  # float32, of length 1, mapped from the disk
    beginnings_S: np.ndarray  # UTF-8, mapped from the disk
    embedded: int  # texts that were embedded now; the others were known


class Hit(NamedTuple):
    """A text that was found."""

    score: float  # cosine
    file: str
    number: int  # of the text in its file, from 1
    beginning: str


class _Wanted(NamedTuple):
    """What an index has to agree in to be gone on with."""

    format: int
    model: str
    boundary: str
    size: int


def usual_place(folder: Path) -> Path:
    """Return where the index of a folder lies: beside it, hidden, so that nothing takes it for text."""
    whole = folder.resolve()
    return whole.with_name(f".{whole.name}.search")


def updated_index(
    embedder: Embedder,
    folder: Path,
    place: Path,
    *,
    boundary: Boundary = "blank-line",
    progress: Progress | None = None,
) -> Index:
    """Return the index of a folder's texts; only files that are new or have changed are embedded.

    Files are known by the SHA-256 of what is in them and by how they are read, the model by that of all its weights and
    settings. The index is replaced at once when it is whole. What of a file cannot be read is said, and the rest of the
    folder is indexed.

    Args:
        embedder: the model.
        folder: text files and JSON lines, see `data.readers`.
        place: the folder of the index.
        boundary: what separates texts in a file.
        progress: shown what is going on.

    Raises:
        DataError: there is no such folder, or there are no texts in it.
    """
    progress = progress or Silent()
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of texts, found {'a file' if folder.exists() else 'nothing'}.")
    wanted = _Wanted(_FORMAT, embedder.fingerprint(), boundary, embedder.size)
    known = _opened(place, wanted, progress)
    hashes = [(file, sha256(file)) for file in find_files([folder])]
    found = [(str(file.relative_to(folder)), digest) for file, digest in hashes]
    if known is None or [(file.path, file.sha256) for file in known.files] != found:
        with new_folder(place) as partial:
            files, embedded = _written(partial, embedder, folder, found, known, boundary, progress)
            if not any(file.texts for file in files):
                raise DataError(f"{folder}: no texts in its {len(files)} files{_first_problem(files)}")
            write_json(partial / MANIFEST, {**wanted._asdict(), "files": [file._asdict() for file in files]})
        known = _opened(place, wanted, progress)
        if known is None:
            raise DataError(f"{place}: another process has changed the index; try again.")
        known = known._replace(embedded=embedded)
    for file in known.files:
        if file.problem is not None:
            progress.warn(f"left out: {file.problem}")
    return known


def nearest_texts(index: Index, query_D: np.ndarray, *, top: int) -> list[Hit]:
    """Return the texts whose vectors have the highest cosine with a query's, the highest first; all are compared.

    Args:
        index: from `updated_index`.
        query_D: of length 1.
        top: how many.
    """
    scores_K, rows_K = np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int64)
    for start in range(0, len(index.vectors_SD), _BLOCK):
        scores_S = index.vectors_SD[start : start + _BLOCK] @ query_D
        scores_K = np.concatenate([scores_K, scores_S])
        rows_K = np.concatenate([rows_K, start + np.arange(len(scores_S))])
        best_K = np.lexsort((rows_K, -scores_K))[:top]  # of equal ones the first
        scores_K, rows_K = scores_K[best_K], rows_K[best_K]
    ends = np.cumsum([file.texts for file in index.files])
    hits = []
    for score, row in zip(scores_K, rows_K, strict=True):
        number = int(np.searchsorted(ends, row, side="right"))
        file = index.files[number]
        beginning = bytes(index.beginnings_S[row]).decode("utf-8", "ignore")
        hits.append(Hit(float(score), file.path, int(row - (ends[number] - file.texts)) + 1, beginning))
    return hits


class _Known(NamedTuple):
    """Where the texts of a file that is unchanged lie in the index before."""

    start: int
    file: IndexedFile


def _written(
    partial: Path,
    embedder: Embedder,
    folder: Path,
    found: list[tuple[str, str]],
    before: Index | None,
    boundary: Boundary,
    progress: Progress,
) -> tuple[list[IndexedFile], int]:
    """Write vectors and beginnings of all files; return the files, and how many texts were embedded."""
    known = _known_files(before)
    num_bytes = sum((folder / path).stat().st_size for path, digest in found if _key(path, digest) not in known)
    progress.start("embed", num_bytes, "bytes")
    files: list[IndexedFile] = []
    embedded = 0
    with RowFile(partial / VECTORS) as vectors, RowFile(partial / BEGINNINGS) as beginnings:
        for is_known, some in groupby(found, lambda each: _key(*each) in known):
            if is_known and before is not None:
                for path, digest in some:
                    start, file = known[_key(path, digest)]
                    _copy(before, start, start + file.texts, vectors, beginnings)
                    files.append(_renamed(file, path, folder))
                continue
            reading = _Reading(folder, list(some), boundary, beginnings, progress)
            for block_SD in vectors_of(embedder, reading.texts()):
                vectors.add(unit(block_SD))
            files += reading.files
            embedded += sum(file.texts for file in reading.files)
    return files, embedded


class _Reading:
    """The texts of some files, read as they are asked for; their beginnings are written, and what was read noted."""

    def __init__(
        self, folder: Path, found: list[tuple[str, str]], boundary: Boundary, beginnings: RowFile, progress: Progress
    ) -> None:
        self._folder, self._found, self._boundary = folder, found, boundary
        self._beginnings, self._progress = beginnings, progress
        self.files: list[IndexedFile] = []
        self._bytes = 0

    def texts(self) -> Iterator[str]:
        for path, digest in self._found:
            file, count, problem = self._folder / path, 0, None
            size = file.stat().st_size
            try:
                # An empty file that is named is a mistake elsewhere; here nobody named it.
                for each in read_documents([file], boundary=self._boundary) if size else ():
                    if isinstance(each, Document):
                        self._beginnings.add(np.array([_beginning(each.text)], dtype=f"S{_BEGINNING_BYTES}"))
                        count += 1
                        yield each.text
            except DataError as error:
                problem = str(error)
            self.files.append(IndexedFile(path, digest, count, problem))
            self._bytes += size
            self._progress.advance(self._bytes)


def _key(path: str, digest: str) -> tuple[str, str]:
    """Return what decides the texts of a file: its bytes, and how its name says that they are read."""
    return digest, way_of_reading(Path(path))


def _known_files(index: Index | None) -> dict[tuple[str, str], _Known]:
    known: dict[tuple[str, str], _Known] = {}
    start = 0
    for file in index.files if index is not None else ():
        known[_key(file.path, file.sha256)] = _Known(start, file)
        start += file.texts
    return known


def _renamed(file: IndexedFile, path: str, folder: Path) -> IndexedFile:
    problem = file.problem and file.problem.replace(str(folder / file.path), str(folder / path))
    return file._replace(path=path, problem=problem)


def _copy(before: Index, first: int, stop: int, vectors: RowFile, beginnings: RowFile) -> None:
    for start in range(first, stop, _BLOCK):
        here = slice(start, min(stop, start + _BLOCK))
        vectors.add(np.array(before.vectors_SD[here]))
        beginnings.add(np.array(before.beginnings_S[here]))


def _opened(place: Path, wanted: _Wanted, progress: Progress) -> Index | None:
    """Return the index that is there, if it is of the same model and was read alike."""
    if not (place / MANIFEST).is_file():
        return None
    try:
        manifest: dict[str, Any] = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        if {key: manifest.get(key) for key in wanted._asdict()} != wanted._asdict():
            progress.line(f"{place}: of another model, or read otherwise; all texts are embedded anew.")
            return None
        files = tuple(IndexedFile(**file) for file in manifest["files"])
        vectors, beginnings = (
            np.load(place / name, mmap_mode="r", allow_pickle=False) for name in (VECTORS, BEGINNINGS)
        )
        texts = sum(file.texts for file in files)
        if vectors.shape != (texts, wanted.size) or beginnings.shape != (texts,):
            raise ValueError(f"expected {texts} texts, found {len(vectors)}")
    except (OSError, ValueError, TypeError, KeyError, EOFError) as error:
        progress.warn(f"{place}: damaged ({type(error).__name__}); all texts are embedded anew.")
        return None
    return Index(files, vectors, beginnings, 0)


def _first_problem(files: list[IndexedFile]) -> str:
    problem = next((file.problem for file in files if file.problem is not None), None)
    return "." if problem is None else f"; the first problem: {problem}"


def _beginning(text: str) -> bytes:
    """Return the first characters of a text on one line; no character is cut in two."""
    line = " ".join(text[: 2 * _BEGINNING_BYTES].replace("\0", " ").split()).encode()
    return line[:_BEGINNING_BYTES].decode("utf-8", "ignore").encode()
