"""Gold roles of the names in Python code, from the syntax tree and Python's own rules of scope.

What each role means (a name whose role cannot be known for certain gets none):

| role | the name is |
|---|---|
| `module` | bound by an import or resolved to a module; the parts of a dotted name in an import statement |
| `class` | of a class: where it is defined and wherever a name or `module.name` resolves to it |
| `function` | of a function that is not in a class body: likewise |
| `method` | of a function in a class body, or an attribute that is called |
| `attribute` | read or set through a dot and not called, or a variable of a class body |
| `parameter` | of a parameter of a function or lambda: in its signature and wherever it resolves to it |
| `keyword` | of an argument in a call (or in a class statement): `f(name=value)` |
| `local` | of a variable of a function or comprehension, also where an inner function uses it |
| `global` | of a variable of the module |

None is given to `self`, `cls` and `__dunder__` names (the word alone gives their role), to builtins, to names
imported from modules without Python source, to properties where they are defined, and to names that are bound
as two different things.
"""

import ast
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from trivium.data.scopes import (
    FUNCTIONS,
    SCOPES,
    Import,
    Library,
    Role,
    Scope,
    ScopeNode,
    absolute,
    function_role,
    inside,
    is_property,
    outside,
    parameters,
    statements,
)

_SELF = frozenset({"self", "cls", "mcs", "metacls"})
_BUILTIN_TYPES = (str, bytes, bytearray, list, dict, set, frozenset, tuple, int, float, property)
_BUILTIN_METHODS = frozenset(name for kind in _BUILTIN_TYPES for name in dir(kind))


class Place(NamedTuple):
    """Where a name stands (line from 1, column from 0), the name, and its role."""

    line: int
    column: int
    name: str
    role: Role


class NamedRoles:
    """Gives the roles of the names in one module's code.

    Args:
        source: the module's text.
        tree: its syntax tree.
        package: dotted name that relative imports start from.
        library: resolves what is imported.
    """

    def __init__(self, source: str, tree: ast.Module, *, package: str, library: Library) -> None:
        self._lines = source.split("\n")  # as the parser counts them: a form feed ends no line
        self._library = library
        self._package = package
        self.scope = Scope(tree, None, package)
        self._scopes: dict[int, Scope] = {id(tree): self.scope}
        self._methods: set[str] = set()
        self._last_line: int | None = None
        self._read: set[str] = set()  # attributes that some class or assignment in this module makes data
        for node in statements(tree.body):
            self._note(node)

    def places(
        self, nodes: Iterable[ast.AST], chain: Sequence[ScopeNode], *, last_line: int | None = None
    ) -> list[Place]:
        """Return where the names with a role stand in `nodes`, which lie in the innermost scope of `chain`.

        Args:
            nodes: statements or expressions.
            chain: the definitions around them, outermost first; empty at the top level.
            last_line: leave out statements that begin after this line.
        """
        scope = self.scope
        for node in chain:
            scope = self._inner(node, scope)
        self._last_line = last_line
        found: list[Place] = []
        for statement in nodes:
            self._visit(statement, scope, found)
        return found

    def _note(self, node: ast.AST) -> None:
        if isinstance(node, ast.Global):
            for name in node.names:
                self.scope.bindings.setdefault(name, {"global"})
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, FUNCTIONS):
                    (self._read if is_property(inner) else self._methods).add(inner.name)
                for target in _targets(inner):
                    if isinstance(target, ast.Name):
                        self._read.add(target.id)
        for target in _targets(node):
            self._read.update(part.attr for part in ast.walk(target) if isinstance(part, ast.Attribute))

    def _inner(self, node: ScopeNode, parent: Scope) -> Scope:
        if id(node) not in self._scopes:
            self._scopes[id(node)] = Scope(node, parent, self._package)
        return self._scopes[id(node)]

    def _visit(self, node: ast.AST, scope: Scope, found: list[Place]) -> None:
        if self._last_line is not None and isinstance(node, ast.stmt) and node.lineno > self._last_line:
            return
        if isinstance(node, ast.Name):
            _add(found, node.lineno, node.col_offset, node.id, self._name(node.id, scope))
        elif isinstance(node, ast.Attribute):
            self._attribute(node, scope, found, called=False)
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                self._attribute(node.func, scope, found, called=True)
            else:
                self._visit(node.func, scope, found)
            for child in (*node.args, *node.keywords):
                self._visit(child, scope, found)
        elif isinstance(node, ast.keyword):
            if node.arg is not None:
                _add(found, node.lineno, node.col_offset, node.arg, "keyword")
            self._visit(node.value, scope, found)
        elif isinstance(node, SCOPES):
            self._definition(node, scope, found)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            self._import(node, found)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            for name in node.names:
                self._after(node, rf"\b({name})\b", name, self._name(name, scope), found)
        elif not isinstance(node, ast.JoinedStr):
            # Names in f-strings are part of a string token before Python 3.12: never scored.
            if isinstance(node, ast.ExceptHandler) and node.name and node.type is not None:
                line, column = node.type.end_lineno or 0, node.type.end_col_offset or 0
                match = re.compile(r"\W*\bas\s+").match(self._lines[line - 1], column)
                if match:
                    _add(found, line, match.end(), node.name, self._name(node.name, scope))
            for child in ast.iter_child_nodes(node):
                self._visit(child, scope, found)

    def _definition(self, node: ast.AST, scope: Scope, found: list[Place]) -> None:
        for outer in outside(node):
            self._visit(outer, scope, found)
        inner = self._inner(cast("ScopeNode", node), scope)
        if isinstance(node, ast.ClassDef):
            self._after(node, r"class\s+(\w+)", node.name, "class", found)
        elif isinstance(node, FUNCTIONS):
            role = function_role(node, in_class=isinstance(scope.node, ast.ClassDef))
            self._after(node, r"(?:async\s+)?def\s+(\w+)", node.name, role, found)
        if isinstance(node, (ast.Lambda, *FUNCTIONS)):
            for each in parameters(node.args):
                _add(found, each.lineno, each.col_offset, each.arg, self._name(each.arg, inner))
        for child in inside(cast("ScopeNode", node)):
            self._visit(child, inner, found)

    def _name(self, name: str, scope: Scope) -> Role | None:
        bindings = scope.find(name)
        if bindings:
            return self._library.role(bindings)
        return self._library.role(
            Import(star.module, name) for star in self.scope.bindings.get("*", ()) if isinstance(star, Import)
        )

    def _attribute(self, node: ast.Attribute, scope: Scope, found: list[Place], *, called: bool) -> None:
        self._visit(node.value, scope, found)
        line, column = node.end_lineno or 0, (node.end_col_offset or 0) - len(node.attr)
        module = self._module(node.value, scope)
        if module is not None:
            role = self._library.attribute(module, node.attr)
        else:
            on_self = isinstance(node.value, ast.Name) and node.value.id in _SELF
            role = self._member(node.attr, on_self=on_self, called=called, read=isinstance(node.ctx, ast.Load))
        _add(found, line, column, node.attr, role)

    def _member(self, name: str, *, on_self: bool, called: bool, read: bool) -> Role | None:
        if not read:
            return "attribute"
        is_method, is_data = name in self._methods, name in self._read
        if called:
            if is_data:
                return "attribute" if on_self and not is_method else None
            return "method"
        if is_method:
            return "method" if on_self and not is_data else None
        return None if name in _BUILTIN_METHODS and not is_data else "attribute"

    def _module(self, node: ast.expr, scope: Scope) -> str | None:
        if isinstance(node, ast.Name):
            return self._library.module(scope.find(node.id))
        if isinstance(node, ast.Attribute):
            module = self._module(node.value, scope)
            return None if module is None else self._library.member_module(module, node.attr)
        return None

    def _import(self, node: ast.Import | ast.ImportFrom, found: list[Place]) -> None:
        module = absolute(node, self._package) if isinstance(node, ast.ImportFrom) else None
        if isinstance(node, ast.ImportFrom) and node.module:
            match = re.compile(r"from\s+[.\s]*").match(self._lines[node.lineno - 1], node.col_offset)
            if match:
                _add_dotted(found, node.lineno, match.end(), node.module)
        for alias in node.names:
            if module is None:
                role: Role | None = "module"
                _add_dotted(found, alias.lineno, alias.col_offset, alias.name)
            else:
                role = self._library.role([Import(module, alias.name)])
                _add(found, alias.lineno, alias.col_offset, alias.name, role)
            if alias.asname:
                column = (alias.end_col_offset or 0) - len(alias.asname)
                _add(found, alias.end_lineno or 0, column, alias.asname, role)

    def _after(self, node: ast.stmt, pattern: str, name: str, role: Role | None, found: list[Place]) -> None:
        """Add a name that the tree has no place for: the pattern finds it on the statement's line."""
        match = re.compile(pattern).search(self._lines[node.lineno - 1], node.col_offset)
        if match and match[1] == name:
            _add(found, node.lineno, match.start(1), name, role)


def _targets(node: ast.AST) -> list[ast.expr]:
    """Return what a statement assigns to."""
    if isinstance(node, ast.Assign | ast.Delete):
        return node.targets
    if isinstance(node, ast.AugAssign | ast.AnnAssign | ast.For | ast.AsyncFor):
        return [node.target]
    if isinstance(node, ast.With | ast.AsyncWith):
        return [item.optional_vars for item in node.items if item.optional_vars is not None]
    return []


def _add(found: list[Place], line: int, column: int, name: str, role: Role | None) -> None:
    if role is None or name in _SELF or (name.startswith("__") and name.endswith("__")):
        return
    bare = name.lstrip("_")
    if role in {"global", "local", "attribute", "method"} and bare[:1].isupper() and not bare.isupper():
        # `Point = namedtuple(...)`, `self.Queue()`: a variable by its binding, a class by its use.
        return
    found.append(Place(line, column, name, role))


def _add_dotted(found: list[Place], line: int, column: int, dotted: str) -> None:
    for part in dotted.split("."):
        _add(found, line, column, part, "module")
        column += len(part) + 1
