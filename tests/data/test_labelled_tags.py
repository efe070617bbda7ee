"""Tags of every scheme to spans and back, against an oracle of its own and seqeval's rules."""

import numpy as np
import pytest

from trivium.core.errors import DataError
from trivium.data.labelled import (
    UNSCORED,
    Span,
    TokenColumns,
    detect_scheme,
    malformed,
    read_entities,
    read_label,
    spans_of_tags,
    tags_of_spans,
    to_bio,
)

LABELS = ["PER", "LOC", "X-Y", "人"]
LETTERS = {  # of the first, inner, last and only word
    "BIO": "BIIB",
    "BIOES": "BIES",
    "BMES": "BMES",
    "BMEWO": "BMEW",
    "BILOU": "BILU",
}


def random_spans(rng, length):
    spans, place = [], 0
    while place < length:
        size = int(rng.integers(1, 5))
        if rng.random() < 0.6 and place + size <= length:
            spans.append(Span(place, place + size, str(rng.choice(LABELS))))
        place += size
    return spans


def tags_in(spans, length, scheme):
    """Write spans in a scheme, the plain way."""
    tags = ["O"] * length
    for span in spans:
        if scheme == "IOB1":
            before = tags[span.start - 1] if span.start else "O"
            first = "B" if before[2:] == span.label else "I"
            letters = [first] + ["I"] * (span.end - span.start - 1)
        else:
            begin, inner, last, only = LETTERS[scheme]
            size = span.end - span.start
            letters = [only] if size == 1 else [begin, *[inner] * (size - 2), last]
        tags[span.start : span.end] = [f"{letter}-{span.label}" for letter in letters]
    return tags


@pytest.mark.parametrize("scheme", [*LETTERS, "IOB1"])
def test_every_scheme_gives_its_spans_back(scheme):
    rng = np.random.default_rng(5)
    for _ in range(300):
        length = int(rng.integers(1, 15))
        spans = random_spans(rng, length)
        tags = tags_in(spans, length, scheme)
        assert spans_of_tags(tags) == spans
        assert malformed(tags, "BMES" if scheme == "BMEWO" else scheme) == []
        assert to_bio(tags) == tags_of_spans(spans, length) == tuple(tags_in(spans, length, "BIO"))


@pytest.mark.parametrize("scheme", [*LETTERS, "IOB1"])
def test_the_scheme_of_a_file_is_found(scheme):
    rng = np.random.default_rng(6)
    sentences = []
    for _ in range(50):
        length = int(rng.integers(1, 15))
        sentences.append(tags_in(random_spans(rng, length), length, scheme))
    assert detect_scheme(sentences) == ("BMES" if scheme == "BMEWO" else scheme)


def start_of_chunk(before, tag, before_label, label):
    """The rules of conlleval's startOfChunk, and of S as seqeval has them."""
    return (
        tag in "BS"
        or (before, tag) in {("O", "I"), ("O", "E"), ("E", "E"), ("E", "I"), ("S", "E"), ("S", "I")}
        or (tag != "O" and before_label != label)
    )


def test_any_sequence_is_read_as_conlleval_does():
    rng = np.random.default_rng(7)
    differing = 0
    for _ in range(3000):
        length = int(rng.integers(1, 9))
        tags = []
        for _ in range(length):
            letter = str(rng.choice(list("BIOES"), p=[0.2, 0.35, 0.2, 0.15, 0.1]))
            tags.append(letter if letter == "O" else f"{letter}-{rng.choice(['a', 'b'])}")
        starts = []
        for place, tag in enumerate(tags):
            before = tags[place - 1] if place else "O"
            if tag != "O" and start_of_chunk(before[0], tag[0], before[2:], tag[2:]):
                starts.append((place, tag[2:]))
        spans = spans_of_tags(tags)
        assert [(span.start, span.label) for span in spans] == starts
        covered = {place for span in spans for place in range(span.start, span.end)}
        assert covered == {place for place, tag in enumerate(tags) if tag != "O"}
        differing += bool(malformed(tags, "BIOES"))
    assert differing > 1000


@pytest.mark.parametrize(
    ("scheme", "tags", "places"),
    [
        ("BIO", "O I-a I-a B-a I-b", [1, 4]),
        ("IOB1", "B-a I-a B-a O B-b", [0, 4]),
        ("IOB1", "I-a I-b B-b I-b", []),
        ("BIOES", "B-a O S-a I-a E-a", [0, 3]),
        ("BIOES", "B-a I-a", [1]),
        ("BIOES", "B-a E-b", [1]),
        ("BMES", "B M E S B", [4]),
        ("BMES", "B I E", [1]),
        ("BILOU", "B-a L-a U-a I-a", [3]),
        ("BIO", f"B-a {UNSCORED} I-a", [2]),
    ],
)
def test_malformed_places(scheme, tags, places):
    assert malformed(tags.split(), scheme) == places


def test_ambiguous_files_are_the_scheme_with_fewer_mistakes():
    bio = [["B-a", "I-a", "O", "B-a"]] * 3
    assert detect_scheme([*bio, ["I-a", "O"]]) == "BIO"
    assert detect_scheme([["I-a", "O", "I-b"]] * 3 + [["B-a", "O"]]) == "IOB1"
    assert detect_scheme([["B-a"], ["I-a"]]) == "BIO"
    assert detect_scheme([["O"], ["O", UNSCORED]]) == "BIO"


def test_spans_that_bio_cannot_say_are_an_error():
    with pytest.raises(DataError, match=r"the span 2 to 4 is not inside a sentence of 3 words"):
        tags_of_spans([Span(2, 4, "a")], 3)
    with pytest.raises(DataError, match=r"the span 1 to 3 overlaps another"):
        tags_of_spans([Span(0, 2, "a"), Span(1, 3, "a")], 3)
    with pytest.raises(DataError, match=r"`NOUN` is no tag of a span"):
        spans_of_tags(["NOUN"])


def test_malformed_sequences_are_read_and_listed_with_file_and_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("-DOCSTART- O\n\nthe O\nnew I-LOC\nYork I-LOC\n\nAda B-PER\nB. B-PER\nin O\nParis B-LOC\n")
    examples, problems, scheme = read_entities(path)
    assert scheme == "BIO"
    assert [str(problem) for problem in problems] == [f"{path}:4: I-LOC ('new') after O is not BIO; read leniently."]
    assert examples[0].labels == ("O", "B-LOC", "I-LOC")
    assert read_entities(path, scheme="IOB1").problems[0].where == f"{path}:7"
    path = tmp_path / "a.jsonl"
    path.write_text('{"tokens": ["a", "b"], "labels": ["B-x", "O"]}\n{"tokens": ["a"], "labels": ["I-x"]}\n')
    assert [problem.where for problem in read_entities(path).problems] == [f"{path}:2: word 1"]


def test_labels_that_are_no_tags_and_files_without_spans(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a DET\nb NOUN\n")
    with pytest.raises(DataError, match=r"a\.txt:1: `DET` is no tag of a span; expected O, or a letter of BIO"):
        read_entities(path)
    path.write_text("a O\nb O\n")
    with pytest.raises(DataError, match=r"no label that is scored; expected at least 1"):
        read_entities(path)


def test_columns_by_number(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("1 Ada NNP B-x\n2 ran VBD O\n")
    assert read_label(path, columns=TokenColumns(word=2, label=3))[0][:2] == (("Ada", "ran"), ("NNP", "VBD"))
    assert read_label(path, columns=TokenColumns(word=2))[0].labels == ("B-x", "O")
    with pytest.raises(DataError, match=r"a\.txt:1: expected 5 columns, a word and its label in them, found '1 Ada"):
        read_label(path, columns=TokenColumns(label=5))
