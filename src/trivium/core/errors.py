"""Errors that are the user's to mend: one line saying what was expected, what was found and what to do."""


class UserError(Exception):
    """A mistake the user can mend; the command line prints its one line and exits with code 2."""


class ConfigError(UserError):
    """A recipe, preset, option or combination of them that cannot be built."""


class DataError(UserError):
    """Input text, labels or a prepared data set that cannot be read as asked."""


class CheckpointError(UserError):
    """A run folder, checkpoint or weight file that is missing, damaged or belongs to something else."""


class HubError(UserError):
    """A Hugging Face or TensorFlow checkpoint that cannot be read, or a model that cannot be written as one."""


class DivergedError(UserError):
    """A loss or gradient that is no longer finite."""


class SaidElsewhere(UserError):
    """Another process of the same run has said what is wrong."""


class Interrupted(Exception):
    """A signal asked a run to stop; it is saved and can be resumed."""

    def __init__(self, signal_number: int, step: int) -> None:
        self.signal_number = signal_number
        super().__init__(f"stopped by a signal and saved at step {step}; the same command with --resume goes on.")


class MissingExtra(UserError):
    """An optional package that the asked-for work needs."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs `{package}`, which is not installed: pip install 'trivium[{extra}]'.")


def nearest(name: str, known: list[str]) -> str:
    """Return " Did you mean `x`?" for the known name closest to `name`, or the list of names when none is close."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f" Did you mean `{close[0]}`?"
    return f" Known: {', '.join(sorted(known))}."
