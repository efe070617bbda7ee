"""trivium embed and trivium search: texts as vectors, and the texts of a folder that are nearest to a question."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trivium.cli.options import Json, Quiet, as_text, input_lines
from trivium.cli.prepare import Boundary

if TYPE_CHECKING:
    from trivium.core.progress import Progress
    from trivium.tasks.embed.embedder import Embedder


class PoolingName(StrEnum):
    """What stands for a text."""

    MEAN = "mean"
    FIRST = "first"
    LAST = "last"
    WEIGHTED = "weighted"


Run = Annotated[str, typer.Argument(metavar="RUN", help="A run, pretrained or fine-tuned, or a Hugging Face folder.")]
Pooled = Annotated[
    PoolingName | None,
    typer.Option(
        "--pooling",
        help="What stands for a text: the mean of its tokens, the first or last one, or a mean in which later ones "
        "weigh more; else as the model was fine-tuned, mean for what reads both ways, weighted for what does not.",
    ),
]


def embed_command(
    run: Run,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help="Texts; none, and no --file = a text a line from input.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="A text a line, or JSON lines (.jsonl) with a `text` each.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="A .npy file to make: float32, a row a text, each of length 1.")
    ] = None,
    pooling: Pooled = None,
    whiten: Annotated[
        bool, typer.Option("--whiten", help="Make the vectors uncorrelated and equally wide, fitted on these texts.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make a vector of each text."""
    from trivium.cli.environment import set_up_process

    set_up_process()
    from trivium.cli.progress import shown
    from trivium.core.errors import ConfigError
    from trivium.data.text_lines import text_lines
    from trivium.tasks.embed.embedder import vectors_of
    from trivium.tasks.embed.vector_file import save_vectors

    if (out is None) != as_json:
        raise ConfigError("say where the vectors go: --out FILE.npy, or --json; one of them.")
    if whiten and out is None:
        raise ConfigError("--whiten looks at all vectors before it gives the first; it goes with --out.")
    if texts and file is not None:
        raise ConfigError("texts come from --file or from the command line; give one of them.")
    if out is not None and (out.exists() or out.suffix != ".npy"):
        found = "already exists" if out.exists() else "expected a name that ends in .npy"
        raise ConfigError(f"--out {out}: {found}; choose another name. Nothing was changed.")
    embedder = _open(run, pooling)
    given = map(as_text, texts) if texts else text_lines(file) if file is not None else input_lines()
    with shown(quiet=quiet) as progress:
        if out is None:
            _print(embedder, given)
            return
        # What is wrong in the file is found before anything is embedded.
        known = sum(1 for _ in text_lines(file)) if file is not None else len(texts) if texts else None
        counted = _counted(given, known, progress)
        out.parent.mkdir(parents=True, exist_ok=True)
        rows, size = save_vectors(out, vectors_of(embedder, counted), whiten=whiten)
    typer.echo(f"{out}: {rows:,} texts, {size} numbers each.")


def search_command(
    run: Run,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Text files and JSON lines; .gz of any.")],
    query: Annotated[str, typer.Option("--query", help="What is looked for.")],
    top: Annotated[int, typer.Option("--top", min=1, help="At most so many texts.")] = 10,
    boundary: Annotated[Boundary, typer.Option(help="What separates texts in a file.")] = Boundary.BLANK_LINE,
    index: Annotated[
        Path | None, typer.Option("--index", help="Folder of the vectors; else .NAME.search beside FOLDER.")
    ] = None,
    pooling: Pooled = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find the texts of a folder that are nearest to a question; they are embedded once, then only what changes."""
    import json

    from trivium.cli.environment import set_up_process

    set_up_process()
    from trivium.cli.progress import shown
    from trivium.tasks.embed.embedder import embed_texts
    from trivium.tasks.embed.search import nearest_texts, updated_index, usual_place

    text = as_text(query)
    embedder = _open(run, pooling)
    place = index or usual_place(folder)
    with shown(quiet=quiet) as progress:
        indexed = updated_index(embedder, folder, place, boundary=boundary.value, progress=progress)
        if indexed.embedded:
            progress.line(f"{place}: {indexed.embedded:,} of {len(indexed.vectors_SD):,} texts were embedded.")
    [query_D] = embed_texts(embedder, [text])
    for hit in nearest_texts(indexed, query_D, top=top):
        if as_json:
            typer.echo(json.dumps(hit._asdict(), ensure_ascii=False))
        else:
            typer.echo(f"{hit.score:7.4f}  {hit.file}:{hit.number}  {hit.beginning[:_SHOWN]}")


_SHOWN = 100  # characters of a text
_DIGITS = 6


def _open(run: str, pooling: PoolingName | None) -> "Embedder":
    from trivium.cli.locate import located
    from trivium.tasks.embed.embedder import open_embedder

    return open_embedder(located(run), pooling=None if pooling is None else pooling.value)


def _print(embedder: "Embedder", texts: Iterable[str]) -> None:
    """Print a line of JSON for each text, with six digits a number."""
    import json
    from collections import deque

    from trivium.tasks.embed.embedder import embed_texts

    waiting = deque[str]()

    def kept() -> Iterator[str]:
        for text in texts:
            waiting.append(text)
            yield text

    for vector_D in embed_texts(embedder, kept()):
        numbers = [round(float(number), _DIGITS) for number in vector_D]
        typer.echo(json.dumps({"text": waiting.popleft(), "vector": numbers}, ensure_ascii=False))


def _counted(texts: Iterable[str], total: int | None, progress: "Progress") -> Iterator[str]:
    progress.start("embed", total, "texts")
    for number, text in enumerate(texts, start=1):
        yield text
        if number % 64 == 0 or number == total:
            progress.advance(number)
