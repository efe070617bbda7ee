"""Made-up texts with two marked spans, whose relation only the spans themselves and their order tell."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from task_support import word

from trivium.data.labelled import RelationExample, write_jsonl
from trivium.data.labelled.spans import Span

PEOPLE, PLACES = ("babake", "loke", "mira"), ("zeze", "vuti", "soso")
CHINESE_NOISE = "的了在是我有和就不人都一上也很到说要去你会着没看好这"


def relate_examples(
    count: int, *, seed: int, lengths: tuple[int, int] = (1, 2), chinese: bool = False
) -> list[RelationExample]:
    """Texts of many words with three names in each, of which two are marked.

    A person (A) to a place (B) is "lives in", a place to a person "is home of", two of a kind are "Other".
    """
    rng = np.random.default_rng(seed)
    return [_example(rng, lengths, chinese=chinese) for _ in range(count)]


def random_pair(rng: np.random.Generator, text: str, *, longest: int | None = None) -> RelationExample:
    """Mark two spans of a text by lot; they may overlap, or be the same."""
    spans = []
    for kind in rng.choice(["person", "地名", "a type of many words"], 2):
        start = int(rng.integers(0, len(text)))
        end = int(rng.integers(start + 1, min(len(text), start + (longest or len(text))) + 1))
        spans.append(Span(start, end, str(kind)))
    return RelationExample(text, spans[0], spans[1], "Other")


def relate_files(folder: Path, counts: Sequence[int] = (40, 15, 15)) -> dict[str, Path]:
    """Write made-up pairs into three files."""
    files = {}
    for seed, (split, count) in enumerate(zip(("train", "valid", "test"), counts, strict=True)):
        files[split] = folder / f"{split}.jsonl"
        rows = [row_of(example) for example in relate_examples(count, seed=seed)]
        write_jsonl(files[split], rows)
    return files


def row_of(example: RelationExample) -> dict[str, object]:
    """Return an example as a row of JSON."""
    ends = {"head": example.head._asdict(), "tail": example.tail._asdict()}
    return {"text": example.text, **ends, "relation": example.relation}


def _example(rng: np.random.Generator, lengths: tuple[int, int], *, chinese: bool) -> RelationExample:
    def noise() -> str:
        size = int(rng.integers(*lengths, endpoint=True))
        if chinese:
            return "".join(rng.choice(list(CHINESE_NOISE), size))
        return " ".join(word(rng) for _ in range(size))

    kinds = [str(kind) for kind in rng.choice(["A", "B"], 3)]
    blank = "" if chinese else " "
    parts: list[str] = [noise()]
    spans: list[Span] = []
    for kind in kinds:
        begin = sum(map(len, parts)) + len(blank)
        name = str(rng.choice(PEOPLE if kind == "A" else PLACES))
        spans.append(Span(begin, begin + len(name), kind))
        parts += [blank, name, blank, noise()]
    first, second = rng.choice(3, 2, replace=False)
    relations = {("A", "B"): "lives in", ("B", "A"): "is home of"}
    relation = relations.get((kinds[first], kinds[second]), "Other")
    return RelationExample("".join(parts), spans[first], spans[second], relation)
