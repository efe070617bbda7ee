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
        value = _value(text)
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
        raise ConfigError(f"{source}: {_one_line(error, tree)}") from None


def _one_line(error: ValidationError, tree: Mapping[str, Any]) -> str:
    """Return the first mistake in the words of who wrote the tree: its own keys, and no branch that was not meant."""
    errors = error.errors(include_url=False)
    # Of a value that may be a number or a table, a table is no mistaken number, nor the other way round.
    meant = [each for each in errors if not _of_another_branch(each)] or errors
    # A list whose items are all wrong is not also too short.
    inner = [tuple(each["loc"]) for each in meant]
    meant = [each for each in meant if each["type"] != "too_short" or not _has_inside(tuple(each["loc"]), inner)]
    first = max(meant, key=lambda each: len(_own_path(each, tree)))
    path = ".".join(_own_path(first, tree))
    message = _message(first, path) + (f" And {len(meant) - 1} more." if len(meant) > 1 else "")
    return f"`{path}`: {message}" if path else message


def _has_inside(place: tuple[int | str, ...], places: list[tuple[int | str, ...]]) -> bool:
    return any(len(other) > len(place) and other[: len(place)] == place for other in places)


def _of_another_branch(error: Mapping[str, Any]) -> bool:
    table = isinstance(error["input"], Mapping)
    return str(error["type"]).endswith("_type") and (str(error["type"]).startswith("model_") != table)


def _own_path(error: Mapping[str, Any], tree: Any) -> list[str]:
    """Return an error's place in the tree; pydantic names branches of unions in between."""
    path = []
    for part in error["loc"]:
        inside = isinstance(tree, Mapping) and part in tree
        if inside or (isinstance(tree, list | tuple) and isinstance(part, int) and part < len(tree)):
            path.append(str(part))
            tree = tree[part]
    if error["type"] == "missing":
        path.append(str(error["loc"][-1]))
    return path


def _message(error: Mapping[str, Any], path: str) -> str:
    kind, found, context = str(error["type"]), error["input"], error.get("ctx", {})
    match kind:
        case "union_tag_invalid":
            tags = [tag.strip(" '") for tag in str(context["expected_tags"]).split(",")]
            hint = nearest(str(context["tag"]), tags)
            return f"`kind` must be one of {', '.join(tags)}: found {context['tag']!r}.{hint}"
        case "union_tag_not_found":
            return "expected a table with a `kind`, found none in it."
        case "missing":
            return "is missing: expected a value for it."
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"expected a table, found {found!r}; of one with a kind, write {path}.kind=... ."
        case "tuple_type" | "list_type":
            return f"expected a list, such as [...], found {found!r}."
    message = str(error["msg"]).removeprefix("Value error, ")
    shown = f" (found {found!r})" if isinstance(found, str | int | float | bool) else ""
    return message + shown + ("" if (message + shown).endswith((".", "?")) else ".")


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
    """Return the TOML that a text is, or the text as it is: blanks at its ends may be meant."""
    try:
        return tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _copy(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {key: _copy(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_copy(value) for value in tree]
    return tree
