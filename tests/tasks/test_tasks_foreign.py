"""Tasks with tokenizers of other houses: their frames, segments and missing roles."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from task_support import SYLLABLES, classify_examples, label_examples
from tokenizers import Tokenizer as Library
from tokenizers import models, pre_tokenizers, processors

from support import lively, shrink, tiny
from trivium.core.errors import ConfigError
from trivium.core.special import SpecialTokens
from trivium.data.tokenizer import Tokenizer
from trivium.model.config import with_vocabulary
from trivium.model.decoding import Decoding
from trivium.model.presets import preset
from trivium.objectives.build import Vocabulary, build_objective
from trivium.objectives.masked import Masked, MaskedConfig
from trivium.objectives.spans import SpansConfig
from trivium.tasks.base import reading_of
from trivium.tasks.pieces import Reading, pack
from trivium.tasks.speak import Speaker, continue_text, fill_masks
from trivium.tasks.texts.classify import Classify
from trivium.tasks.words.label import Label

SYLLABLE_IDS = {name: number + 10 for number, name in enumerate(SYLLABLES)}
FRAMES: dict[str, tuple[list[str], tuple[str, str] | None]] = {
    "bert": (["[PAD]", "[CLS]", "[SEP]", "[MASK]"], ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")),
    "roberta": (["<s>", "<pad>", "</s>", "<mask>"], ("<s> $A </s>", "<s> $A </s> </s> $B </s>")),
    "t5": (["<pad>", "</s>", "<extra_id_0>", "<extra_id_1>"], ("$A </s>", "$A </s> $B </s>")),
    "llama": (["<s>", "</s>"], ("<s> $A", "<s> $A <s> $B")),
    "gpt2": (["<|endoftext|>"], None),
}


def foreign(name: str) -> Tokenizer:
    names, template = FRAMES[name]
    vocabulary = {token: number for number, token in enumerate(names)} | {"?": 9} | SYLLABLE_IDS
    library = Library(models.WordPiece(vocabulary, unk_token="?", continuing_subword_prefix=""))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if template:
        special: Any = [(token, vocabulary[token]) for token in names]
        library.post_processor = processors.TemplateProcessing(template[0], template[1], special)
    library.add_special_tokens(names)
    return Tokenizer.from_bytes(Tokenizer(library.to_str().encode()).to_bytes())


SIZES = {"bert": (2, 3), "roberta": (2, 4), "t5": (1, 2), "llama": (1, 2), "gpt2": (0, 0)}


@pytest.mark.parametrize("name", FRAMES)
def test_classify_puts_the_frame_around_every_window(name: str) -> None:
    tokenizer = foreign(name)
    task = Classify(("first", "second", "third"))
    checked = 0
    for pairs in (False, True):
        examples = classify_examples(20, seed=1, lengths=(1, 25), pairs=pairs)
        encoded = task.encode(examples, Reading(tokenizer, 24, True))
        for piece in encoded.pieces:
            assert 0 < len(piece.tokens_L) <= 24
            special = np.isin(piece.tokens_L, sorted(tokenizer.special.all()))
            assert special.sum() == SIZES[name][pairs] == tokenizer.frame.size(1 + pairs)
            assert piece.segments_L is not None and bool(piece.segments_L.any()) == (name == "bert" and pairs)
            checked += 1
        batch = pack([[encoded.pieces[0]], [encoded.pieces[1]]], encoded.reading, num_rows=2, capacity=2).batch
        assert (batch.segments_BL is not None) == (name == "bert")  # for one text too
        if batch.segments_BL is not None:
            first = encoded.pieces[0].segments_L
            assert first is not None
            assert batch.segments_BL[0, : len(first)].tolist() == first.tolist()
    assert checked > 40


@pytest.mark.parametrize("name", FRAMES)
def test_empty_texts_are_at_least_a_token(name: str) -> None:
    task = Classify(("a",))
    encoded = task.encode([task.unlabelled("")], Reading(foreign(name), 24, True), known=False)
    assert [len(piece.tokens_L) for piece in encoded.pieces] == [max(1, SIZES[name][0])]


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("both_ways", [True, False])
def test_labels_stand_at_their_words(name: str, both_ways: bool) -> None:
    tokenizer = foreign(name)
    examples = label_examples(30, seed=2, lengths=(1, 30))
    task = Label(("low", "high", "top"))
    encoded = task.encode(examples, Reading(tokenizer, 24, both_ways))
    checked = 0
    for piece in encoded.pieces:
        words = [w for w, label in zip(*examples[piece.example][:2], strict=True) if label in ("low", "high", "top")]
        for place, answer in zip(piece.places_N, piece.answers_N, strict=True):
            word = words[int(answer)]
            assert piece.tokens_L[place] == SYLLABLE_IDS[word[:2] if both_ways else word[-2:]]
            checked += 1
    assert checked == sum(len(gold) for gold in encoded.gold) > 100


def speaker(family: str, tokenizer: Tokenizer) -> Speaker:
    config = with_vocabulary(tiny(family), tokenizer.vocabulary_size)
    return Speaker(config, lively(config), tokenizer)


def test_filling_needs_a_mask_and_continuing_a_sentinel() -> None:
    for name in ("gpt2", "llama", "t5"):
        with pytest.raises(ConfigError, match="the tokenizer has no mask token: filling in needs one") as caught:
            fill_masks(speaker("encoder", foreign(name)), "ba [MASK]", top=2)
        assert "\n" not in str(caught.value)
    for name in ("bert", "gpt2"):
        with pytest.raises(ConfigError, match="the tokenizer has no sentinels: the continuation of an encoder-decoder"):
            continue_text(speaker("encoder_decoder", foreign(name)), "ba", Decoding(max_new_tokens=2))
    with pytest.raises(ConfigError, match="no sentinels: filling in by an encoder-decoder"):
        fill_masks(speaker("encoder_decoder", foreign("bert")), "ba [MASK]", top=2)
    [guesses] = fill_masks(speaker("encoder", foreign("roberta")), "ba [MASK] ke", top=3)
    assert len(guesses) == 3 and guesses == fill_masks(speaker("encoder", foreign("roberta")), "ba <mask> ke", top=3)[0]


@pytest.mark.parametrize(("family", "name"), [("decoder", "gpt2"), ("decoder", "llama"), ("decoder", "t5")])
def test_an_empty_prompt_is_continued(family: str, name: str) -> None:
    torch.manual_seed(0)
    [found] = continue_text(speaker(family, foreign(name)), "", Decoding(max_new_tokens=4))
    assert len(found.tokens) <= 4


def test_objectives_say_what_the_tokenizer_lacks() -> None:
    for name, config, message in (
        ("gpt2", MaskedConfig(), "has no mask token: objective `masked` needs one"),
        ("bert", SpansConfig(), "has no sentinels: objective `spans` needs"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_objective(config, Vocabulary(foreign(name).special, 20))


def test_random_tokens_are_no_special_ones_wherever_these_stand() -> None:
    first = SpecialTokens(0, 1, 2, 3, 4, 5, (6, 7))
    scattered = SpecialTokens(0, 9, 9, 9, 9, 19, (18, 12), others=frozenset((5,)))
    config = MaskedConfig(mask_share=0.0, random_share=1.0)
    tokens = np.zeros(2000, dtype=np.int64)
    drawn = Masked(config, first, 20)._replacement(tokens, np.arange(2000), np.random.default_rng(0))
    rng = np.random.default_rng(0)
    rng.random(len(tokens))
    assert drawn.tolist() == rng.integers(8, 20, len(tokens)).tolist()  # as when they were drawn above the special ones
    drawn = Masked(config, scattered, 20)._replacement(tokens, np.arange(2000), np.random.default_rng(0))
    assert set(drawn.tolist()) == set(range(20)) - scattered.all()


def test_roles_by_well_known_names() -> None:
    roles = {name: foreign(name).special for name in FRAMES}
    assert roles["bert"][:6] == (0, 1, 2, 1, 2, 3)
    assert roles["roberta"][:6] == (1, 0, 2, 0, 2, 3)
    assert roles["t5"] == SpecialTokens(0, 0, 1, 0, 1, None, (2, 3))
    assert roles["llama"][:6] == (1, 0, 1, 0, 1, None)
    assert roles["gpt2"] == SpecialTokens(0, 0, 0, 0, 0, None, ())
    assert json.loads(foreign("t5").to_bytes())["trivium"]["special"]["sentinels"] == [2, 3]


@pytest.mark.parametrize("preset_name", ["roberta-base", "bert-tiny"])
def test_segments_are_told_to_models_that_tell_them_apart(preset_name: str) -> None:
    tokenizer = foreign("bert")
    config = with_vocabulary(shrink(preset(preset_name)), tokenizer.vocabulary_size)
    task = Classify(("first", "second", "third"))
    encoded = task.encode(classify_examples(4, seed=1, pairs=True), reading_of(tokenizer, 24, config))
    batch = pack([encoded.pieces[:1]], encoded.reading, num_rows=1, capacity=1).batch
    assert (batch.segments_BL is not None) == (preset_name == "bert-tiny")
    assert bool(lively(config).reader(batch).isfinite().all())
