"""Attention with all its parts against one written out by hand, and what its options are by themselves."""

import pytest
import torch
from torch import Tensor, nn

from support import PACKED, layout_of, packed_batch, redraw, tiny
from trivium.core.layout import TokenLayout
from trivium.model.attention import Source
from trivium.model.build import build_network
from trivium.model.build.block import build_block
from trivium.model.config import BlockConfig
from trivium.model.kernels import Scoring, kernel
from trivium.model.parts import (
    AttentionConfig,
    LayerNormConfig,
    NoPosition,
    NormConfig,
    Plain,
    Position,
    RMSNormConfig,
    Rotary,
)
from trivium.model.rotary import RotaryPositions, plain_frequencies
from trivium.model.view import Tally, View

NOWHERE = NoPosition()
DOCUMENTS = [[0] * 5 + [1] * 6 + [2] * 1, [0] * 12]


def attention_of(config: AttentionConfig, position: Position = NOWHERE) -> nn.Module:
    """Self-attention over 12 hidden units, in float64, drawn at random."""
    block = BlockConfig(
        attention=config, feed_forward=Plain(size=4, activation="relu"), norm=LayerNormConfig(), placement="pre"
    )
    attention = build_block(block, position=position, hidden_size=12, kernel=kernel("matmul")).attention.branch.double()
    redraw(attention, std=0.5, seed=1, around_one=True)
    return attention.eval()


def hidden_states(seed: int = 0) -> Tensor:
    return torch.randn(2, 12, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(attention: nn.Module, config: AttentionConfig, position: Position, layout: TokenLayout) -> Tensor:
    """Row by row, head by head, in products of two vectors."""
    hidden_BLD = hidden_states()
    heads, groups, size = config.num_heads, config.num_key_value_heads, config.head_size
    weight = attention.qkv.weight.view(heads + 2 * groups, size, -1)
    projected = torch.einsum("bld,hkd->bhlk", hidden_BLD, weight)
    if config.bias:
        projected = projected + attention.qkv.bias.view(-1, 1, size)
    query, key, value = projected.split([heads, groups, groups], dim=1)
    query, key = attention.query_norm(query), attention.key_norm(key)
    if isinstance(position, Rotary):
        frequencies = plain_frequencies(int(size * position.share), position.base)
        rotation = RotaryPositions(frequencies).rotation(layout.position_BL, torch.float64)
        query, key = rotation.apply(query), rotation.apply(key)
    scale = size**-0.5 if config.scale is None else config.scale
    rows = []
    for b in range(len(hidden_BLD)):
        mixed = []
        for h in range(heads):
            g = h // (heads // groups)
            scores = torch.einsum("lk,mk->lm", query[b, h], key[b, g]) * scale
            if config.soft_cap is not None:
                scores = config.soft_cap * torch.tanh(scores / config.soft_cap)
            document, place = layout.document_BL[b], layout.position_BL[b]
            seen = (document[:, None] == document[None]) & (layout.rank_BL[b][None] <= layout.rank_BL[b][:, None])
            if config.window is not None:
                seen = seen & ((place[:, None] - place[None]).abs() < config.window)
            given = torch.einsum("lm,mk->lk", scores.masked_fill(~seen, -torch.inf).softmax(-1), value[b, g])
            if config.output_gate:
                given = given * torch.sigmoid(hidden_BLD[b] @ attention.gate.weight[h])[:, None]
            mixed.append(given)
        rows.append(torch.cat(mixed, dim=-1))
    result = torch.stack(rows) @ attention.out.weight.t()
    return result if attention.out.bias is None else result + attention.out.bias


ALL = {"soft_cap": 2.0, "output_gate": True, "query_key_norm": RMSNormConfig(eps=0.1), "window": 3, "scale": 0.7}
OPTIONS: list[dict[str, object]] = [
    {},
    {"bias": False},
    {"bias": False, "output_bias": True},
    {"output_bias": False},
    {"scale": 0.9},
    {"soft_cap": 1.0},
    {"output_gate": True},
    {"query_key_norm": RMSNormConfig()},
    {"query_key_norm": LayerNormConfig(eps=0.2)},
    {"query_key_norm": LayerNormConfig(weight=False, bias=False)},
    {"window": 1},
    {"window": 3},
    ALL,
]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("position", [NoPosition(), Rotary(base=100.0), Rotary(base=50.0, share=0.5)])
@pytest.mark.parametrize("options", OPTIONS)
def test_attention_is_that_written_by_hand(
    options: dict[str, object], position: Position, groups: int, causal: bool
) -> None:
    config = AttentionConfig(num_heads=4, num_key_value_heads=groups, head_size=4, **options)  # type: ignore[arg-type]
    attention, layout = attention_of(config, position), layout_of(DOCUMENTS, causal=causal)
    mine = attention(hidden_states(), View(layout, layout))
    torch.testing.assert_close(mine, by_hand(attention, config, position, layout), atol=1e-10, rtol=1e-10)


def test_biases_are_where_they_are_asked_for() -> None:
    def there(**options: bool | None) -> tuple[bool, bool]:
        attention = attention_of(AttentionConfig(num_heads=2, num_key_value_heads=1, head_size=4, **options))
        return attention.qkv.bias is not None, attention.out.bias is not None

    assert there() == there(bias=True) == (True, True)
    assert there(bias=False) == (False, False)
    assert there(bias=False, output_bias=True) == (False, True)
    assert there(bias=True, output_bias=False) == (True, False)


def test_cross_attention_has_every_option_but_a_window() -> None:
    norm: NormConfig = RMSNormConfig(eps=0.1)
    options = AttentionConfig(
        num_heads=4, num_key_value_heads=2, head_size=4, query_key_norm=norm, soft_cap=1.5, output_gate=True, scale=0.8
    )
    block = BlockConfig(
        attention=options,
        cross_attention=options,
        feed_forward=Plain(size=4, activation="relu"),
        norm=norm,
        placement="pre",
    )
    built = build_block(block, position=NoPosition(), hidden_size=12, kernel=kernel("matmul"))
    assert built.cross_attention is not None
    cross = built.cross_attention.branch.double().eval()
    redraw(cross, std=0.5, seed=2, around_one=True)
    query_BLD, source_BMD = hidden_states(3)[:, :5], hidden_states(4)[:, :7]
    own = layout_of([[0, 0, 1, 1, 1], [0] * 5], causal=True)
    read = layout_of([[0, 0, 0, 1, 1, 1, 1], [0] * 7], causal=False)
    mine = cross(query_BLD, Source(source_BMD, View(own, read)))
    query = cross.query_norm(cross.query(query_BLD).view(2, 5, 4, 4))
    key, value = cross.key_value(source_BMD).view(2, 7, 4, 4).split(2, dim=2)
    key = cross.key_norm(key).repeat_interleave(2, dim=2)
    scores = 1.5 * torch.tanh(torch.einsum("blhk,bmhk->bhlm", query, key) * 0.8 / 1.5)
    unseen = own.document_BL[:, None, :, None] != read.document_BL[:, None, None, :]
    weights = scores.masked_fill(unseen, -torch.inf).softmax(-1)
    mixed = torch.einsum("bhlm,bmhk->blhk", weights, value.repeat_interleave(2, dim=2))
    mixed = mixed * cross.gate(query_BLD).sigmoid()[..., None]
    torch.testing.assert_close(mine, cross.out(mixed.flatten(-2)))


def test_a_soft_cap_bounds_scores_and_a_wide_one_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(5)
    query, key, value = (10 * torch.randn(3, 2, 24, 8, generator=generator, dtype=torch.float64) for _ in range(3))
    layout = layout_of(PACKED, causal=True)
    view = View(layout, layout)
    for name in ("reference", "matmul"):
        free = kernel(name)(query, key, value, view, Scoring(scale=1.0))
        wide = kernel(name)(query, key, value, view, Scoring(scale=1.0, soft_cap=1e9))
        torch.testing.assert_close(free, wide, atol=1e-4, rtol=1e-4)
        # Capped at almost nothing all that are seen count alike.
        flat = kernel(name)(query, key, value, view, Scoring(scale=1.0, soft_cap=1e-9))
        torch.testing.assert_close(flat[1, :, 23], value[1].mean(1), atol=1e-6, rtol=1e-6)
        assert float((free - flat).abs().max()) > 0.1


def test_dropout_of_weights_is_for_training_only() -> None:
    config = AttentionConfig(num_heads=4, num_key_value_heads=2, head_size=4, dropout=0.5)
    attention, layout = attention_of(config), layout_of(DOCUMENTS, causal=True)
    view = View(layout, layout)
    with torch.no_grad():
        used = attention(hidden_states(), view)
        assert torch.equal(used, attention(hidden_states(), view))
        attention.train()
        torch.manual_seed(3)
        dropped = attention(hidden_states(), view)
        assert float((dropped - used).abs().max()) > 1e-3
        torch.manual_seed(3)
        assert torch.equal(dropped, attention(hidden_states(), view))


# What a view keeps -------------------------------------------------------------------------------------------------


def test_a_view_makes_masks_and_rotations_once() -> None:
    layout = packed_batch("decoder").layout
    view = View(layout, layout)
    assert view.bias(None, torch.float32) is view.bias(None, torch.float32)
    assert view.bias(3, torch.float32) is view.bias(3, torch.float32)
    assert view.bias(3, torch.float32) is not view.bias(4, torch.float32)
    assert view.bias(None, torch.float64).dtype == torch.float64
    slow, same = RotaryPositions(plain_frequencies(8, 1e4)), RotaryPositions(plain_frequencies(8, 1e4))
    assert view.rotation(slow, torch.float32) is view.rotation(same, torch.float32)
    fast = RotaryPositions(plain_frequencies(8, 100.0))
    assert view.rotation(fast, torch.float32) is not view.rotation(slow, torch.float32)
    assert not torch.equal(view.rotation(fast, torch.float32).cos_B1LK, view.rotation(slow, torch.float32).cos_B1LK)
    louder = RotaryPositions(plain_frequencies(8, 1e4), 1.5)
    torch.testing.assert_close(
        view.rotation(louder, torch.float64).sin_B1LK, 1.5 * view.rotation(slow, torch.float64).sin_B1LK
    )
    assert view.used_BL is view.used_BL
    assert torch.equal(view.used_BL, layout.document_BL >= 0)


def test_a_view_adds_position_scores_where_something_is_seen() -> None:
    layout = packed_batch("decoder").layout
    scores = torch.randn(3, 2, 24, 24, generator=torch.Generator().manual_seed(0))
    bias, plain = (
        View(layout, layout, scores_BHLM=scores).bias(5, torch.float32),
        View(layout, layout).bias(5, torch.float32),
    )
    seen = (plain == 0).expand_as(bias)
    assert torch.equal(bias[seen], scores[seen])
    assert set(bias[~seen].tolist()) == {torch.finfo(torch.float32).min}


def test_layers_with_positions_of_their_own_turn_by_their_own() -> None:
    config = tiny("encoder")
    block = config.family.stack.pattern[0]
    pattern = tuple(
        block.model_copy(update={"position": position})
        for position in (None, NoPosition(), Rotary(base=33.0, share=0.5))
    )
    stack = config.family.stack.model_copy(update={"pattern": pattern, "num_layers": 3})
    network = build_network(config.model_copy(update={"family": config.family.model_copy(update={"stack": stack})}))
    rotaries = [layer.attention.branch.rotary for layer in network.stack.blocks]
    assert rotaries == [
        RotaryPositions(plain_frequencies(8, 10_000.0)),
        None,
        RotaryPositions(plain_frequencies(4, 33.0)),
    ]


def test_a_tally_begins_empty() -> None:
    assert Tally().balance == []
