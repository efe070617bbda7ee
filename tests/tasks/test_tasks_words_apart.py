"""No token holds characters of two words that are answered for one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from task_support import start

from trivium.data.labelled import LabelExample, text_of
from trivium.data.tokenizer import Tokenizer
from trivium.tasks.build import learned_task
from trivium.tasks.words.apart import encode_apart

CHINESE = "北京大学在北京,清华大学也在北京。"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """One whose tokens hold several Chinese characters, and English clitics."""
    return Tokenizer.train([CHINESE * 5, "they don't know what isn't there, don't they? " * 5] * 20, "bpe", 460)


def test_every_chinese_character_has_tokens_of_its_own(tokenizer: Tokenizer) -> None:
    (whole,) = tokenizer.encode_batch([CHINESE])
    assert int((whole.ends - whole.starts).max()) > 1
    (apart,) = encode_apart(tokenizer, [CHINESE], [range(len(CHINESE))], [CHINESE])
    assert (apart.ends - apart.starts).tolist() == [1] * len(apart.ids)
    assert tokenizer.decode(apart.ids) == CHINESE
    assert apart.starts.dtype == whole.starts.dtype and apart.ids.dtype == whole.ids.dtype


def test_what_holds_no_two_words_is_cut_as_it_is_in_pretraining(tokenizer: Tokenizer) -> None:
    words = ["they", "know", "what", "they", "know,", "don't", "they?"]
    text, starts = text_of(LabelExample(tuple(words), ("x",) * 7))
    (whole,), (apart,) = tokenizer.encode_batch([text]), encode_apart(tokenizer, [text], [starts], [words])
    assert apart.ids.tolist() == whole.ids.tolist() and any(whole.starts[1:] < whole.ends[1:] - 3)
    words[5:6], starts[5:6] = ["do", "n't"], [starts[5], starts[5] + 2]
    (parted,) = encode_apart(tokenizer, [text], [starts], [words])
    assert len(parted.ids) > len(whole.ids) and tokenizer.decode(parted.ids) == text
    before = text.index(" don't")
    assert parted.ids[parted.ends < before].tolist() == whole.ids[whole.ends < before].tolist()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(
                st.text(alphabet="北京大学在清华,don'tabs🙂é", min_size=1, max_size=6), st.sampled_from(["", " "])
            )
        ),
        max_size=4,
    )
)
def test_no_token_holds_two_words_and_the_text_comes_back(
    tokenizer: Tokenizer, given: list[list[tuple[str, str]]]
) -> None:
    examples = [
        LabelExample(tuple(w for w, _ in each), ("x",) * len(each), tuple(s for _, s in each)) for each in given
    ]
    texts, starts = [text_of(each)[0] for each in examples], [text_of(each)[1] for each in examples]
    found = encode_apart(tokenizer, texts, starts, [each.tokens for each in examples])
    for example, text, start_W, spans in zip(examples, texts, starts, found, strict=True):
        assert tokenizer.decode(spans.ids) == text
        assert (np.diff(spans.ends) >= 0).all()
        owner = [-1] * len(text)
        for word, begin in enumerate(start_W):
            owner[begin : begin + len(example.tokens[word])] = [word] * len(example.tokens[word])
        for a, b in zip(spans.starts, spans.ends, strict=True):
            assert len({word for word in owner[a:b] if word >= 0}) <= 1


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_other_kinds_give_texts_back_too(kind: str) -> None:
    other = Tokenizer.train([CHINESE * 5] * 20, kind, 460)  # type: ignore[arg-type]
    (spans,) = encode_apart(other, [CHINESE], [range(len(CHINESE))], [CHINESE])
    assert (spans.ends - spans.starts).max() == 1


def test_labels_of_characters_of_one_token_can_differ(tokenizer: Tokenizer) -> None:
    words = tuple("北京大学在北京")
    example = LabelExample(words, ("B-X", "I-X", "I-X", "I-X", "O", "B-X", "I-X"))
    task = learned_task("spans", [example] * 2)
    reading = start().reading()._replace(tokenizer=tokenizer)
    (piece, _) = task.encode([example] * 2, reading).pieces
    assert len(set(piece.places_N.tolist())) == len(words)
