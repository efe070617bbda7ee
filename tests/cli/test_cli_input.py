"""What comes in by standard input, line by line."""

import io

import pytest

from trivium.cli.options import input_lines
from trivium.core.errors import DataError


def test_lines_are_those_of_any_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\ufefffirst\r\n\n\ufeffthird \r\r\n\u4e2d\u6587"))
    assert list(input_lines()) == ["first", "", "\ufeffthird \r", "\u4e2d\u6587"]


def test_what_is_no_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("good\nbad \udcff line\n"))
    lines = input_lines()
    assert next(lines) == "good"
    with pytest.raises(DataError, match="expected UTF-8 text"):
        next(lines)
