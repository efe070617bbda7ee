"""How numbers are written for people: short, with their unit, and never as `nan`."""

import math
from collections.abc import Callable
from typing import TypeGuard

ABSENT = "\u2013"
_SPACE = "\u00a0"  # a number and its unit stay on one line
_MINUS = "\u2212"

NumberText = Callable[[float], str]


def is_number(value: object) -> TypeGuard[float]:
    """Say whether the value is a finite number; a bool is none, and what overflows when squared is not finite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e150


def number_text(value: float | None, digits: int = 4) -> str:
    """Return a number with about `digits` significant digits: 4.213, 81.2, 12,345, 3.1e-05."""
    if value is None or not is_number(value):
        return ABSENT
    if abs(value) < 1e15 and value == int(value):
        return _signed(f"{value:,.0f}")
    size = math.floor(math.log10(abs(value)))
    if not -5 <= size < 15:
        return _signed(f"{value:.{digits - 2}e}")
    decimals = digits - 1 - size if size >= 0 else digits - 2 - size
    return _signed(f"{value:,.{max(decimals, 0)}f}")


def short_text(value: float | None) -> str:
    """Return a number with about three significant digits."""
    return number_text(value, 3)


def compact_text(value: float | None) -> str:
    """Return a count in two or three characters and a suffix: 950, 35k, 1.2M, 3.4B."""
    if value is None or not is_number(value):
        return ABSENT
    if abs(value) < 1000:
        return number_text(value, 3)
    for suffix, size in (("k", 1e3), ("M", 1e6), ("B", 1e9), ("T", 1e12)):
        scaled = value / size
        text = f"{scaled:.1f}" if abs(scaled) < 9.95 else f"{scaled:.0f}"
        if abs(float(text)) < 1000:
            return _signed(_trimmed(text) + suffix)
    return number_text(value, 3)


def percent_text(value: float | None) -> str:
    """Return a share from 0 to 1 as a percentage with one decimal."""
    if value is None or not is_number(value):
        return ABSENT
    return _signed(f"{100 * value:.1f}{_SPACE}%")


def plus_minus_text(mean: float | None, sd: float | None, text: NumberText = number_text) -> str:
    """Return `mean \u00b1 sd` with the unit written once; without a deviation, the mean alone."""
    if mean is None or not is_number(mean):
        return ABSENT
    if sd is None or not is_number(sd):
        return text(mean)
    number, unit = _split_unit(text(mean))
    decimals = len(number.partition(".")[2])
    deviation, deviation_unit = _split_unit(text(sd))
    if deviation_unit != unit or "e" in number + deviation:
        return f"{text(mean)}{_SPACE}\u00b1{_SPACE}{text(sd)}"
    rounded = f"{float(deviation.replace(',', '')):.{decimals}f}" if decimals else deviation
    return f"{number}{_SPACE}\u00b1{_SPACE}{rounded}{unit}"


def range_text(interval: tuple[float, float], text: NumberText = number_text) -> str:
    """Return `low to high` with the unit written once."""
    (low, unit), (high, other) = map(_split_unit, map(text, interval))
    return f"{low} to {high}{unit}" if unit == other else f"{low}{unit} to {high}{other}"


def seconds_text(value: float | None) -> str:
    """Return a time: 4.2 ms, 0.35 s, 48 s, 3 min 12 s, 1 h 4 min."""
    if value is None or not is_number(value):
        return ABSENT
    if value < 0.1:
        return milliseconds_text(1000 * value)
    if value < 9.95:
        return f"{value:.2g}{_SPACE}s"
    whole = round(value)
    if whole < 60:
        return f"{whole}{_SPACE}s"
    if whole < 3600:
        return f"{whole // 60}{_SPACE}min" + (f" {whole % 60}{_SPACE}s" if whole % 60 else "")
    minutes = round(value / 60)
    return f"{minutes // 60:,}{_SPACE}h" + (f" {minutes % 60}{_SPACE}min" if minutes % 60 else "")


def milliseconds_text(value: float | None) -> str:
    """Return a time that is given in milliseconds."""
    return ABSENT if value is None or not is_number(value) else f"{number_text(value, 3)}{_SPACE}ms"


def bytes_text(value: float | None) -> str:
    """Return a size in decimal units: 812 B, 35 kB, 13.1 MB."""
    if value is None or not is_number(value):
        return ABSENT
    for unit, size in (("B", 1.0), ("kB", 1e3), ("MB", 1e6)):
        if abs(value) < 999.5 * size:
            return f"{number_text(value / size, 3)}{_SPACE}{unit}"
    return f"{number_text(value / 1e9, 3)}{_SPACE}GB"


def is_share(metric: str) -> bool:
    """Say whether a metric is a share from 0 to 1, shown as a percentage, rather than a loss or a count."""
    words = set(metric.lower().replace("-", "_").split("_"))
    return bool(
        words & {"accuracy", "f1", "precision", "recall", "coverage", "exact", "share", "rouge", "bleu", "chrf"}
    )


def metric_text(metric: str) -> NumberText:
    """Return how values of a metric are written."""
    return percent_text if is_share(metric) else number_text


def _split_unit(text: str) -> tuple[str, str]:
    number, space, unit = text.partition(_SPACE)
    return number, space + unit


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _signed(text: str) -> str:
    return text.replace("-", _MINUS, 1) if text.startswith("-") else text
