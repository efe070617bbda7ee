"""What every architecture must hold, on every preset shrunk to 2 layers of 32, with every objective that fits."""

import pytest
import torch
from torch import nn

from support import (
    FAMILIES,
    FIRST_WORD,
    POSITIONS,
    VOCABULARY,
    VOCABULARY_SIZE,
    family_of,
    lively,
    logits_of,
    packed_batch,
    random_rows,
    redraw,
    shrink,
    tiny,
    without_dropout,
)
from training import run_config, trial
from trivium.core.batch import Batch
from trivium.core.random import Key
from trivium.model.build import build_network
from trivium.model.config import BlockConfig, ModelConfig, ReadoutConfig
from trivium.model.count import count_parts, count_without_vocabulary, num_parameters
from trivium.model.initialise import initialise
from trivium.model.parts import AttentionConfig, Sum
from trivium.model.presets import PRESETS, preset
from trivium.model.view import View
from trivium.objectives.build import build_objective
from trivium.objectives.causal import CausalConfig
from trivium.objectives.masked import MaskedConfig
from trivium.objectives.spans import SpansConfig
from trivium.tasks.base import reading_part

OBJECTIVES = {"masked": MaskedConfig(), "causal": CausalConfig(), "spans": SpansConfig()}
FITTING = [
    (name, objective)
    for name in PRESETS
    for objective in OBJECTIVES
    if (objective == "spans") == (family_of(preset(name)) == "encoder_decoder")
]


def made(objective: str) -> Batch:
    rows = random_rows([[15, 1, 20, 13], [49], [30, 12]], 48)
    return build_objective(OBJECTIVES[objective], VOCABULARY).make(rows, Key(1))


def test_there_are_presets_of_all_three_families() -> None:
    assert {family_of(preset(name)) for name in PRESETS} == set(FAMILIES)


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_counted_are_those_built(name: str) -> None:
    config = shrink(preset(name))
    built = sum(parameter.numel() for parameter in set(build_network(config).parameters()))
    *parts, total = count_parts(config)
    assert total.parameters == built == sum(part.parameters for part in parts)
    assert num_parameters(build_network(config)) == built


@pytest.mark.parametrize("name", PRESETS)
def test_the_parts_do_all_of_the_arithmetic(name: str) -> None:
    *parts, total = count_parts(shrink(preset(name)), length=16)
    assert total.forward_flops == sum(part.forward_flops for part in parts) > 0


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("gpt2", 124_439_808),
        ("t5-small", 60_506_624),
        # google/bert_uncased_L-2_H-128_A-2 has 4,385,920 with its pooler of 128 x 129; the masked head has a dense
        # layer, a norm and a bias for each word.
        ("bert-tiny", 4_385_920 - 128 * 129 + 128 * 129 + 256 + 30_522),
    ],
)
def test_full_sizes_are_the_published_ones(name: str, published: int) -> None:
    assert count_parts(preset(name), length=8)[-1].parameters == published


@pytest.mark.parametrize(
    ("family", "readout", "stacks"),
    [
        ("encoder", ReadoutConfig(), {"stack"}),
        ("decoder", ReadoutConfig(), {"stack"}),
        ("encoder_decoder", ReadoutConfig(), {"encoder"}),
        ("encoder_decoder", ReadoutConfig(stack="writer"), {"encoder", "decoder"}),
    ],
)
def test_of_a_tasks_network_only_what_reads_is_counted(family: str, readout: ReadoutConfig, stacks: set[str]) -> None:
    config = tiny(family)
    task = nn.Module()
    task.reader, task.head = reading_part(build_network(config), readout), nn.Linear(config.hidden_size, 3)
    sizes = {name: parameter.numel() for name, parameter in task.named_parameters()}
    *parts, head, total = count_without_vocabulary(config, sizes)
    assert {part.part.split(".")[0] for part in parts} == stacks
    assert (head.part, head.parameters) == ("head", 3 * config.hidden_size + 3)
    assert total.parameters == num_parameters(task) == sum(part.parameters for part in (*parts, head))
    flops = {part.part: part.forward_flops for part in count_parts(config)}
    assert total.forward_flops == sum(of for name, of in flops.items() if name.split(".")[0] in stacks) > 0


def test_flops_of_a_decoder_follow_the_formula() -> None:
    length, size, feed_forward, heads_size = 16, 32, 48, 32
    layer = 2 * length * (size * 3 * heads_size + heads_size * size + 2 * size * feed_forward)
    attention = 2 * 2 * length * length * heads_size
    head = 2 * length * size * VOCABULARY_SIZE
    assert count_parts(tiny("decoder"), length=length)[-1].forward_flops == 2 * (layer + attention) + head


@pytest.mark.parametrize(("name", "objective"), FITTING)
def test_every_tensor_learns(name: str, objective: str) -> None:
    config = without_dropout(shrink(preset(name)))
    learned = build_objective(OBJECTIVES[objective], VOCABULARY)
    network = learned.network(config)
    redraw(network, std=0.02)
    (term,) = learned.loss(network, made(objective), Key(0))
    term.sum.backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert len(gradients) > 10
    for tensor, gradient in gradients.items():
        assert gradient is not None and bool(gradient.isfinite().all()), tensor
        assert bool((gradient != 0).any()), tensor


@pytest.mark.parametrize(("name", "objective"), FITTING)
def test_queries_keys_and_values_each_learn(name: str, objective: str) -> None:
    config = without_dropout(shrink(preset(name)))
    learned = build_objective(OBJECTIVES[objective], VOCABULARY)
    network = learned.network(config)
    redraw(network, std=0.2)
    (term,) = learned.loss(network, made(objective), Key(0))
    term.sum.backward()
    fused = [p.grad for n, p in network.named_parameters() if n.endswith(("qkv.weight", "key_value.weight"))]
    assert len(fused) == sum(stack.num_blocks for stack in config.stacks()) + len(config.stacks()[1:]) * 2
    for gradient in fused:
        assert gradient is not None
        assert all(bool((part != 0).any()) for part in gradient.split(32))


@pytest.mark.parametrize(("name", "objective"), FITTING)
def test_the_loss_is_the_sum_over_labels_and_its_count_is_known_beforehand(name: str, objective: str) -> None:
    learned = build_objective(OBJECTIVES[objective], VOCABULARY)
    network = learned.network(without_dropout(shrink(preset(name))))
    redraw(network, std=0.05)
    batch = made(objective)
    (term,) = learned.loss(network, batch, Key(0))
    assert set(learned.counts(batch)) == {term.name}
    log_BLV = logits_of(network, batch).log_softmax(-1).detach()
    places = [
        (row, int(place), int(label))
        for row in range(len(batch.tokens_BL))
        for place, label, weight in zip(batch.places_BN[row], batch.labels_BN[row], batch.weights_BN[row], strict=True)
        if weight
    ]
    assert len(places) == learned.counts(batch)[term.name] > 10
    expected = -sum(float(log_BLV[row, place, label]) for row, place, label in places)
    assert float(term.sum.detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", [name for name in PRESETS if family_of(preset(name)) != "encoder"])
def test_a_later_token_changes_nothing_earlier(name: str) -> None:
    network = lively(shrink(preset(name)))
    _check_causal(network, packed_batch(family_of(preset(name))))


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("family", ["decoder", "encoder_decoder"])
def test_a_later_token_changes_nothing_earlier_for_any_position_scheme(
    family: str, position: str, window: int | None
) -> None:
    _check_causal(lively(tiny(family, position, window=window)), packed_batch(family))


def _check_causal(network: nn.Module, batch: Batch) -> None:
    with torch.inference_mode():
        before = network(batch)
        changed = 0
        for place in (2, 11, 23):
            other = batch.map(torch.clone)
            other.tokens_BL[:, place] = FIRST_WORD + (other.tokens_BL[:, place] - FIRST_WORD + 1) % 50
            after = network(other)
            assert torch.equal(before[:, :place], after[:, :place])
            changed += int((before[:, place:] != after[:, place:]).any())
    assert changed == 3


@pytest.mark.parametrize("name", [name for name in PRESETS if family_of(preset(name)) == "encoder"])
def test_an_encoder_reads_both_ways(name: str) -> None:
    network = lively(shrink(preset(name)))
    batch = packed_batch("encoder")
    other = batch.map(torch.clone)
    other.tokens_BL[1, 23] = FIRST_WORD + (other.tokens_BL[1, 23] - FIRST_WORD + 1) % 50
    with torch.inference_mode():
        assert bool((network(batch)[1] != network(other)[1]).any(-1).all())


@pytest.mark.parametrize("name", PRESETS)
def test_bfloat16_is_close_to_float32(name: str) -> None:
    config = shrink(preset(name))
    network = build_network(config).eval()
    initialise(network, config, Key(0))
    batch = packed_batch(family_of(config))
    with torch.inference_mode():
        exact = logits_of(network, batch)
        rounded = logits_of(network.to(torch.bfloat16), batch)
    used = batch.layout.document_BL >= 0
    assert rounded.dtype == torch.bfloat16
    difference = (exact - rounded.float())[used]
    assert float(difference.square().mean().sqrt()) < 0.03 * float(exact[used].square().mean().sqrt())


@pytest.mark.parametrize("position", POSITIONS)
def test_bfloat16_is_close_for_any_position_scheme(position: str) -> None:
    network = lively(tiny("decoder", position))
    batch = packed_batch("decoder")
    with torch.inference_mode():
        exact = network(batch)
        rounded = network.to(torch.bfloat16)(batch).float()
    used = batch.layout.document_BL >= 0
    assert float((exact - rounded)[used].square().mean().sqrt()) < 0.05 * float(exact[used].square().mean().sqrt())


@pytest.mark.parametrize("placement", ["pre", "post", "sandwich"])
def test_a_sublayer_is_the_formula_of_its_placement(placement: str) -> None:
    def with_placement(block: BlockConfig) -> BlockConfig:
        return block.model_copy(update={"placement": placement, "residual": Sum(scale=0.5)})

    config = tiny("encoder")
    stack = config.family.stack.model_copy(update={"pattern": tuple(map(with_placement, config.family.stack.pattern))})
    network = lively(config.model_copy(update={"family": config.family.model_copy(update={"stack": stack})}))
    part = network.stack.blocks[0].feed_forward
    hidden = torch.randn(2, 5, 32)
    norms = [module for module in part.modules() if type(module).__name__ == "LayerNorm"]
    match placement:
        case "pre":
            expected = hidden + 0.5 * part.branch(norms[0](hidden))
        case "post":
            expected = norms[0](hidden + 0.5 * part.branch(hidden))
        case _:
            expected = hidden + 0.5 * part.out(part.branch(part.into(hidden)))
            assert len(norms) == 2
    torch.testing.assert_close(part(hidden), expected)


def test_layers_repeat_the_pattern() -> None:
    config = tiny("decoder")
    first = config.family.stack.pattern[0]
    local = first.model_copy(update={"attention": first.attention.model_copy(update={"window": 2})})
    stack = config.family.stack.model_copy(update={"pattern": (first, local), "num_layers": 5})
    network = build_network(config.model_copy(update={"family": config.family.model_copy(update={"stack": stack})}))
    windows = [block.attention.branch.scoring.window for block in network.stack.blocks]
    assert windows == [None, 2, None, 2, None]
    redraw(network, std=0.25, around_one=True)
    batch, parts = packed_batch("decoder"), network.stack
    with torch.inference_mode():
        hidden = parts.embedding(batch)
        for block in parts.blocks:
            # Each layer with masks of its own: layers that share them must not take each other's.
            hidden = block(hidden, View(batch.layout, batch.layout))
        assert torch.equal(parts.final_norm(hidden), network(batch))


def test_heads_of_one_group_share_keys_and_values() -> None:
    network = build_network(tiny("decoder", groups=2))
    assert network.stack.blocks[0].attention.branch.qkv.out_features == (4 + 2 + 2) * 8


def test_key_value_heads_must_divide_heads() -> None:
    with pytest.raises(ValueError, match="3 does not divide 4"):
        AttentionConfig(num_heads=4, num_key_value_heads=3, head_size=8)


def test_cross_attention_elsewhere_than_in_a_writing_stack_is_refused() -> None:
    tree = tiny("decoder").model_dump()
    block = tree["family"]["stack"]["pattern"][0]
    block["cross_attention"] = block["attention"]
    with pytest.raises(ValueError, match="cross_attention"):
        ModelConfig.model_validate(tree)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["decoder-tiny", "encoder-tiny", "bert-tiny", "gpt2"])
def test_compiled_it_is_one_graph_and_computes_the_same(name: str) -> None:
    attempt = trial(run_config(name))
    batch, network = attempt.batch(0), attempt.network
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    mine, plain = compiled(batch), network(batch)
    torch.testing.assert_close(mine, plain, atol=1e-5, rtol=1e-5)
    gradients = []
    for output in (mine, plain):
        network.zero_grad()
        output.square().sum().backward()
        learned = {key: tensor.grad for key, tensor in network.named_parameters() if tensor.grad is not None}
        gradients.append({key: gradient.clone() for key, gradient in learned.items()})
    assert gradients[0].keys() == gradients[1].keys() and gradients[0]
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][key], atol=1e-3, rtol=1e-3)
