"""Blocks: where norms are, what is added and how, which layers skip or share."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from support import MAX_LENGTH, VOCABULARY_SIZE, layout_of, lively, packed_batch, redraw, tiny
from trivium.core.layout import TokenLayout
from trivium.model.attention import Source
from trivium.model.block import LayerScale
from trivium.model.build import build_network
from trivium.model.build.block import build_block
from trivium.model.config import BlockConfig, ModelConfig
from trivium.model.dropout import StochasticDepth
from trivium.model.kernels import kernel
from trivium.model.parts import (
    AttentionConfig,
    DeepNorm,
    LayerNormConfig,
    LayerScaleConfig,
    NoPosition,
    Parallel,
    Plain,
    Sum,
)
from trivium.model.view import View

ATTENTION = AttentionConfig(num_heads=2, num_key_value_heads=2, head_size=4)
BLOCK = BlockConfig(
    attention=ATTENTION,
    feed_forward=Plain(size=20, activation="gelu"),
    norm=LayerNormConfig(),
    placement="pre",
)
Function = Callable[[Tensor], Tensor]


def built(**changed: Any) -> nn.Module:
    config = BlockConfig.model_validate({**BLOCK.model_dump(), **changed})
    block = build_block(config, position=NoPosition(), hidden_size=12, kernel=kernel("matmul")).double().eval()
    redraw(block, std=0.4, seed=7, around_one=True)
    return block


def states(length: int = 9, seed: int = 0) -> Tensor:
    return torch.randn(2, length, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def one_document(length: int, *, causal: bool) -> TokenLayout:
    return layout_of([[0] * length] * 2, causal=causal)


def stack_changed(config: ModelConfig, block: dict[str, Any] | None = None, **changed: Any) -> ModelConfig:
    """The architecture with other options in every stack and, from `block`, in every block."""
    tree = config.model_dump()
    for stack in tree["family"].values():
        if isinstance(stack, dict):
            stack |= changed
            stack["pattern"] = [old | (block or {}) for old in stack["pattern"]]
    return ModelConfig.model_validate(tree)


@pytest.mark.parametrize("cross", [True, False])
@pytest.mark.parametrize(
    "residual", [Sum(), Sum(scale=0.3), LayerScaleConfig(start=0.2), DeepNorm(alpha=1.7, beta=0.5)]
)
@pytest.mark.parametrize("placement", ["pre", "post", "sandwich", "output"])
def test_a_block_is_the_formula_of_its_placement(placement: str, residual: Any, cross: bool) -> None:
    block = built(placement=placement, residual=residual, cross_attention=ATTENTION if cross else None)
    own, read = one_document(9, causal=True), one_document(6, causal=False)
    view, source = View(own, own), Source(states(6, seed=1), View(own, read))

    def step(hidden: Tensor, sublayer: nn.Module, branch: Function) -> Tensor:
        norms = [
            module for module in (sublayer.into, sublayer.out, sublayer.after) if not isinstance(module, nn.Identity)
        ]
        assert len(norms) == (2 if placement == "sandwich" else 1)
        alpha = residual.alpha if isinstance(residual, DeepNorm) else 1.0

        def gain(added: Tensor) -> Tensor:
            if isinstance(residual, LayerScaleConfig):
                return added * sublayer.gain.weight
            return added * residual.scale if isinstance(residual, Sum) else added

        match placement:
            case "pre":
                return alpha * hidden + gain(branch(norms[0](hidden)))
            case "post":
                return norms[0](alpha * hidden + gain(branch(hidden)))
            case "sandwich":
                return alpha * hidden + gain(norms[1](branch(norms[0](hidden))))
            case _:
                return alpha * hidden + gain(norms[0](branch(hidden)))

    hidden = step(states(), block.attention, lambda inner: block.attention.branch(inner, view))
    if cross:
        hidden = step(hidden, block.cross_attention, lambda inner: block.cross_attention.branch(inner, source))
    expected = step(hidden, block.feed_forward, block.feed_forward.branch)
    torch.testing.assert_close(block(states(), view, source), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("cross", [True, False])
@pytest.mark.parametrize("residual", [Sum(scale=0.3), LayerScaleConfig(start=0.2), DeepNorm(alpha=1.7, beta=0.5)])
@pytest.mark.parametrize("shared", [True, False])
def test_parallel_branches_read_the_same_and_are_added(shared: bool, residual: Any, cross: bool) -> None:
    block = built(
        arrangement=Parallel(shared_norm=shared), residual=residual, cross_attention=ATTENTION if cross else None
    )
    own, read = one_document(9, causal=True), one_document(6, causal=False)
    view, source = View(own, own), Source(states(6, seed=1), View(own, read))
    sublayers = [block.attention, block.feed_forward, *([block.cross_attention] if cross else [])]
    assert isinstance(block.norm, nn.Identity) != shared
    assert all(isinstance(sublayer.into, nn.Identity) == shared for sublayer in sublayers)
    hidden = states()

    def added(sublayer: nn.Module, *context: Any) -> Tensor:
        inner = sublayer.branch(block.norm(hidden) if shared else sublayer.into(hidden), *context)
        if isinstance(residual, LayerScaleConfig):
            return inner * sublayer.gain.weight
        return inner * residual.scale if isinstance(residual, Sum) else inner

    alpha = residual.alpha if isinstance(residual, DeepNorm) else 1.0
    expected = alpha * hidden + added(block.attention, view) + added(block.feed_forward)
    if cross:
        expected = expected + added(block.cross_attention, source)
    torch.testing.assert_close(block(hidden, view, source), expected, atol=1e-12, rtol=1e-12)


def test_parallel_needs_norms_where_it_has_sums() -> None:
    with pytest.raises(ValueError, match="not with post"):
        BlockConfig.model_validate({**BLOCK.model_dump(), "arrangement": Parallel(), "placement": "post"})
    with pytest.raises(ValueError, match="pre or sandwich"):
        built(arrangement=Parallel(shared_norm=True), placement="output")


def test_the_first_layer_may_read_the_embedding_as_it_is() -> None:
    blocks = build_network(stack_changed(tiny("encoder"), first_norm=False)).stack.blocks
    assert isinstance(blocks[0].attention.into, nn.Identity)
    assert not isinstance(blocks[0].feed_forward.into, nn.Identity)
    assert not isinstance(blocks[1].attention.into, nn.Identity)


def test_layer_scale_is_trained() -> None:
    network = build_network(stack_changed(tiny("encoder"), {"residual": LayerScaleConfig(start=0.25)}))
    gains = [module.weight for module in network.modules() if isinstance(module, LayerScale)]
    assert len(gains) == 4
    assert all(set(gain.tolist()) == {0.25} for gain in gains)
    redraw(network, std=0.2, around_one=True)
    network(packed_batch("encoder")).square().sum().backward()
    assert all(gain.grad is not None and bool((gain.grad != 0).all()) for gain in gains)


def test_deep_norm_of_a_depth_is_that_of_table_1() -> None:
    assert DeepNorm.of_depth(12).alpha == pytest.approx(24**0.25)
    assert DeepNorm.of_depth(12).beta == pytest.approx(96**-0.25)
    assert DeepNorm.of_depth(100).alpha == pytest.approx(3.7606, abs=1e-4)


# Which rows skip a branch ------------------------------------------------------------------------------------------


def test_stochastic_depth_grows_with_the_depth() -> None:
    config = stack_changed(tiny("encoder"), num_layers=4, stochastic_depth=0.4)
    blocks = build_network(config).stack.blocks
    rates = [[block.attention.depth.probability, block.feed_forward.depth.probability] for block in blocks]
    assert [rate for rate, _ in rates] == [other for _, other in rates] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    plain = build_network(tiny("encoder")).stack.blocks
    assert all(isinstance(block.attention.depth, nn.Identity) for block in plain)


def test_stochastic_depth_drops_whole_rows_and_keeps_the_mean() -> None:
    depth, rows = StochasticDepth(0.3), 20_000
    added = torch.randn(rows, 2, 3, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    given = depth(added)
    kept = (given != 0).any(-1).any(-1)
    torch.testing.assert_close(given[kept], added[kept] / 0.7)
    assert set(given[~kept].unique().tolist()) == {0.0}
    # Four standard deviations of a share of so many rows.
    assert float(kept.float().mean()) == pytest.approx(0.7, abs=4 * math.sqrt(0.3 * 0.7 / rows))
    torch.manual_seed(1)
    assert torch.equal(given, depth(added))
    assert depth.eval()(added) is added


def test_stochastic_depth_skips_branches_of_rows_in_training() -> None:
    network = lively(stack_changed(tiny("encoder"), stochastic_depth=0.9))
    block, layout = network.stack.blocks[1], layout_of([[0] * 5] * 64, causal=False)
    hidden = torch.randn(64, 5, 32, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    with torch.no_grad():
        changed = (block.train()(hidden, View(layout, layout)) != hidden).flatten(1)
        assert bool((changed.any(1) == (changed.float().mean(1) > 0.9)).all())
        assert 1 <= int(changed.any(1).sum()) <= 32
        assert bool((block.eval()(hidden, View(layout, layout)) != hidden).any(-1).all())


# Which layers share weights ----------------------------------------------------------------------------------------

SHARED = [
    ({"kind": "unshared"}, (0, 1, 2, 3)),
    ({"kind": "consecutive", "num_blocks": 1}, (0, 0, 0, 0)),
    ({"kind": "consecutive", "num_blocks": 2}, (0, 0, 1, 1)),
    ({"kind": "consecutive", "num_blocks": 4}, (0, 1, 2, 3)),
    ({"kind": "looped", "num_blocks": 1}, (0, 0, 0, 0)),
    ({"kind": "looped", "num_blocks": 2}, (0, 1, 0, 1)),
    ({"kind": "looped", "num_blocks": 3}, (0, 1, 2, 0)),
]


@pytest.mark.parametrize(("sharing", "order"), SHARED)
def test_layers_are_the_blocks_of_their_order(sharing: dict[str, Any], order: tuple[int, ...]) -> None:
    config = stack_changed(tiny("decoder"), num_layers=4, sharing=sharing)
    assert config.stacks()[0].order() == order
    network, batch = lively(config), packed_batch("decoder")
    stack = network.stack
    assert stack.order == order
    assert len(stack.blocks) == len(set(order)) == config.stacks()[0].num_blocks
    with torch.inference_mode():
        hidden = stack.embedding(batch)
        for number in order:
            hidden = stack.blocks[number](hidden, View(batch.layout, batch.layout))
        assert torch.equal(stack.final_norm(hidden), network(batch))
    own, plain = (sum(tensor.numel() for tensor in part.parameters()) for part in (stack.blocks, stack.blocks[0]))
    assert own == len(set(order)) * plain


def test_layers_that_share_weights_have_caches_of_their_own() -> None:
    network = lively(stack_changed(tiny("decoder"), num_layers=4, sharing={"kind": "looped", "num_blocks": 2}))
    cache = network.stack.new_cache(rows=3, max_length=24)
    assert len(cache.layers) == len({id(layer) for layer in cache.layers}) == 4
    batch = packed_batch("decoder")
    with torch.inference_mode():
        network.write(batch, None, cache)
    assert [layer.length for layer in cache.layers] == [24] * 4
    keys = [layer.key_BGMK for layer in cache.layers]
    assert not torch.equal(keys[0], keys[2])
    assert not torch.equal(keys[1], keys[3])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sharing": {"kind": "looped", "num_blocks": 3}}, "must be at most"),
        ({"sharing": {"kind": "consecutive", "num_blocks": 3}, "num_layers": 4}, "3 does not divide 4"),
        ({"sharing": {"kind": "looped", "num_blocks": 1}, "first_norm": False}, "not with `sharing`"),
        ({"position": {"kind": "learned", "max_length": MAX_LENGTH, "offset": 1}}, "63 is less than 64"),
        ({"position": {"kind": "rotary", "share": 0.4}}, "must be even and positive"),
        ({"position": {"kind": "rotary", "share": 0.1}}, "must be even and positive"),
    ],
)
def test_stacks_that_make_no_sense_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stack_changed(tiny("decoder"), **changed)
    assert tiny("decoder").vocabulary_size == VOCABULARY_SIZE


def test_first_norm_and_positions_of_layers_are_refused_where_they_mean_nothing() -> None:
    for block in ({"placement": "post"}, {"arrangement": {"kind": "parallel"}}):
        with pytest.raises(ValueError, match="`first_norm` false needs a sequential"):
            stack_changed(tiny("encoder"), block, first_norm=False)
    with pytest.raises(ValueError, match="cannot differ where the stack's is `learned`"):
        stack_changed(tiny("encoder", "learned"), {"position": {"kind": "none"}})
