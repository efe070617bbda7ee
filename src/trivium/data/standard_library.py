"""The standard library's source as the running interpreter carries it: its files, areas and splits."""

import ast
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from trivium.core.errors import DataError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

_LEFT_OUT = "test tests idlelib lib2to3 turtledemo ensurepip site-packages __pycache__ pydoc_data this antigravity"
# Most codecs are tables, or the same few lines over and over.
_ENCODINGS_KEPT = frozenset({"encodings", "encodings.idna", "encodings.punycode"})

# The chapters of the Library Reference, some of them joined; only modules that Python 3.11 to 3.14 all have.
_AREAS: dict[str, str] = {
    "text": "string re difflib textwrap stringprep locale gettext codecs encodings",
    "data types": "datetime zoneinfo calendar collections heapq bisect weakref types copy pprint reprlib enum"
    " graphlib functools operator",
    "numbers": "numbers decimal fractions random statistics",
    "files": "pathlib posixpath fileinput stat filecmp tempfile glob fnmatch linecache shutil",
    "storage": "pickle copyreg shelve dbm sqlite3 gzip zipfile tarfile",
    "operating system": "os io logging platform ctypes pty tty signal subprocess",
    "interfaces": "argparse optparse getopt getpass curses cmd shlex rlcompleter tkinter turtle",
    "concurrency": "threading multiprocessing concurrent sched queue contextvars asyncio",
    "internet": "webbrowser wsgiref urllib http ftplib poplib imaplib smtplib uuid socketserver xmlrpc ipaddress"
    " socket ssl selectors",
    "formats": "html xml csv configparser tomllib netrc plistlib json email mailbox mimetypes base64 quopri",
    "development": "pydoc doctest unittest bdb pdb profile timeit trace tracemalloc venv zipapp",
    "runtime": "warnings dataclasses contextlib abc traceback inspect site code codeop zipimport pkgutil"
    " runpy modulefinder importlib ast symtable token tokenize tabnanny pyclbr compileall dis pickletools"
    " typing",
}

# Modules that share text although their names do not say so, and the family they are counted with.
_TWINS = {
    "strptime": "datetime",
    "cProfile": "profile",
    "pstats": "profile",
    "bz2": "gzip",
    "lzma": "gzip",
    "compression": "gzip",
    "ntpath": "posixpath",
    "genericpath": "posixpath",
    "nturl2path": "posixpath",
    "sre_compile": "re",
    "sre_constants": "re",
    "sre_parse": "re",
    "weakrefset": "weakref",
    "threading_local": "threading",
    "collections_abc": "collections",
    "compat_pickle": "pickle",
    "bootsubprocess": "subprocess",
    "markupbase": "html",
    "sitebuiltins": "site",
    "keyword": "token",
    "opcode": "dis",
    "opcode_metadata": "dis",
    "imp": "importlib",
    "py_compile": "compileall",
    "repl": "code",
    "debugger": "pdb",
}

# Written down rather than drawn by a hash: each area has docstrings enough in each split, a split takes about a
# tenth of the text, and both stay so on every Python and whatever module a new one brings (it trains).
_HELD_OUT: dict[Split, str] = {
    "validation": "codecs enum heapq random posixpath zipfile io argparse curses threading queue smtplib ipaddress"
    " json html doctest warnings symtable pkgutil ast",
    "test": "difflib collections calendar statistics shutil fileinput gzip subprocess platform optparse cmd"
    " concurrent imaplib socketserver configparser mimetypes pdb trace dis traceback contextlib",
}


class SourceFile(NamedTuple):
    """One file of the standard library."""

    module: str  # dotted name; a package's is that of its `__init__.py`
    is_package: bool
    text: str

    @property
    def package(self) -> str:
        """Dotted name that the file's relative imports start from."""
        return self.module if self.is_package else self.module.rpartition(".")[0]

    @property
    def top(self) -> str:
        """Name of the top-level module, which is never split."""
        return self.module.partition(".")[0]


@cache
def source_files() -> tuple[SourceFile, ...]:
    """Read the library's source files, by name; tests, demonstrations and tables are left out.

    Raises:
        DataError: this Python carries no source.
    """
    root = Path(sysconfig.get_path("stdlib"))
    files = tuple(
        file for name in sorted(sys.stdlib_module_names) if name not in _LEFT_OUT.split() for file in _files(root, name)
    )
    if not files:
        raise DataError(
            f"{root}: expected the source of Python's standard library, found none; "
            "give a folder of your own text instead."
        )
    return files


def _files(root: Path, name: str) -> Iterator[SourceFile]:
    if (root / f"{name}.py").is_file():
        paths = [root / f"{name}.py"]
    else:
        paths = sorted((root / name).rglob("*.py"))
    for path in paths:
        parts = path.relative_to(root).with_suffix("").parts
        if not set(parts).isdisjoint(_LEFT_OUT.split()):
            continue
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        if name == "encodings" and module not in _ENCODINGS_KEPT:
            continue
        try:
            yield SourceFile(module, is_package, path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue  # a distribution's own file, in another encoding


def parse(file: SourceFile) -> ast.Module | None:
    """Return a file's syntax tree, or None for a template or a file for another Python.

    Not kept: all trees together take half a gigabyte.
    """
    try:
        return ast.parse(file.text)
    except (SyntaxError, ValueError):
        return None


def family_of(name: str) -> str:
    """Return the family of a top-level module: modules that share text, and so a split.

    Leading underscores and `_py` fall (`_pydecimal` is `decimal`); other twins are listed.
    """
    bare = name.strip("_")
    if name.startswith("_py") and bare[2:] in sys.stdlib_module_names:
        bare = bare[2:].strip("_")
    return _TWINS.get(bare, bare)


def area_of(name: str) -> str | None:
    """Return the area of a top-level module, or None when it is in no chapter that is counted."""
    return _area_by_family().get(family_of(name))


@cache
def _area_by_family() -> dict[str, str]:
    return {family: area for area, families in _AREAS.items() for family in families.split()}


def split_of(name: str) -> Split:
    """Return the one split that a top-level module belongs to."""
    family = family_of(name)
    for split, families in _HELD_OUT.items():
        if family in families.split():
            return split
    return "train"


def split_of_topic(name: str) -> Split:
    """Return the split of a documentation topic: that of the module it tells of, or else one in ten by its hash."""
    if name in _TWINS:
        return split_of(name)
    tenth = hash_of("topic", name) % 10
    return "test" if tenth == 0 else "validation" if tenth == 1 else "train"


def hash_of(*parts: str) -> int:
    """Return a number in [0, 2**64) that depends on the parts alone: the same on every machine."""
    return int.from_bytes(blake2b("\0".join(parts).encode(), digest_size=8).digest(), "big")
