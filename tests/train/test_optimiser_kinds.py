"""Every optimiser against its formula in float64 or torch's own, 50 steps; state through a file; frozen parameters."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from support import equal, lively, parameters_of, tiny
from training import Trial, run_config, trial
from trivium.core.config import parse
from trivium.model.folder import read_tensors, save_tensors
from trivium.model.roles import block_matrices
from trivium.tasks.config import finetune_config
from trivium.train.checkpoint import checkpoint_path, load_checkpoint, save_checkpoint
from trivium.train.config import load_recipe
from trivium.train.optimiser_config import (
    OPTIMISERS,
    AdafactorConfig,
    AdamWConfig,
    LambConfig,
    LionConfig,
    MuonConfig,
    NorMuonConfig,
    OptimiserConfig,
)
from trivium.train.optimisers import (
    Optimiser,
    Pace,
    build_optimiser,
    drop_frozen,
    load_optimiser_tensors,
    optimiser_tensors,
    set_lr,
)
from trivium.train.state import TrainState

STEPS, LR = 50, 1e-2
# A rule takes (step counted from 1, weights, gradient, state, name) and returns the new weights.
Rule = Callable[[int, Tensor, Tensor, dict[str, Tensor], str], Tensor]
CONFIGS: dict[str, OptimiserConfig] = {
    "adamw": AdamWConfig(lr=LR, weight_decay=0.3),
    "cautious": AdamWConfig(lr=LR, weight_decay=0.3, cautious=True),
    "cautious_decay": AdamWConfig(lr=LR, weight_decay=0.3, cautious_decay=True),
    "lion": LionConfig(lr=LR, weight_decay=0.3),
    "lion_cautious_decay": LionConfig(lr=LR, weight_decay=0.3, cautious_decay=True),
    "lamb": LambConfig(lr=LR, weight_decay=0.3),
    "adafactor": AdafactorConfig(lr=LR, weight_decay=0.3, beta1=0.9),
    "adafactor_absolute": AdafactorConfig(lr=LR, relative=False),
    "muon": MuonConfig(lr=LR, weight_decay=0.3),
    "muon_plain": MuonConfig(lr=LR, nesterov=False, vector_lr=3 * LR, cautious_decay=True),
    "normuon": NorMuonConfig(lr=LR, weight_decay=0.3),
}


def rate(step: int) -> float:
    return LR * (1.0 - step / 80)


def gradient(number: int, shape: torch.Size, step: int) -> Tensor:
    """Noise around a direction of its own, so that means are not nothing."""
    steady = torch.randn(shape, generator=torch.Generator().manual_seed(1000 + number), dtype=torch.float64)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(97 * step + number), dtype=torch.float64)
    return 0.05 * steady + 0.1 * noise


def train(network: nn.Module, optimiser: Optimiser, start: int = 0, stop: int = STEPS) -> None:
    for step in range(start, stop):
        for number, parameter in enumerate(network.parameters()):
            parameter.grad = gradient(number, parameter.shape, step).to(parameter.dtype)
        set_lr(optimiser, rate(step))
        optimiser.step()


def adam(step: int, slope: Tensor, state: dict[str, Tensor], betas: tuple[float, float], eps: float) -> Tensor:
    zero = torch.zeros_like(slope)
    state["m"] = betas[0] * state.get("m", zero) + (1 - betas[0]) * slope
    state["v"] = betas[1] * state.get("v", zero) + (1 - betas[1]) * slope**2
    return (state["m"] / (1 - betas[0] ** step)) / ((state["v"] / (1 - betas[1] ** step)).sqrt() + eps)


def decayed(weights: Tensor, direction: Tensor, rate: float, cautious: bool) -> Tensor:
    return weights - rate * weights * ((weights * direction > 0) if cautious else 1.0)


def newton_schulz(matrix: Tensor, iterations: int) -> Tensor:
    """Through the singular values: each goes through the polynomial by itself."""
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    s = s / matrix.norm()
    for _ in range(iterations):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u @ torch.diag(s) @ v


def rule_of(config: OptimiserConfig, parts: dict[str, tuple[int, ...]]) -> Rule:
    def rule(step: int, weights: Tensor, slope: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
        lr = rate(step - 1)
        decay = config.weight_decay if weights.ndim >= 2 else 0.0
        match config:
            case AdamWConfig():
                direction = adam(step, slope, state, (config.beta1, config.beta2), config.eps)
                if config.cautious:
                    agrees = (direction * slope > 0).double()
                    direction = direction * agrees / agrees.mean().clamp(min=1e-3)
                return decayed(weights, direction, lr * decay, config.cautious_decay) - lr * direction
            case LionConfig():
                mean = state.get("m", torch.zeros_like(slope))
                direction = (config.beta1 * mean + (1 - config.beta1) * slope).sign()
                state["m"] = config.beta2 * mean + (1 - config.beta2) * slope
                return decayed(weights, direction, lr * decay, config.cautious_decay) - lr * direction
            case LambConfig():
                direction = adam(step, slope, state, (config.beta1, config.beta2), config.eps) + decay * weights
                trust = weights.norm() / direction.norm() if weights.ndim >= 2 else 1.0
                return weights - lr * trust * direction
            case AdafactorConfig():
                beta = 1 - step**config.beta2_power
                square, zero = slope**2, torch.zeros_like(slope)
                state["v"] = beta * state.get("v", zero) + (1 - beta) * square
                # The mean of rows and columns commutes with the moving mean, so the whole matrix may be kept.
                spread = state["v"]
                if slope.ndim >= 2:
                    spread = spread.mean(-1, keepdim=True) * spread.mean(-2, keepdim=True) / spread.mean()
                update = slope / spread.sqrt()
                update = update / max(1.0, float((update**2).mean().sqrt()) / config.clip)
                state["m"] = config.beta1 * state.get("m", zero) + (1 - config.beta1) * update
                scale = max(config.min_scale, float((weights**2).mean().sqrt())) if config.relative else 1.0
                return weights * (1 - lr * decay) - lr * scale * state["m"]
            case MuonConfig() | NorMuonConfig() if name not in parts:
                lr *= 1.0 if config.vector_lr is None else config.vector_lr / config.lr
                direction = adam(step, slope, state, (config.beta1, config.beta2), config.eps)
                return decayed(weights, direction, lr * decay, config.cautious_decay) - lr * direction
            case MuonConfig() | NorMuonConfig():
                state["m"] = config.momentum * state.get("m", torch.zeros_like(slope)) + (1 - config.momentum) * slope
                ahead = config.momentum * state["m"] + (1 - config.momentum) * slope if config.nesterov else state["m"]
                pieces = []
                for number, piece in enumerate(ahead.split(list(parts[name]))):
                    made = newton_schulz(piece, config.iterations)
                    if isinstance(config, NorMuonConfig):
                        key = f"r{number}"
                        mean = (made**2).mean(-1, keepdim=True)
                        old = state.get(key, torch.zeros_like(mean))
                        state[key] = config.row_beta * old + (1 - config.row_beta) * mean
                        made = made / state[key].sqrt()
                        made = made * 0.2 * made.numel() ** 0.5 / made.norm()
                    else:
                        made = made * 0.2 * max(made.shape) ** 0.5
                    pieces.append(made)
                direction = torch.cat(pieces)
                return decayed(weights, direction, lr * decay, config.cautious_decay) - lr * direction

    return rule


@pytest.mark.parametrize("family", ["decoder", "encoder_decoder"])
@pytest.mark.parametrize("name", CONFIGS)
def test_fifty_steps_are_those_of_the_formula(name: str, family: str) -> None:
    network = lively(tiny(family, groups=2)).double()
    config, parts = CONFIGS[name], block_matrices(network)
    rule, states = rule_of(config, parts), {key: {} for key, _ in network.named_parameters()}
    expected = parameters_of(network)
    for step in range(STEPS):
        for number, (key, weights) in enumerate(expected.items()):
            expected[key] = rule(step + 1, weights, gradient(number, weights.shape, step), states[key], key)
    before = parameters_of(network)
    train(network, build_optimiser(config, network))
    # The iteration is computed in float32.
    tolerance = 5e-4 if "muon" in name else 1e-9
    assert {weights.ndim for weights in expected.values()} == {1, 2}
    for key, weights in parameters_of(network).items():
        torch.testing.assert_close(weights, expected[key], atol=tolerance, rtol=tolerance)
        assert float((weights - before[key]).abs().mean()) > 10 * tolerance, key


class Matrices(nn.Module):
    """Parameters of several shapes."""

    def __init__(self, *shapes: tuple[int, ...]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.all = nn.ParameterList(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)


def test_adafactor_is_torchs() -> None:
    ours, theirs = (Matrices((8, 5), (4, 12), (7,)) for _ in range(2))
    config = AdafactorConfig(lr=LR, weight_decay=0.1)
    train(ours, build_optimiser(config, ours))
    other = torch.optim.Adafactor(
        [
            {"params": [p for p in theirs.parameters() if p.ndim > 1], "weight_decay": 0.1},
            {"params": [p for p in theirs.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ],
        eps=(1e-30, 1e-3),
    )
    for step in range(STEPS):
        for number, parameter in enumerate(theirs.parameters()):
            parameter.grad = gradient(number, parameter.shape, step)
        for group in other.param_groups:
            group["lr"] = rate(step)
        other.step()
    for mine, yours in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, yours, atol=1e-12, rtol=1e-12)


def test_muon_is_torchs_on_matrices_of_one_part() -> None:
    network = lively(tiny("decoder"))
    config = MuonConfig(lr=LR, weight_decay=0.1, precision="bfloat16")
    optimiser = build_optimiser(config, network)
    matrices = {name: rows for name, rows in block_matrices(network).items() if len(rows) == 1}
    assert len(matrices) == 6
    copies = {name: nn.Parameter(network.get_parameter(name).detach().clone()) for name in matrices}
    other = torch.optim.Muon(copies.values(), lr=LR, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    numbers = {name: number for number, (name, _) in enumerate(network.named_parameters())}
    for step in range(STEPS):
        for name, copy in copies.items():
            copy.grad = gradient(numbers[name], copy.shape, step).float()
        other.param_groups[0]["lr"] = rate(step)
        other.step()
    train(network, optimiser)
    for name, copy in copies.items():
        difference = (network.get_parameter(name) - copy).detach().norm() / copy.detach().norm()
        assert float(difference) < 0.01, name  # both round to bfloat16, in another order


def test_parts_of_fused_matrices_are_each_orthogonal() -> None:
    network = lively(tiny("encoder", groups=2))
    before = parameters_of(network)
    optimiser = build_optimiser(MuonConfig(lr=1.0, weight_decay=0.0), network)
    train(network, optimiser, 0, 1)
    parts = {name: rows for name, rows in block_matrices(network).items() if len(rows) > 1}
    assert set(parts.values()) == {(32, 16, 16)}
    for name, rows in parts.items():
        update = (before[name] - network.get_parameter(name)).detach() / rate(0)
        for part in update.split(list(rows)):
            values = torch.linalg.svdvals(part) / (0.2 * 32**0.5)
            assert float(values.min()) > 0.6 and float(values.max()) < 1.3


def test_muon_has_the_matrices_of_the_blocks_and_adamw_the_rest() -> None:
    network = lively(tiny("encoder_decoder", "relative_buckets"))
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = build_optimiser(MuonConfig(vector_lr=0.5, lr=0.1), network).param_groups
    orthogonal = {names[id(p)] for group in groups if group["orthogonal"] for p in group["params"]}
    assert orthogonal == {n for n in names.values() if ".branch." in n and n.endswith(".weight") and "norm" not in n}
    assert {group["scale"] for group in groups if group["orthogonal"]} == {1.0}
    assert {group["lr"] for group in groups if not group["orthogonal"]} == {0.5}
    assert sum(len(group["params"]) for group in groups) == len(names)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_state_goes_through_a_file_bit_for_bit(name: str, tmp_path: Path) -> None:
    network = lively(tiny("decoder"))
    optimiser = build_optimiser(CONFIGS[name], network)
    train(network, optimiser, 0, 5)
    save_tensors(tmp_path / "state", optimiser_tensors(optimiser, network))
    other = lively(tiny("decoder"))
    other.load_state_dict(network.state_dict())
    again = build_optimiser(CONFIGS[name], other)
    load_optimiser_tensors(again, other, read_tensors(tmp_path / "state"), "here")
    train(network, optimiser, 5, 9)
    train(other, again, 5, 9)
    assert equal(parameters_of(network), parameters_of(other))
    assert equal(optimiser_tensors(again, other), optimiser_tensors(optimiser, network))


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_a_run_by_any_of_them_learns_and_goes_on_bit_for_bit(kind: str, tmp_path: Path) -> None:
    recipe = load_recipe("decoder-tiny", [f"optimiser.kind={kind}"])

    def begun() -> Trial:
        lr = recipe.optimiser.lr  # of width 128
        config = run_config("decoder-tiny", accumulation=2)
        return trial(config.model_copy(update={"optimiser": recipe.optimiser.model_copy(update={"lr": lr})}))

    unbroken = begun()
    losses = unbroken.losses()
    assert sum(losses[-5:]) < 0.97 * sum(losses[:5])
    attempt = begun()
    assert attempt.losses(0, 4) == losses[:4]
    save_checkpoint(tmp_path, attempt.network, attempt.optimiser, TrainState(step=4))
    attempt = begun()
    load_checkpoint(checkpoint_path(tmp_path, 4), attempt.network, attempt.optimiser)
    assert attempt.losses(4) == losses[4:]
    assert equal(parameters_of(unbroken.network), parameters_of(attempt.network))


def test_a_recipe_gives_each_kind_its_learning_rate_whatever_the_order() -> None:
    rates = {kind: load_recipe("decoder-tiny", [f"optimiser.kind={kind}"]).optimiser.lr for kind in OPTIMISERS}
    assert rates["adamw"] == rates["muon"] == rates["normuon"] == load_recipe("decoder-tiny").optimiser.lr == 0.003125
    assert rates["lion"] == pytest.approx(0.00125)
    assert rates["lamb"] == pytest.approx(0.014) and rates["adafactor"] == pytest.approx(0.0559)
    for assignments in (["optimiser.kind=lion", "optimiser.lr=0.5"], ["optimiser.lr=0.5", "optimiser.kind=lion"]):
        assert load_recipe("decoder-tiny", assignments).optimiser == LionConfig(lr=0.5)
    recipe = Path(__file__).parents[2] / "recipes" / "decoder-mini.toml"
    assert load_recipe(str(recipe), ["optimiser.kind=muon"]).optimiser == MuonConfig(lr=round(0.4 / 256, 6))
    for kind in OPTIMISERS:
        tuned = finetune_config("classify", [f"optimiser.kind={kind}"]).optimiser
        assert tuned == parse(type(tuned), {"kind": kind}, "test")


def test_set_lr_scales_groups_and_decay() -> None:
    network = lively(tiny("decoder"))
    paces = {"stack.embedding.tokens.weight": Pace(scale=0.25, decay=3.0)}
    optimiser = build_optimiser(AdamWConfig(weight_decay=0.2), network, paces)
    set_lr(optimiser, 0.1, decay=0.5)
    seen = {(group["lr"], round(group["weight_decay"], 9), len(group["params"])) for group in optimiser.param_groups}
    vectors = sum(parameter.ndim < 2 for parameter in network.parameters())
    matrices = len(list(network.parameters())) - vectors - 1
    assert seen == {(0.1, 0.1, matrices), (0.1, 0.0, vectors), (0.025, 0.3, 1)}


@pytest.mark.parametrize("name", CONFIGS)
def test_before_its_first_step_nothing_of_a_parameter_moves_and_then_it_begins_as_if_new(name: str) -> None:
    frozen = "stack.blocks.0.attention.branch.qkv.weight"
    network, late = lively(tiny("decoder")), 3
    optimiser = build_optimiser(CONFIGS[name], network, {frozen: Pace(first_step=late)})
    before = parameters_of(network)
    number = [key for key, _ in network.named_parameters()].index(frozen)
    for step in range(late + 1):
        for place, parameter in enumerate(network.parameters()):
            parameter.grad = gradient(place, parameter.shape, step).float()
        drop_frozen(optimiser, step)
        set_lr(optimiser, LR)
        optimiser.step()
        if step < late:
            assert torch.equal(network.get_parameter(frozen), before[frozen])
            assert not any(key.startswith(frozen) for key in optimiser_tensors(optimiser, network))
            assert not torch.equal(network.head.projection.weight, before["stack.embedding.tokens.weight"])
    fresh = lively(tiny("decoder"))
    fresh_optimiser = build_optimiser(CONFIGS[name], fresh)
    fresh.get_parameter(frozen).grad = gradient(number, before[frozen].shape, late).float()
    set_lr(fresh_optimiser, LR)
    fresh_optimiser.step()
    torch.testing.assert_close(network.get_parameter(frozen), fresh.get_parameter(frozen))
    assert not torch.equal(fresh.get_parameter(frozen), before[frozen])
