"""A text a line, each in its place: what is made of the lines of a file has as many rows as the file."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from trivium.core.errors import DataError
from trivium.data.readers import JSON_LINES, text_of_line


def text_lines(path: Path) -> Iterator[str]:
    """Yield every line of a text file, an empty one too, or the `text` of every line of JSON that is not blank.

    One line is held at a time.

    Args:
        path: UTF-8 text; JSON lines are known by their name.

    Raises:
        DataError: there is no such file, or what is wrong in it, with its line.
    """
    if not path.is_file():
        raise DataError(f"{path}: expected a file of texts, found {'a folder' if path.is_dir() else 'nothing'}.")
    is_json = path.suffix.lower() in JSON_LINES
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            line = _decoded(raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw, f"{path}:{number}")
            if not is_json:
                yield line
            elif line.strip():
                yield text_of_line(line, "text", f"{path}:{number}")


def _decoded(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: not valid UTF-8 (byte 0x{raw[error.start]:02x}); convert the file to UTF-8."
        ) from None
