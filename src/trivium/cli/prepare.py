"""trivium prepare: raw text to shards."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trivium.cli.options import Json, Out, Quiet, Set

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trivium.core.progress import Progress


class Boundary(StrEnum):
    """What separates documents in a text file."""

    BLANK_LINE = "blank-line"
    LINE = "line"
    FILE = "file"


def command(
    context: typer.Context,
    texts: Annotated[
        list[str], typer.Argument(metavar="TEXT", help="Text files, JSON lines, CSV, TSV, folders, globs; .gz of any.")
    ],
    out: Out,
    tokenizer: Annotated[
        str,
        typer.Option(
            help="bpe, wordpiece or unigram to train one; or a tokenizer.json, a run or a Hugging Face folder."
        ),
    ] = "bpe",
    vocabulary_size: Annotated[int, typer.Option(min=110, help="Tokens of a tokenizer that is trained.")] = 8192,
    boundary: Annotated[Boundary, typer.Option(help="What separates documents in a text file.")] = Boundary.BLANK_LINE,
    field: Annotated[str, typer.Option(help="Name of the text in JSON lines, or of its column in a table.")] = "text",
    task: Annotated[str | None, typer.Option(help="The files are labelled for this task: read their texts.")] = None,
    settings: Set = None,
    encoding: Annotated[str, typer.Option(help="Encoding of the files, e.g. gb18030.")] = "utf-8",
    validation_share: Annotated[float, typer.Option(min=0.001, max=0.5, help="Share held out for validation.")] = 0.05,
    test_share: Annotated[float, typer.Option(min=0.0, max=0.5, help="Share held out for testing.")] = 0.0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Clean, split and tokenise your text once, for all three families."""
    from trivium.cli.describe import show_data
    from trivium.cli.locate import open_tokenizer
    from trivium.cli.progress import shown
    from trivium.core.config import parse
    from trivium.core.progress import phases
    from trivium.data.normal import normal_losses
    from trivium.data.prepare import PrepareOptions, prepare, prepare_texts

    _refuse_unread(context, task, settings)
    given = open_tokenizer(tokenizer) if Path(tokenizer).is_dir() or tokenizer.startswith("hf:") else None
    options = parse(
        PrepareOptions,
        {
            "tokenizer": tokenizer,
            "vocabulary_size": vocabulary_size,
            "boundary": boundary.value,
            "field": field,
            "encoding": encoding,
            "validation_share": validation_share,
            "test_share": test_share,
        },
        "prepare",
    )
    paths = list(map(Path, texts))
    with shown(quiet=quiet) as progress:
        report = phases(progress, "bytes")
        if task is None:
            data = prepare(paths, out, options, tokenizer=given, report=report)
        else:
            read = _labelled(task, settings, paths, progress)
            data = prepare_texts(read, out, options, tokenizer=given, report=report)
        progress.start("count", 1, "model")
        normal = normal_losses(out, data)
        progress.advance(1)
    show_data(out, data, normal, as_json=as_json)


def _refuse_unread(context: typer.Context, task: str | None, settings: list[str] | None) -> None:
    """Raise ConfigError for options that are not read: of unlabelled text beside --task, of a task without one."""
    from trivium.core.errors import ConfigError

    if settings and task is None:
        raise ConfigError("--set of prepare changes settings of a --task, such as settings.columns.text=NAME.")
    sources = {name: context.get_parameter_source(name) for name in ("field", "boundary", "encoding")}
    given = [f"--{name}" for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given and task is not None:
        raise ConfigError(
            f"{', '.join(given)}: not read beside --task, whose files are UTF-8 with an example a document; "
            "name the column of the texts with --set settings.columns.text=NAME."
        )


def _labelled(
    task: str, settings: list[str] | None, paths: list[Path], progress: "Progress"
) -> "Callable[[], Iterator[tuple[str, None]]]":
    """Return what gives the texts of labelled files, each once, without their labels."""
    from trivium.tasks.build import build_task, texts_of
    from trivium.tasks.config import finetune_config
    from trivium.tasks.finetune import tell

    reader = build_task(task, settings=finetune_config(task, settings or ()).settings)
    texts: dict[str, None] = {}
    for path in paths:
        examples, problems = reader.read(path, min_classes=0)
        tell(problems, progress)
        texts |= dict.fromkeys(texts_of(examples))
    return lambda: ((text, None) for text in texts)
