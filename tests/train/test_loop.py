"""The loop: accumulation, precision, divergence, and nothing that depends on anything but the step."""

import math

import pytest
import torch

from support import equal, parameters_of
from training import ROWS, STEPS, run_config, trial
from trivium.core.batch import Batch
from trivium.core.errors import ConfigError, DivergedError
from trivium.data.loader import micro_batches
from trivium.train.config import AdamWConfig
from trivium.train.loop import PHASES, skips_in_a_row

NAMES = ("encoder-tiny", "bert-tiny", "decoder-tiny", "seq2seq-tiny", "t5-small")
SOME = STEPS // 3


@pytest.mark.parametrize("name", NAMES)
def test_training_lowers_the_loss(name: str) -> None:
    losses = trial(run_config(name)).losses()
    assert len(losses) == STEPS
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])


@pytest.mark.parametrize("name", NAMES)
def test_accumulation_changes_nothing_but_memory(name: str) -> None:
    whole = trial(run_config(name)).reports(0, SOME)
    for accumulation in (4, ROWS):
        parts = trial(run_config(name, accumulation=accumulation)).reports(0, SOME)
        assert len(parts) == SOME
        for one, other in zip(whole, parts, strict=True):
            assert other.loss == pytest.approx(one.loss, abs=1e-5)
            assert other.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-4)
            assert other.terms == pytest.approx(one.terms, abs=1e-5)
            assert other.tokens == one.tokens


@pytest.mark.parametrize("name", ["encoder-tiny", "decoder-tiny", "seq2seq-tiny"])
def test_accumulation_weighs_every_label_alike_however_unevenly_they_lie(name: str) -> None:
    def lopsided(accumulation: int) -> list[float]:
        attempt = trial(run_config(name, accumulation=accumulation))

        def batch(step: int) -> Batch:
            made = attempt.batch(step)
            # The first rows have one label each, the last micro-batch of four has none at all.
            made.weights_BN[:4, 1:] = 0.0
            made.weights_BN[6:] = 0.0
            return made

        if accumulation > 1:
            counts = [float(micro.weights_BN.sum()) for micro in micro_batches(batch(0), accumulation)]
            assert max(counts) > 3 * min(counts)
        return [report.loss for report in attempt.reports(batches=map(batch, range(SOME)))]

    whole = lopsided(1)
    for accumulation in (2, 4):
        assert lopsided(accumulation) == pytest.approx(whole, abs=1e-5)
    # Means of means would be off by far more than rounding.
    assert max(whole) - min(whole) > 0.01


@pytest.mark.parametrize("name", ["bert-tiny", "decoder-tiny", "t5-small"])
def test_equal_runs_are_equal_bit_for_bit_with_dropout(name: str) -> None:
    first, second = trial(run_config(name, dropout=0.1)), trial(run_config(name, dropout=0.1, prefetch=0))
    torch.manual_seed(123)
    one = first.losses(0, SOME)
    torch.manual_seed(456)
    assert second.losses(0, SOME) == one
    assert equal(parameters_of(first.network), parameters_of(second.network))
    other = trial(run_config(name, dropout=0.1, seed=1))
    assert other.losses(0, SOME) != one


def test_dropout_differs_from_step_to_step_and_from_micro_batch_to_micro_batch() -> None:
    config = run_config("bert-tiny", dropout=0.5, accumulation=2)
    # The weights stay as they are, so that the losses differ by dropout alone.
    attempt = trial(config.model_copy(update={"optimiser": AdamWConfig(lr=1e-30)}))
    one = attempt.batch(0).rows(0, 1)
    doubled = one.map(lambda tensor: torch.cat((tensor, tensor)))
    seen: list[float] = []
    loss = attempt.objective.loss

    class Watched:
        counts = staticmethod(attempt.objective.counts)

        @staticmethod
        def loss(*arguments: object) -> object:
            terms = loss(*arguments)  # type: ignore[arg-type]
            seen.append(float(terms[0].sum.detach()))
            return terms

    attempt.objective = Watched()  # type: ignore[assignment]
    attempt.reports(batches=[doubled] * 4)
    assert len(set(seen)) == len(seen) == 8


@pytest.mark.parametrize("name", ["encoder-tiny", "decoder-tiny", "seq2seq-tiny"])
def test_bfloat16_is_close_to_float32(name: str) -> None:
    exact, rounded = trial(run_config(name)), trial(run_config(name, precision="bfloat16"))
    assert rounded.losses() == pytest.approx(exact.losses(), rel=0.02)
    assert all(parameter.dtype == torch.float32 for parameter in rounded.network.parameters())


def test_bfloat16_keeps_updates_too_small_for_it() -> None:
    attempt = trial(run_config("decoder-tiny", precision="bfloat16"))
    before = parameters_of(attempt.network)
    attempt.config = attempt.config.model_copy(
        update={"optimiser": attempt.config.optimiser.model_copy(update={"lr": 1e-7})}
    )
    attempt.reports(0, 2)
    for name, tensor in parameters_of(attempt.network).items():
        assert not torch.equal(tensor, before[name]), name


def test_bfloat16_accumulates_in_float32() -> None:
    whole = trial(run_config("decoder-tiny", precision="bfloat16")).reports(0, 4)
    parts = trial(run_config("decoder-tiny", precision="bfloat16", accumulation=4)).reports(0, 4)
    assert [report.loss for report in parts] == pytest.approx([report.loss for report in whole], rel=2e-3)
    assert [report.gradient_norm for report in parts] == pytest.approx(
        [report.gradient_norm for report in whole], rel=2e-2
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_update_of_a_loss_that_is_not_finite_is_skipped(bad: float, precision: str) -> None:
    attempt = trial(run_config("decoder-tiny", precision=precision))  # type: ignore[arg-type]
    reports = attempt.reports(0, 3)

    def batches() -> object:
        broken = attempt.batch(3)
        broken.weights_BN[0, 0] = bad
        yield broken

    before = parameters_of(attempt.network)
    state = {name: value.clone() for name, value in _state(attempt).items()}
    (skipped,) = attempt.reports(3, 4, batches=batches())  # type: ignore[arg-type]
    assert [report.skipped for report in reports] == [False] * 3
    assert skipped.skipped and skipped.step == 4 and not math.isfinite(skipped.loss)
    assert equal(before, parameters_of(attempt.network))
    assert equal(state, _state(attempt))
    assert all(parameter.grad is None for parameter in attempt.network.parameters())


def test_an_update_of_a_gradient_that_is_not_finite_is_skipped() -> None:
    attempt = trial(run_config("decoder-tiny"))
    attempt.network.stack.embedding.tokens.weight.register_hook(lambda gradient: gradient * float("inf"))
    before = parameters_of(attempt.network)
    (report,) = attempt.reports(0, 1)
    assert report.skipped and not math.isfinite(report.gradient_norm)
    assert equal(before, parameters_of(attempt.network))


def test_so_many_skips_in_a_row_are_borne_and_one_more_is_not() -> None:
    (report,) = trial(run_config("decoder-tiny")).reports(0, 1)
    bad = report._replace(skipped=True, loss=math.nan)
    assert skips_in_a_row(report, 2, most=2) == 0
    assert [skips_in_a_row(bad, before, most=2) for before in (0, 1)] == [1, 2]
    with pytest.raises(DivergedError, match="3 updates in a row were not made"):
        skips_in_a_row(bad, 2, most=2)
    with pytest.raises(DivergedError, match=r"step 1: loss nan .* the update was not made"):
        skips_in_a_row(bad, 0, most=0)


def _state(attempt: object) -> dict[str, torch.Tensor]:
    from trivium.train.optimisers import optimiser_tensors

    return optimiser_tensors(attempt.optimiser, attempt.network)  # type: ignore[attr-defined]


def test_gradients_longer_than_the_limit_are_scaled_down_to_it() -> None:
    attempt = trial(run_config("decoder-tiny"))
    attempt.config = attempt.config.model_copy(
        update={"train": attempt.config.train.model_copy(update={"max_gradient_norm": 1e-3})}
    )
    seen: list[float] = []
    step = attempt.optimiser.step

    def watched() -> None:
        grads = [p.grad for p in attempt.network.parameters()]
        seen.append(float(torch.stack([g.square().sum() for g in grads if g is not None]).sum().sqrt()))
        step()

    attempt.optimiser.step = watched  # type: ignore[method-assign]
    reports = attempt.reports(0, 3)
    assert seen == pytest.approx([1e-3] * 3, rel=1e-3)
    assert all(report.gradient_norm > 0.1 for report in reports)  # as it was before


def test_what_is_reported() -> None:
    attempt = trial(run_config("seq2seq-tiny"))
    reports = attempt.reports(5, 9)
    assert [report.step for report in reports] == [6, 7, 8, 9]
    for report in reports:
        assert report.terms == {"spans": pytest.approx(report.loss, rel=1e-6)}
        assert report.tokens == attempt.batch(report.step - 1).num_tokens
        assert report.lr == pytest.approx(attempt.config.optimiser.lr * (STEPS - report.step + 1) / (STEPS - 3))
        assert set(report.seconds_by_phase) == set(PHASES)


def test_rows_that_cannot_be_divided_are_refused() -> None:
    with pytest.raises(ConfigError, match="3 does not divide 8"):
        trial(run_config("decoder-tiny", accumulation=3)).reports(0, 1)


def test_a_batch_without_labels_is_no_division_by_zero() -> None:
    attempt = trial(run_config("encoder-tiny"))
    empty = attempt.batch(0)
    empty.weights_BN.zero_()
    (report,) = attempt.reports(batches=[empty])
    assert report.loss == 0.0
    assert report.gradient_norm == 0.0
