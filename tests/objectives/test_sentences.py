"""Pairs of sentences: labels as BERT and ALBERT define them, written as pairs are read in fine-tuning."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from support import SPECIAL, VOCABULARY, lively, random_rows, shrink, without_dropout
from trivium.core.batch import Batch, Rows
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.model.initialise import initialise
from trivium.model.presets import preset
from trivium.objectives.build import build_objective
from trivium.objectives.hiding import WholeWords
from trivium.objectives.masked import MaskedConfig
from trivium.objectives.replaced import ReplacedConfig
from trivium.objectives.sentences import NO, YES, Sentences, SentencesConfig, WithPooler

LENGTH = 64
PACKED = [[65], [30, 35], [10, 20, 35], [64, 1], [3, 2, 60], [33, 32]] * 10


def objective(question: str, *, segments: bool = True) -> Sentences:
    config = SentencesConfig.model_validate({"question": question})
    built = build_objective(config, VOCABULARY._replace(segments=segments))
    assert isinstance(built, Sentences)
    return built


def numbered_rows() -> Rows:
    """Every token another one, so that it is known where each comes from; a sentence begins every seventh token."""
    rows = random_rows(PACKED, LENGTH)
    numbers = np.arange(rows.tokens_BL.size).reshape(rows.tokens_BL.shape) + 1000
    ends = np.isin(rows.tokens_BL, [SPECIAL.eos, SPECIAL.pad])
    rows.tokens_BL[:] = np.where(ends, rows.tokens_BL, numbers)
    rows.sentence_start_BL[:] = (np.arange(LENGTH + 1) % 7 == 0)[None]
    return rows


def unmasked(batch: Batch) -> torch.Tensor:
    """The tokens with what was hidden put back."""
    tokens_BL = batch.tokens_BL.clone()
    for b in range(batch.num_rows):
        used = batch.weights_BN[b] > 0
        tokens_BL[b, batch.places_BN[b][used]] = batch.labels_BN[b][used]
    return tokens_BL


@pytest.mark.parametrize("question", ["next", "order"])
def test_labels_are_those_of_the_definition(question: str) -> None:
    rows = numbered_rows()
    home = {
        int(t): (b, int(d)) for b in range(len(PACKED)) for t, d in zip(*(part[b] for part in rows[:2]), strict=True)
    }
    answers: list[int] = []
    for seed in range(10):
        batch = objective(question).make(rows, Key(seed))
        tokens_BL, asked = unmasked(batch), batch.documents
        assert asked is not None
        assert batch.segments_BL is not None
        for b, slot in np.argwhere(asked.weights_BN.numpy() > 0):
            begin = int(asked.places_BN[b, slot])
            document = batch.layout.document_BL[b]
            places = torch.flatten((document == document[begin]).nonzero()).tolist()
            assert places[0] == begin
            tokens = tokens_BL[b, places].tolist()
            cut = tokens.index(SPECIAL.sep)
            first, second = tokens[1:cut], tokens[cut + 1 :]
            assert tokens[0] == SPECIAL.bos
            whole = places[-1] < LENGTH - 1 or second[-1] == SPECIAL.eos
            second = second[:-1] if second[-1] == SPECIAL.eos else second
            assert first
            assert second or not whole
            assert batch.segments_BL[b, places].tolist() == [0] * (cut + 1) + [1] * (len(places) - cut - 1)
            one, other = ({home[token] for token in part} for part in (first, second))
            assert len(one) == 1
            assert all(after - before == 1 for part in (first, second) for before, after in itertools.pairwise(part))
            answer = int(asked.labels_BN[b, slot])
            if not second:
                continue
            if question == "order":
                assert one == other
                assert answer == (YES if first[-1] + 1 == second[0] else NO)
                assert (second[-1] + 1 == first[0]) == (answer == NO) or not whole
            else:
                assert answer == (YES if one == other else NO)
                assert answer == NO or first[-1] + 1 == second[0]
            answers.append(answer)
    assert len(answers) > 800
    assert np.mean(answers) == pytest.approx(0.5, abs=0.06)


def test_cuts_fall_where_sentences_begin() -> None:
    rows = random_rows([[65]] * 40, LENGTH)
    rows.sentence_start_BL[:] = (np.arange(LENGTH + 1) % 7 == 0)[None]
    tokens_BL = unmasked(objective("order").make(rows, Key(0)))
    lengths = {int((row == SPECIAL.sep).nonzero()[0]) - 1 for row in tokens_BL}
    assert len(lengths) > 3
    # The first text is what came first, or what came second where they were exchanged.
    assert lengths <= {7 * n for n in range(1, 9)} | {62 - 7 * n for n in range(1, 9)} | {61 - 7 * n for n in range(9)}


def test_a_model_without_segments_is_given_none() -> None:
    assert objective("next", segments=False).make(numbered_rows(), Key(0)).segments_BL is None


def test_the_loss_is_the_cross_entropy_of_both() -> None:
    learned = objective("next")
    config = without_dropout(shrink(preset("bert-tiny")))
    both = learned.network(config)
    assert isinstance(both, WithPooler)
    initialise(both, config, Key(3))
    with torch.no_grad():
        for parameter in both.pooler.parameters():
            parameter.normal_(0.0, 0.5)
    batch = learned.make(random_rows(PACKED, LENGTH), Key(1))
    masked, following = learned.loss(both, batch, Key(0))
    hidden_BLD = both.network(batch)
    asked = batch.documents
    assert asked is not None
    expected, count = 0.0, 0
    transform = both.pooler.transform
    for b, slot in np.argwhere(asked.weights_BN.numpy() > 0):
        first_D = hidden_BLD[b, asked.places_BN[b, slot]]
        pooled_D = torch.tanh(transform.dense(first_D))
        logits_C = both.pooler.projection(pooled_D)
        expected += float(functional.cross_entropy(logits_C[None], asked.labels_BN[b, slot][None]).detach())
        count += 1
    assert (following.name, learned.counts(batch)["next"], following.weight) == ("next", float(count), 1.0)
    assert float(following.sum.detach()) == pytest.approx(expected, rel=1e-4)
    alone = build_objective(MaskedConfig(), VOCABULARY).loss(both.network, batch, Key(0))
    assert float(masked.sum.detach()) == pytest.approx(float(alone[0].sum.detach()), rel=1e-6)


def test_two_stacks_are_refused() -> None:
    with pytest.raises(ConfigError, match="encoder-decoder"):
        objective("order").network(shrink(preset("t5-small")))
    assert lively(shrink(preset("bert-tiny"))) is not None


def test_words_stay_whole_in_pairs() -> None:
    rows = numbered_rows()
    rows.word_start_BL[:] = np.arange(LENGTH + 1) % 3 == 0
    config = SentencesConfig(masked=MaskedConfig(unit=WholeWords(), mask_share=1.0, random_share=0.0))
    batch = build_objective(config, VOCABULARY).make(rows, Key(0))
    assert isinstance(batch, Batch)
    word_of = {}
    for b in range(len(PACKED)):
        begins = rows.word_start_BL[b] | (np.diff(rows.document_BL[b], prepend=-2) != 0)
        for token, word in zip(rows.tokens_BL[b].tolist(), np.cumsum(begins).tolist(), strict=True):
            word_of[token] = (b, word)
    visible: dict[tuple[int, int], set[bool]] = {}
    tokens_BL = unmasked(batch)
    for b in range(batch.num_rows):
        for now, was in zip(batch.tokens_BL[b].tolist(), tokens_BL[b].tolist(), strict=True):
            if was in word_of and was not in SPECIAL.all():
                visible.setdefault(word_of[was], set()).add(now == was)
    mixed = sum(len(kinds) == 2 for kinds in visible.values())
    hidden = sum(kinds == {False} for kinds in visible.values())
    # A word is parted only where its piece was cut in two.
    assert hidden > 100
    assert mixed <= 0.1 * hidden


def test_a_hidden_token_is_filled_where_it_stands() -> None:
    with pytest.raises(ValueError, match="must be itself"):
        ReplacedConfig(masked=MaskedConfig(predicted_from="before"))
