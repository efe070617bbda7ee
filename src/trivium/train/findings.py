"""What is found out about a run before it begins: errors stop it, warnings are said and do not."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from trivium.core.errors import ConfigError, DataError, UserError


class Finding(NamedTuple):
    """One thing that is wrong, or may be.

    Args:
        check: what was looked at.
        text: one line: what was expected, what was found, what to do.
        error: what it is refused with; None = a warning.
    """

    check: str
    text: str
    error: type[UserError] | None = None

    @property
    def level(self) -> Literal["error", "warning"]:
        """Whether the run is refused."""
        return "warning" if self.error is None else "error"


def config_error(check: str, text: str) -> Finding:
    """Return an error of the settings."""
    return Finding(check, text, ConfigError)


def data_error(check: str, text: str) -> Finding:
    """Return an error of the text."""
    return Finding(check, text, DataError)


def first_error(findings: Iterable[Finding]) -> UserError | None:
    """Return the first error as what is raised, None when there is none."""
    return next((finding.error(finding.text) for finding in findings if finding.error is not None), None)
