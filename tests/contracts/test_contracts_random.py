"""What holds for any combination of parts: two hundred drawn from the configuration space, each put to every test."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from drawn_configs import all_choices, choices_of, drawn_config
from support import (
    FIRST_WORD,
    VOCABULARY,
    VOCABULARY_SIZE,
    alone,
    documents_of,
    equal,
    family_of,
    layout_of,
    lively,
    logits_of,
    packed_batch,
    parameters_of,
    places_of,
    random_rows,
    without_dropout,
)
from training import one_objective
from trivium.core.batch import Batch, Term, reading
from trivium.core.random import Key
from trivium.model.attention import CrossAttention, SelfAttention
from trivium.model.build import build_network
from trivium.model.config import ModelConfig
from trivium.model.count import count_parts
from trivium.model.experts import MixtureOfExperts
from trivium.model.feed_forward import GatedFeedForward
from trivium.model.folder import load_model, save_model
from trivium.model.generate import generate
from trivium.model.heads import Network
from trivium.model.initialise import initialise
from trivium.model.kernels import KernelName
from trivium.model.places import at_places
from trivium.model.stack import recompute_blocks
from trivium.objectives.base import has_experts
from trivium.objectives.build import build_objective

SEEDS = range(200)
CLEAR_MARGIN = 1e-3  # shares of a router that far apart are not confused by rounding
every_combination = pytest.mark.parametrize("seed", SEEDS)
every_writing_combination = pytest.mark.parametrize(
    "seed", [seed for seed in SEEDS if family_of(drawn_config(seed)) != "encoder"]
)


def test_every_choice_there_is_was_drawn() -> None:
    drawn = Counter(choice for seed in SEEDS for choice in set(choices_of(drawn_config(seed))))
    there_are = all_choices(ModelConfig)
    assert len(there_are) > 130
    rare = {choice: drawn[choice] for choice in there_are if drawn[choice] < 5}
    assert rare == {}


def usual_terms(config: ModelConfig, network: nn.Module) -> tuple[Term, ...]:
    """The terms of the family's usual objective on a few packed rows, as means."""
    balanced = has_experts(config)
    objective = build_objective(one_objective(config), VOCABULARY._replace(balanced=balanced))
    batch = objective.make(random_rows([[15, 1, 20, 13], [49], [30, 12]], 48, seed=2), Key(1))
    terms = objective.loss(network, batch, Key(0))
    counts = objective.counts(batch)
    assert {term.name for term in terms} == set(counts)
    assert len(terms) == 1 + balanced
    return tuple(term._replace(sum=term.sum / counts[term.name]) for term in terms)


def backward(terms: tuple[Term, ...]) -> float:
    loss = sum((term.weight * term.sum for term in terms), start=torch.zeros(()))
    loss.backward()
    return float(loss.detach())


@every_combination
def test_parameters_and_arithmetic_counted_are_those_built(seed: int) -> None:
    config = drawn_config(seed)
    built = sum(parameter.numel() for parameter in set(build_network(config).parameters()))
    *parts, total = count_parts(config, length=16)
    assert total.parameters == built == sum(part.parameters for part in parts)
    assert total.forward_flops == sum(part.forward_flops for part in parts) > 0


@every_combination
def test_it_begins_to_learn(seed: int) -> None:
    config = drawn_config(seed)
    network = build_network(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(float("nan"))
    initialise(network, config, Key(seed))
    torch.manual_seed(seed)
    loss = backward(usual_terms(config, network.train()))
    assert 0 < loss < 1000
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert len(gradients) > 4
    for name, gradient in gradients.items():
        assert gradient is not None and bool(gradient.isfinite().all()), name


# What mathematics gives no gradient --------------------------------------------------------------------------------


def sees_only_differences(attention: SelfAttention | CrossAttention) -> bool:
    """Whether the same vector added to all keys changes nothing.

    It adds one number to all scores of a query, which softmax does not see; learned positions, ALiBi and buckets
    change nothing in that. Rotation makes the vector another one at each place, and a soft cap bends the scores.
    """
    turned = isinstance(attention, SelfAttention) and attention.rotary is not None
    return not turned and attention.scoring.soft_cap is None


def silent_tensors(network: nn.Module, reached: set[str]) -> set[str]:
    """Names of the (parts of) tensors that can have no gradient."""
    silent: set[str] = set()
    for name, module in network.named_modules():
        match module:
            case SelfAttention() | CrossAttention() if sees_only_differences(module):
                last = "key_norm.bias" if not isinstance(module.key_norm, nn.Identity) else "key.bias"
                silent.add(f"{name}.{last}")
            case MixtureOfExperts():
                if module.top_k == 1 and module.normalise and not module.balance_weight:
                    silent.add(f"{name}.router.weight")  # the only expert's weight is 1, whatever the router says
                for number, expert in enumerate(module.experts):
                    if f"{name}.experts.{number}" not in reached:
                        silent |= {f"{name}.experts.{number}.{inner}" for inner in gradients_by_part(expert)}
            case _:
                pass
    return silent


def gradients_by_part(network: nn.Module) -> dict[str, Tensor | None]:
    """Gradients by name; products of several matrices in one are taken apart."""
    found: dict[str, Tensor | None] = {name: parameter.grad for name, parameter in network.named_parameters()}
    for name, module in network.named_modules():
        match module:
            case SelfAttention(num_heads=heads, num_key_value_heads=groups, head_size=size):
                fused, sizes = "qkv", {"query": heads * size, "key": groups * size, "value": groups * size}
            case CrossAttention():
                half = module.key_value.out_features // 2
                fused, sizes = "key_value", {"key": half, "value": half}
            case GatedFeedForward():
                half = module.gate_up.out_features // 2
                fused, sizes = "gate_up", {"gate": half, "up": half}
            case _:
                continue
        prefix = f"{name}." if name else ""
        for kind in ("weight", "bias"):
            whole = found.pop(f"{prefix}{fused}.{kind}", None)
            if whole is not None:
                pieces = zip(sizes, whole.split(list(sizes.values())), strict=True)
                found |= {f"{prefix}{part}.{kind}": piece for part, piece in pieces}
    return found


def watch_experts(network: nn.Module) -> set[str]:
    """The names of the experts whose result the loss depends on, filled in by the backward pass."""
    reached: set[str] = set()

    def watch(name: str, expert: nn.Module) -> None:
        def note(gradient: Tensor) -> None:
            if bool((gradient != 0).any()):
                reached.add(name)

        expert.register_forward_hook(lambda module, inputs, output: output.register_hook(note) and None)

    for name, module in network.named_modules():
        if isinstance(module, MixtureOfExperts):
            for number, expert in enumerate(module.experts):
                watch(f"{name}.experts.{number}", expert)
    return reached


@every_combination
def test_every_tensor_learns_except_where_mathematics_says_no(seed: int) -> None:
    config = drawn_config(seed)
    network = lively(config, seed=seed).double()
    reached = watch_experts(network)
    backward(usual_terms(config, network))
    gradients, silent = gradients_by_part(network), silent_tensors(network, reached)
    widest = max(float(gradient.abs().max()) for gradient in gradients.values() if gradient is not None)
    mixtures = [name for name, module in network.named_modules() if isinstance(module, MixtureOfExperts)]
    assert all(any(expert.startswith(f"{name}.") for expert in reached) for name in mixtures)
    assert len(gradients) - len(silent) > 4
    for name, gradient in gradients.items():
        assert gradient is not None and bool(gradient.isfinite().all()), name
        assert (float(gradient.abs().max()) > 1e-12 * widest) == (name not in silent), name


# Who sees whom -----------------------------------------------------------------------------------------------------


@every_writing_combination
@torch.inference_mode()
def test_a_later_token_changes_nothing_earlier(seed: int) -> None:
    config = drawn_config(seed)
    network, batch = lively(config, seed=seed).double(), packed_batch(family_of(config), seed=seed)
    before, changed = network(batch), 0
    for place in (2, 11, 23):
        other = batch.map(torch.clone)
        other.tokens_BL[:, place] = FIRST_WORD + (other.tokens_BL[:, place] - FIRST_WORD + 1) % 50
        after = network(other)
        # Experts compute what else came to them in the same product, whose last bits depend on its size.
        torch.testing.assert_close(after[:, :place], before[:, :place], atol=1e-9, rtol=1e-9)
        changed += int(((before[:, place] - after[:, place]).abs() > 1e-6).any())
    assert changed == 3


def compare_packed_with_alone(network: Network, batch: Batch, comparable: set[tuple[int, int]]) -> None:
    packed = logits_of(network, batch)
    for row, document in comparable:
        single = logits_of(network, alone(batch, row, document))[0]
        places = places_of(batch.layout, row, document)
        torch.testing.assert_close(packed[row, places], single, atol=1e-9, rtol=1e-9)


def doubtful_places(network: Network, batch: Batch) -> list[Tensor]:
    """Where each router nearly chose otherwise, bool_BL in the order of the layers."""
    doubtful: list[Tensor] = []

    def note(module: MixtureOfExperts, inputs: tuple[Tensor, object], output: Tensor) -> None:
        share_BLE = module.router(inputs[0]).softmax(-1).sort(-1, descending=True).values
        chosen = module.top_k
        all_chosen = chosen == share_BLE.shape[-1]
        margin_BL = share_BLE[..., chosen - 1] - (-1.0 if all_chosen else share_BLE[..., chosen])
        doubtful.append(margin_BL < CLEAR_MARGIN)

    handles = [
        module.register_forward_hook(note) for module in network.modules() if isinstance(module, MixtureOfExperts)
    ]
    network(batch)
    for handle in handles:
        handle.remove()
    return doubtful


def comparable_documents(network: Network, batch: Batch) -> set[tuple[int, int]]:
    """The documents for none of whose tokens, read or written, a router was in doubt."""
    doubted: set[tuple[int, int]] = set()
    for doubtful_BL in doubtful_places(network, batch):
        # The two stacks' rows are of unequal length.
        own = doubtful_BL.shape == batch.tokens_BL.shape
        layout = batch.layout if own or batch.source is None else batch.source.layout
        doubted |= {
            (row, document)
            for row, document in documents_of(layout)
            if bool(doubtful_BL[row, places_of(layout, row, document)].any())
        }
    return set(documents_of(batch.layout)) - doubted


@every_combination
@torch.inference_mode()
def test_packed_rows_are_documents_alone(seed: int) -> None:
    config = drawn_config(seed)
    network, batch = lively(config, seed=seed).double(), packed_batch(family_of(config), seed=seed)
    comparable = comparable_documents(network, batch)
    assert len(comparable) == 7 or has_experts(config)
    compare_packed_with_alone(network, batch, comparable)


@torch.inference_mode()
def test_most_documents_were_sure_enough_of_their_experts_to_be_compared() -> None:
    with_experts = [seed for seed in SEEDS if has_experts(drawn_config(seed))]
    compared = 0
    for seed in with_experts:
        config = drawn_config(seed)
        network, batch = lively(config, seed=seed).double(), packed_batch(family_of(config), seed=seed)
        compared += len(comparable_documents(network, batch))
    assert len(with_experts) > 50
    assert compared > 0.75 * 7 * len(with_experts)


# Ways of computing the same ----------------------------------------------------------------------------------------


@every_combination
@torch.inference_mode()
def test_kernels_agree(seed: int) -> None:
    config = drawn_config(seed)
    batch = packed_batch(family_of(config), seed=seed)
    attentions = [block.attention for stack in config.stacks() for block in stack.pattern]
    attentions += [block.cross_attention for block in config.stacks()[-1].pattern if block.cross_attention]
    others: list[KernelName] = ["dense", "matmul"]
    if all(attention.soft_cap is None for attention in attentions):
        others.append("sdpa")
    used = batch.layout.document_BL >= 0
    reference = lively(config, kernel="reference", seed=seed).double()(batch)[used]
    for kernel in others:
        mine = lively(config, kernel=kernel, seed=seed).double()(batch)[used]
        torch.testing.assert_close(mine, reference, atol=1e-9, rtol=1e-9)


def without_depth(config: ModelConfig) -> ModelConfig:
    """The architecture with no branches that are skipped."""
    stacks = {
        name: {**stack, "stochastic_depth": 0.0} if isinstance(stack, dict) else stack
        for name, stack in config.family.model_dump().items()
    }
    return ModelConfig.model_validate({**config.model_dump(), "family": stacks})


def few_places(batch: Batch, seed: int) -> Tensor:
    """Some used places of each row, one of them twice, far fewer than half."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for document_L in batch.layout.document_BL:
        used = torch.flatten((document_L >= 0).nonzero())
        rows.append(used[torch.randperm(len(used), generator=generator)[:5]])
    places_BN = torch.stack(rows)
    return torch.cat((places_BN, places_BN[:, :1]), dim=1)


@every_combination
def test_states_that_are_asked_for_are_those_of_all_places_and_teach_alike(seed: int) -> None:
    config = without_depth(drawn_config(seed))
    batch = packed_batch(family_of(config), seed=seed)
    network, places_BN = lively(config, seed=seed).double(), few_places(batch, seed)
    last = network.writer.blocks[network.writer.order[-1]]
    sizes: list[int] = []
    last.feed_forward.branch.register_forward_pre_hook(lambda module, inputs: sizes.append(inputs[0].shape[1]))
    if seed % 3 == 0:
        recompute_blocks(network)
    slope_BND = torch.randn(*places_BN.shape, config.hidden_size, dtype=torch.float64)

    def states_and_gradients(*, asked: bool) -> tuple[Tensor, list[Tensor | None]]:
        network.zero_grad()
        if asked:
            hidden_BND = network(batch, places_BN=places_BN)
        else:
            hidden_BND = at_places(network(batch), places_BN).view_as(slope_BND)
        hidden_BND.backward(slope_BND)
        return hidden_BND.detach(), [parameter.grad for parameter in network.parameters()]

    (own, own_gradients), (all_places, all_gradients) = (states_and_gradients(asked=asked) for asked in (True, False))
    torch.testing.assert_close(own, all_places, atol=1e-9, rtol=1e-9)
    for mine, theirs in zip(own_gradients, all_gradients, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None and theirs is not None:
            torch.testing.assert_close(mine, theirs, atol=1e-8, rtol=1e-8)
    narrowed = not any(isinstance(module, MixtureOfExperts) for module in last.modules())
    assert (places_BN.shape[1] in sizes) == narrowed


@every_combination
@torch.inference_mode()
def test_rates_of_dropout_do_not_matter_when_it_is_used(seed: int) -> None:
    config = drawn_config(seed)
    plain = without_depth(without_dropout(config))
    batch = packed_batch(family_of(config), seed=seed)
    assert torch.equal(lively(config, seed=seed)(batch), lively(plain, seed=seed)(batch))


@every_writing_combination
@torch.inference_mode()
def test_logits_with_a_cache_are_those_of_the_whole_forward_pass(seed: int) -> None:
    config = drawn_config(seed)
    network = lively(config, seed=seed).double()
    generator = torch.Generator().manual_seed(seed)
    lengths, new_tokens = (6, 1, 3), 4
    texts = torch.randint(FIRST_WORD, VOCABULARY_SIZE, (3, 6 + new_tokens), generator=generator)
    source = None
    if family_of(config) == "encoder_decoder":
        documents = [[0] * length + [-1] * (9 - length) for length in (9, 2, 5)]
        read = torch.randint(FIRST_WORD, VOCABULARY_SIZE, (3, 9), generator=generator)
        source = reading(read, layout_of(documents, causal=False))
    seen: list[Tensor] = []

    def choose(logits_BV: Tensor, step: int) -> Tensor:
        seen.append(logits_BV.clone())
        return texts[torch.arange(3), torch.tensor(lengths) + step]

    prompts = [texts[row, :length].tolist() for row, length in enumerate(lengths)]
    generate(network, prompts, choose=choose, max_new_tokens=new_tokens, stop=frozenset(), source=source)
    whole = reading(texts, layout_of([[0] * texts.shape[1]] * 3, causal=True))
    logits_BLV = logits_of(network, replace(whole, source=source))
    assert len(seen) == new_tokens
    for step, logits_BV in enumerate(seen):
        expected_BV = logits_BLV[torch.arange(3), torch.tensor(lengths) + step - 1]
        torch.testing.assert_close(logits_BV, expected_BV, atol=1e-9, rtol=1e-9)


@every_combination
@torch.inference_mode()
def test_saved_and_loaded_it_has_the_same_bits(seed: int, tmp_path: Path) -> None:
    config = drawn_config(seed)
    network = lively(config, seed=seed)
    save_model(tmp_path, network, config, b"a tokenizer")
    loaded = load_model(tmp_path)
    assert loaded.config == config
    assert equal(parameters_of(network), parameters_of(loaded.network))
    batch = packed_batch(family_of(config), seed=seed)
    assert torch.equal(logits_of(network, batch), logits_of(loaded.network, batch))
