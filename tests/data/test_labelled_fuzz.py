"""Whatever bytes a labelled file holds, a reader gives examples or a DataError of one line."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labelled_support import READERS, SAMPLES

from trivium.core.errors import DataError
from trivium.data.labelled import label_examples, text_of, turn_pairs

FRAGMENTS = [
    *(
        b"\n",
        b"\r\n",
        b"\r",
        b"\n\n",
        b"\t",
        b" ",
        b",",
        b'"',
        b'""',
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b"[[",
        b"]]",
        b":",
    ),
    *(b"\0", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\x1f\x8b\x08", b"\xe4", b"\xc2\xa0", b"\xe2\x80\xa8", b"\x1c"),
    *(b"-1", b"0", b"1e999", b"NaN", b"9" * 30, b"9" * 5000, b"1.5", b"true", b"null", b"{}", b"[]", b"[" * 3000),
    *(
        b'"\\ud83d"',
        b"\\ud83d",
        "😀".encode(),
        "漢".encode(),
        "e\u0301".encode(),
        b"_",
        b"O",
        b"B-",
        b"I-x",
        b"E",
        b"-",
    ),
    *(b'"text": ', b'"label": ', b'"labels": ', b'"spans": ', b'"start": ', b'"end": ', b'"entities": ', b'"id": 1'),
    *(b"<e1>", b"</e1>", b"<e2>", b"</e2>", b"Comment:", b"__eou__", b"@subject\n", b"@ann0\n", b"-DOCSTART-"),
    *(b"1-2\t", b"1.1\t", b"SpaceAfter=No", b"SpacesAfter=\\u00A0", b"# text = ", b"|", b"=", b"text,label\n"),
]

VALUES = [None, True, 0, -1, 3, 10**400, 1.5, float("nan"), "", " ", "x", "\ud83d", [], {}, [[]], [1, 2]]


def mutated(content, rng):
    """Return a valid file with a few fragments put in, pieces cut, moved, doubled or exchanged."""
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3, 6])):
        start = rng.randrange(len(content) + 1)
        stop = min(len(content), start + rng.choice([0, 1, 1, 2, 8, 60]))
        piece = content[start:stop]
        match rng.randrange(6):
            case 0:
                piece = rng.choice(FRAGMENTS)
            case 1:
                piece += rng.choice(FRAGMENTS)
            case 2:
                piece = b""
            case 3:
                piece *= 2
            case 4:
                piece = bytes(rng.sample(list(piece), len(piece)))
            case 5:
                other = rng.randrange(len(content) + 1)
                piece = content[other : other + rng.choice([1, 5, 40])]
        content = content[:start] + piece + content[stop:]
    return content


def values_changed(value, rng):
    """Return JSON with some of its values exchanged for others of any kind."""
    if rng.random() < 0.06:
        return rng.choice(
            [None, True, 0, -1, 3, 10**400, 1.5, float("nan"), "", " ", "x", "\ud83d", [], {}, [[]], [1, 2]]
        )
    if isinstance(value, dict):
        return {
            rng.choice([key, key, key, key, key, key, "text", "x\ny"]): values_changed(each, rng)
            for key, each in value.items()
            if rng.random() < 0.97
        }
    if isinstance(value, list):
        return [values_changed(each, rng) for each in value if rng.random() < 0.97]
    return value


def files(names):
    """Return a strategy of (name, bytes): mutations of samples, changed JSON, and fragments in a row."""
    contents = {name: (SAMPLES / name).read_bytes() for name in names}

    @st.composite
    def drawn(draw):
        name = draw(st.sampled_from(names))
        if draw(st.integers(0, 5)) == 0:
            parts = draw(st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=4), max_size=30))
            return name, b"".join(parts)
        rng = random.Random(draw(st.integers(0, 2**64)))
        content = contents[name]
        if name.endswith("l") and "json" in name and rng.random() < 0.5:
            rows = [json.dumps(values_changed(json.loads(line), rng)) for line in content.splitlines()]
            return name, "\n".join(rows).encode()
        if name.endswith(".json") and rng.random() < 0.5:
            return name, json.dumps(values_changed(json.loads(content), rng)).encode()
        return name, mutated(content, rng)

    return drawn()


def check(reader, path):
    """Read a file; what is read can be used, and what cannot is one line."""
    try:
        found = reader(path)
    except DataError as error:
        assert str(error).splitlines() == [str(error)]
        assert len(str(error)) < 1200
        return False
    examples = found if isinstance(found, list) else found.examples
    assert examples
    for problem in [] if isinstance(found, list) else found.problems:
        assert str(problem).splitlines() == [str(problem)]
    kind = type(examples[0]).__name__
    if kind == "LabelExample":
        for each in examples:
            text_of(each)
            assert len(each.tokens) == len(each.labels) > 0
    elif kind == "SpanExample":
        assert all(0 <= span.start < span.end <= len(each.text) for each in examples for span in each.spans)
        words, left_out = label_examples(examples)
        begun = sum(label.startswith("B-") for each in words for label in each.labels)
        assert begun + len(left_out) == sum(len(each.spans) for each in examples)
    elif kind == "JointExample":
        assert all(max(r.head, r.tail) < len(each.spans) for each in examples for r in each.relations)
    elif kind == "AnswerExample":
        assert all(each.context.startswith(a.text, a.start) for each in examples for a in each.answers)
    elif kind == "DialogueExample":
        assert all(len(turn_pairs(each)) == len(each.turns) - 1 for each in examples)
    json.dumps(examples, ensure_ascii=False).encode()  # no half of a surrogate pair is left
    return True


def fuzz(name, folder, *, cases):
    """Read as many files; some of them must be right, and some wrong, or nothing was tested."""
    reader, names = READERS[name]
    outcomes = []

    @settings(
        max_examples=cases, deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck)
    )
    @given(files(names))
    def every_file(drawn):
        file, content = drawn
        path = folder / Path(file).name
        path.write_bytes(content)
        try:
            outcomes.append(check(reader, path))
        finally:
            path.unlink()

    every_file()
    assert {True, False} <= set(outcomes)
    assert len(outcomes) >= cases // 2


@pytest.mark.parametrize("name", READERS)
def test_any_file_is_read_or_refused(tmp_path, name):
    fuzz(name, tmp_path, cases=200)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", READERS)
def test_any_of_ten_thousand_files_is_read_or_refused(tmp_path, name):
    fuzz(name, tmp_path, cases=10_000)
