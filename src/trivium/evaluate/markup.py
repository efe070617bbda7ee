"""HTML and SVG as text that cannot be broken by what it shows: everything that is not markup is escaped."""

import html
import re
from typing import Self

# Characters that neither HTML nor XML may hold.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")


class Markup(str):
    """Text that already is HTML or SVG and is not escaped again."""

    __slots__ = ()

    @classmethod
    def joined(cls, *parts: object) -> Self:
        """Return the parts one after another, those that are not markup escaped."""
        return cls("".join(escaped(part) for part in parts))


def escaped(value: object) -> Markup:
    """Return markup that shows the value as it is; characters that no page may hold are replaced."""
    if isinstance(value, Markup):
        return value
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return Markup(html.escape(_FORBIDDEN.sub("\ufffd", text), quote=True))


def element(name: str, *children: object, **attributes: object) -> Markup:
    """Return an element.

    Args:
        name: of the element.
        children: markup stands as it is, anything else is escaped; None is left out.
        attributes: `class_` is written `class` and `stroke_width` `stroke-width`; None is left out, and numbers are
            written with at most two decimals.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup.joined(*(child for child in children if child is not None))
    return Markup(f"<{name}{written}>{inner}</{name}>")


def _attribute(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return escaped(value)
