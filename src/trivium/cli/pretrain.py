"""trivium pretrain: shards to a model."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from trivium.cli.options import Out, Quiet, Set, StartFrom, Track

if TYPE_CHECKING:
    from trivium.core.progress import Progress
    from trivium.data.normal import Normal
    from trivium.data.shards import PreparedData
    from trivium.model.folder import SavedModel
    from trivium.train.config import RunConfig
    from trivium.train.distributed import Ranks

_VERIFIED_BYTES = 2**28  # of prepared text, a third of a second: what is larger is taken to be as it was


def command(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe (.toml) or a preset's name.")],
    data: Annotated[Path, typer.Option("--data", help="Folder that `trivium prepare` made.")],
    out: Out,
    minutes: Annotated[
        float | None, typer.Option(min=0.05, help="Train for about this long: steps are measured first.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Train for so many steps (1,000 if neither is given).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a stopped run was.")] = False,
    start_from: StartFrom = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of all random choices.")] = None,
    track: Track = None,
    settings: Set = None,
    quiet: Quiet = False,
    no_preflight: Annotated[
        bool, typer.Option("--no-preflight", help="Do not look at the run before it begins (10 seconds at most).")
    ] = False,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Say what a step's time is spent on, and write a trace to OUT/profile."),
    ] = False,
    preflight_only: Annotated[
        bool, typer.Option("--preflight-only", help="Look at the run, say what it would be, and write nothing.")
    ] = False,
) -> None:
    """Pretrain an encoder, a decoder or an encoder-decoder."""
    from contextlib import nullcontext

    from trivium.cli.environment import set_up_process
    from trivium.core.errors import ConfigError
    from trivium.core.progress import Silent

    if minutes is not None and steps is not None:
        raise ConfigError("expected --minutes or --steps, found both.")
    if preflight_only and (no_preflight or resume):
        raise ConfigError("--preflight-only looks at a run that is to begin: leave out --no-preflight and --resume.")
    set_up_process()
    from trivium.cli.progress import shown
    from trivium.train.distributed import joined

    assignments = _assignments(settings, steps, seed, start_from)
    with joined() as ranks, shown(quiet=quiet) if ranks.first else nullcontext(Silent()) as progress:
        opened = _opened(recipe, assignments, data, out, resume, ranks)
        if preflight_only:
            _look(opened, out, minutes, progress, ranks)
        else:
            how = _How(minutes, resume, profile, preflight=not (no_preflight or resume))
            _pretrain(opened, out, how, track or [], progress, ranks)


class _How(NamedTuple):
    """How a run is to be made."""

    minutes: float | None
    resume: bool
    profile: bool
    preflight: bool


class _Opened(NamedTuple):
    """What a run is made from."""

    config: "RunConfig"
    data: "PreparedData"
    start: "Callable[[], SavedModel]"


def _opened(recipe: str, assignments: list[str], data: Path, out: Path, resume: bool, ranks: "Ranks") -> _Opened:
    """Read the recipe and open the data; raise a UserError for what is not there, is damaged, or stands in the way."""
    from trivium.core.config import read_toml
    from trivium.core.files import refuse_existing
    from trivium.data.shards import PreparedData
    from trivium.train.config import load_recipe

    config = load_recipe(recipe, assignments)
    if not resume:
        ranks.told(lambda: refuse_existing(out))
    opened = PreparedData.open(data)
    ranks.told(lambda: opened.verify(max_bytes=_VERIFIED_BYTES))
    begun = out / "config.toml"
    goes_on = resume and begun.is_file()
    named = config.start_from or (read_toml(begun).get("start_from") if goes_on else None)
    # Opened when it is asked for, and once: a run that goes on from a checkpoint has no need of it.
    start = cache(lambda: _start(str(named)))
    if config.start_from is not None and not goes_on:
        config = _changed(config, start(), assignments)
    return _Opened(config, opened, start)


def _look(opened: _Opened, out: Path, minutes: float | None, progress: "Progress", ranks: "Ranks") -> None:
    """Say what the run would be."""
    from trivium.train.preflight.look import PREFLIGHT_SECONDS
    from trivium.train.settle import ready

    ready(
        opened.config,
        opened.data,
        out,
        progress=progress,
        minutes=minutes,
        start=opened.start,
        preflight_seconds=PREFLIGHT_SECONDS,
        ranks=ranks,
    )


def _pretrain(
    opened: _Opened,
    out: Path,
    how: _How,
    track: list[str],
    progress: "Progress",
    ranks: "Ranks",
) -> None:
    """Make the run, and say how it ended."""
    from trivium.data.normal import normal_losses
    from trivium.objectives.build import is_nats_a_token
    from trivium.train.preflight.look import PREFLIGHT_SECONDS
    from trivium.train.run import pretrain
    from trivium.train.trackers import open_trackers

    trackers, normal = open_trackers(track), None
    if is_nats_a_token(opened.config.objective):
        normal = ranks.told(lambda: normal_losses(opened.data.folder, opened.data))
        progress.line(f"normal losses of this text, nats a token: {normal}")
    results = pretrain(
        opened.config,
        opened.data,
        out,
        progress=progress,
        minutes=how.minutes,
        resume=how.resume,
        normal=normal,
        start=opened.start,
        ranks=ranks,
        trackers=trackers,
        preflight_seconds=PREFLIGHT_SECONDS if how.preflight else 0.0,
        profile=how.profile,
    )
    for line in _closing(results, out, normal):
        progress.line(line)


def _assignments(settings: list[str] | None, steps: int | None, seed: int | None, start_from: str | None) -> list[str]:
    """Return what is set, the options of their own included."""
    options = {"train.steps": steps, "seed": seed, "start_from": None if start_from is None else f'"{start_from}"'}
    return [*(settings or []), *(f"{key}={value}" for key, value in options.items() if value is not None)]


def _closing(results: dict[str, Any], out: Path, normal: "Normal | None") -> Iterator[str]:
    """Yield what is said of a finished run."""
    loss, best = results["valid"]["loss"], results["best"]
    beside = "" if normal is None else f" ({normal})"
    yield (
        f"done: held-out loss {loss:.3f}{beside}; {results['tokens']:,} tokens in "
        f"{results['seconds']:.0f} s. {out / 'model'} is the model; `trivium report {out}` draws the curves."
    )
    if normal is not None and loss > normal.uniform - 0.05:
        yield "warning: that is the loss of guessing: nothing was learned; look at optimiser.lr, and train for longer."
    if best["loss"] < 0.98 * loss:
        yield (
            f"the held-out loss was {best['loss']:.3f} at step {best['step']} (kept in checkpoints/), "
            "lower than now: the text was read too often. Train for fewer steps, or on more text."
        )


def _start(name: str) -> "SavedModel":
    """Open the model that a run begins with."""
    from trivium.cli.locate import model_folder
    from trivium.core.errors import ConfigError
    from trivium.hub.open import history_of, is_foreign, open_pretrained
    from trivium.tasks.folder import does_task

    folder = model_folder(name)
    if does_task(folder):
        raise ConfigError(f"--from {name}: a fine-tuned model; expected a pretrained one.")
    # A folder of ours has a head, whatever its objective has taught it: the run goes on from there.
    return open_pretrained(folder, speaks=is_foreign(folder))._replace(history=history_of(folder, name))


def _changed(config: "RunConfig", start: "SavedModel", assignments: list[str]) -> "RunConfig":
    """Return the run with the architecture that it begins with, changed as asked, instead of the recipe's."""
    from trivium.core.config import override, parse
    from trivium.core.errors import ConfigError
    from trivium.model.config import EncoderDecoder, ModelConfig
    from trivium.model.warm_start import begins_with, written_from

    if not begins_with(config.model, start.config):
        raise ConfigError(
            f"--from {config.start_from}: expected a model of the recipe's family, {config.model.family.kind}; "
            f"found {start.config.family.kind}."
        )
    begun = written_from(start.config) if isinstance(config.model.family, EncoderDecoder) else start.config
    changes = [text.strip().removeprefix("model.") for text in assignments if text.strip().startswith("model.")]
    changes = [text for text in changes if not text.startswith("preset")]
    tree = override(begun.model_dump(mode="json", exclude_none=True), changes)
    return config.model_copy(update={"model": parse(ModelConfig, tree, "model")})
