"""Short snippets of Python code as tokens, each name with its gold role."""

import ast
import io
import tokenize
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import NamedTuple

from trivium.data.labelled import UNSCORED, LabelExample
from trivium.data.roles import NamedRoles
from trivium.data.scopes import FUNCTIONS, ScopeNode, statements

_MAX_LINES = 60  # no snippet of at most 80 tokens is longer; bounds what is tokenized of a long definition
_MAX_CHARACTERS = 60
_MIN_SCORED = 3
_DEFINITIONS = (*FUNCTIONS, ast.ClassDef)
_LAYOUT = frozenset(
    {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
        tokenize.ENCODING,
    }
)
# Since Python 3.12 an f-string is many tokens; here it is one, as it was before.
_STRING_STARTS = frozenset(getattr(tokenize, name, -1) for name in ("FSTRING_START", "TSTRING_START"))
_STRING_ENDS = frozenset(getattr(tokenize, name, -1) for name in ("FSTRING_END", "TSTRING_END"))

Position = tuple[int, int]


class Candidate(NamedTuple):
    """What a snippet may be cut from: one definition, or a run of other statements of a module."""

    chain: tuple[ScopeNode, ...]  # the definitions around it, outermost first
    nodes: tuple[ast.stmt, ...]

    @property
    def line(self) -> int:
        """First line, decorators included."""
        first = self.nodes[0]
        decorators = first.decorator_list if isinstance(first, _DEFINITIONS) else []
        return min([first.lineno, *(each.lineno for each in decorators)])


class _Token(NamedTuple):
    text: str
    start: Position
    end: Position


def candidates(tree: ast.Module) -> list[Candidate]:
    """Return every definition of a module, at any depth of classes, and every run of its other statements."""
    found = list(_definitions(tree.body, ()))
    run: list[ast.stmt] = []
    for node in [*tree.body, None]:
        if node is None or isinstance(node, _DEFINITIONS):
            found.extend(Candidate((), tuple(part)) for part in _parts(run))
            run = []
        else:
            run.append(node)
    return found


def _definitions(body: Sequence[ast.stmt], chain: tuple[ScopeNode, ...]) -> Iterator[Candidate]:
    for node in body:
        if isinstance(node, _DEFINITIONS):
            yield Candidate(chain, (node,))
        if isinstance(node, ast.ClassDef):
            yield from _definitions(node.body, (*chain, node))


def _parts(run: list[ast.stmt], size: int = 6) -> Iterator[list[ast.stmt]]:
    """Cut a run of statements into parts of a few statements each, the docstring left out."""
    statements = [node for node in run if not _is_string(node)]
    for start in range(0, len(statements), size):
        yield statements[start : start + size]


def cut(
    candidate: Candidate, lines: Sequence[str], roles: NamedRoles, *, min_tokens: int, max_tokens: int
) -> LabelExample | None:
    """Return the candidate, or as many of its first statements as fit, as tokens and labels.

    Comments, docstrings, line ends and indents are left out. None when nothing of a fitting length has names
    enough, or when it holds other than ASCII or long strings.

    Args:
        candidate: what to cut from.
        lines: all lines of the source.
        roles: gives the roles of this source's names.
        min_tokens, max_tokens: bounds of the snippet's length.
    """
    first_line = candidate.line
    last_line = min(candidate.nodes[-1].end_lineno or 0, first_line + _MAX_LINES)
    region = lines[first_line - 1 : last_line]
    if not all(line.isascii() for line in region):
        return None
    docstrings = {_start(node) for node in _docstrings(candidate.nodes)}
    code = (
        token for token in _tokens(region, first_line, candidate.nodes[0].col_offset) if token.start not in docstrings
    )
    tokens = list(islice(code, max_tokens + 1))
    for stop in _stops(candidate):
        kept = [token for token in tokens if token.end <= stop]
        if len(kept) <= max_tokens and stop[0] <= last_line:
            return _labelled(kept, candidate, roles, last_line=stop[0]) if len(kept) >= min_tokens else None
    return None


def _labelled(tokens: list[_Token], candidate: Candidate, roles: NamedRoles, *, last_line: int) -> LabelExample | None:
    if any("\n" in token.text or len(token.text) > _MAX_CHARACTERS for token in tokens):
        return None
    places = roles.places(candidate.nodes, candidate.chain, last_line=last_line)
    gold = {(line, column, name): role for line, column, name, role in places}
    labels = tuple(gold.get((*token.start, token.text), UNSCORED) for token in tokens)
    if sum(label != UNSCORED for label in labels) < _MIN_SCORED:
        return None
    return LabelExample(tuple(token.text for token in tokens), labels, _spaces(tokens))


def _spaces(tokens: Sequence[_Token]) -> tuple[str, ...]:
    """Return the white space after each token; lines are indented from where the first token is."""
    indent = tokens[0].start[1]
    return (
        *(
            " " * (after.start[1] - before.end[1])
            if before.end[0] == after.start[0]
            else "\n" + " " * max(0, after.start[1] - indent)
            for before, after in pairwise(tokens)
        ),
        "",
    )


def _tokens(region: Sequence[str], first_line: int, first_column: int) -> Iterator[_Token]:
    text = "\n".join(region) + "\n"
    depth, opened = 0, (0, 0)
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            start, end = token.start, token.end
            if token.type in _STRING_STARTS:
                depth += 1
                opened = start if depth == 1 else opened
            elif token.type in _STRING_ENDS:
                depth -= 1
                if depth == 0:
                    yield _moved(_between(region, opened, end), opened, end, first_line)
            elif depth == 0 and token.type not in _LAYOUT and (start[0] > 1 or start[1] >= first_column):
                yield _moved(token.string, start, end, first_line)
    except (tokenize.TokenError, IndentationError):
        return  # cut in the middle of a bracket or string: what came before is whole


def _moved(text: str, start: Position, end: Position, first_line: int) -> _Token:
    return _Token(text, (start[0] + first_line - 1, start[1]), (end[0] + first_line - 1, end[1]))


def _between(region: Sequence[str], start: Position, end: Position) -> str:
    if start[0] == end[0]:
        return region[start[0] - 1][start[1] : end[1]]
    return "\n"  # over several lines: the snippet is refused


def _stops(candidate: Candidate) -> Iterator[Position]:
    """Yield where the snippet may end: the whole first, then ever fewer of its statements."""
    yield _end(candidate.nodes[-1])
    node = candidate.nodes[0]
    body: Sequence[ast.stmt] = node.body if isinstance(node, _DEFINITIONS) else candidate.nodes
    if isinstance(node, ast.ClassDef):
        inner = [number for number, each in enumerate(body) if isinstance(each, _DEFINITIONS)]
        body = body[: inner[0]] if inner else body
    for statement in reversed(body):
        if not _is_string(statement):
            yield _end(statement)


def _docstrings(nodes: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for node in statements(nodes):
        if isinstance(node, _DEFINITIONS) and _is_string(node.body[0]):
            yield node.body[0]


def _is_string(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _start(node: ast.stmt) -> Position:
    return node.lineno, node.col_offset


def _end(node: ast.stmt) -> Position:
    return node.end_lineno or 0, node.end_col_offset or 0
