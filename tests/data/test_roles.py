"""Gold roles of names: small cases by hand, and the rules of scope against Python's own `symtable`."""

import ast
import random
import secrets
import symtable
import sys
import textwrap

import pytest

from trivium.data.roles import NamedRoles
from trivium.data.scopes import ROLES, SCOPES, Import, Library, Scope, own_nodes
from trivium.data.standard_library import parse, source_files

OTHER = {
    "other": """
        import helper
        from other.inner import Thing
        from other.c import unknowable
        limit = 3
        def act(): pass
        class Kind: pass
        Made = make()
        try:
            from fast import quick
        except ImportError:
            def quick(): pass
        """,
    "other.inner": "class Thing: pass",
    "stars": "def from_star(): pass",
}


def library():
    exports = {}
    for module, code in OTHER.items():
        scope = Scope(ast.parse(textwrap.dedent(code)), None, module)
        exports[module] = {name: frozenset(bindings) for name, bindings in scope.bindings.items()}
    return Library(exports.get)


def roles_of(code):
    """Return "name/role" of each name with a role, in the order of the text."""
    code = textwrap.dedent(code)
    tree = ast.parse(code)
    roles = NamedRoles(code, tree, package="", library=library())
    places = sorted(set(roles.places(tree.body, ())))
    lines = code.split("\n")
    for line, column, name, role in places:
        assert lines[line - 1][column : column + len(name)] == name
        assert role in ROLES
    return [f"{name}/{role}" for _, _, name, role in places]


CASES = {
    "a function": (
        "def f(a, *b, c=1, **d):\n    e = a + c\n    return e, b, d, len(a), missing",
        "f/function a/parameter b/parameter c/parameter d/parameter e/local a/parameter c/parameter e/local b/parameter"
        " d/parameter a/parameter",
    ),
    "a class": (
        """
        class A(Base, metaclass=Meta):
            size = 1
            twice = size * 2
            def grow(self, by):
                self.size += by
                self.grow(self.other)
                return self.grow
            @property
            def area(self):
                return self.area
            @classmethod
            def make(cls): return cls()
        A.make(size=2).area
        """,
        "A/class metaclass/keyword size/attribute twice/attribute size/attribute grow/method by/parameter"
        " size/attribute by/parameter grow/method other/attribute grow/method area/attribute make/method"
        " A/class make/method size/keyword area/attribute",
    ),
    "imports": (
        """
        import other
        import other.inner as alias, unseen.part
        from other import act as do, Kind, limit, quick, unknowable
        from unseen import thing
        from other import inner
        do(other.act, other.limit, other.Kind, other.inner.Thing, alias.Thing(), unseen.f(), other.helper)
        Kind, limit, quick, unknowable, thing, thing.x, inner
        """,
        "other/module other/module inner/module alias/module unseen/module part/module"
        " other/module act/function do/function Kind/class limit/global quick/function"
        " unseen/module other/module inner/module"
        " do/function other/module act/function other/module limit/attribute other/module Kind/class"
        " other/module inner/module Thing/class alias/module Thing/class unseen/module other/module helper/module"
        " Kind/class limit/global quick/function x/attribute inner/module",
    ),
    "scopes": (
        """
        count = 0
        def outer(n):
            global count
            count = n
            def inner():
                nonlocal n
                n = count
                return [x + n for x in other(n) if x]
            return inner, lambda y: y + n
        class C:
            count = 1
            def show(self): return count
        """,
        "count/global outer/function n/parameter count/global count/global n/parameter inner/function n/parameter"
        " n/parameter count/global x/local n/parameter x/local n/parameter x/local inner/function y/parameter"
        " y/parameter n/parameter C/class count/attribute show/method count/global",
    ),
    "statements": (
        """
        def f():
            with open(p) as h, q as (i, j): pass
            try: import other
            except (A, B) as error: other = None
            for k, v in z: del k
            if (w := v): return w, error, other
            match w:
                case {"a": m, **rest}: return m, rest
        """,
        "f/function h/local i/local j/local other/module error/local other/module k/local v/local k/local"
        " w/local v/local w/local error/local other/module w/local m/local rest/local",
    ),
    "what cannot be known": (
        """
        from stars import *
        from_star()
        Point = namedtuple("Point", "x")
        Point(x=1)
        if a:
            def two(): pass
        else:
            class two: pass
        two()
        def g(self, f):
            f.append, f.append(1), self.__dict__, f"{f.x}"
        @_Form
        def Union(x): pass
        Union
        """,
        "stars/module from_star/function x/keyword two/function two/class g/function f/parameter"
        " f/parameter f/parameter append/method x/parameter",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_roles_of_small_cases(case):
    code, expected = CASES[case]
    assert roles_of(code) == expected.split()


def test_relative_imports_are_taken_from_the_package():
    code = "from . import inner\nfrom .inner import Thing\nfrom .. import x\ninner.Thing"
    roles = NamedRoles(code, ast.parse(code), package="other", library=library())
    found = [f"{place.name}/{place.role}" for place in sorted(roles.places(ast.parse(code).body, ()))]
    assert found == ["inner/module", "inner/module", "Thing/class", "inner/module", "Thing/class"]


def test_platforms_of_one_module_agree():
    bindings = {Import("other", None), Import("stars", None), "global"}
    assert library().role(bindings) == "module"
    assert library().module(bindings) == "other"


def sampled_files(number):
    rng = random.Random(secrets.randbits(64))
    return rng.sample([file for file in source_files() if 200 < len(file.text) < 60_000], number)


def scopes_of(scope):
    yield scope
    for node in own_nodes(scope.node):
        if isinstance(node, SCOPES):
            yield from scopes_of(Scope(node, scope, scope.package))


def test_bindings_are_those_of_symtable():
    compared = 0
    for file in sampled_files(12):
        tree = parse(file)
        if tree is None:
            continue
        tables = {}
        pending = [symtable.symtable(file.text, file.module, "exec")]
        while pending:
            table = pending.pop()
            if table.get_type() in ("module", "function", "class"):
                # Scopes of one name on one line (comprehensions) cannot be told apart: left out.
                tables.setdefault((table.get_name(), table.get_lineno()), []).append(table)
            pending.extend(table.get_children())
        for scope in scopes_of(Scope(tree, None, file.package)):
            node = scope.node
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.decorator_list:
                continue
            found = tables.get((node.name, node.lineno), [])
            if len(found) != 1 or getattr(node, "type_params", ()):
                continue
            # PEP 709: since Python 3.12 a comprehension's variables are counted with the function's.
            inner = (each.target for each in ast.walk(node) if isinstance(each, ast.comprehension))
            inlined = {name.id for target in inner for name in ast.walk(target) if isinstance(name, ast.Name)}
            for symbol in found[0].get_symbols():
                name = symbol.get_name()
                if name.startswith(("_", ".")):
                    continue  # mangled, or the parser's own
                if name in inlined and sys.version_info >= (3, 12):
                    continue
                bound_here = name in scope.bindings
                assert bound_here == (symbol.is_local() and not symbol.is_declared_global()), (
                    file.module,
                    node.name,
                    name,
                )
                assert symbol.is_parameter() == ("parameter" in scope.bindings.get(name, ()))
                assert (scope.outer.get(name) == "global") == symbol.is_declared_global()
                if symbol.is_free():
                    assert scope.find(name)
                compared += 1
    assert compared > 200


def test_every_place_holds_its_name():
    checked = 0
    for file in sampled_files(6):
        tree = parse(file)
        if tree is None or not file.text.isascii():
            continue
        roles = NamedRoles(file.text, tree, package=file.package, library=Library(lambda _: None))
        lines = file.text.split("\n")
        for line, column, name, _ in roles.places(tree.body, ()):
            assert lines[line - 1][column : column + len(name)] == name
            checked += 1
    assert checked > 100
