"""Text that every CPython carries, read from the running interpreter, and two labelled tasks made from it.

The text: the language's documentation topics, the standard library's docstrings, and its source. A top-level module
with its twins, or a topic, belongs to one split, so that nothing leaks from training to test.
"""

import ast
import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

from trivium.data.labelled import LabelExample
from trivium.data.roles import NamedRoles
from trivium.data.scopes import FUNCTIONS, Exports, Library, Scope
from trivium.data.snippets import candidates, cut
from trivium.data.standard_library import (
    SPLITS,
    SourceFile,
    Split,
    area_of,
    hash_of,
    parse,
    source_files,
    split_of,
    split_of_topic,
)

__all__ = ["SPLITS", "Split", "builtin_documents", "classify_examples", "label_examples"]

_DEFINITIONS = (*FUNCTIONS, ast.ClassDef)
_LICENCE = re.compile(
    r"copyright|licen[cs]e|all rights reserved|warrant|-\*-|^#!|contributed by|^# *vi[m]?:", re.I | re.M
)
_COMMENT_BLOCK = re.compile(r"(?:^#.*\n)+", re.M)
_BANNER = re.compile(r"^[ \t]*#?[ \t]*([-=*~#^_+.\"])\1{3,}[ \t]*#?[ \t]*\n", re.M)
_LITERAL = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'|\b\d[\w.]*")
_NEW_LINE_CHARACTERS = 20  # shorter lines (`return self`, `try:`) say nothing about where a text comes from

_MIN_DOCUMENT = 20
_SNIPPETS_A_FILE = 24
_SNIPPETS_A_MODULE = 64
_DOCSTRINGS_A_MODULE = 50
_MIN_DOCSTRING = 40


class _Docstring(NamedTuple):
    name: str  # dotted, with the module
    heading: str
    text: str
    first_line: int
    last_line: int
    moves: bool  # it is a document of its own, and is cut from the source's


class _Read(NamedTuple):
    """What one pass over a source file keeps of it."""

    file: SourceFile
    docstrings: tuple[_Docstring, ...]
    code: tuple[str, ...]  # cut at top-level definitions
    exports: Exports


def builtin_documents(*, max_bytes: int | None = None) -> Iterator[tuple[str, Split]]:
    """Yield the built-in documents with the split of each: topics, then docstrings, then code.

    A text is there once: docstrings of several lines are documents of their own, with the name and signature they
    belong to, and are cut from the code; copies and near-copies, repeated comments and tables are dropped.

    Args:
        max_bytes: keep a fair sample of the documents that takes at most this many bytes of UTF-8.

    Raises:
        DataError: this Python carries no source.
    """
    documents = _documents()
    kept = range(len(documents)) if max_bytes is None else _sample(documents, max_bytes)
    for number in kept:
        yield documents[number]


def classify_examples(split: Split, *, max_characters: int = 600) -> list[dict[str, Any]]:
    """Return rows of `text` (a docstring) and `label` (the area of the library that its module belongs to).

    A name that begins the text and is followed by a dash, a colon or a blank line is cut off. Texts that occur in
    several areas or splits, and all but a few dozen of a module's, are left out. The order is that of a hash.

    Args:
        split: which modules.
        max_characters: a longer docstring is cut at the end of the last paragraph, line or word that fits.
    """
    origins = _origins(max_characters)
    ordered = sorted((hash_of("classify", text), text) for text, where in origins.items() if len(where) == 1)
    taken: Counter[str] = Counter()
    rows = []
    for _, text in ordered:
        (area, origin), module = next(iter(origins[text].items()))
        if origin == split and area is not None and taken[module] < _DOCSTRINGS_A_MODULE:
            taken[module] += 1
            rows.append({"text": text, "label": area})
    return rows


def label_examples(split: Split, *, min_tokens: int = 10, max_tokens: int = 80) -> list[dict[str, Any]]:
    """Return rows of `tokens` (a snippet of code), `labels` (the role of each name) and `spaces` (after each token).

    Snippets are whole definitions, or the beginnings of longer ones, and runs of a module's other statements.
    Keywords, builtins, operators, numbers and strings are not scored. The order is that of a hash.

    Args:
        split: which modules.
        min_tokens, max_tokens: bounds of a snippet's length.
    """
    ordered = sorted(
        (hash_of("label", *example.tokens), example)
        for example, where in _snippets(min_tokens, max_tokens)
        if where == split
    )
    columns = ("tokens", "labels", "spaces")
    return [{name: list(getattr(example, name) or ()) for name in columns} for _, example in ordered]


@cache
def _library() -> tuple[_Read, ...]:
    blocks = Counter(block for file in source_files() for block in set(_COMMENT_BLOCK.findall(file.text)))
    repeated = {block for block, files in blocks.items() if files > 1 and block.count("\n") > 1}
    return tuple(_read(file, tree, repeated) for file in source_files() if (tree := parse(file)) is not None)


def _read(file: SourceFile, tree: ast.Module, repeated: set[str]) -> _Read:
    docstrings = tuple(_docstrings(tree, file.module))
    moved = {
        line
        for docstring in docstrings
        if docstring.moves
        for line in range(docstring.first_line, docstring.last_line + 1)
    }
    scope = Scope(tree, None, file.package)
    exports = {name: frozenset(bindings) for name, bindings in scope.bindings.items()}
    return _Read(file, docstrings, tuple(_code(file.text, tree, moved, repeated)), exports)


def _docstrings(node: ast.AST, name: str) -> Iterator[_Docstring]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = inspect.cleandoc(ast.get_docstring(node, clean=False) or "")
        if text:
            statement = node.body[0]
            last = statement.end_lineno or 0
            several = last > statement.lineno or isinstance(node, ast.Module)
            moves = several and (len(node.body) > 1 or isinstance(node, ast.Module))
            yield _Docstring(name, _heading(node, name) if moves else "", text, statement.lineno, last, moves)
    for field in ("body", "orelse", "handlers", "finalbody"):
        for child in getattr(node, field, ()):
            if isinstance(child, _DEFINITIONS):
                yield from _docstrings(child, f"{name}.{child.name}")
            elif isinstance(child, ast.If | ast.Try | ast.With | ast.ExceptHandler):
                yield from _docstrings(child, name)


def _heading(node: ast.AST, name: str) -> str:
    if isinstance(node, ast.ClassDef):
        return f"class {name}"
    if isinstance(node, FUNCTIONS):
        return f"{name}({ast.unparse(node.args)})"
    return name


def _code(text: str, tree: ast.Module, moved: set[int], repeated: set[str]) -> Iterator[str]:
    """Yield the source cut at its top-level definitions; what stands above one belongs to it."""
    lines = text.split("\n")
    groups: list[tuple[bool, int]] = []  # is a definition, last line
    for node in tree.body:
        is_definition = isinstance(node, _DEFINITIONS)
        last = node.end_lineno or 0
        # Two statements on one line, or of one run, are one document.
        if groups and (not (is_definition or groups[-1][0]) or node.lineno <= groups[-1][1]):
            groups.pop()
        groups.append((is_definition, last))
    begin = 0
    for is_definition, last in groups:
        kept = [line for number, line in enumerate(lines[begin:last], start=begin + 1) if number not in moved]
        begin = last
        document = _cleaned("\n".join(kept) + "\n", repeated)
        if document and (is_definition or not _is_table(document)):
            yield document


def _cleaned(document: str, repeated: set[str]) -> str:
    def comment(match: re.Match[str]) -> str:
        return "" if match[0] in repeated or _LICENCE.search(match[0]) else match[0]

    document = _COMMENT_BLOCK.sub(comment, document)
    return re.sub(r"\n{4,}", "\n\n\n", _BANNER.sub("", document)).strip("\n")


def _is_table(document: str) -> bool:
    literals = sum(len(literal) for literal in _LITERAL.findall(document))
    return len(document) > 1500 and literals > 0.5 * len(re.sub(r"\s", "", document))


@cache
def _documents() -> tuple[tuple[str, Split], ...]:
    is_new = _novelty()
    return tuple((text, split) for text, split in _all_documents() if len(text) >= _MIN_DOCUMENT and is_new(text))


def _all_documents() -> Iterator[tuple[str, Split]]:
    # The longest first: long topics contain short ones whole.
    for name, text in sorted(_topics().items(), key=lambda item: (-len(item[1]), item[0])):
        yield _BANNER.sub("", text).strip("\n"), split_of_topic(name)
    for read in _library():
        for docstring in read.docstrings:
            if docstring.moves and len(docstring.text) >= _MIN_DOCSTRING:
                yield f"{docstring.heading}\n\n{_BANNER.sub('', docstring.text)}", split_of(read.file.top)
    for read in _library():
        for document in read.code:
            yield document, split_of(read.file.top)


def _topics() -> dict[str, str]:
    try:
        from pydoc_data.topics import topics
    except ImportError:  # some distributions leave it out
        return {}
    return dict(topics)


def _novelty() -> Callable[[str], bool]:
    """Return a function that says whether at least half of a document's telling lines were in none before it."""
    seen: set[str] = set()

    def is_new(document: str) -> bool:
        lines = {line.strip() for line in document.split("\n")}
        telling = {line for line in lines if len(line) >= _NEW_LINE_CHARACTERS} or {document}
        known = len(telling & seen)
        seen.update(telling)
        return 2 * known < len(telling)

    return is_new


def _sample(documents: tuple[tuple[str, Split], ...], max_bytes: int) -> list[int]:
    kept, size = [], 0
    for number in sorted(range(len(documents)), key=lambda number: hash_of("sample", documents[number][0])):
        size += len(documents[number][0].encode())
        if size > max_bytes:
            break
        kept.append(number)
    return sorted(kept)


@cache
def _origins(max_characters: int) -> dict[str, dict[tuple[str | None, Split], str]]:
    """Return, for each docstring's text, the areas and splits that it occurs in, with a module of each."""
    origins: dict[str, dict[tuple[str | None, Split], str]] = {}
    for read in _library():
        module = read.file.top
        origin = area_of(module), split_of(module)
        for docstring in read.docstrings:
            text = _shortened(_classify_text(docstring), max_characters)
            if len(text) >= _MIN_DOCSTRING:
                origins.setdefault(text, {}).setdefault(origin, module)
    return origins


def _classify_text(docstring: _Docstring) -> str:
    own = {part for part in docstring.name.split(".") if part}
    match = re.match(r"([\w.]+)(?:\(.*?\))?(?:\s*(?:-{1,3}|:|–|—)\s+|\n\n+)", docstring.text)
    text = docstring.text
    if match and own.intersection(match[1].split(".")):
        text = text[match.end() :]
    return _BANNER.sub("", text + "\n").strip()


def _shortened(text: str, max_characters: int) -> str:
    if len(text) <= max_characters:
        return text
    head = text[: max_characters + 1]
    for end in ("\n\n", "\n", " "):
        place = head.rfind(end)
        if place >= max_characters // 2:
            return head[:place].rstrip()
    return text[:max_characters]


@cache
def _snippets(min_tokens: int, max_tokens: int) -> tuple[tuple[LabelExample, Split], ...]:
    exports = {read.file.module: read.exports for read in _library()}
    library = Library(exports.get)
    found: dict[LabelExample, Split] = {}
    taken: Counter[str] = Counter()
    for file in sorted((read.file for read in _library()), key=lambda file: hash_of("file", file.module)):
        tree = parse(file) if taken[file.top] < _SNIPPETS_A_MODULE else None
        if tree is None:
            continue
        roles = NamedRoles(file.text, tree, package=file.package, library=library)
        lines = file.text.split("\n")
        in_file = 0
        for candidate in sorted(candidates(tree), key=lambda each: hash_of(file.module, str(each.line))):
            if in_file >= _SNIPPETS_A_FILE or taken[file.top] >= _SNIPPETS_A_MODULE:
                break
            example = cut(candidate, lines, roles, min_tokens=min_tokens, max_tokens=max_tokens)
            if example is not None and example not in found:
                found[example] = split_of(file.top)
                taken[file.top] += 1
                in_file += 1
    return tuple(found.items())
