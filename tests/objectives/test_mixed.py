"""Mixtures: shares of the rows, parts that are as they would be alone, weights, UL2's denoisers."""

import numpy as np
import pytest
import torch

from every_objective import CASES
from support import SPECIAL, VOCABULARY, lively, made_up_text, random_rows, shrink, without_dropout
from trivium.core.batch import MixedBatch, Rows
from trivium.core.errors import ConfigError
from trivium.core.ramp import Ramp
from trivium.core.random import Key
from trivium.data.packing import RowReader
from trivium.model.presets import preset
from trivium.objectives.build import MixedConfig, PartConfig, Ul2Config, build_objective, ul2_parts
from trivium.objectives.causal import CausalConfig
from trivium.objectives.contrastive import ContrastiveConfig
from trivium.objectives.masked import MaskedConfig
from trivium.objectives.mixed import Mixed, Part
from trivium.objectives.spans import SpansConfig, mode_marks

LENGTH = 48


def mixture(*parts: PartConfig) -> Mixed:
    built = build_objective(MixedConfig(parts=parts), VOCABULARY)
    assert isinstance(built, Mixed)
    return built


def rows(count: int, first: int = 0) -> Rows:
    return random_rows([[20, 29]] * count, LENGTH, first_row=first)


def shares(learned: Mixed, count: int, *, first: int = 0, done: float = 1.0) -> list[int]:
    return [len(numbers) for numbers in learned.make(rows(count, first), Key(0), done).rows_of]


def test_of_any_rows_each_part_has_its_share_to_within_two() -> None:
    learned = mixture(PartConfig(objective=MaskedConfig(), share=15.0), PartConfig(objective=CausalConfig(), share=1.0))
    even = mixture(PartConfig(objective=MaskedConfig()), PartConfig(objective=CausalConfig()))
    for first in range(0, 400, 16):
        masked, causal = shares(learned, 16, first=first)
        assert (masked + causal, abs(causal - 1) <= 1) == (16, True)
        assert abs(shares(even, 16, first=first)[0] - 8) <= 1
    assert shares(learned, 1600) == pytest.approx([1500, 100], abs=2)


def test_shares_follow_their_ramps() -> None:
    learned = mixture(
        PartConfig(objective=MaskedConfig(), share=Ramp(start=1.0, stop=0.0, until=0.5)),
        PartConfig(objective=CausalConfig(), share=Ramp(start=0.0, stop=1.0)),
    )
    for done, expected in ((0.0, [200, 0]), (0.25, [133, 67]), (0.5, [0, 200]), (1.0, [0, 200])):
        assert shares(learned, 200, done=done) == pytest.approx(expected, abs=2)


def test_a_part_makes_its_rows_as_it_would_alone() -> None:
    learned = build_objective(CASES["hybrid"][1], VOCABULARY)
    assert isinstance(learned, Mixed)
    reader = RowReader(made_up_text(100), row_length=LENGTH, key=Key(0), pad=SPECIAL.pad)
    batch = learned.make(reader.rows(0, 16), Key(0), 0.5)
    assert isinstance(batch, MixedBatch)
    assert sorted(np.concatenate(batch.rows_of).tolist()) == list(range(16))
    compared = 0
    for part, made, numbers in zip(learned.parts, batch.parts, batch.rows_of, strict=True):
        assert made is not None
        for place, number in enumerate(numbers):
            alone = part.objective.make(reader.rows(int(number), int(number) + 1), Key(0).child(part.name), 0.5)
            assert torch.equal(made.tokens_BL[place], alone.tokens_BL[0])
            assert torch.equal(made.labels_BN[place], alone.labels_BN[0])
            compared += 1
    assert compared == 16
    assert batch.num_tokens == sum(part.num_tokens for part in batch.parts if part is not None)


def test_the_loss_is_the_weighted_sum_of_the_parts() -> None:
    learned = mixture(
        PartConfig(objective=MaskedConfig(), share=3.0),
        PartConfig(objective=CausalConfig(), share=1.0, weight=0.5, name="next"),
    )
    network = lively(without_dropout(shrink(preset("decoder-tiny"))))
    batch = learned.make(rows(16), Key(0))
    terms = learned.loss(network, batch, Key(0))
    assert [(term.name, term.weight) for term in terms] == [("masked", 0.75), ("next", 0.5)]
    for term, part, made in zip(terms, learned.parts, batch.parts, strict=True):
        assert made is not None
        (alone,) = part.objective.loss(network, made, Key(0))
        assert float(term.sum.detach()) == float(alone.sum.detach())
        assert learned.counts(batch)[term.name] == part.objective.counts(made)[alone.name] > 0


def test_a_step_without_rows_of_a_part_goes_without_it() -> None:
    learned = mixture(
        PartConfig(objective=MaskedConfig(), share=1000.0), PartConfig(objective=CausalConfig(), share=1.0)
    )
    batch = learned.make(rows(4), Key(0))
    assert batch.parts[1] is None
    assert learned.counts(batch).keys() == {"masked"}
    network = lively(shrink(preset("decoder-tiny")))
    assert [term.name for term in learned.loss(network, batch, Key(0))] == ["masked"]
    assert batch.rows(1, 3).num_rows == 2


def test_parts_of_one_kind_have_names_of_their_own() -> None:
    twice = mixture(PartConfig(objective=MaskedConfig()), PartConfig(objective=MaskedConfig(rate=0.4)))
    assert [part.name for part in twice.parts] == ["masked.1", "masked.2"]


def test_what_cannot_be_mixed_is_refused() -> None:
    contrastive = build_objective(ContrastiveConfig(), VOCABULARY)
    with pytest.raises(ConfigError, match="compares rows with their neighbours"):
        Mixed((Part("contrastive", "contrastive", contrastive, 1.0),))
    replaced = build_objective(CASES["replaced"][1], VOCABULARY)
    with pytest.raises(ConfigError, match="trains more than the network itself"):
        Mixed((Part("replaced", "replaced", replaced, 1.0),)).network(shrink(preset("encoder-tiny")))
    for share in (0.0, -1.0, Ramp(start=1.0, stop=0.0)):
        with pytest.raises(ConfigError, match="one must be more than 0"):
            mixture(PartConfig(objective=CausalConfig(), share=share))
    with pytest.raises(ConfigError, match="has one stack"):
        mixture(PartConfig(objective=SpansConfig())).network(shrink(preset("decoder-tiny")))


def test_ul2_has_the_denoisers_of_the_papers_table() -> None:
    parts = ul2_parts(Ul2Config())
    told = [
        (part.objective.mean_length, part.objective.rate, part.objective.placement, part.objective.mode)
        for part in parts
        if isinstance(part.objective, SpansConfig)
    ]
    assert told == [
        (3.0, 0.15, "spread", "regular"),
        (8.0, 0.15, "spread", "regular"),
        (3.0, 0.25, "end", "sequential"),
        (3.0, 0.5, "spread", "extreme"),
        (8.0, 0.5, "spread", "extreme"),
        (64.0, 0.15, "spread", "extreme"),
        (64.0, 0.5, "spread", "extreme"),
    ]
    assert [part.share for part in parts] == [1.0] * 7
    learned = build_objective(Ul2Config(), VOCABULARY)
    assert isinstance(learned, Mixed)
    assert shares(learned, 700) == pytest.approx([100] * 7, abs=2)


def test_ul2_tells_the_encoder_its_mode_at_the_begin_of_each_document() -> None:
    learned = build_objective(Ul2Config(), VOCABULARY)
    assert isinstance(learned, Mixed)
    batch, marks = learned.make(random_rows([[128, 129]] * 28, 256), Key(0)), mode_marks(SPECIAL)
    seen = 0
    for part, config, made in zip(learned.parts, ul2_parts(Ul2Config()), batch.parts, strict=True):
        assert isinstance(config.objective, SpansConfig)
        assert config.objective.mode is not None
        assert made is not None
        assert made.source is not None
        for row in range(made.num_rows):
            for document in (0, 1):
                mine = made.source.layout.document_BL[row] == document
                tokens = made.source.tokens_BL[row][mine]
                assert int(tokens[0]) == marks[config.objective.mode], part.name
                assert not set(tokens[1:].tolist()) & set(marks.values())
                seen += 1
    assert seen == 56


def test_shares_of_zero_leave_denoisers_out() -> None:
    names = [part.name for part in ul2_parts(Ul2Config(extreme=0.0))]
    assert names == ["regular-3-15", "regular-8-15", "sequential"]
