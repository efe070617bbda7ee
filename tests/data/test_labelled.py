"""Labelled files: every form gives back what was written, and each mistake one clear line."""

import csv
import gzip
import json
import random
import secrets

import numpy as np
import pytest
from labelled_support import anywhere

from trivium.core.errors import DataError
from trivium.data.labelled import (
    UNSCORED,
    ClassifyColumns,
    ClassifyExample,
    LabelExample,
    read_classify,
    read_label,
    write_jsonl,
)

ALPHABET = list("ab ,;\t\n\"'é漢😀{}[]\\")


def random_text(rng, alphabet=ALPHABET):
    return "x" + "".join(rng.choice(alphabet, size=rng.integers(0, 12)))


def random_examples(rng, alphabet=ALPHABET, pair=False):
    examples = [
        ClassifyExample(
            random_text(rng, alphabet), f"class {rng.integers(3)}", random_text(rng, alphabet) if pair else None
        )
        for _ in range(20)
    ]
    return [
        *examples,
        ClassifyExample("one", "class 0", "p" if pair else None),
        ClassifyExample("two", "class 1", "q" if pair else None),
    ]


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.csv.gz", "a.tsv.gz", "a.jsonl.gz", "a.txt"])
def test_classify_is_read_as_written(tmp_path, name, pair):
    rng = np.random.default_rng(secrets.randbits(64))
    for _ in range(5):
        examples = random_examples(rng, pair=pair)
        path = tmp_path / name
        fields = ["label", "text", *(["text_pair"] if pair else [])]
        rows = [{field: getattr(example, field) for field in fields} for example in examples]
        if ".jsonl" in name:
            write_jsonl(tmp_path / "plain", rows)
        else:
            with (tmp_path / "plain").open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, fields, delimiter="\t" if "tsv" in name else ",")
                writer.writeheader()
                writer.writerows(rows)
        data = (tmp_path / "plain").read_bytes()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        assert anywhere(read_classify(path)) == examples


def test_tsv_keeps_stray_quotation_marks(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text('text\tlabel\n"Well" he said\tgood\n5" nail\tbad\n"whole ""field"""\tbad\n', encoding="utf-8")
    assert [example.text for example in read_classify(path)] == ['"Well" he said', '5" nail', 'whole "field"']


def test_other_column_names_and_byte_order_mark(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("sentence,gold,other\r\nfine,1,\r\nbad,0,z\r\n".encode("utf-8-sig"))
    expected = [ClassifyExample("fine", "1", None), ClassifyExample("bad", "0", "z")]
    columns = ClassifyColumns(text="sentence", label="gold", text_pair="other")
    assert anywhere(read_classify(path, columns=columns)) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text,lable\nx,y\n", r"a\.csv:1: no column `label`; found `text`, `lable`\. Did you mean `lable`\?"),
        ("a.csv", b"x,y\nx,y\n", r"a\.csv:1: no column `text`; found `x`, `y`\.$"),
        ("a.jsonl", b'{"text": "x", "label": "y"}\n{"text": "x"}\n', r"a\.jsonl:2: no column `label`; found `text`\.$"),
        ("a.csv", b'text,label\n"x\ny",a\n"z",b,c\n', r"a\.csv:4: expected 2 fields .* found 3"),
        ("a.csv", b'text,label\nx,a\n"y,b\n', r"a\.csv:3: not valid CSV"),
        ("a.csv", b"text,label,text\nx,a,b\n", r"a\.csv:1: the column `text` is there twice"),
        ("a.csv", b"text,label\n", r"no examples"),
        ("a.csv", b"text,label\nx,a\n,b\n", r"a\.csv:3: `text` is empty"),
        ("a.csv", b"text,label\nx,a\ny,\n", r"a\.csv:3: `label` is empty"),
        ("a.csv", b"text,label\nx,a\ny,a\n", r"only the label `a`; expected at least 2 classes"),
        ("a.csv", b" \n", r"empty"),
        ("a.csv", b"text,label\nx,\xff\n", r"a\.csv:2: not valid UTF-8 \(byte 0xff\)"),
        ("a.csv", b"text,label\nx\0,a\n", r"a\.csv:2: expected text, found binary data"),
        ("a.csv.gz", gzip.compress(b"text,label\nx,a\n" * 99, mtime=0)[:-9], r"cannot be read"),
        ("a.jsonl", b'{"text": "x", "label": ["a", "b"]}\n', r"a list, not one class; .* --task multi_label\.$"),
        ("a.jsonl", b'{"text": "x", "label": 0.5}\n', r"`label` is 0\.5, no class; .* --task regress\.$"),
        ("a.jsonl", b'{"text": "x", "label": NaN}\n', r"`label` is nan, no class; .* --task regress\.$"),
        ("a.jsonl", b'{"text": "x", "label": null}\n', r"`label` is null; expected a string"),
        ("a.jsonl", b'{"text": 7, "label": "a"}\n', r"`text` is a number; expected a string"),
        ("a.jsonl", b'{"text": "x", "label": "a"}\n{"text": \n', r"a\.jsonl:2: not valid JSON"),
        ("a.jsonl", b"[1]\n", r"a\.jsonl:1: expected a JSON object, found a list"),
    ],
)
def test_classify_mistakes_are_one_clear_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_classify(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(3))
def test_whole_numbers_and_booleans_of_json_are_the_classes_that_a_table_has(tmp_path, seed):
    rng = random.Random(seed)
    labels = [rng.choice([0, 1, -7, rng.randrange(10**30), True, False, "1", "spam"]) for _ in range(40)]
    rows = [json.dumps({"text": f"t{number}", "label": label}) for number, label in enumerate(labels)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows), encoding="utf-8")
    written = [label if isinstance(label, str) else json.dumps(label) for label in labels]
    table = "".join(f"t{number},{label}\n" for number, label in enumerate(written))
    (tmp_path / "a.csv").write_text(f"text,label\n{table}", encoding="utf-8")
    examples = read_classify(tmp_path / "a.jsonl")
    assert [example.label for example in examples] == written
    assert [each[:3] for each in examples] == [each[:3] for each in read_classify(tmp_path / "a.csv")]


def test_a_missing_file_is_a_clear_error(tmp_path):
    with pytest.raises(DataError, match="a folder; expected one file"):
        read_classify(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        read_classify(tmp_path / "none.csv")
    with pytest.raises(DataError, match="no such file"):
        read_label(tmp_path / "none.csv")


def test_one_class_is_read_when_asked(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\nx,a\n", encoding="utf-8")
    assert len(read_classify(path, min_classes=1)) == 1


def random_sentences(rng):
    words = ["a", "def", "{", "(", "é", "漢字", "x_1", '"', "#", "0"]
    sentences = []
    for _ in range(15):
        length = int(rng.integers(1, 9))
        tokens = tuple(str(word) for word in rng.choice(words, size=length))
        labels = tuple(str(label) for label in rng.choice([UNSCORED, "B", "I"], size=length))
        sentences.append(LabelExample(tokens, labels))
    return [*sentences, LabelExample(("a", "b"), ("B", "I"))]


@pytest.mark.parametrize("form", ["jsonl", "tab", "space", "conll"])
def test_label_is_read_as_written(tmp_path, form):
    rng = np.random.default_rng(secrets.randbits(64))
    for _ in range(5):
        sentences = random_sentences(rng)
        path = tmp_path / ("a.jsonl" if form == "jsonl" else "a.txt")
        if form == "jsonl":
            write_jsonl(path, (sentence._asdict() for sentence in sentences))
        else:
            separator = "\t" if form == "tab" else "  " if form == "space" else " POS -X- "
            blocks = [
                "\n".join(f"{word}{separator}{label}" for word, label in zip(*sentence[:2], strict=True))
                for sentence in sentences
            ]
            head = "-DOCSTART- -X- O O\n\n" if form == "conll" else ""
            path.write_text(head + "\n\n\n".join(blocks) + "\n", encoding="utf-8")
        assert anywhere(read_label(path)) == sentences


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"tokens": ["a"], "labels": ["x", "y"]}', r"a\.jsonl:1: 1 tokens but 2 labels"),
        (
            "a.jsonl",
            '{"tokens": ["a"], "lables": ["x"]}',
            r"no column `labels`; found `tokens`, `lables`\. Did you mean",
        ),
        ("a.jsonl", '{"tokens": "ab", "labels": ["x", "y"]}', r"`tokens` is a string; expected a list"),
        ("a.jsonl", '{"tokens": ["a", 1], "labels": ["x", "y"]}', r"an entry of `tokens` is a number"),
        ("a.jsonl", '{"tokens": [], "labels": []}', r"a\.jsonl:1: no tokens"),
        ("a.txt", "a B\n\nb\n", r"a\.txt:3: expected a word and its label, found 'b'"),
        ("a.txt", "a B\nb B\n", r"only the label `B`"),
        ("a.txt", f"a {UNSCORED}\n", r"no label that is scored"),
        ("a.txt", "", r"empty"),
    ],
)
def test_label_mistakes_are_one_clear_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        read_label(path)
    assert "\n" not in str(caught.value)


def test_write_jsonl_keeps_every_script(tmp_path):
    rows = [{"text": "漢字 é", "label": "x"}, {"text": "line\nbreak\u2028", "label": "y"}]
    write_jsonl(tmp_path / "a.jsonl", rows)
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert [json.loads(line) for line in lines] == rows
    assert "漢字" in lines[0]
