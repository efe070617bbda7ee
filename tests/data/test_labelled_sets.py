"""Every labelled set is read in its original format, with as many examples as its authors say."""

import csv
import json
from collections import Counter

import pytest

from shared_data import unpacked
from trivium.core.errors import DataError
from trivium.data.labelled import (
    ClassifyColumns,
    TokenColumns,
    label_examples,
    read_answers,
    read_classify,
    read_conllu,
    read_dialogues,
    read_entities,
    read_label,
    read_mails,
    read_pairs,
    read_relations,
    read_spans,
    spans_of_tags,
    text_of,
    turn_pairs,
)

SMS = ClassifyColumns(text=2, label=1, header=False)
COLA = ClassifyColumns(text=4, label=2, header=False)
AG_TRAIN = ClassifyColumns(text=1, label=2, header=False)
AG_TEST = ClassifyColumns(text=3, label=1, header=False)
# Set, file, columns, examples, classes.
CLASSIFIED = [
    ("sst2", "sst2/train.tsv", ClassifyColumns(text="sentence"), 67349, 2),
    ("sst2", "sst2/dev.tsv", ClassifyColumns(text="sentence"), 872, 2),
    ("cola", "cola/train.tsv", COLA, 8551, 2),
    ("cola", "cola/dev.tsv", COLA, 1043, 2),
    ("rte", "rte/train.tsv", ClassifyColumns(text="sentence1", text_pair="sentence2"), 2490, 2),
    ("rte", "rte/dev.tsv", ClassifyColumns(text="sentence1", text_pair="sentence2"), 277, 2),
    ("sms_spam", "sms/SMSSpamCollection", SMS, 5574, 2),
    ("agnews", "agnews/train_10k.tsv", AG_TRAIN, 10001, 4),
    ("agnews", "agnews/test.csv", AG_TEST, 7600, 4),
    ("chnsenticorp", "chnsenticorp/train.tsv", ClassifyColumns(text="text_a"), 9600, 2),
    ("chnsenticorp", "chnsenticorp/dev.tsv", ClassifyColumns(text="text_a"), 1200, 2),
    ("chnsenticorp", "chnsenticorp/test.tsv", ClassifyColumns(text="text_a"), 1200, 2),
    ("toutiao5k", "toutiao5k/train.csv", ClassifyColumns(text_pair="keywords"), 5000, 15),
    ("toutiao5k", "toutiao5k/dev.csv", ClassifyColumns(text_pair="keywords"), 999, 15),
    ("toutiao5k", "toutiao5k/test.csv", ClassifyColumns(text_pair="keywords"), 999, 15),
]


@pytest.mark.parametrize(("name", "file", "columns", "count", "classes"), CLASSIFIED)
def test_classification_sets(tmp_path, name, file, columns, count, classes):
    path = unpacked(name, tmp_path) / file
    examples = read_classify(path, columns=columns)
    assert len(examples) == count
    assert len({example.label for example in examples}) == classes
    if columns.text_pair != "text_pair":
        assert sum(example.text_pair is not None for example in examples) > 0.6 * count


def test_sms_spam_has_its_spam(tmp_path):
    examples = read_classify(unpacked("sms_spam", tmp_path) / "sms/SMSSpamCollection", columns=SMS)
    assert Counter(example.label for example in examples) == {"ham": 4827, "spam": 747}


def test_unlabelled_test_files_are_a_clear_error(tmp_path):
    folder = unpacked("cluener", unpacked("sst2", tmp_path))
    with pytest.raises(DataError, match=r"test\.tsv:1: no column `label`; found `index`, `sentence`"):
        read_classify(folder / "sst2/test.tsv", columns=ClassifyColumns(text="sentence"))
    with pytest.raises(DataError, match=r"test\.jsonl:1: no column `spans`; found `id`, `text`"):
        read_spans(folder / "cluener/test.jsonl")


def test_ag_news_test_texts_that_are_in_train_can_be_dropped(tmp_path):
    folder = unpacked("agnews", tmp_path) / "agnews"
    train = {example.text for example in read_classify(folder / "train_10k.tsv", columns=AG_TRAIN)}
    test = read_classify(folder / "test.csv", columns=AG_TEST)
    shared = [example.text for example in test if example.text in train]
    assert (len(shared), len(set(shared))) == (9, 8)  # 8 texts; one is there twice


def test_toutiao_agrees_with_the_csv_module(tmp_path):
    path = unpacked("toutiao5k", tmp_path) / "toutiao5k/train.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    examples = read_classify(path, columns=ClassifyColumns(text_pair="keywords"))
    assert [(e.text, e.text_pair or "", e.label) for e in examples] == [
        (row["text"], row["keywords"] if row["keywords"].strip() else "", row["label"]) for row in rows
    ]
    assert any("\n" in row["keywords"] for row in rows)


@pytest.mark.parametrize(
    ("file", "sentences", "entities"),
    [("eng.train", 14041, 23499), ("eng.testa", 3250, 5942), ("eng.testb", 3453, 5648)],
)
def test_conll_2003(tmp_path, file, sentences, entities):
    path = unpacked("conll2003", tmp_path) / "conll2003" / file
    found = read_entities(path)
    assert (found.scheme, found.problems, len(found.examples)) == ("IOB1", [], sentences)
    assert sum(label.startswith("B-") for example in found.examples for label in example.labels) == entities
    raw = read_label(path)
    for bio, example in zip(found.examples, raw, strict=True):
        assert spans_of_tags(bio.labels) == spans_of_tags(example.labels)
    chunks = read_entities(path, columns=TokenColumns(label=3))
    assert len(chunks.examples) == sentences
    assert {label[2:] for example in chunks.examples for label in example.labels} >= {"NP", "VP", "PP"}


@pytest.mark.parametrize(
    ("split", "sentences", "words"), [("train", 12544, 204577), ("dev", 2001, 25147), ("test", 2077, 25094)]
)
def test_english_web_treebank(tmp_path, split, sentences, words):
    path = unpacked("ewt", tmp_path) / f"ewt/en_ewt-ud-{split}.conllu"
    examples = read_conllu(path)
    assert len(examples) == sentences
    assert sum(len(example.tokens) for example in examples) == words
    assert len({label for example in examples for label in example.labels}) == 17
    texts = [line[9:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# text = ")]
    assert len(texts) == sentences
    wrong = [
        (text, text_of(example)[0])
        for text, example in zip(texts, examples, strict=True)
        if text_of(example)[0] != text
    ]
    assert wrong == []
    assert {len(read_conllu(path, column=column)) for column in ("xpos", "feats.Number")} == {sentences}


@pytest.mark.parametrize(("file", "count", "classes"), [("TRAIN_FILE.TXT", 8000, 19), ("TEST_FILE_FULL.TXT", 2717, 19)])
def test_semeval_2010(tmp_path, file, count, classes):
    path = unpacked("semeval2010_t8", tmp_path) / "semeval2010_t8" / file
    examples, problems = read_relations(path)
    assert (len(examples), problems) == (count, [])
    assert len({example.relation for example in examples}) == classes
    content = path.read_text(encoding="utf-8")
    for example in examples:
        text, head, tail = example.text, example.head, example.tail
        assert head.end <= tail.start
        marked = (
            f"{text[: head.start]}<e1>{text[head.start : head.end]}</e1>{text[head.end : tail.start]}"
            f"<e2>{text[tail.start : tail.end]}</e2>{text[tail.end :]}"
        )
        assert marked in content


@pytest.mark.parametrize(
    ("name", "file", "count", "left_out", "misplaced"),
    [
        ("squad_subset", "squad/squad_v1.1_trainpart_A.json", 4253, 0, 0),
        ("squad_subset", "squad/squad_v1.1_trainpart_B.json", 594, 0, 0),
        ("squad_subset", "xquad/xquad.en.json", 1190, 0, 0),
        ("cmrc2018", "cmrc2018/squad-style/cmrc2018_trial.json", 1002, 2, 5),
        ("cmrc2018", "cmrc2018/squad-style/cmrc2018_dev.json", 3219, 0, 200),
        ("cmrc2018", "cmrc2018/cmrc2018_trial.json", 1002, 2, 0),
        ("cmrc2018", "cmrc2018/cmrc2018_dev.json", 3219, 0, 193),
    ],
)
def test_question_sets(tmp_path, name, file, count, left_out, misplaced):
    examples, problems = read_answers(unpacked(name, tmp_path) / file)
    gone = [problem.message for problem in problems if problem.message.startswith("left out")]
    assert gone == ["left out: the question is empty."] * left_out
    assert (len(examples) + left_out, len(problems) - left_out) == (count, misplaced)
    assert all(example.answers for example in examples)
    for example in examples:
        for answer in example.answers:
            assert example.context[answer.start : answer.start + len(answer.text)] == answer.text
    if misplaced == 200:
        assert sum(len(example.unplaced) for example in examples) == 193
        assert sum("moved to its nearest" in problem.message for problem in problems) == 7


@pytest.mark.parametrize(("split", "count"), [("train", 10748), ("dev", 1343)])
def test_cluener(tmp_path, split, count):
    path = unpacked("cluener", tmp_path) / f"cluener/{split}.jsonl"
    examples, problems = read_spans(path)
    assert len(examples) == count
    assert problems == []
    assert len({span.label for example in examples for span in example.spans}) == 10
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    total = sum(len(pairs) for row in rows for surfaces in row["label"].values() for pairs in surfaces.values())
    assert sum(len(example.spans) for example in examples) == total
    words, left_out = label_examples(examples)
    tagged = sum(len(spans_of_tags(example.labels)) for example in words)
    assert tagged + len(left_out) == total
    assert len(left_out) < 0.05 * total
    for example, original in zip(words, examples, strict=True):
        assert text_of(example)[0] == original.text.lstrip()


@pytest.mark.slow
def test_aeslc(tmp_path):
    folder = unpacked("aeslc", tmp_path) / "aeslc/enron_subject_line"
    for split, count, targets in (("train", 14436, 1), ("dev", 1960, 4), ("test", 1906, 4)):
        examples = read_mails(folder / split)
        assert len(examples) == count
        assert {len(example.targets) for example in examples} == {targets}


def test_daily_dialog(tmp_path):
    folder = unpacked("dailydialog", tmp_path) / "dailydialog"
    for split in ("validation", "test"):
        examples = read_dialogues(folder / split / "dialogues.txt")
        acts = (folder / split / "dialogues_act.txt").read_text(encoding="utf-8").splitlines()
        assert len(examples) == 1000
        assert [len(example.turns) for example in examples] == [len(line.split()) for line in acts]
    for split, count in (("train", 834), ("valid", 47), ("test", 225)):
        examples = read_dialogues(folder / f"reccon_{split}.json")
        assert len(examples) == count
        assert sum(len(turn_pairs(example)) for example in examples) == sum(len(e.turns) - 1 for e in examples)


def test_pairs_of_a_set_with_columns_of_its_own(tmp_path):
    from trivium.data.labelled import PairColumns

    columns = PairColumns(source="text", target="keywords")
    with pytest.raises(DataError, match="`keywords` is empty"):
        read_pairs(unpacked("toutiao5k", tmp_path) / "toutiao5k/train.csv", columns=columns)
