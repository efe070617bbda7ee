"""Windows over contexts: all of a context is shown, the question whole, and the right places are the answer's."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from answer_support import TOKENIZERS, answer_reading, answer_tokenizer, chinese_questions, questions
from test_tasks_foreign import FRAMES, SIZES, SYLLABLE_IDS, foreign

from shared_data import unpacked
from support import lively, tiny
from trivium.core.random import Key
from trivium.data.labelled import Answer, AnswerExample, read_answers
from trivium.data.tokenizer import Tokenizer
from trivium.data.tokenizer_training import TokenizerKind
from trivium.model.config import with_vocabulary
from trivium.tasks.answer.task import Answer as AnswerTask
from trivium.tasks.answer.windows import ENDS, STARTS, encode_questions, is_chinese, token_span
from trivium.tasks.base import read_logits, reading_part
from trivium.tasks.build import build_model
from trivium.tasks.pieces import Reading, pack
from trivium.tasks.settings import AnswerSettings
from trivium.tasks.words.apart import encode_words


def examples_of(seed: int) -> list[AnswerExample]:
    """Questions in both scripts, some with several answers or none, and a context that holds nothing."""
    rng = np.random.default_rng(seed)
    found = [*questions(12, seed=seed, words=(1, 90), unanswerable=0.2), *chinese_questions(12, seed=seed)]
    for number, example in enumerate(found):
        if rng.random() < 0.5 and example.answers:
            begin = int(rng.integers(0, len(example.context) - 1))
            text = example.context[begin : begin + int(rng.integers(1, 30))]
            if text.strip():
                found[number] = example._replace(answers=(Answer(begin, text), *example.answers))
    return [*found, AnswerExample("empty", None, "", "Where?", ())]


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("seed", range(3))
def test_windows_show_all_of_a_context_and_the_question_whole(kind: TokenizerKind, seed: int) -> None:
    rng = np.random.default_rng(seed)
    row_length = int(rng.integers(24, 70))
    reading = answer_reading(row_length=row_length, kind=kind)
    settings = AnswerSettings(stride=int(rng.integers(1, row_length)) if seed else None)
    examples = examples_of(seed)
    encoded = encode_questions(examples, reading, settings, known=True)
    tokenizer, frame, room = reading.tokenizer, reading.tokenizer.frame, row_length - reading.tokenizer.frame.size(2)
    several = 0
    for number, example in enumerate(examples):
        question = np.array(tokenizer.encode(example.question), dtype=np.int64)[: room // 2]
        context = encode_words(tokenizer, [example.context])[0].ids
        pieces = [piece for piece in encoded.pieces if piece.example == number]
        begins = []
        for piece in pieces:
            begin = int(piece.answers_N[0]) + 1
            count = len(piece.places_N) - 1
            framed = frame.around([question, context[begin : begin + count]])
            np.testing.assert_array_equal(piece.tokens_L, framed.tokens_L)
            np.testing.assert_array_equal(piece.segments_L, framed.segments_L)
            np.testing.assert_array_equal(piece.tokens_L[piece.places_N[1:]], context[begin : begin + count])
            assert piece.places_N[0] == 0 and len(piece.tokens_L) <= row_length
            begins.append((begin, begin + count))
        assert begins[0][0] == 0 and begins[-1][1] == len(context)
        size = room - len(question)
        for (begin, end), (following, _) in pairwise(begins):
            assert begin < following <= min(end, begin + (settings.stride or size - size // 2))
        several += len(pieces) > 1
    assert several > 3 and len(encoded.asked) == len(examples) == 25


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("seed", range(3))
def test_right_places_are_those_of_the_first_answer_that_a_window_holds(kind: TokenizerKind, seed: int) -> None:
    reading, examples = answer_reading(row_length=32, kind=kind), examples_of(seed + 10)
    settings = AnswerSettings(stride=7)
    encoded = encode_questions(examples, reading, settings, known=True)
    held = none = 0
    for piece in encoded.pieces:
        example = examples[piece.example]
        [spans] = encode_words(reading.tokenizer, [example.context])
        first, stop = int(piece.answers_N[0]) + 1, int(piece.answers_N[0]) + len(piece.places_N)
        expected = (0, 0)
        for answer in example.answers:
            tokens = tokens_by_hand(answer, spans.starts.tolist(), spans.ends.tolist())
            if all(first <= token < stop for token in tokens):
                expected = (tokens[0] - first + 1, tokens[-1] - first + 1)
                break
        assert np.flatnonzero(piece.classes_N & STARTS).tolist() == [expected[0]]
        assert np.flatnonzero(piece.classes_N & ENDS).tolist() == [expected[1]]
        held, none = held + (expected != (0, 0)), none + (expected == (0, 0))
    assert held > 10 and none > 10
    blind = encode_questions(examples, reading, settings, known=False)
    assert len(blind.pieces) == len(encoded.pieces) and not any(piece.classes_N.any() for piece in blind.pieces)
    assert all(asked.is_held for asked in blind.asked) and not blind.said


def tokens_by_hand(answer: Answer, starts: list[int], ends: list[int]) -> list[int]:
    """The tokens that hold a character of an answer that is not white space around it."""
    text = answer.text
    begin = answer.start + len(text) - len(text.lstrip())
    stop = begin + len(text.strip())
    return [n for n, (s, e) in enumerate(zip(starts, ends, strict=True)) if s < e and s < stop and e > begin]


def test_a_token_of_several_bytes_a_character_and_one_without_characters_are_told_apart() -> None:
    tokenizer = Tokenizer.train(["a"], "bpe", 370)
    context = "人的Ａb 𝔘ñ"
    [spans] = tokenizer.encode_batch([context])
    compared = 0
    for begin in range(len(context)):
        for end in range(begin + 1, len(context) + 1):
            answer = Answer(begin, context[begin:end])
            if not answer.text.strip():
                continue
            span = token_span(answer, spans)
            assert span is not None
            text = context[spans.starts[span[0]] : spans.ends[span[1]]]
            assert text.strip() == answer.text.strip()
            compared += 1
    assert compared > 25
    assert token_span(Answer(0, "x"), spans._replace(ends=spans.starts)) is None


def test_an_answer_of_chinese_characters_begins_and_ends_at_any_of_them() -> None:
    context = "北京大学在北京,清华大学也在北京。"
    tokenizer = Tokenizer.train([context * 5] * 20, "bpe", 460)
    [whole], [spans] = tokenizer.encode_batch([context]), encode_words(tokenizer, [context])
    exact = 0
    for begin in range(len(context)):
        for end in range(begin + 1, len(context) + 1):
            answer = Answer(begin, context[begin:end])
            first, last = token_span(answer, spans) or (0, 0)
            assert (spans.starts[first], spans.ends[last]) == (begin, end)
            first, last = token_span(answer, whole) or (0, 0)
            exact += (whole.starts[first], whole.ends[last]) == (begin, end)
    assert exact < len(context)  # the tokens of pretraining would have given few of them


def test_who_reads_from_left_to_right_says_that_there_is_none_after_the_text() -> None:
    examples = questions(3, seed=1)
    for family, place in (("encoder", 0), ("decoder", -1), ("encoder_decoder", 0)):
        for piece in encode_questions(examples, answer_reading(family), AnswerSettings(), known=True).pieces:
            assert piece.places_N[0] == (place if place == 0 else len(piece.tokens_L) - 1)
            assert piece.tokens_L[-1] == answer_tokenizer().special.eos


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("both_ways", [True, False])
def test_a_frame_of_another_house_is_put_around_the_pair(name: str, both_ways: bool) -> None:
    tokenizer, rng = foreign(name), np.random.default_rng(1)
    contexts = [" ".join(rng.choice(sorted(SYLLABLE_IDS), count)) for count in (1, 9, 30)]
    examples = [AnswerExample(text, None, text, "ba ze", (Answer(0, text[:2]),)) for text in contexts]
    encoded = encode_questions(examples, Reading(tokenizer, 20, both_ways), AnswerSettings(), known=True)
    closed = not both_ways and not tokenizer.frame.pair.ids[2]  # an end token where the house puts nothing
    for piece in encoded.pieces:
        words = examples[piece.example].context.split()
        special = np.isin(piece.tokens_L, sorted(tokenizer.special.all()))
        assert special.sum() == SIZES[name][1] + closed and len(piece.tokens_L) <= 20
        assert not closed or piece.tokens_L[-1] == tokenizer.special.eos
        shown = [words[token] for token in piece.answers_N[1:]]
        assert piece.tokens_L[piece.places_N[1:]].tolist() == [SYLLABLE_IDS[word] for word in shown]
        assert piece.places_N[0] == (0 if both_ways else len(piece.tokens_L) - 1)
        assert piece.segments_L is not None and piece.segments_L[piece.places_N[1:]].all() == (name == "bert")
        first = int(piece.answers_N[0]) == -1
        assert piece.classes_N.tolist() == ([0, 3] if first else [3, 0]) + [0] * (len(shown) - 1)
    assert len(encoded.pieces) > 4


@pytest.mark.parametrize("name", FRAMES)
def test_left_to_right_no_answer_depends_on_question_and_context(name: str) -> None:
    tokenizer, rng = foreign(name), np.random.default_rng(7)
    config = with_vocabulary(tiny("decoder"), tokenizer.vocabulary_size)
    task = AnswerTask()
    model = build_model(task, config, reading_part(lively(config), task.readout), dropout=0.0, key=Key(5)).eval()
    texts = [" ".join(rng.permutation(sorted(SYLLABLE_IDS))[:6]) for _ in range(4)]
    asked = [AnswerExample("", None, context, question, ()) for context in texts[:3] for question in texts[2:]]
    encoded = task.encode([*asked, asked[0]._replace(context="", question="ba")], Reading(tokenizer, 20, False))
    batch = pack([[piece] for piece in encoded.pieces], encoded.reading, num_rows=7, capacity=7).batch
    nothing_BC = read_logits(model, batch).view(7, 7, 2)[:, 0]
    differ_BB = (nothing_BC[:, None] - nothing_BC).abs().amax(-1) > 1e-4
    assert (differ_BB | torch.eye(7, dtype=torch.bool)).all()


def test_an_answer_that_no_window_holds_is_said() -> None:
    reading = answer_reading(row_length=24)
    long = questions(4, seed=3, words=(60, 80))
    long = [each._replace(answers=(Answer(0, each.context[:120]),)) for each in long]
    encoded = encode_questions([*questions(4, seed=4), *long], reading, AnswerSettings(), known=True)
    assert [asked.is_held for asked in encoded.asked] == [True] * 4 + [False] * 4
    [said] = encoded.said
    assert said.startswith("4 of 8 questions") and "q0, q1, q2, ..." in said and "\n" not in said
    short = encode_questions(questions(4, seed=4), reading, AnswerSettings(max_answer_tokens=1), known=True)
    assert not all(asked.is_held for asked in short.asked) and short.said


def test_a_long_question_is_cut_to_half_a_row() -> None:
    reading = answer_reading(row_length=32)
    [example] = questions(1, seed=5, words=(30, 31))
    example = example._replace(question="ba " * 200)
    pieces = encode_questions([example], reading, AnswerSettings(), known=True).pieces
    room = 32 - reading.tokenizer.frame.size(2)
    assert len(pieces) > 1 and all(len(piece.places_N) == 1 + room - room // 2 for piece in pieces)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("我喜欢读书", True), ("I like 书", False), ("", False), ("1999年，ABC 公司成立了", True), ("한국어", False)],
)
def test_a_chinese_context_is_known(text: str, expected: bool) -> None:
    assert is_chinese(text) is expected


@pytest.mark.parametrize(
    ("archive", "file"),
    [
        ("squad_subset", "squad/squad_v1.1_trainpart_B.json"),
        ("cmrc2018", "cmrc2018/squad-style/cmrc2018_trial.json"),
    ],
)
def test_of_real_questions_the_right_tokens_are_the_answers_words(archive: str, file: str, tmp_path: Path) -> None:
    examples = read_answers(unpacked(archive, tmp_path) / file).examples[:300]
    tokenizer = Tokenizer.train([example.context for example in examples], "bpe", 1000)
    encoded = encode_questions(
        examples, Reading(tokenizer, 256, True), AnswerSettings(max_answer_tokens=200), known=True
    )
    exact = 0
    for asked, gold_A2 in zip(encoded.asked, encoded.gold, strict=True):
        (first, last), answer = gold_A2[0], asked.example.answers[0]
        text = asked.example.context[asked.starts_T[first] : asked.ends_T[last]]
        assert answer.text.strip() in text and len(text) < len(answer.text) + 24
        exact += text.strip() == answer.text.strip()
    assert exact > 0.9 * len(examples) > 100
    assert sum(asked.is_held for asked in encoded.asked) > 0.95 * len(examples)
