"""Words and their labelled spans, which may lie inside each other and overlap, from any form that marks spans."""

from pathlib import Path

from trivium.core.errors import DataError
from trivium.data.labelled.label import SPAN_COLUMNS, SpanColumns, is_word_file, read_entities
from trivium.data.labelled.problems import Labelled, Problem
from trivium.data.labelled.span_words import nested_examples
from trivium.data.labelled.spans import NestedExample, read_spans
from trivium.data.labelled.tags import UNSCORED, Scheme, spans_of_tags


def read_nested(
    path: Path, *, columns: SpanColumns = SPAN_COLUMNS, scheme: Scheme | None = None, min_classes: int = 1
) -> Labelled[NestedExample]:
    """Read texts with spans in any form of `read_spans`, all of those that begin and end with a word.

    Words with tags (see `read_entities`), whose spans never overlap, are read too.

    Args:
        path: the file, compressed with gzip or not.
        columns: which columns of a word-a-line file are read, or which text of JSON.
        scheme: of its tags; None = decided from all of them.
        min_classes: fewer distinct labels than this are an error.

    Raises:
        DataError: what is wrong, with file and line; a word whose tag is `UNSCORED`, since every word is looked at.
    """
    if is_word_file(path):
        return _of_tags(path, columns, scheme)
    texts, problems = read_spans(path, text=columns.text, min_classes=min_classes)
    found = nested_examples(texts)
    return Labelled(found.examples, [*problems, *found.problems])


def _of_tags(path: Path, columns: SpanColumns, scheme: Scheme | None) -> Labelled[NestedExample]:
    found = read_entities(path, columns=columns, scheme=scheme)
    examples: list[NestedExample] = []
    problems: list[Problem] = list(found.problems)
    for each in found.examples:
        if UNSCORED in each.labels:
            word = each.tokens[each.labels.index(UNSCORED)]
            raise DataError(f"{each.where}: the word {word!r} has no tag (`{UNSCORED}`); every word needs one here.")
        spans = tuple(spans_of_tags(each.labels))
        examples.append(NestedExample(each.tokens, spans, each.spaces, each.where, each.before))
    return Labelled(examples, problems)
