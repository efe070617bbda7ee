"""trivium evaluate and trivium predict: how good a model is, and its answers."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trivium.cli.options import Json, Quiet, ReadAs, as_text, input_lines

if TYPE_CHECKING:
    from trivium.data.labelled import JointExample
    from trivium.model.precision import InferencePrecision


Relations = Annotated[
    Path | None,
    typer.Option(
        "--relations",
        help="A run of `relate`: RUN, of `spans` or `nested`, finds the spans, and this one relates them.",
    ),
]


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run, or a Hugging Face folder.")],
    data: Annotated[
        Path, typer.Option("--data", help="Prepared data for a pretrained run, a labelled file for a fine-tuned one.")
    ],
    split: Annotated[
        str | None, typer.Option(help="Split of the prepared data; else validation. Of a pretrained run only.")
    ] = None,
    relations: Relations = None,
    precision: ReadAs = "float32",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Score a model on held-out data, beside what counting alone reaches."""
    import json

    from trivium.cli.environment import set_up_process
    from trivium.cli.locate import located

    set_up_process()
    run = located(run)
    from trivium.cli.describe import interval_text
    from trivium.tasks.folder import does_task

    if relations is not None:
        _refuse_split(split)
        _show_joint(_joint_metrics(run, located(relations), data, precision, quiet=quiet), as_json=as_json)
        return
    if does_task(run):
        _refuse_split(split)
        metrics, intervals = _task_metrics(run, data, precision, quiet=quiet)
        if as_json:
            typer.echo(json.dumps({**metrics, "intervals": intervals}))
            return
        width = max(12, *(len(name) + 2 for name in metrics))
        for name, value in metrics.items():
            typer.echo(f"{name:<{width}}{value:.4f}{interval_text(intervals.get(name))}")
        return
    from trivium.cli.progress import shown
    from trivium.core.errors import ConfigError
    from trivium.evaluate.perplexity import evaluate_run

    if precision != "float32":
        raise ConfigError(f"--precision {precision}: a pretrained run is scored in float32.")
    split = split or "validation"
    with shown(quiet=quiet) as progress:
        quality = evaluate_run(run, data, split, progress=progress)
    if as_json:
        typer.echo(json.dumps(quality._asdict()))
        return
    known = "" if quality.baseline_accuracy is None else f" ({quality.baseline_name}: {quality.baseline_accuracy:.2%})"
    typer.echo(f"{quality.unit}: {quality.model:.4f} ({quality.baseline_name}: {quality.baseline:.4f})")
    typer.echo(f"accuracy: {quality.accuracy:.2%}{known}")
    typer.echo(f"{quality.predicted:,} tokens predicted, {quality.coverage:.0%} of split `{split}` read")


def predict_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A fine-tuned run, or a Hugging Face folder.")],
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help="Texts; none = a text a line from standard input.")
    ] = None,
    relations: Relations = None,
    precision: ReadAs = "float32",
) -> None:
    """Answer each text with a line of JSON."""
    import json

    from trivium.cli.environment import set_up_process
    from trivium.cli.locate import located

    set_up_process()
    from trivium.tasks.folder import load_tuned, tuned_in
    from trivium.tasks.predict import predict_texts

    tuned = tuned_in(load_tuned(located(run)), precision)
    read = map(as_text, texts) if texts else input_lines()
    if relations is None:
        answers = predict_texts(tuned, read)
    else:
        from trivium.tasks.relate.joint import predict_joint

        answers = predict_joint(tuned, tuned_in(load_tuned(located(relations)), precision), read)
    for answer in answers:
        typer.echo(json.dumps(answer, ensure_ascii=False))


def _refuse_split(split: str | None) -> None:
    from trivium.core.errors import ConfigError

    if split is not None:
        raise ConfigError(f"--split {split}: a fine-tuned run is scored on all of its labelled file; leave it out.")


def _task_metrics(
    run: Path, file: Path, precision: "InferencePrecision", *, quiet: bool
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return the metrics of a fine-tuned model on a labelled file, and the interval of the main one."""
    from trivium.cli.progress import shown
    from trivium.core.errors import DataError
    from trivium.core.progress import counter
    from trivium.tasks.finetune import tell
    from trivium.tasks.folder import load_tuned, tuned_in
    from trivium.tasks.metrics.likely import told

    tuned = tuned_in(load_tuned(run), precision)
    if file.is_dir() and tuned.task.name != "write":
        raise DataError(f"--data {file}: a fine-tuned run is scored on a labelled file, found a folder.")
    examples, problems = tuned.task.read(file, min_classes=1)
    tuned.task.check(examples, str(file))
    encoded = tuned.task.encode(examples, tuned.reading)
    with shown(quiet=quiet) as progress:
        tell(problems, progress)
        for said in encoded.said:
            progress.warn(said)
        read = counter(progress, "score", len(encoded.pieces), "pieces of text")
        scores = tuned.task.score(tuned.model, encoded._replace(told=read))
    return scores.metrics, told(tuned.task.chosen_by, scores.likely)


def _joint_metrics(
    run: Path, relations: Path, file: Path, precision: "InferencePrecision", *, quiet: bool
) -> dict[str, dict[str, float]]:
    """Return how good the spans of one model are, and the relations of another, between given spans and found ones."""
    from trivium.cli.progress import shown
    from trivium.core.progress import counter
    from trivium.data.labelled import read_joint
    from trivium.tasks.finetune import tell
    from trivium.tasks.folder import load_tuned, tuned_in
    from trivium.tasks.relate.joint import score_joint, score_spans

    finder, relater = (tuned_in(load_tuned(path), precision) for path in (run, relations))
    examples, problems = read_joint(file)
    with shown(quiet=quiet) as progress:
        tell(problems, progress)
        told = counter(progress, "score", 3 * len(examples), "texts")
        return {
            "spans": score_spans(finder, _counted(examples, told)),
            "relations_given_spans": score_joint(relater, _counted(examples, told)),
            "relations_found_spans": score_joint(relater, _counted(examples, told), finder=finder),
        }


def _counted(examples: "Iterable[JointExample]", told: Callable[[int], None]) -> "Iterator[JointExample]":
    for example in examples:
        yield example
        told(1)


def _show_joint(scores: dict[str, dict[str, float]], *, as_json: bool) -> None:
    import json

    if as_json:
        typer.echo(json.dumps(scores))
        return
    names = list(scores["relations_found_spans"])
    typer.echo(" " * 28 + "".join(f"{name:>16}" for name in names))
    for what, metrics in scores.items():
        cells = "".join(f"{metrics[name]:>16.4f}" if name in metrics else " " * 16 for name in names)
        typer.echo(f"{what.replace('_', ' '):<28}{cells}".rstrip())
