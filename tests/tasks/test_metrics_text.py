"""Texts against references: sacrebleu, rouge-score's numbers, plain definitions, and ten scripts."""

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from text_inputs import SCRIPTS, made_up

from trivium.core.errors import DataError
from trivium.tasks.metrics import Answers, Bleu, Chrf, Distinct, Rouge, cmrc_score, squad_score
from trivium.tasks.metrics.bleu import bleu_counts, bleu_of_counts
from trivium.tasks.metrics.rouge import longest_common, rouge_score
from trivium.tasks.metrics.text_units import content_words, split_13a, split_words, split_zh
from trivium.tasks.write.written import text_scores

EXACT = 1e-9
FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.mark.parametrize("script", SCRIPTS)
def test_identical_text_scores_one_in_every_script(script: str) -> None:
    text, other = SCRIPTS[script], "".join(SCRIPTS[name] for name in SCRIPTS if name != script)[:40]
    for references in ([text], [other, text]):
        for metric in (Rouge(), Bleu(split_words), Chrf(), Chrf(words=2)):
            metric.add(text, references)
            found = metric.metrics()
            assert found == pytest.approx(dict.fromkeys(found, 1.0))
        for score in (squad_score, cmrc_score):
            answers = Answers(score)
            assert answers.add(text, references) == (1.0, pytest.approx(1.0))
    split = split_zh if script in ("Chinese", "Japanese") else split_words if script == "Thai" else split_13a
    bleu = Bleu(split)
    bleu.add(text, [text])
    assert bleu.metrics()["bleu"] == pytest.approx(1.0)


@pytest.mark.parametrize("script", SCRIPTS)
def test_other_text_of_the_same_script_scores_between(script: str) -> None:
    text = SCRIPTS[script]
    half = text[: len(text) // 2]
    for metric in (Rouge(), Bleu(split_words), Chrf(), Chrf(words=2)):
        metric.add(half, [text])
        assert all(0.0 < value < 1.0 for value in metric.metrics().values()), (script, metric.metrics())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("東京タワーへ行く", [*"東京タワーへ行く"]),
        ("我爱GPT-4，真的！", ["我", "爱", "gpt", "4", "真", "的"]),
        ("He can't pay $3.50 (today).", ["he", "can't", "pay", "3.50", "today"]),
        ("cafe\u0301 CAFÉ", ["café", "café"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("good 👍🏽!", ["good", "👍🏽"]),
        ("", []),
    ],
)
def test_words_of_every_script(text: str, words: list[str]) -> None:
    assert content_words(text) == words


def test_signs_are_words_where_they_count() -> None:
    assert split_words("“Oh!”，她说。") == ["“", "Oh", "!", "”", "，", "她", "说", "。"]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("spaces", [True, False])
def test_bleu_and_chrf_are_sacrebleus(seed: int, spaces: bool) -> None:
    metrics = pytest.importorskip("sacrebleu.metrics", reason="needs sacrebleu: pip install 'trivium[test]'")
    texts, references = made_up(seed, spaces=spaces)
    columns = [list(column) for column in zip(*references, strict=True)]
    pairs = (
        (metrics.BLEU(), lambda: Bleu()),
        (metrics.BLEU(tokenize="zh"), lambda: Bleu(split_zh)),
        (metrics.CHRF(), lambda: Chrf()),
        (metrics.CHRF(word_order=2), lambda: Chrf(words=2)),
    )
    for theirs, make in pairs:
        for count in (1, 3):
            halves = make(), make()
            for number, (text, right) in enumerate(zip(texts, references, strict=True)):
                halves[number % 2].add(text, right[:count])
            halves[0].merge(halves[1])
            wanted = theirs.corpus_score(texts, columns[:count]).score / 100
            assert list(halves[0].metrics().values()) == [pytest.approx(wanted, abs=EXACT)]


@pytest.mark.parametrize("spaces", [True, False])
def test_bleu_and_chrf_are_as_sacrebleu_gave_them_once(spaces: bool) -> None:
    known = json.loads((FIXTURES / "text_scores.json").read_text(encoding="utf-8"))["sacrebleu"][str(spaces)]
    assert len(known) == 6
    for seed, scores in enumerate(known):
        metrics = (Bleu(), Bleu(split_zh), Chrf(), Chrf(words=2))
        for text, references in zip(*made_up(seed, spaces=spaces), strict=True):
            for metric in metrics:
                metric.add(text, references)
        assert [next(iter(metric.metrics().values())) for metric in metrics] == pytest.approx(scores, abs=EXACT)


def test_bleu_needs_four_tokens_and_a_hit() -> None:
    for given, right in (("one two three", "one two three"), ("a b c d", "e f g h"), ("", "a b c d")):
        bleu = Bleu()
        bleu.add(given, [right])
        assert bleu.metrics() == {"bleu": 0.0}
    assert Bleu().metrics() == {"bleu": 0.0}
    assert Chrf().metrics() == {"chrf": 0.0}


def test_bleu_by_hand() -> None:
    counts = bleu_counts("the cat sat on the mat", ["a cat sat on the mat today", "x"], str.split)
    assert list(counts) == [6, 7, 5, 4, 3, 2, 6, 5, 4, 3]
    wanted = np.exp(1 - 7 / 6) * (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25
    assert bleu_of_counts(counts) == pytest.approx(wanted)
    rows = np.array([counts, bleu_counts("a b", ["a b c"], str.split)])
    assert bleu_of_counts(rows).shape == (2,)


def test_texts_without_references_are_refused() -> None:
    for metric in (Bleu(), Chrf(), Rouge()):
        with pytest.raises(DataError, match="at least one reference"):
            metric.add("a text", [])


def test_rouge_is_as_rouge_score_gave_it_once() -> None:
    known = json.loads((FIXTURES / "text_scores.json").read_text(encoding="utf-8"))["rouge"]
    for case in known:
        assert rouge_score(case["given"], case["references"]) == pytest.approx(case["scores"], abs=EXACT)
    assert len(known) == 60


def plain_longest(left: list[str], right: list[str]) -> int:
    """Return the longest common subsequence's length by looking at all of them."""
    for size in range(min(len(left), len(right)), 0, -1):
        if set(combinations(left, size)) & set(combinations(right, size)):
            return size
    return 0


@pytest.mark.parametrize("seed", range(20))
def test_the_longest_common_subsequence_is_the_longest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, right = ([*rng.choice(list("abcd"), int(rng.integers(0, 10)))] for _ in range(2))
    assert longest_common(left, right) == plain_longest(left, right)


def test_rouge_by_hand() -> None:
    score = rouge_score("我爱读书", ["我爱看书"])
    assert score == pytest.approx((3 / 4, 1 / 3, 3 / 4))
    assert rouge_score("", [""]) == (1.0, 1.0, 1.0)
    assert rouge_score("one", ["two"]) == (0.0, 0.0, 0.0)
    assert rouge_score("one", [""]) == (0.0, 0.0, 0.0)
    assert rouge_score("b c\na", ["a\nb c"]) == pytest.approx((1, 0.5, 2 / 3))
    rouge = Rouge()
    assert set(rouge.metrics().values()) == {0.0}
    other = Rouge()
    rouge.add("one", ["one", "two"])
    other.add("one", ["two"])
    rouge.merge(other)
    assert set(rouge.metrics().values()) == {0.5}


@pytest.mark.parametrize("seed", range(5))
def test_texts_without_a_word_are_as_good_as_they_are_equal(seed: int) -> None:
    rng = np.random.default_rng(seed)
    signs = ["...", "!", "?!", "\u3002", "\u2014", "\u060c\u061f", "\u0964"]
    given, other = rng.choice(signs, 2, replace=False)
    for text, references, wanted in (
        (given, [other], 0.0),
        ("", [given], 0.0),
        (given, [""], 0.0),
        (given, [other, "a word"], 0.0),
        (given, [other, given], 1.0),
        (f"{given}\n{other}", [f" {given} {other}"], 1.0),
        ("", [""], 1.0),
    ):
        assert set(rouge_score(text, references)) == {wanted}, (text, references)
    found = text_scores(["", given], [[given], [other]], "13a")
    assert [found[name] for name in ("rouge_1", "rouge_2", "rouge_l")] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("spaces", [True, False])
def test_distinct_counts_what_is_different(spaces: bool) -> None:
    texts, _ = made_up(5, spaces=spaces)
    halves = Distinct(), Distinct()
    for number, text in enumerate(texts):
        halves[number % 2].add(text)
    halves[0].merge(halves[1])
    runs: dict[int, list[tuple[str, ...]]] = {1: [], 2: []}
    for size, found in runs.items():
        for text in texts:
            words = content_words(text)
            found += [tuple(words[first : first + size]) for first in range(len(words) - size + 1)]
    assert halves[0].metrics() == {f"distinct_{size}": len(set(found)) / len(found) for size, found in runs.items()}
    assert Distinct().metrics() == {"distinct_1": 0.0, "distinct_2": 0.0}


def test_splitting_keeps_every_letter() -> None:
    splits: tuple[Callable[[str], list[str]], ...] = (split_words, split_13a, split_zh)
    for text in SCRIPTS.values():
        for split in splits:
            assert "".join(split(text)) == "".join(text.split())
