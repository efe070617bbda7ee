"""What every reader meets: other line ends, compressed files, files that are not text, and very large ones."""

import gzip
import json
import re
import time

import pytest
from labelled_support import READERS, SAMPLES, anywhere

from trivium.core.errors import DataError
from trivium.data.labelled import (
    read_answers,
    read_conllu,
    read_dialogues,
    read_entities,
    read_joint,
    read_label,
    read_pairs,
    read_relations,
    read_spans,
    spans_of_tags,
    words_of,
)

FILES = [(name, file) for name, (_, files) in READERS.items() for file in files]


def examples_of(reader, path):
    found = reader(path)
    return found if isinstance(found, list) else found.examples


def in_folder(folder, file, content):
    folder.mkdir(exist_ok=True)
    path = folder / file.rpartition("/")[2]
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("name", "file"), FILES)
def test_the_same_is_read_with_other_ends_of_lines_and_marks(tmp_path, name, file):
    reader = READERS[name][0]
    content = (SAMPLES / file).read_bytes()
    unix = content.replace(b"\r\n", b"\n")
    try:
        expected = examples_of(reader, in_folder(tmp_path / "0", file, content))
    except DataError:
        pytest.skip("a file that this reader refuses")  # the fuzzing begins from such too
    forms = {
        "1": b"\xef\xbb\xbf" + content,
        "2": unix.replace(b"\n", b"\r\n"),
        "3": gzip.compress(content),
        "4": unix + b"\n\n \n" * (not file.startswith("mails")),
        "5": unix.rstrip(b"\n"),
    }
    for folder, form in forms.items():
        found = anywhere(examples_of(reader, in_folder(tmp_path / folder, file, form)))
        assert json.dumps(found).replace("\\r\\n", "\\n") == json.dumps(anywhere(expected)), folder


PLACED = ("classify", "classify-numbers", "multi-label-json", "label", "entities", "conllu", "spans", "nested")
PLACED += ("relations", "joint", "similar")


@pytest.mark.parametrize(("name", "file"), [each for each in FILES if each[0] in PLACED])
def test_an_example_knows_the_file_and_the_line_it_stands_at(tmp_path, name, file):
    blank = b"" if file.endswith(".json") else b"\n\n"
    path = in_folder(tmp_path, file, blank + (SAMPLES / file).read_bytes())
    try:
        examples = examples_of(READERS[name][0], path)
    except DataError:
        pytest.skip("a file that this reader refuses")
    lines, numbers = path.read_text(encoding="utf-8").split("\n"), []
    for each in examples:
        stem, _, number = each.where.replace(": item ", ":").rpartition(":")
        assert stem == str(path)
        numbers.append(int(number))
        if "item" not in each.where:
            words = each.tokens[:1] if hasattr(each, "tokens") else each.text.split()
            line = re.sub("</?e[12]>", "", lines[int(number) - 1])
            assert any(word in line for word in words)
    assert numbers == sorted(set(numbers)) and len(numbers) > 1


@pytest.mark.parametrize(("name", "file"), FILES)
def test_what_is_not_text_is_one_clear_line(tmp_path, name, file):
    reader = READERS[name][0]
    content = (SAMPLES / file).read_bytes()
    cases = {
        b"": "empty",
        b"\n \r\n\t\n": "empty",
        content[:20] + b"\0" + content[20:]: "expected text, found binary data",
        content + b"\n\xc4\xe3\xba\xc3": r":\d+: not valid UTF-8",
        gzip.compress(content)[:-9]: "cannot be read",
    }
    for bad, message in cases.items():
        with pytest.raises(DataError, match=message) as caught:
            reader(in_folder(tmp_path / "a", file, bad))
        assert "\n" not in str(caught.value)
        assert file.rpartition("/")[2] in str(caught.value)


@pytest.mark.parametrize("name", [name for name in READERS if name != "mails"])
def test_a_file_that_is_not_there(tmp_path, name):
    with pytest.raises(DataError, match="no such file"):
        READERS[name][0](tmp_path / "none")


def lines(rows):
    return "\n".join(json.dumps(row) for row in rows)


def test_ten_thousand_classes_everywhere(tmp_path):
    path = tmp_path / "a.jsonl"
    count = range(10_000)
    span = {"start": 0, "end": 1, "label": "x"}
    path.write_text(lines({"text": "a", "spans": [[0, 1, f"c{n}"]]} for n in count))
    assert len({example.spans[0].label for example in read_spans(path).examples}) == 10_000
    path.write_text(lines({"text": "a", "head": span, "tail": span, "relation": f"r{n}"} for n in count))
    assert len({example.relation for example in read_relations(path).examples}) == 10_000
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join(f"w B-c{n}" for n in count))
    assert len({example.labels for example in read_entities(path).examples}) == 10_000
    path.write_text("".join(f"{n + 1}\tw\t_\t_\tx{n}\t_\t_\t_\t_\t_\n" for n in count))
    assert len(set(read_conllu(path, column="xpos")[0].labels)) == 10_000


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_very_long_document_everywhere(tmp_path, count):
    text = "word " * count
    spans = [[5 * n, 5 * n + 4, "ab"[n % 2]] for n in range(0, count, 2)]
    begun = time.perf_counter()
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": text, "spans": spans, "relations": []}))
    (example,), problems = read_spans(path)
    words, left_out = words_of(example)
    assert (len(example.spans), len(words.tokens), problems, left_out) == (count // 2, count, [], [])
    assert len(spans_of_tags(words.labels)) == count // 2
    row = {"text": text, "spans": spans, "relations": [{"head": n, "tail": 0, "label": "r"} for n in range(count // 2)]}
    path.write_text(json.dumps(row))
    assert len(read_joint(path).examples[0].relations) == count // 2
    path.write_text(json.dumps({"source": text, "target": text}))
    assert len(read_pairs(path)[0].source) == len(text)
    path.write_text(json.dumps({"turns": ["word"] * count}))
    assert len(read_dialogues(path)[0].turns) == count
    qas = [{"id": n, "question": "q", "answers": [{"text": "end", "answer_start": 0}]} for n in range(100)]
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": text + "end", "qas": qas}]}]}))
    assert {example.answers[0].start for example in read_answers(path).examples} == {len(text)}
    path = tmp_path / "a.txt"
    path.write_text("".join(f"{n + 1}\tword\t_\t{'XY'[n % 2]}\t_\t_\t_\t_\t_\t_\n" for n in range(count)))
    assert len(read_conllu(path)[0].tokens) == count
    path.write_text("word B-a\n" * count)
    assert len(read_entities(path).examples[0].tokens) == count
    assert time.perf_counter() - begun < 60  # nothing is quadratic


def test_a_line_of_100_000_commas_is_refused_at_once(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(",".join(f"c{n}" for n in range(100_000)) + "\n")
    begun = time.perf_counter()
    with pytest.raises(DataError, match=r"no column `text`; found .* and 99988 more"):
        READERS["classify"][0](path)
    assert time.perf_counter() - begun < 10


def test_one_class_only(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(lines([{"text": "a b", "spans": [[0, 1, "x"]]}]))
    with pytest.raises(DataError, match=r"only the label `x`; expected at least 2 classes"):
        read_spans(path, min_classes=2)
    path.write_text(lines([{"tokens": ["a"], "labels": ["x"]}]))
    with pytest.raises(DataError, match=r"only the label `x`; expected at least 2 classes"):
        read_label(path)
