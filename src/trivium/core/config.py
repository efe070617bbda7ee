"""TOML and dotted overrides to frozen pydantic models; an unknown key is an error that names its nearest neighbour."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from trivium.core.errors import ConfigError, nearest

Tree = dict[str, Any]
C = TypeVar("C", bound="Config")


class Config(BaseModel):
    """Base of every configuration value: immutable, keyword-only, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, value: Any) -> Any:
        # Pydantic's own message does not say which key was meant.
        if isinstance(value, Mapping):
            for key in value:
                if key not in cls.model_fields:
                    hint = nearest(str(key), list(cls.model_fields))
                    raise PydanticCustomError("unknown_key", "unknown key `{key}`.{hint}", {"key": key, "hint": hint})
        return value


def read_toml(path: Path) -> Tree:
    """Read a TOML file; raise ConfigError with file and reason when it cannot be read or parsed."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}.") from None


def write_toml(config: Config) -> str:
    """Return the configuration as TOML; `parse` of it gives an equal value (TOML has no null: None is left out)."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def override(tree: Tree, assignments: Sequence[str]) -> Tree:
    """Return a copy of `tree` with each `dotted.key=value` set; values are TOML, a bare word is a string.

    A changed `kind` starts that table afresh: the old kind's parameters mean nothing to the new one. A key below a
    plain value makes a table of it.
    """
    result = _copy(tree)
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        if not equals or not dotted.strip():
            raise ConfigError(f"--set expects dotted.key=value, found {assignment!r}.")
        *path, last = dotted.strip().split(".")
        node: Any = result
        for name in path:
            node = _step(node, name, dotted)
        value = _value(text.strip())
        if isinstance(node, list):
            node[_index(node, last, dotted)] = value
        elif last == "kind" and node.get("kind") != value:
            node.clear()
            node["kind"] = value
        else:
            node[last] = value
    return result


def parse(kind: type[C], tree: Mapping[str, Any], source: str) -> C:
    """Check `tree` against the configuration class; raise ConfigError naming source, dotted path and reason."""
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_one_line(error)}") from None


def _one_line(error: ValidationError) -> str:
    first, *rest = error.errors(include_url=False)
    path = ".".join(str(part) for part in first["loc"])
    message = str(first["msg"]).removeprefix("Value error, ")
    found = first.get("input")
    shown = f" (found {found!r})" if isinstance(found, str | int | float | bool) else ""
    more = f" And {len(rest)} more." if rest else ""
    return (
        (f"`{path}`: " if path else "")
        + message
        + shown
        + ("" if (message + shown).endswith((".", "?")) else ".")
        + more
    )


def _step(node: Any, name: str, dotted: str) -> Any:
    if isinstance(node, list):
        return node[_index(node, name, dotted)]
    if not isinstance(node.get(name), dict | list):
        node[name] = {}  # where a plain value stood, a table may stand too: a rate, or its ramp
    return node[name]


def _index(node: list[Any], name: str, dotted: str) -> int:
    if not name.isdecimal() or int(name) >= len(node):
        raise ConfigError(f"--set {dotted}: expected an index from 0 to {len(node) - 1}, found {name!r}.")
    return int(name)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _copy(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {key: _copy(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_copy(value) for value in tree]
    return tree
