"""The small files of a checkpoint's folder."""

import json
from pathlib import Path
from typing import Any

from trivium.core.errors import HubError


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raise HubError with file and reason when it cannot be read, or holds a key twice."""
    require_file(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once_each)
    except OSError as error:
        raise HubError(f"{path}: cannot be read: {one_line(error)}.") from None
    except UnicodeDecodeError as error:
        raise HubError(f"{path}: expected JSON in UTF-8, found another encoding: {one_line(error)}.") from None
    except (ValueError, RecursionError) as error:
        raise HubError(f"{path}: expected a JSON object, found what is none: {one_line(error)}.") from None
    if not isinstance(value, dict):
        raise HubError(f"{path}: expected a JSON object, found {type(value).__name__}.")
    return value


def require_file(path: Path) -> None:
    """Raise HubError when the path is not a file that is there."""
    if path.is_dir():
        raise HubError(f"{path}: expected a file, found a folder.")
    if not path.exists():
        found = "a link to nothing" if path.is_symlink() else "nothing of that name"
        raise HubError(f"{path}: missing file: found {found}.")


def require_folder(path: Path) -> None:
    """Raise HubError when the path is not a folder that is there."""
    if not path.exists():
        raise HubError(f"{path}: no such folder; expected the folder of a checkpoint.")
    if not path.is_dir():
        raise HubError(f"{path}: expected the folder of a checkpoint, found a file.")


def one_line(error: BaseException) -> str:
    """Return what an error says on one line of bounded length, without a full stop."""
    text = " ".join(str(error).split()) or type(error).__name__
    return (text if len(text) <= 200 else text[:197] + "...").rstrip(".")


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for key, item in pairs:
        if key in value:
            raise ValueError(f"the key `{key}` is there twice")
        value[key] = item
    return value
