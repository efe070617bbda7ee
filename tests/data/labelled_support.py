"""The readers of labelled files, and for each the samples that it reads or something near them."""

from functools import partial
from pathlib import Path

from trivium.data.labelled import (
    ClassifyColumns,
    PairColumns,
    TokenColumns,
    read_answers,
    read_classify,
    read_conllu,
    read_dialogues,
    read_entities,
    read_joint,
    read_label,
    read_mails,
    read_multi_label,
    read_nested,
    read_pairs,
    read_regression,
    read_relations,
    read_similar,
    read_spans,
    samples,
)

SAMPLES = Path(samples.__file__).with_name("sample_files")


def anywhere(examples):
    """Return examples as they are wherever they stand."""
    return [each._replace(where="") if hasattr(each, "where") else each for each in examples]


def mails_of(path):
    """Read the file as a folder's only mail."""
    return read_mails(path.parent)


# Reader, and the samples that it reads or something near them.
READERS = {
    "classify": (read_classify, ["classify.csv", "classify-pairs.jsonl", "regression.tsv"]),
    "classify-numbers": (
        partial(read_classify, columns=ClassifyColumns(text=2, label=1, header=False)),
        ["classify-no-header.tsv"],
    ),
    "multi-label": (
        partial(read_multi_label, columns=ClassifyColumns(separator="|")),
        ["multi-label.csv", "multi-label.jsonl"],
    ),
    "multi-label-json": (
        partial(read_multi_label, columns=ClassifyColumns(label="labels")),
        ["multi-label.jsonl", "multi-label.csv"],
    ),
    "regression": (read_regression, ["regression.tsv"]),
    "label": (read_label, ["label.jsonl", "entities-bio.txt", "words-bmes.txt"]),
    "entities": (
        read_entities,
        ["entities-bio.txt", "entities-iob1.conll", "entities-bioes.txt", "words-bmes.txt", "label.jsonl"],
    ),
    "entities-column": (partial(read_entities, columns=TokenColumns(label=3)), ["entities-iob1.conll"]),
    "conllu": (read_conllu, ["treebank.conllu"]),
    "conllu-feature": (partial(read_conllu, column="feats.Person"), ["treebank.conllu"]),
    "spans": (
        read_spans,
        ["spans.jsonl", "doccano.jsonl", "doccano-entities.jsonl", "label-studio.json", "cluener.jsonl"],
    ),
    "nested": (read_nested, ["nested.jsonl", "spans.jsonl", "cluener.jsonl", "label-studio.json", "entities-bio.txt"]),
    "relations": (read_relations, ["relations.jsonl", "semeval.txt"]),
    "joint": (read_joint, ["joint.jsonl", "doccano-entities.jsonl"]),
    "answers": (read_answers, ["answers-squad.json", "answers-cmrc.json"]),
    "pairs": (read_pairs, ["pairs.jsonl", "pairs.tsv"]),
    "pairs-numbers": (partial(read_pairs, columns=PairColumns(source=1, target=2, header=False)), ["pairs.tsv"]),
    "dialogues": (read_dialogues, ["dialogues.jsonl", "dialogues.txt"]),
    "similar": (read_similar, ["similar.jsonl", "pairs.jsonl"]),
    "mails": (mails_of, ["mails/1.subject", "mails/3.subject"]),
}
