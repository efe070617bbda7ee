"""Examples, and beside them what of a file was mended or left out: nothing is lost in silence."""

from collections.abc import Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from trivium.core.errors import DataError

E = TypeVar("E")
_SHOWN = 3  # problems, in one line


class Problem(NamedTuple):
    """A label that does not fit its text: where it stands (file and line, or item), and what was done about it."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class Labelled(NamedTuple, Generic[E]):
    """Examples that can be used, and the problems of the file they are from, in its order."""

    examples: list[E]
    problems: list[Problem]


def summed_up(problems: Sequence[Problem], file: Path | None = None) -> str:
    """Return how many problems there are, and the first few of them, as one line; "" when there are none.

    Args:
        problems: of a file, or of several.
        file: where all of them can be read.
    """
    if not problems:
        return ""
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    more += f": {file}" if more and file is not None else ""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return f"{count} in what is labelled: {'; '.join(str(each).rstrip('.') for each in problems[:_SHOWN])}{more}."


def checked(path: Path, examples: list[E], problems: list[Problem]) -> Labelled[E]:
    """Return examples and problems; raise DataError when no example is left."""
    if not examples:
        more = f" And {len(problems) - 1} more." if len(problems) > 1 else ""
        raise DataError(f"{path}: no usable examples." + (f" First: {problems[0]}{more}" if problems else ""))
    return Labelled(examples, problems)
