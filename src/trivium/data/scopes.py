"""Names in Python code: what each is bound to in each scope, and what an imported name is at its source."""

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias, cast, get_args

Role = Literal["module", "class", "function", "method", "attribute", "parameter", "keyword", "local", "global"]
ROLES: tuple[Role, ...] = get_args(Role)

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
ScopeNode: TypeAlias = (
    ast.Module | ast.ClassDef | FunctionNode | ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SCOPES = (ast.ClassDef, ast.Lambda, *FUNCTIONS, *_COMPREHENSIONS)


class Import(NamedTuple):
    """A name bound by an import: of a module (`name` is None) or of a name in one."""

    module: str
    name: str | None


Binding: TypeAlias = Role | Import | None
Exports: TypeAlias = Mapping[str, frozenset[Binding]]


class Library:
    """Knows what each module of a source tree binds at its top level, so that imported names are resolved.

    Args:
        exports: gives the bindings of a module by its dotted name, or None for a module without source.
    """

    def __init__(self, exports: Callable[[str], Exports | None]) -> None:
        self._exports = exports

    def role(self, bindings: Iterable[Binding], depth: int = 0) -> Role | None:
        """Return the one role that all bindings of a name agree on, or None.

        A variable gives way to what else the name is: `try: import x`, `except ImportError: x = None`.
        """
        roles = {self._of(binding, depth) if isinstance(binding, Import) else binding for binding in bindings}
        firm = roles - {"global", "local", None}
        if len(firm) == 1:
            return firm.pop()
        if firm or None in roles or len(roles) != 1:
            return None
        return roles.pop()

    def attribute(self, module: str, name: str, depth: int = 0) -> Role | None:
        """Return the role of `module.name`; a module's variable reached through a dot is an `attribute`."""
        role = self._of(Import(module, name), depth)
        return "attribute" if role == "global" else role

    def module(self, bindings: Iterable[Binding]) -> str | None:
        """Return the dotted name of the module that a name is bound to, or None."""
        return self._agreed(bindings, 0)

    def member_module(self, module: str, name: str) -> str | None:
        """Return the dotted name of the module that `module.name` is, or None."""
        return self._module_of(Import(module, name), 0)

    def _module_of(self, binding: Binding, depth: int) -> str | None:
        if not isinstance(binding, Import) or depth > 8:
            return None
        if binding.name is None:
            return binding.module
        found = (self._exports(binding.module) or {}).get(binding.name)
        if found is None:
            whole = f"{binding.module}.{binding.name}"
            return whole if self._exports(whole) is not None else None
        return self._agreed(found, depth + 1)

    def _agreed(self, bindings: Iterable[Binding], depth: int) -> str | None:
        targets = {self._module_of(binding, depth) for binding in bindings if binding != "global"}
        if not targets or None in targets:
            return None
        # Several: one a platform (`posixpath`, `ntpath`), with the same names in each.
        return min(target for target in targets if target is not None)

    def _of(self, binding: Import, depth: int) -> Role | None:
        if binding.name is None:
            return "module"
        exports = self._exports(binding.module)
        if exports is None or depth > 8:
            return None
        if binding.name in exports:
            return self.role(exports[binding.name], depth + 1)
        if self._exports(f"{binding.module}.{binding.name}") is not None:
            return "module"
        stars = {
            self._of(Import(cast("Import", star).module, binding.name), depth + 1) for star in exports.get("*", ())
        }
        stars.discard(None)
        return stars.pop() if len(stars) == 1 else None


def statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield every statement in a body, at any depth, with the handlers and cases between them."""
    for node in body:
        yield node
        for field in ("body", "orelse", "handlers", "finalbody", "cases"):
            inner = getattr(node, field, None)
            if isinstance(inner, list):
                yield from statements(inner)


def own_nodes(node: ScopeNode) -> Iterator[ast.AST]:
    """Yield the nodes of a scope itself; of an inner scope only its node and what is evaluated outside it."""
    pending: list[ast.AST] = list(reversed(list(inside(node))))
    while pending:
        current = pending.pop()
        yield current
        children = outside(current) if isinstance(current, SCOPES) else ast.iter_child_nodes(current)
        pending.extend(reversed(list(children)))


def inside(node: ScopeNode) -> Iterator[ast.AST]:
    if isinstance(node, ast.Module | ast.ClassDef):
        yield from node.body
    elif isinstance(node, _COMPREHENSIONS):
        for number, generator in enumerate(node.generators):
            yield generator.target
            yield from generator.ifs
            if number:
                yield generator.iter
        if isinstance(node, ast.DictComp):
            yield from (node.key, node.value)
        else:
            yield node.elt
    elif isinstance(node, ast.Lambda):
        yield node.body
    else:
        yield from node.body


def outside(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what the scope around evaluates: decorators, defaults, annotations, bases, the first iterable."""
    if isinstance(node, ast.ClassDef):
        yield from (*node.decorator_list, *node.bases, *node.keywords)
    elif isinstance(node, _COMPREHENSIONS):
        yield node.generators[0].iter
    elif isinstance(node, (ast.Lambda, *FUNCTIONS)):
        if not isinstance(node, ast.Lambda):
            yield from node.decorator_list
            if node.returns is not None:
                yield node.returns
        yield from node.args.defaults
        yield from (default for default in node.args.kw_defaults if default is not None)
        yield from (each.annotation for each in parameters(node.args) if each.annotation is not None)


def parameters(arguments: ast.arguments) -> list[ast.arg]:
    """Return every parameter of a signature, in order."""
    stars = [star for star in (arguments.vararg, arguments.kwarg) if star is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *stars]


class Scope:
    """One scope: what each of its names is bound to, and the scope around it.

    Args:
        node: the syntax that makes the scope.
        parent: the scope around it; None for a module.
        package: dotted name that relative imports start from.
    """

    def __init__(self, node: ScopeNode, parent: "Scope | None", package: str) -> None:
        self.node, self.parent, self.package = node, parent, package
        self.bindings: dict[str, set[Binding]] = {}
        self.outer: dict[str, Literal["global", "nonlocal"]] = {}
        variable: Role = "global" if parent is None else "attribute" if isinstance(node, ast.ClassDef) else "local"
        if isinstance(node, (ast.Lambda, *FUNCTIONS)):
            for each in parameters(node.args):
                self._bind(each.arg, "parameter")
        for parameter in getattr(node, "type_params", ()):
            self._bind(parameter.name, None)
        for inner in own_nodes(node):
            self._collect(inner, variable)
        for name in self.outer:
            self.bindings.pop(name, None)

    def find(self, name: str) -> frozenset[Binding]:
        """Return what a name used in this scope is bound to by Python's rules, if anything."""
        scope: Scope | None = self
        while scope is not None:
            if scope.outer.get(name) == "global":
                return frozenset(scope.top().bindings.get(name, ()))
            visible = scope is self or not isinstance(scope.node, ast.ClassDef)
            if visible and name in scope.bindings:
                return frozenset(scope.bindings[name])
            scope = scope.parent
        return frozenset()

    def top(self) -> "Scope":
        """Return the module's scope."""
        return self if self.parent is None else self.parent.top()

    def _bind(self, name: str, binding: Binding) -> None:
        self.bindings.setdefault(name, set()).add(binding)

    def _collect(self, node: ast.AST, variable: Role) -> None:
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                self._bind(node.id, variable)
        elif isinstance(node, FUNCTIONS):
            self._bind(node.name, function_role(node, in_class=isinstance(self.node, ast.ClassDef)))
        elif isinstance(node, ast.ClassDef):
            self._bind(node.name, "class")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.partition(".")[0]
                self._bind(alias.asname or whole, Import(whole, None))
        elif isinstance(node, ast.ImportFrom):
            module = absolute(node, self.package)
            for alias in node.names:
                self._bind(alias.asname or alias.name, Import(module, alias.name))
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
            if node.name:
                self._bind(node.name, variable)
        elif isinstance(node, ast.MatchMapping):
            if node.rest:
                self._bind(node.rest, variable)
        elif isinstance(node, ast.Global):
            self.outer.update(dict.fromkeys(node.names, "global"))
        elif isinstance(node, ast.Nonlocal):
            self.outer.update(dict.fromkeys(node.names, "nonlocal"))
        elif isinstance(node, _COMPREHENSIONS):
            # PEP 572: a walrus inside a comprehension binds in the function or module around it.
            for inner in ast.walk(node):
                if isinstance(inner, ast.NamedExpr):
                    self._bind(inner.target.id, variable)


def function_role(node: FunctionNode, *, in_class: bool) -> Role | None:
    """Return the role of a function's own name; None when a decorator makes something else of it."""
    for decorator in node.decorator_list:
        # `@_SpecialForm def Union`: an instance of a class.
        if isinstance(decorator, ast.Name) and decorator.id.lstrip("_")[:1].isupper():
            return None
    if not in_class:
        return "function"
    return None if is_property(node) else "method"


def is_property(node: FunctionNode) -> bool:
    """Say whether a decorator makes the function something that is read and not called."""
    for decorator in node.decorator_list:
        name = decorator.attr if isinstance(decorator, ast.Attribute) else getattr(decorator, "id", "")
        if name in {"setter", "getter", "deleter"} or "property" in name.lower():
            return True
    return False


def absolute(node: ast.ImportFrom, package: str) -> str:
    """Return the dotted name of the module in `from ... import`, a relative one taken from `package`."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    base = ".".join(parts[: len(parts) - node.level + 1])
    return ".".join(part for part in (base, node.module) if part)
