"""Labelled examples of every kind, read in the formats people have; what does not fit its text is listed."""

from trivium.data.labelled.answers import Answer, AnswerExample, read_answers
from trivium.data.labelled.classify import (
    ClassifyColumns,
    ClassifyExample,
    MultiLabelExample,
    RegressionExample,
    read_classify,
    read_multi_label,
    read_regression,
)
from trivium.data.labelled.conllu import ABSENT, read_conllu
from trivium.data.labelled.dialogues import DialogueExample, read_dialogues, turn_pairs
from trivium.data.labelled.files import json_line, write_jsonl
from trivium.data.labelled.label import (
    Entities,
    LabelExample,
    SpanColumns,
    TokenColumns,
    is_word_file,
    read_entities,
    read_label,
    text_of,
    whole_text,
)
from trivium.data.labelled.nested import read_nested
from trivium.data.labelled.pairs import PairColumns, PairExample, read_mails, read_pairs
from trivium.data.labelled.problems import Labelled, Problem, summed_up
from trivium.data.labelled.relations import (
    JointExample,
    Relation,
    RelationExample,
    is_joint,
    pairs_of,
    read_joint,
    read_relations,
    unlabelled_relation,
)
from trivium.data.labelled.similar import SimilarExample, read_similar
from trivium.data.labelled.span_words import LeftOut, cut_text, label_examples, words_of
from trivium.data.labelled.spans import NestedExample, Span, SpanExample, read_spans
from trivium.data.labelled.tags import (
    UNSCORED,
    Scheme,
    detect_scheme,
    malformed,
    spans_of_tags,
    tags_of_spans,
    to_bio,
)

__all__ = [
    "ABSENT",
    "Answer",
    "AnswerExample",
    "ClassifyColumns",
    "ClassifyExample",
    "DialogueExample",
    "Entities",
    "JointExample",
    "LabelExample",
    "Labelled",
    "LeftOut",
    "MultiLabelExample",
    "NestedExample",
    "PairColumns",
    "PairExample",
    "Problem",
    "RegressionExample",
    "Relation",
    "RelationExample",
    "Scheme",
    "SimilarExample",
    "Span",
    "SpanColumns",
    "SpanExample",
    "TokenColumns",
    "UNSCORED",
    "cut_text",
    "detect_scheme",
    "is_word_file",
    "is_joint",
    "json_line",
    "label_examples",
    "malformed",
    "pairs_of",
    "read_answers",
    "read_classify",
    "read_conllu",
    "read_dialogues",
    "read_entities",
    "read_joint",
    "read_label",
    "read_mails",
    "read_multi_label",
    "read_nested",
    "read_pairs",
    "read_regression",
    "read_relations",
    "read_similar",
    "read_spans",
    "spans_of_tags",
    "summed_up",
    "tags_of_spans",
    "text_of",
    "to_bio",
    "turn_pairs",
    "unlabelled_relation",
    "whole_text",
    "words_of",
    "write_jsonl",
]
