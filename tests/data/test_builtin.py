"""Built-in text and tasks: nothing leaks between splits, rows are sound, the whole is the same every time."""

import ast
import hashlib
import keyword
import random
import re
import secrets
import subprocess
import sys
from collections import Counter, defaultdict

import pytest

from trivium.core.errors import DataError
from trivium.data import builtin as builtin_module
from trivium.data import standard_library
from trivium.data.builtin import SPLITS, builtin_documents, classify_examples, label_examples
from trivium.data.labelled import UNSCORED, LabelExample, read_classify, read_label, text_of, write_jsonl
from trivium.data.roles import NamedRoles
from trivium.data.scopes import ROLES, Library
from trivium.data.snippets import Candidate, candidates, cut
from trivium.data.standard_library import area_of, family_of, parse, source_files, split_of, split_of_topic


@pytest.fixture(scope="module")
def documents():
    return list(builtin_documents())


def test_documents_are_megabytes_in_fair_shares(documents):
    size = Counter()
    for text, split in documents:
        assert text.strip()
        size[split] += len(text.encode())
    total = sum(size.values())
    assert total > 4_000_000
    assert set(size) == set(SPLITS)
    for split in ("validation", "test"):
        assert 0.06 < size[split] / total < 0.18


def test_no_document_is_there_twice(documents):
    assert max(Counter(text for text, _ in documents).values()) == 1


def test_splits_share_little_text(documents):
    """A line that tells where it comes from is hardly ever in two splits."""
    lines = defaultdict(set)
    for text, split in documents:
        for line in text.split("\n"):
            if len(line.strip()) >= 40:
                lines[split].add(line.strip())
    for split in ("validation", "test"):
        shared = lines[split] & lines["train"]
        assert len(lines[split]) > 1000
        assert len(shared) < 0.02 * len(lines[split])
    assert len(lines["validation"] & lines["test"]) < 0.02 * len(lines["test"])


def test_no_held_out_document_is_nearly_one_that_trains(documents):
    train = {line.strip() for text, split in documents if split == "train" for line in text.split("\n")}
    checked, alike = 0, []
    for text, split in documents:
        telling = {line.strip() for line in text.split("\n") if len(line.strip()) >= 30}
        if split != "train" and len(telling) >= 4:
            checked += 1
            if len(telling & train) > len(telling) / 2:
                alike.append(text)
    assert checked > 300
    # A short text whose lines lie in a much longer one that comes later is not seen.
    assert len(alike) < 0.005 * checked, alike


def test_a_sample_is_fair_and_bounded(documents):
    sample = list(builtin_documents(max_bytes=600_000))
    assert 550_000 < sum(len(text.encode()) for text, _ in sample) <= 600_000
    assert set(sample) <= set(documents)
    shares = Counter(split for _, split in sample)
    assert shares["train"] > shares["test"] > 0
    assert shares["validation"] > 0


def test_no_licence_or_banner_is_left_in_code(documents):
    for text, _ in documents:
        comments = "\n".join(line for line in text.split("\n") if line.startswith("#"))
        assert not re.search(r"all rights reserved|licensed to psf", comments, re.I), text[:300]
        assert not re.search(r"^#\s*[-=*#]{6,}\s*$", comments, re.M), text[:300]


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("_pydecimal", "decimal"),
        ("_pyio", "io"),
        ("_pydatetime", "datetime"),
        ("_strptime", "datetime"),
        ("_py_abc", "abc"),
        ("_collections_abc", "collections"),
        ("ntpath", "posixpath"),
        ("cProfile", "profile"),
        ("lzma", "gzip"),
        ("sre_parse", "re"),
    ],
)
def test_twins_share_a_split(name, twin):
    assert family_of(name) == family_of(twin)
    assert split_of(name) == split_of(twin)


def test_each_area_is_in_each_split():
    areas = set(standard_library._area_by_family().values())
    assert 8 <= len(areas) <= 12
    for split in SPLITS:
        counts = Counter(row["label"] for row in classify_examples(split))
        assert set(counts) == areas
        assert min(counts.values()) >= 10
        assert max(counts.values()) < 0.3 * sum(counts.values())


def test_held_out_families_are_in_the_table():
    checked = 0
    for families in standard_library._HELD_OUT.values():
        for family in families.split():
            assert area_of(family) is not None
            assert family_of(family) == family
            checked += 1
    assert checked > 20
    assert split_of("a_module_of_tomorrow") == "train"
    assert split_of_topic("debugger") == split_of("pdb")
    assert {split_of_topic(f"topic {number}") for number in range(99)} == set(SPLITS)


def test_classify_rows_are_sound(tmp_path):
    seen = {}
    for split in SPLITS:
        rows = classify_examples(split)
        assert rows == classify_examples(split)
        for row in rows:
            assert set(row) == {"text", "label"}
            assert 40 <= len(row["text"]) <= 600
            assert seen.setdefault(row["text"], split) == split
        write_jsonl(tmp_path / f"{split}.jsonl", rows)
        assert [example.text for example in read_classify(tmp_path / f"{split}.jsonl")] == [row["text"] for row in rows]
    assert len(seen) > 1500
    assert max(len(row["text"]) for row in classify_examples("test", max_characters=120)) <= 120


def test_label_rows_are_sound(tmp_path):
    seen = {}
    roles = Counter()
    for split in SPLITS:
        rows = label_examples(split)
        assert len(rows) > 200
        for row in rows:
            assert set(row) == {"tokens", "labels", "spaces"}
            assert 10 <= len(row["tokens"]) <= 80
            assert len(row["tokens"]) == len(row["labels"]) == len(row["spaces"])
            assert seen.setdefault(tuple(row["tokens"]), split) == split
            for token, label in zip(row["tokens"], row["labels"], strict=True):
                assert not re.search(r"\s", token) or token[-1] in "\"'"
                if label != UNSCORED:
                    assert token.isidentifier() and not keyword.iskeyword(token)
                    roles[label] += 1
        write_jsonl(tmp_path / f"{split}.jsonl", rows)
        assert [list(example.labels) for example in read_label(tmp_path / f"{split}.jsonl")] == [
            row["labels"] for row in rows
        ]
    assert set(roles) == set(ROLES)
    assert max(roles.values()) < 0.4 * sum(roles.values())
    assert min(roles.values()) > 0.01 * sum(roles.values())


def test_label_rows_keep_the_white_space_of_the_code():
    rows = label_examples("validation")
    whole = 0
    for row in rows:
        text, starts = text_of(LabelExample(*(tuple(row[name]) for name in ("tokens", "labels", "spaces"))))
        assert all(text.startswith(token, start) for token, start in zip(row["tokens"], starts, strict=True))
        try:
            ast.parse(text)
        except SyntaxError:
            continue  # a class or function whose statements did not fit
        whole += 1
    assert whole > 0.9 * len(rows) > 0


def test_the_word_alone_does_not_give_the_role():
    by_word = defaultdict(Counter)
    for row in label_examples("train"):
        for token, label in zip(row["tokens"], row["labels"], strict=True):
            if label != UNSCORED:
                by_word[token][label] += 1
    right = total = 0
    for row in label_examples("test"):
        for token, label in zip(row["tokens"], row["labels"], strict=True):
            if label != UNSCORED:
                right += bool(by_word[token]) and by_word[token].most_common(1)[0][0] == label
                total += 1
    assert 0.2 < right / total < 0.7


def test_the_first_rows_come_from_many_modules():
    top = {}
    for file in source_files():
        for name in re.findall(r"(?:def|class) (\w+)", file.text):
            top.setdefault(name, file.top)
    first = label_examples("train")[:200]
    modules = {
        top.get(row["tokens"][place + 1])
        for row in first
        for place, token in enumerate(row["tokens"][:-1])
        if token in ("def", "class")
    }
    assert len(modules) > 30


def test_a_snippet_is_the_source_without_layout():
    """A snippet's characters are those of its place in the file, and its labels are those of the whole file."""
    rng = random.Random(secrets.randbits(64))
    files = [file for file in source_files() if file.text.isascii() and 3000 < len(file.text) < 30_000]
    rng.shuffle(files)
    checked = 0
    for file in files:
        if checked > 100:  # whole files, as many as it takes: some give none
            break
        tree = parse(file)
        if tree is None:
            continue
        roles = NamedRoles(file.text, tree, package=file.package, library=Library(lambda _: None))
        lines = file.text.split("\n")
        gold = {role for *_, role in roles.places(tree.body, ())}
        for candidate in candidates(tree):
            example = cut(candidate, lines, roles, min_tokens=5, max_tokens=60)
            if example is None or _has_string_statement(candidate):
                continue
            assert 5 <= len(example.tokens) <= 60
            assert {label for label in example.labels if label != UNSCORED} <= gold
            region = "\n".join(lines[candidate.line - 1 : candidate.nodes[-1].end_lineno])
            if "#" not in region:
                assert _bare("".join(example.tokens)) in _bare(region)
                checked += 1
    assert checked > 100


def _bare(code: str) -> str:
    return "".join(code.replace("\\\n", "").replace(";", "").split())


def _has_string_statement(candidate: Candidate):
    return any(
        isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant)
        for node in candidate.nodes
        for inner in ast.walk(node)
    )


def test_a_python_without_source_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(standard_library.sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(DataError, match="expected the source of Python's standard library, found none"):
        source_files.__wrapped__()


def test_topics_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    assert builtin_module._topics() == {}


def test_another_process_reads_the_same(documents):
    """Hashes of strings differ between processes: nothing may depend on them."""
    code = """
import hashlib
from trivium.data.builtin import builtin_documents, classify_examples, label_examples
digest = hashlib.sha256()
for text, split in builtin_documents():
    digest.update(f"{split} {text}".encode())
digest.update(repr(classify_examples("test") + label_examples("validation")).encode())
print(digest.hexdigest())
"""
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    digest = hashlib.sha256()
    for text, split in documents:
        digest.update(f"{split} {text}".encode())
    digest.update(repr(classify_examples("test") + label_examples("validation")).encode())
    assert printed.strip() == digest.hexdigest()
