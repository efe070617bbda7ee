"""Marked spans: nothing of a text that fits is lost, and of one that does not the nearest to the spans is shown."""

import numpy as np
import pytest
import tokenizers
from relate_inputs import random_pair, relate_examples
from task_support import CHINESE, ENGLISH, reading, tokenizer

from trivium.core.errors import ConfigError
from trivium.data.labelled import RelationExample
from trivium.data.labelled.spans import Span
from trivium.data.tokenizer import Tokenizer
from trivium.data.tokenizer_training import TokenizerKind
from trivium.tasks.relate.markers import cut_at_spans, mark_spans, markers_of, shown_tokens
from trivium.tasks.relate.task import marked_texts

TEXTS = (ENGLISH, CHINESE.replace(" ", ""), "a\u0301 \U0001f600 \n\n  x\ty")


def _names(number: int) -> str:
    return tokenizer().token_name(number)


def test_by_hand() -> None:
    text = "Ada met Bob in Rome."
    example = RelationExample(text, Span(15, 19, "place"), Span(0, 3, "person"), "Other")
    [marked] = marked_texts([example], reading())
    signs = {f"<extra_id_{n}>": sign for n, sign in enumerate(("H", "/H", "T", "/T", ":", "..."))}
    shown, buffer = [], []
    for token in marked.tokens_L:
        if _names(int(token)) in signs:
            shown += [tokenizer().decode(buffer), signs[_names(int(token))]]
            buffer = []
        else:
            buffer.append(int(token))
    shown.append(tokenizer().decode(buffer))
    assert shown == ["", "T", "person", ":", "Ada", "/T", " met Bob in", "H", "place", ":", " Rome", "/H", "."]
    assert marked.whole
    assert [_names(int(marked.tokens_L[place])) for place in marked.opens] == ["<extra_id_0>", "<extra_id_2>"]


def test_punctuation_stands_in_for_sentinels() -> None:
    words = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[PAD]": 3, "[MASK]": 4}
    signs = ["@", "*", "#", "^", ".", "...", "Ada", "met", "Bob", "person"]
    vocabulary = words | {sign: 5 + n for n, sign in enumerate(signs)}
    library = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    library.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    library.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    foreign = Tokenizer(library.to_str().encode())
    assert not foreign.special.sentinels
    example = RelationExample("Ada met Bob", Span(0, 3, "person"), Span(8, 11, "person"), "Other")
    [marked] = marked_texts([example], reading()._replace(tokenizer=foreign))
    names = [foreign.token_name(int(token)) for token in marked.tokens_L]
    assert " ".join(names) == "@ * person * Ada @ met # ^ person ^ Bob #"
    assert marked.opens == (0, 7) and marked.closes == (5, 12)


@pytest.mark.parametrize("text", TEXTS)
def test_the_parts_are_the_text_and_the_spans_are_whole_parts(text: str) -> None:
    rng = np.random.default_rng(len(text))
    checked = 0
    for _ in range(300):
        example = random_pair(rng, text)
        parts, spans = cut_at_spans(text, example.head[:2], example.tail[:2])
        assert "".join(parts) == text and all(parts)
        for (first, stop), span, other in zip(spans, example[1:3], example[2:0:-1], strict=True):
            inside = "".join(parts[first:stop])
            begin = len("".join(parts[:first]))
            moved = span.start - begin
            assert inside == text[begin : span.end] and moved in (0, 1)
            assert moved == (span.start > 0 and text[span.start - 1].isspace() and span.start != other.end)
            checked += 1
    assert checked == 600


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece"])
def test_markers_stand_around_their_spans_and_nothing_else_is_changed(kind: TokenizerKind) -> None:
    """Taking the markers out gives the text; what is between a span's markers, but for the other's, is the span."""
    rng = np.random.default_rng(5)
    own = tokenizer(kind)
    markers = markers_of(own)
    checked = 0
    for text in TEXTS:
        examples = [random_pair(rng, text) for _ in range(60)]
        read = reading(kind=kind, row_length=512)
        for example, marked in zip(examples, marked_texts(examples, read), strict=True):
            assert marked.whole
            kept, between, types = _unmarked(marked.tokens_L.tolist(), own)
            parts, spans = cut_at_spans(text, example.head[:2], example.tail[:2])
            ids = [own.encode(part) for part in parts]
            assert kept == [token for each in ids for token in each]
            for which, (first, stop) in enumerate(spans):
                expected = [token for each in ids[first:stop] for token in each]
                assert between[which] == expected
            assert types == [own.encode(span.label) for span in (example.head, example.tail)]
            signs = [marked.tokens_L[place] for place in marked.opens]
            assert signs == [markers.head.open[0], markers.tail.open[0]]
            if kind != "wordpiece":
                assert own.decode(kept) == text
            checked += 1
    assert checked == 180


def _unmarked(tokens: list[int], own: Tokenizer) -> tuple[list[int], list[list[int]], list[list[int]]]:
    """Return the tokens without markers and types, those inside each span's markers, and the types, one by one."""
    head, head_end, tail, tail_end, typed, gap = own.special.sentinels[:6]
    kept: list[int] = []
    inside: list[list[int]] = [[], []]
    types: list[list[int]] = [[], []]
    within = [False, False]
    naming: int | None = None
    for token in tokens:
        if token in (head, tail):
            naming = int(token == tail)
        elif token == typed:
            assert naming is not None
            within[naming], naming = True, None
        elif token in (head_end, tail_end):
            within[int(token == tail_end)] = False
        elif naming is not None:
            types[naming].append(token)
        else:
            assert token != gap
            kept.append(token)
            for which in (0, 1):
                if within[which]:
                    inside[which].append(token)
    assert within == [False, False] and naming is None
    return kept, inside, types


def _shown_by_hand(length: int, spans: list[tuple[int, int]], room: int, gap: int) -> set[int]:
    """One token after the other: those that must be shown first, then always the nearest of what is left."""
    if length <= room:
        return set(range(length))
    begin, end = min(a for a, _ in spans), max(b for _, b in spans)
    inside = {t for a, b in spans for t in range(a, b)}
    if end - begin <= room:
        chosen = set(range(begin, end))
    else:
        room -= 3 * gap
        chosen = set()
        own = [(a, b - 1) for a, b in spans]
        while len(chosen) < min(room, len(inside)):
            left = sorted(inside - chosen)
            depth = {
                t: min(min(abs(t - e) for e in own[n]) for n, (a, b) in enumerate(spans) if a <= t < b) for t in left
            }
            chosen.add(min(left, key=lambda t: (depth[t], t)))
    while len(chosen) < room:
        left = [t for t in range(length) if t not in chosen and t not in inside]
        away = {t: min(max(a - t, t - b + 1) for a, b in spans) for t in left}
        chosen.add(min(left, key=lambda t: (away[t], t)))
    return chosen


def test_of_a_long_text_what_is_nearest_to_the_spans_is_shown() -> None:
    rng = np.random.default_rng(1)
    kinds = {"all": 0, "between": 0, "cut": 0, "span": 0}
    for _ in range(1500):
        length, gap = int(rng.integers(1, 40)), int(rng.integers(0, 3))
        room = int(rng.integers(4 + 3 * gap, 30))
        spans = []
        for _ in range(2):
            first = int(rng.integers(0, length))
            spans.append((first, int(rng.integers(first + 1, min(length, first + int(rng.integers(1, 20))) + 1))))
        shown = shown_tokens(length, *spans, room, gap=gap)
        assert set(shown.tolist()) == _shown_by_hand(length, spans, room, gap)
        assert (np.diff(shown) > 0).all()
        breaks = int((np.diff(shown) > 1).sum())
        assert len(shown) + breaks * gap <= max(room, min(length, room))
        assert {t for a, b in spans for t in (a, b - 1)} <= set(shown.tolist())
        begin, end = min(a for a, _ in spans), max(b for _, b in spans)
        inside = len({t for a, b in spans for t in range(a, b)})
        kinds[
            "all" if length <= room else "between" if end - begin <= room else "cut" if inside <= room else "span"
        ] += 1
        if length > room and end - begin <= room:
            assert breaks == 0
            # As much on both sides, unless the text ends there.
            left, right = begin - shown[0], shown[-1] + 1 - end
            assert abs(left - right) <= 1 or shown[0] == 0 or shown[-1] == length - 1
    assert min(kinds.values()) > 50


def test_a_row_is_never_too_small_and_what_is_left_out_is_marked() -> None:
    rng = np.random.default_rng(3)
    gap = tokenizer().special.sentinels[5]
    whole = {True: 0, False: 0}
    for row_length in (15, 20, 48, 128):
        read = reading(row_length=row_length)
        text = " ".join([ENGLISH, CHINESE] * 3)
        examples = [random_pair(rng, text, longest=int(rng.choice([5, 300]))) for _ in range(60)]
        for example, marked in zip(examples, marked_texts(examples, read), strict=True):
            assert len(marked.tokens_L) <= row_length - read.tokenizer.frame.size(1)
            assert len(marked.tokens_L) > row_length - read.tokenizer.frame.size(1) - 3
            places = [_names(int(marked.tokens_L[place])) for place in marked.opens]
            assert places == ["<extra_id_0>", "<extra_id_2>"]
            if example.head.end <= example.tail.start or example.tail.end <= example.head.start:
                assert marked.whole == (gap not in marked.tokens_L.tolist())
            whole[marked.whole] += 1
            assert [_names(int(marked.tokens_L[p])) for p in marked.closes] == ["<extra_id_1>", "<extra_id_3>"]
    assert min(whole.values()) > 10


def test_text_far_from_both_spans_is_not_looked_at() -> None:
    [example] = relate_examples(1, seed=0)
    far = " ".join(["lo"] * 300)
    moved = [
        Span(span.start + len(far) + 1, span.end + len(far) + 1, span.label) for span in (example.head, example.tail)
    ]
    longer = RelationExample(f"{far} {example.text} {far}", moved[0], moved[1], "Other")
    own = tokenizer()
    [short], [long] = (list(marked_texts([each], reading(row_length=96))) for each in (example, longer))
    text = own.decode(long.tokens_L)
    assert long.whole and example.text.replace(" ", "") in text.replace(" ", "").replace("A", "").replace("B", "")
    assert len(long.tokens_L) == 94 > len(short.tokens_L)


def test_a_span_of_which_the_tokenizer_keeps_nothing_is_marked_where_it_stands() -> None:
    markers = markers_of(tokenizer())
    ids = np.arange(200, 210)
    for place in (0, 4, 10):
        marked = mark_spans(ids, ((place, place), (2, 3)), ((), (7,)), markers, 64)
        tokens = marked.tokens_L.tolist()
        head = [*markers.head.open, *markers.head.close]
        assert tokens[marked.opens[0] : marked.opens[0] + 2] == head
        assert [t for t in tokens if t >= 200] == ids.tolist()
        assert marked.closes[0] == marked.opens[0] + 1
        before = [t for t in tokens[: marked.opens[0]] if t >= 200]
        assert before == ids[:place].tolist()


def test_rows_that_hold_no_two_spans_are_refused() -> None:
    [example] = relate_examples(1, seed=0)
    with pytest.raises(ConfigError, match=r"rows of 12 tokens do not hold two marked spans; set row_length=15\."):
        list(marked_texts([example], reading(row_length=12)))
    [marked] = marked_texts([example], reading(row_length=15))
    assert len(marked.tokens_L) <= 13
