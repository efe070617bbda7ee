"""A made-up language in which spans lie inside each other, and what of it spans that do not overlap can say."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from task_support import word

from trivium.data.labelled import NestedExample, Span, tags_of_spans, text_of
from trivium.data.labelled.label import LabelExample


def nested_examples(count: int, *, seed: int, longest: int = 14) -> list[NestedExample]:
    """Sentences with `ba` ... `ze` (A), in which `ke` ... `ti` (C) may stand, and `mi` (D) in either; or alone."""
    rng = np.random.default_rng(seed)
    examples = []
    for number, length in enumerate(rng.integers(4, longest + 1, count)):
        words: list[str] = []
        spans: list[Span] = []
        while len(words) < length:
            start, chance = len(words), rng.random()
            if chance < 0.35:
                words += ["ba", *_filler(rng, 2)]
                for _ in range(int(rng.integers(0, 3))):
                    _inner(rng, words, spans)
                words += [*_filler(rng, 2), "ze"]
                spans.append(Span(start, len(words), "A"))
            elif chance < 0.5:
                _inner(rng, words, spans)
            else:
                words += _filler(rng, 3)
        examples.append(NestedExample(tuple(words), tuple(spans), None, f"made:{number + 1}"))
    return examples


def outermost(example: NestedExample) -> LabelExample:
    """Return the spans that lie in no other as tags."""
    kept = [
        span
        for span in example.spans
        if not any(other != span and other.start <= span.start and span.end <= other.end for other in example.spans)
    ]
    return LabelExample(example.tokens, tags_of_spans(kept, len(example.tokens)), example.spaces)


def best_flat_f1(examples: Sequence[NestedExample]) -> float:
    """Return the F1 of as many right spans as do not overlap, and of nothing else: more no tags of words can reach."""
    right, most = 0, 0
    for example in examples:
        right, end = right + len(example.spans), 0
        for span in sorted(example.spans, key=lambda each: each.end):  # the earliest end first: as many as there can be
            if span.start >= end:
                most, end = most + 1, span.end
    return 2 * most / (right + most)


def write_nested(path: Path, examples: Sequence[NestedExample]) -> Path:
    """Write texts with spans in characters."""
    rows = []
    for example in examples:
        text, starts = text_of(example)
        ends = [start + len(token) for start, token in zip(starts, example.tokens, strict=True)]
        spans = [{"start": starts[s.start], "end": ends[s.end - 1], "label": s.label} for s in example.spans]
        rows.append({"text": text, "spans": spans})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _inner(rng: np.random.Generator, words: list[str], spans: list[Span]) -> None:
    start = len(words)
    words += ["ke", *_filler(rng, 1)]
    if rng.random() < 0.5:
        words.append("mi")
        spans.append(Span(len(words) - 1, len(words), "D"))
    words += [*_filler(rng, 1), "ti"]
    spans.append(Span(start, len(words), "C"))


def _filler(rng: np.random.Generator, most: int) -> list[str]:
    return ["lo" + word(rng) for _ in range(int(rng.integers(0, most + 1)))]
