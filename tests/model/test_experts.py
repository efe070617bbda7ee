"""Mixtures of experts: token by token, with any load, and how evenly the load is shared out."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from support import VOCABULARY, layout_of, lively, packed_batch, random_rows, redraw, tiny
from training import one_objective
from trivium.core.batch import Batch
from trivium.core.random import Key
from trivium.model.build.feed_forward import build_feed_forward
from trivium.model.config import ModelConfig
from trivium.model.count import count_parts
from trivium.model.experts import MixtureOfExperts
from trivium.model.parts import Gated, MixtureOfExpertsConfig, Plain
from trivium.model.view import Tally, View
from trivium.objectives.base import BALANCE, has_experts
from trivium.objectives.build import build_objective

DOCUMENTS = [[0] * 3 + [1] * 4 + [-1] * 2, [0] * 9]
FAMILIES = ("encoder", "decoder", "encoder_decoder")


def mixture(*, std: float = 0.5, hidden_size: int = 6, seed: int = 0, **options: Any) -> MixtureOfExperts:
    config = MixtureOfExpertsConfig(
        **{"num_experts": 4, "top_k": 2, "expert": Plain(size=10, activation="gelu"), **options}
    )
    built = build_feed_forward(config, hidden_size)
    assert isinstance(built, MixtureOfExperts)
    redraw(built, std=std, seed=seed)
    return built.double()


def states(seed: int = 0) -> Tensor:
    return torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def view(tally: Tally | None = None) -> View:
    layout = layout_of(DOCUMENTS, causal=False)
    return View(layout, layout, tally=tally)


def balance_of(experts: MixtureOfExperts, hidden: Tensor) -> Tensor:
    """The load-balancing loss of each row."""
    tally = Tally()
    experts(hidden, view(tally))
    (balance_B,) = tally.balance
    return balance_B


def loads_of(network: nn.Module, compute: Any) -> list[list[int]]:
    """How many tokens each expert of each mixture gets while something is computed."""
    loads: dict[str, list[int]] = {}
    handles = []
    for name, module in network.named_modules():
        if isinstance(module, MixtureOfExperts):
            loads[name] = [0] * len(module.experts)
            for number, expert in enumerate(module.experts):

                def note(
                    _: nn.Module, inputs: tuple[Tensor], output: Tensor, name: str = name, number: int = number
                ) -> None:
                    loads[name][number] += len(inputs[0])

                handles.append(expert.register_forward_hook(note))
    compute()
    for handle in handles:
        handle.remove()
    return list(loads.values())


@pytest.mark.parametrize("expert", [Plain(size=10, activation="gelu"), Gated(size=7, activation="silu", bias=True)])
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize(("num_experts", "top_k"), [(2, 1), (4, 1), (4, 2), (5, 3), (3, 3)])
def test_a_mixture_is_that_of_each_token_by_itself(
    num_experts: int, top_k: int, normalise: bool, expert: Plain | Gated
) -> None:
    experts = mixture(num_experts=num_experts, top_k=top_k, normalise=normalise, expert=expert)
    hidden = states()
    mixed = experts(hidden, view())
    for row in range(2):
        for place in range(9):
            token = hidden[row, place]
            shares = (experts.router.weight @ token).softmax(-1)
            best = shares.argsort(descending=True)[:top_k]
            whole = shares[best].sum() if normalise else 1.0
            expected = sum(shares[number] / whole * experts.experts[number](token[None])[0] for number in best)
            torch.testing.assert_close(mixed[row, place], expected, atol=1e-12, rtol=1e-12)


def test_all_experts_of_equal_weights_are_one_feed_forward() -> None:
    experts = mixture(num_experts=3, top_k=2)
    for other in experts.experts[1:]:
        other.load_state_dict(experts.experts[0].state_dict())
    torch.testing.assert_close(experts(states(), view()), experts.experts[0](states()))


def test_none_is_dropped_when_all_go_to_one_expert() -> None:
    experts = mixture(top_k=1)
    with torch.no_grad():
        experts.router.weight.zero_()
        experts.router.weight[2] = 1.0
    hidden = states().abs().requires_grad_()
    assert loads_of(nn.ModuleList([experts]), lambda: experts(hidden, view())) == [[0, 0, 18, 0]]
    mixed = experts(hidden, view())
    torch.testing.assert_close(mixed, experts.experts[2](hidden))
    mixed.square().sum().backward()
    for number, expert in enumerate(experts.experts):
        gradients = [parameter.grad for parameter in expert.parameters()]
        assert len(gradients) == 4
        assert all(gradient is not None and bool(gradient.any()) == (number == 2) for gradient in gradients)
    assert hidden.grad is not None
    assert bool((hidden.grad != 0).any(-1).all())


def test_the_router_works_in_float32_where_all_else_is_bfloat16() -> None:
    experts = mixture(hidden_size=32, top_k=1, std=0.1)
    with torch.no_grad():
        experts.router.weight.fill_(0.0)
        experts.router.weight[:2] = 0.5
        experts.router.weight[1, 0] += 0.03125
    experts.to(torch.bfloat16)
    hidden = torch.ones(1, 3, 32, dtype=torch.bfloat16)
    scores = experts.router(hidden[0, 0])
    assert scores[0] == scores[1]  # 16 and 16.03 are one number in bfloat16
    layout = layout_of([[0] * 3], causal=False)
    assert loads_of(nn.ModuleList([experts]), lambda: experts(hidden, View(layout, layout))) == [[0, 3, 0, 0]]
    tally = Tally()
    assert experts(hidden, View(layout, layout, tally=tally)).dtype == torch.bfloat16
    assert tally.balance[0].dtype == torch.float32


def test_more_experts_a_token_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="3 is more than 2"):
        mixture(num_experts=2, top_k=3)


def test_arithmetic_is_that_of_the_experts_a_token_goes_to() -> None:
    def flops(**feed_forward: Any) -> int:
        config = with_experts("decoder", **feed_forward)
        return next(
            part for part in count_parts(config, length=10) if part.part.endswith("0.feed_forward")
        ).forward_flops

    one_expert, router = 2 * 10 * 2 * 32 * 24, 2 * 10 * 32 * 4
    assert flops(top_k=1) == one_expert + router
    assert flops(top_k=3) == 3 * one_expert + router


# The load ----------------------------------------------------------------------------------------------------------


def test_the_balance_is_its_formula() -> None:
    experts, hidden = mixture(top_k=2, balance_weight=0.3), states()
    balance_B = balance_of(experts, hidden)
    for row, used in ((0, 7), (1, 9)):
        shares = (hidden[row, :used] @ experts.router.weight.t()).softmax(-1)
        chosen = shares.topk(2, dim=-1).indices
        load = torch.stack([(chosen == number).double().sum() / (2 * used) for number in range(4)])
        assert float(balance_B[row].detach()) == pytest.approx(0.3 * 4 * float((load * shares.mean(0)).sum().detach()))


def test_the_balance_is_1_for_even_use_and_rises_when_it_is_skewed() -> None:
    values = []
    for strength in (0.0, 0.3, 1.0, 10.0):
        experts = mixture(top_k=1, balance_weight=1.0)
        with torch.no_grad():
            experts.router.weight.zero_()
            experts.router.weight[1] = strength
        values.append(float(balance_of(experts, states().abs())[1].detach()))
    assert values[0] == pytest.approx(1.0)
    assert values == sorted(set(values))
    assert values[-1] == pytest.approx(4.0, rel=1e-3)


def test_the_balance_ignores_unused_places() -> None:
    experts, hidden = mixture(), states()
    other = hidden.clone()
    other[0, 7:] = 100.0
    assert torch.equal(balance_of(experts, hidden), balance_of(experts, other))
    other[0, 6] = -100.0
    assert not torch.equal(balance_of(experts, hidden), balance_of(experts, other))


def with_experts(family: str, **options: Any) -> ModelConfig:
    """Two layers, whose feed-forwards are four experts."""
    tree = tiny(family).model_dump()
    expert = {"kind": "plain", "size": 24, "activation": "gelu"}
    mixed = {"kind": "mixture_of_experts", "num_experts": 4, "top_k": 1, "expert": expert, "balance_weight": 1.0}
    for stack in tree["family"].values():
        if isinstance(stack, dict):
            stack["pattern"] = [block | {"feed_forward": mixed | options} for block in stack["pattern"]]
    return ModelConfig.model_validate(tree)


def made(config: ModelConfig) -> tuple[Any, Batch]:
    """The family's objective and a batch of it."""
    objective = build_objective(one_objective(config), VOCABULARY._replace(balanced=has_experts(config)))
    return objective, objective.make(random_rows([[15, 1, 20, 13], [49], [30, 12], [49]], 48), Key(1))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_balance_is_a_term_of_the_objective_that_counts_rows(family: str) -> None:
    config = with_experts(family)
    network = lively(config).double()
    objective, batch = made(config)
    tokens, balance = objective.loss(network, batch, Key(0))
    assert balance.name == BALANCE
    assert objective.counts(batch) == {tokens.name: float(batch.weights_BN.sum()), BALANCE: 4.0}
    tally = Tally()
    network(batch, tally)
    # An encoder-decoder's two stacks leave theirs in one tally.
    assert [tuple(balance_B.shape) for balance_B in tally.balance] == [(4,)] * (4 if family == "encoder_decoder" else 2)
    assert float(balance.sum.detach()) == pytest.approx(sum(float(row_B.sum().detach()) for row_B in tally.balance))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_balance_of_a_batch_is_that_of_its_micro_batches(family: str) -> None:
    config = with_experts(family, top_k=2)
    network = lively(config).double()
    objective, batch = made(config)
    whole = objective.loss(network, batch, Key(0))[1]
    parts = [objective.loss(network, batch.rows(start, stop), Key(0))[1] for start, stop in ((0, 1), (1, 3), (3, 4))]
    assert float(whole.sum.detach()) == pytest.approx(sum(float(part.sum.detach()) for part in parts), rel=1e-12)
    counts = [objective.counts(batch.rows(start, stop))[BALANCE] for start, stop in ((0, 1), (1, 3), (3, 4))]
    assert objective.counts(batch)[BALANCE] == sum(counts) == 4.0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_without_experts_has_no_such_term(family: str) -> None:
    objective, batch = made(tiny(family))
    assert not has_experts(tiny(family))
    assert [term.name for term in objective.loss(lively(tiny(family)), batch, Key(0))] == list(objective.counts(batch))
    assert BALANCE not in objective.counts(batch)


def test_experts_in_a_part_of_the_pattern_that_no_layer_uses_are_none() -> None:
    tree = with_experts("decoder").model_dump()
    stack = tree["family"]["stack"]
    stack["pattern"] = [tiny("decoder").model_dump()["family"]["stack"]["pattern"][0], stack["pattern"][0]]
    assert has_experts(ModelConfig.model_validate(tree))
    stack["sharing"] = {"kind": "looped", "num_blocks": 1}
    config = ModelConfig.model_validate(tree)
    assert not has_experts(config)
    assert not any(isinstance(module, MixtureOfExperts) for module in lively(config).modules())


def busiest_share(*, balance_weight: float) -> tuple[float, float]:
    """The share of the tokens that the busiest expert of any layer gets, before and after a few steps."""
    config = with_experts("encoder", balance_weight=balance_weight)
    network = lively(config)
    with torch.no_grad():
        for block in network.stack.blocks:
            block.feed_forward.into.bias.fill_(1.0)
            block.feed_forward.branch.router.weight[0] = 0.1  # that nearly all tokens like best
    objective, batch = made(config)

    def busiest() -> float:
        with torch.no_grad():
            loads = loads_of(network, lambda: network(batch))
        assert len(loads) == 2
        return max(max(load) / sum(load) for load in loads)

    before = busiest()
    optimiser, counts = torch.optim.Adam(network.parameters(), lr=3e-3), objective.counts(batch)
    for _ in range(40):
        optimiser.zero_grad()
        sum(term.weight * term.sum / counts[term.name] for term in objective.loss(network, batch, Key(0))).backward()
        optimiser.step()
    return before, busiest()


def test_learning_with_it_shares_the_load_out_more_evenly() -> None:
    before, after = busiest_share(balance_weight=1.0)
    assert before > 0.7
    assert after < 0.5
    unbalanced_before, unbalanced_after = busiest_share(balance_weight=0.0)
    assert unbalanced_before == before
    assert unbalanced_after > after + 0.1


def test_generation_and_reading_leave_no_tally() -> None:
    config = with_experts("decoder")
    with torch.inference_mode():
        network = lively(config)
        tally = Tally()
        assert torch.equal(network(packed_batch("decoder")), network(packed_batch("decoder"), tally))
    assert len(tally.balance) == 2
