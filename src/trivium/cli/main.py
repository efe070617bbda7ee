"""The verbs, and what happens to errors: the user's are one line and exit code 2, ours a traceback and 1."""

import errno
import os
import sys

import typer

from trivium import __version__
from trivium.cli import (
    average,
    compare,
    doctor,
    embed,
    evaluate,
    export,
    find_lr,
    finetune,
    inspect,
    prepare,
    pretrain,
    quickstart,
    report,
    speak,
    watch,
)

_INTERRUPTED = 130  # 128 + SIGINT
app = typer.Typer(
    name="trivium",
    help="Pretrain, fine-tune and compare BERT-, GPT- and T5-family language models on your own text.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("quickstart", short_help="The main job: three families, one table.")(quickstart.command)
app.command("prepare", short_help="Text to shards, once for all families.")(prepare.command)
app.command("pretrain", short_help="Shards to a model.")(pretrain.command)
app.command("find-lr", short_help="Which learning rate to pretrain with.")(find_lr.command)
app.command("finetune", short_help="A model to one that does a task.")(finetune.command)
app.command("evaluate", short_help="Score a model on held-out data.")(evaluate.command)
app.command("predict", short_help="Answer texts with JSON lines.")(evaluate.predict_command)
app.command("embed", short_help="Texts to vectors.")(embed.embed_command)
app.command("search", short_help="The texts of a folder nearest to a question.")(embed.search_command)
app.command("generate", short_help="Continue a text.")(speak.generate_command)
app.command("fill", short_help="Say what may stand at each [MASK].")(speak.fill_command)
app.command("compare", short_help="Runs side by side.")(compare.command)
app.command("average", short_help="One model of a run's checkpoints.")(average.command)
app.command("report", short_help="A run as a page, report.html.")(report.command)
app.command("watch", short_help="Runs as they go, in the terminal.")(watch.command)
app.command("inspect", short_help="What a run, preset or data set is.")(inspect.command)
app.command("export", short_help="A model for transformers.")(export.command)
app.command("doctor", short_help="What this machine has.")(doctor.command)


def run() -> None:
    """Run the command line and exit: 0 done, 2 the user's mistake, 1 ours, 128 + n stopped by signal n."""
    raise SystemExit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    from trivium.core.errors import Interrupted, SaidElsewhere, UserError

    if arguments == ["--version"]:
        sys.stdout.write(f"trivium {__version__}\n")
        return 0
    try:
        result = app(args=arguments or ["--help"], standalone_mode=False)
    except SaidElsewhere:
        return 2
    except UserError as error:
        return _say(str(error))
    except Interrupted as stop:
        if os.environ.get("RANK", "0") == "0":  # of several processes one says it
            _say(str(stop))
        return 128 + stop.signal_number
    except KeyboardInterrupt:
        _say("interrupted; nothing was kept.")
        return _INTERRUPTED
    except BrokenPipeError:
        return 0
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _say(f"no space left on the device{_where(error)}; what was complete before is untouched.")
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            return _say(f"not allowed to write or read{_where(error)}: {error.strerror}.")
        raise
    except Exception as error:
        # typer brings its own copy of click from some version on, so its errors are known by what they have.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        return _say(_usage(message(), arguments))
    if result == _INTERRUPTED:
        _say("interrupted; nothing was kept.")
    return result if isinstance(result, int) else 0


def _say(text: str) -> int:
    rank = os.environ.get("RANK", "0")  # of several processes
    sys.stderr.write(f"trivium: {text}\n" if rank == "0" else f"trivium (rank {rank}): {text}\n")
    return 2


def _where(error: OSError) -> str:
    return f" ({error.filename})" if error.filename else ""


def _usage(message: str, arguments: list[str]) -> str:
    """Return a usage error as one line that says where help is."""
    from trivium.core.errors import nearest

    verbs = [command.name or "" for command in app.registered_commands]
    if arguments and not arguments[0].startswith("-") and arguments[0] not in verbs:
        return f"`{arguments[0]}` is no verb.{nearest(arguments[0], verbs)}"
    verb = f" {arguments[0]}" if arguments and arguments[0] in verbs else ""
    return f"{' '.join(message.split())} See `trivium{verb} --help`."
