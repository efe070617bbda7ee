"""Examples, and beside them what of a file was mended or left out: nothing is lost in silence."""

from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from trivium.core.errors import DataError

E = TypeVar("E")


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


def checked(path: Path, examples: list[E], problems: list[Problem], *, strict: bool) -> Labelled[E]:
    """Return examples and problems.

    Raises:
        DataError: there is a problem and `strict` forbids any, or no example is left.
    """
    more = f" And {len(problems) - 1} more." if len(problems) > 1 else ""
    if strict and problems:
        raise DataError(f"{problems[0]}{more}")
    if not examples:
        raise DataError(f"{path}: no usable examples." + (f" First: {problems[0]}{more}" if problems else ""))
    return Labelled(examples, problems)
