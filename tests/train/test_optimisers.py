"""AdamW against its formula, and its state through a file."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from support import equal, lively, tiny
from trivium.core.errors import CheckpointError
from trivium.model.folder import read_tensors, save_tensors
from trivium.train.config import AdamWConfig
from trivium.train.optimisers import Optimiser, build_optimiser, load_optimiser_tensors, optimiser_tensors, set_lr

CONFIG = AdamWConfig(lr=1e-2, beta1=0.9, beta2=0.95, eps=1e-6, weight_decay=0.3)


def rates(step: int) -> float:
    return 1e-2 * (1.0 - step / 40)


def gradients(parameters: list[Tensor], step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(p.shape, generator=generator, dtype=torch.float64) * 0.1 for p in parameters]


def by_formula(parameters: list[Tensor], steps: int) -> list[Tensor]:
    """Loshchilov & Hutter 2019, algorithm 2, in float64; vectors are not decayed."""
    values = [parameter.detach().double().clone() for parameter in parameters]
    first, second = [torch.zeros_like(value) for value in values], [torch.zeros_like(value) for value in values]
    for step in range(steps):
        for number, gradient in enumerate(gradients(parameters, step)):
            first[number] = CONFIG.beta1 * first[number] + (1 - CONFIG.beta1) * gradient
            second[number] = CONFIG.beta2 * second[number] + (1 - CONFIG.beta2) * gradient**2
            mean = first[number] / (1 - CONFIG.beta1 ** (step + 1))
            spread = (second[number] / (1 - CONFIG.beta2 ** (step + 1))).sqrt()
            decay = CONFIG.weight_decay if values[number].ndim >= 2 else 0.0
            values[number] = values[number] * (1 - rates(step) * decay) - rates(step) * mean / (spread + CONFIG.eps)
    return values


def by_optimiser(network: nn.Module, optimiser: Optimiser, start: int, stop: int) -> None:
    parameters = list(network.parameters())
    for step in range(start, stop):
        for parameter, gradient in zip(parameters, gradients(parameters, step), strict=True):
            parameter.grad = gradient.to(parameter.dtype)
        set_lr(optimiser, rates(step))
        optimiser.step()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_twenty_steps_are_those_of_the_formula(dtype: torch.dtype, tolerance: float) -> None:
    network = lively(tiny("decoder")).to(dtype)
    expected = by_formula(list(network.parameters()), 20)
    by_optimiser(network, build_optimiser(CONFIG, network), 0, 20)
    assert {value.ndim for value in expected} == {1, 2}
    for parameter, value in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.double(), value, atol=tolerance, rtol=tolerance)


def test_norms_and_biases_are_not_decayed_and_all_else_is() -> None:
    network = lively(tiny("encoder", "learned"))
    optimiser = build_optimiser(CONFIG, network)
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    names = dict(network.named_parameters())
    assert len(decay) == len(names)
    undecayed = {name for name, parameter in names.items() if decay[id(parameter)] == 0.0}
    assert undecayed == {name for name in names if name.endswith("bias") or "norm" in name or ".into." in name}
    assert 0 < len(undecayed) < len(names)


def test_a_frozen_parameter_is_left_alone() -> None:
    network = lively(tiny("decoder"))
    frozen = network.stack.embedding.tokens.weight.requires_grad_(False)
    optimiser = build_optimiser(CONFIG, network)
    assert id(frozen) not in {id(p) for group in optimiser.param_groups for p in group["params"]}


def test_the_state_goes_through_a_file_bit_for_bit(tmp_path: Path) -> None:
    network = lively(tiny("decoder"))
    optimiser = build_optimiser(CONFIG, network)
    by_optimiser(network, optimiser, 0, 5)
    save_tensors(tmp_path / "state", optimiser_tensors(optimiser, network))
    other = lively(tiny("decoder"))
    other.load_state_dict(network.state_dict())
    again = build_optimiser(CONFIG, other)
    load_optimiser_tensors(again, other, read_tensors(tmp_path / "state"), "here")
    assert equal(optimiser_tensors(again, other), optimiser_tensors(optimiser, network))
    by_optimiser(network, optimiser, 5, 9)
    by_optimiser(other, again, 5, 9)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


def test_the_state_of_another_model_is_refused() -> None:
    network = lively(tiny("decoder"))
    optimiser = build_optimiser(CONFIG, network)
    by_optimiser(network, optimiser, 0, 1)
    state = optimiser_tensors(optimiser, network)
    assert len(state) == 3 * len(list(network.parameters()))
    name = "stack.final_norm.weight|exp_avg"
    wrong = {"does not have": {"stack.extra|exp_avg": torch.zeros(1)}, "of shape": {name: torch.zeros(3)}}
    for message, tensors in wrong.items():
        with pytest.raises(CheckpointError, match=message):
            load_optimiser_tensors(build_optimiser(CONFIG, network), network, state | tensors, "here")
