"""Which kernel a network gets, what each refuses, and that those for CUDA surround PyTorch's operators rightly."""

import pytest
import torch
from torch import Tensor

from support import PACKED, layout_of, tiny
from trivium.core.errors import ConfigError
from trivium.core.layout import TokenLayout, visible
from trivium.model import kernels
from trivium.model.build import build_network, choose_kernel
from trivium.model.config import ModelConfig
from trivium.model.gpu_kernels import block_mask, segment_ends, varlen
from trivium.model.kernels import KernelName, Scoring, kernel
from trivium.model.positions import AlibiScores, RelativeBucketScores
from trivium.model.view import View

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def with_attention(config: ModelConfig, *, part: str = "attention", **changed: object) -> ModelConfig:
    """The architecture with its (cross-)attention changed in the stack that has it."""
    tree = config.model_dump()
    for stack in tree["family"].values():
        for block in stack["pattern"] if isinstance(stack, dict) else ():
            if block[part] is not None:
                block[part] |= changed
    return ModelConfig.model_validate(tree)


CAPPED = with_attention(tiny("decoder"), soft_cap=5.0)
DROPPED = with_attention(tiny("decoder"), dropout=0.1)
CROSS_CAPPED = with_attention(tiny("encoder_decoder"), part="cross_attention", soft_cap=5.0)
CROSS_DROPPED = with_attention(tiny("encoder_decoder"), part="cross_attention", dropout=0.25)

REFUSED: list[tuple[KernelName, ModelConfig, str, str]] = [
    ("sdpa", CAPPED, "cpu", "`sdpa` has no `soft_cap`; `dense` can do it."),
    ("sdpa", CROSS_CAPPED, "meta", "`sdpa` has no `soft_cap`; `matmul` can do it."),
    ("varlen", CAPPED, "meta", "`varlen` has no `soft_cap`; `matmul` can do it."),
    ("varlen", CROSS_CAPPED, "meta", "`varlen` has no `soft_cap`; `matmul` can do it."),
    ("varlen", DROPPED, "meta", "`varlen` has no dropout (attention.dropout 0.1); `sdpa` can do it."),
    ("varlen", CROSS_DROPPED, "meta", "`varlen` has no dropout (attention.dropout 0.25); `sdpa` can do it."),
    ("varlen", tiny("decoder", "alibi"), "meta", "`varlen` adds no position scores (position.kind alibi); `sdpa`"),
    ("varlen", tiny("encoder", "relative_buckets"), "meta", "`varlen` adds no position scores (position.kind relative"),
    ("varlen", tiny("decoder"), "cpu", "`varlen` runs on CUDA, not on cpu; `dense` can do it."),
    ("flex", DROPPED, "meta", "`flex` has no dropout (attention.dropout 0.1); `sdpa` can do it."),
    ("flex", CROSS_DROPPED, "meta", "`flex` has no dropout (attention.dropout 0.25); `sdpa` can do it."),
    ("flex", tiny("decoder"), "cpu", "`flex` has no backward pass on cpu; `dense` can do it."),
]
BUILT: list[tuple[KernelName, ModelConfig, str]] = [
    ("reference", CAPPED, "cpu"),
    ("matmul", CAPPED, "cpu"),
    ("dense", CAPPED, "cpu"),
    ("dense", DROPPED, "cpu"),
    ("matmul", DROPPED, "cpu"),
    ("sdpa", DROPPED, "cpu"),
    ("sdpa", tiny("decoder", "alibi"), "cpu"),
    ("varlen", tiny("decoder", window=3, groups=2), "meta"),
    ("varlen", tiny("encoder_decoder"), "meta"),
    ("flex", CAPPED, "meta"),
    ("flex", tiny("encoder_decoder", "relative_buckets"), "meta"),
]


@pytest.mark.parametrize(("name", "config", "device", "message"), REFUSED)
def test_what_a_kernel_cannot_do_is_refused(name: KernelName, config: ModelConfig, device: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_network(config, kernel=name, device=device)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "config", "device"), BUILT)
def test_what_a_kernel_can_do_is_built(name: KernelName, config: ModelConfig, device: str) -> None:
    network = build_network(config, kernel=name, device=device)
    kernels = [module.kernel for module in network.modules() if hasattr(module, "kernel")]
    assert len(kernels) >= 2
    assert all(chosen is kernel(name) for chosen in kernels)


def test_the_kernel_that_is_chosen_can_do_it() -> None:
    assert choose_kernel(tiny("decoder"), CPU) == choose_kernel(CAPPED, CPU) == "dense"
    for config in (tiny("decoder"), DROPPED, tiny("encoder", "alibi"), tiny("encoder_decoder", "relative_buckets")):
        assert choose_kernel(config, CUDA) == "sdpa"
    assert choose_kernel(CAPPED, CUDA) == choose_kernel(CROSS_CAPPED, CUDA) == "matmul"


# What surrounds PyTorch's operators --------------------------------------------------------------------------------

GROUPS = (1, 2, 4)


def states(seed: int, *, groups: int, length: int = 24, head_size: int = 8, keys: int | None = None) -> list[Tensor]:
    """Queries of 4 heads, keys and values of so many, of three rows."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(4, length), (groups, keys or length), (groups, keys or length)]
    return [
        torch.randn(3, heads, places, head_size, generator=generator, dtype=torch.float64) for heads, places in shapes
    ]


def packed_view(*, causal: bool, scores: Tensor | None = None) -> View:
    layout = layout_of(PACKED, causal=causal)
    return View(layout, layout, scores_BHLM=scores)


def position_scores(kind: str | None) -> Tensor | None:
    if kind is None:
        return None
    if kind == "alibi":
        module: torch.nn.Module = AlibiScores(num_heads=4)
    else:
        module = RelativeBucketScores(num_heads=4, num_buckets=8, max_distance=12, bidirectional=True)
        torch.nn.init.normal_(module.weight, generator=torch.Generator().manual_seed(3))
    position_BL = layout_of(PACKED, causal=True).position_BL
    return module(position_BL, position_BL).detach().double()


def test_segments_are_documents_and_runs_of_unused_places() -> None:
    ends, longest = segment_ends(layout_of(PACKED, causal=True))
    assert ends.tolist() == [0, 5, 6, 17, 24, 48, 51, 65, 72]
    assert ends.dtype == torch.int32
    assert longest == 24
    ends, longest = segment_ends(layout_of([[0, 0, -1], [0, 1, 1]], causal=False))
    assert (ends.tolist(), longest) == ([0, 2, 3, 4, 6], 2)  # equal numbers in two rows are two documents


def segment_attention(
    query_NHK: Tensor,
    key_NGK: Tensor,
    value_NGK: Tensor,
    query_ends: Tensor,
    key_ends: Tensor,
    longest_query: int,
    longest_key: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> Tensor:
    """What `varlen_attn` is documented to do, segment by segment."""
    assert torch.equal(query_ends, key_ends)
    assert longest_query == longest_key == int(query_ends.diff().max())
    assert enable_gqa == (key_NGK.shape[1] != query_NHK.shape[1])
    repeats = query_NHK.shape[1] // key_NGK.shape[1]
    key_NHK, value_NHK = key_NGK.repeat_interleave(repeats, dim=1), value_NGK.repeat_interleave(repeats, dim=1)
    before, after = (reach if reach >= 0 else 10_000 for reach in window_size)
    pieces = []
    for start, stop in zip(query_ends[:-1].tolist(), query_ends[1:].tolist(), strict=True):
        scores_HLM = torch.einsum("lhk,mhk->hlm", query_NHK[start:stop], key_NHK[start:stop]) * scale
        places = torch.arange(stop - start)
        offset_LM = places[None, :] - places[:, None]
        hidden_LM = (offset_LM < -before) | (offset_LM > after)
        weights_HLM = scores_HLM.masked_fill(hidden_LM, -torch.inf).softmax(-1)
        pieces.append(torch.einsum("hlm,mhk->lhk", weights_HLM, value_NHK[start:stop]))
    return torch.cat(pieces)


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("causal", [True, False])
def test_varlen_is_the_reference(
    causal: bool, window: int | None, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.nn.attention import varlen as operator

    monkeypatch.setattr(operator, "varlen_attn", segment_attention)
    query, key, value = states(1, groups=groups)
    view = packed_view(causal=causal)
    scoring = Scoring(scale=0.4, window=window)
    used = view.query.document_BL >= 0
    mine = kernel("varlen")(query, key, value, view, scoring)
    reference = kernel("reference")(query, key, value, view, scoring)
    assert mine.shape == reference.shape
    torch.testing.assert_close(mine.transpose(1, 2)[used], reference.transpose(1, 2)[used], atol=1e-12, rtol=1e-12)


def test_varlen_leaves_cross_attention_to_sdpa_and_refuses_other_ranks() -> None:
    query, key, value = states(2, groups=2, keys=30)
    source = layout_of([[0] * 9 + [1] * 4 + [2] * 10 + [3] * 7, [0] * 30, [0] * 11 + [1] * 19], causal=False)
    view = View(layout_of(PACKED, causal=True), source)
    used = view.query.document_BL >= 0
    mine = kernel("varlen")(query, key, value, view, Scoring(scale=0.4))
    reference = kernel("reference")(query, key, value, view, Scoring(scale=0.4))
    torch.testing.assert_close(mine.transpose(1, 2)[used], reference.transpose(1, 2)[used])
    causal = layout_of(PACKED, causal=True)
    ranked = TokenLayout(causal.document_BL, causal.position_BL, causal.rank_BL, "ranked")
    with pytest.raises(ValueError, match="neither"):
        varlen(*states(2, groups=2), View(ranked, ranked), scale=1.0, window=None)


def dense(view: View, window: int | None) -> Tensor:
    """The rule of a block mask for every pair of places, [B, L, M]."""
    rule = block_mask(view, window).mask_mod
    rows, length = view.query.document_BL.shape
    b, q = torch.arange(rows)[:, None, None], torch.arange(length)[None, :, None]
    k = torch.arange(view.key.document_BL.shape[1])[None, None, :]
    return rule(b, torch.tensor(0), q, k).expand(rows, length, k.shape[-1])


@pytest.mark.parametrize("window", [None, 1, 3, 100])
def test_a_block_mask_is_the_rule_of_who_sees_whom(window: int | None) -> None:
    causal, both_ways = layout_of(PACKED, causal=True), layout_of(PACKED, causal=False)
    # Places 0 and 1 of each document see each other, what follows is read from left to right.
    prefix = TokenLayout(causal.document_BL, causal.position_BL, (causal.rank_BL - 1).clamp(min=0), "ranked")
    source = layout_of([[0] * 9 + [1] * 11 + [3] * 10, [0] * 30, [1] * 11 + [-1] * 19], causal=False)
    pairs = [(causal, causal), (both_ways, both_ways), (prefix, prefix), (causal, source)]
    masks = [dense(View(query, key), window) for query, key in pairs]
    for mask_BLM, (query, key) in zip(masks, pairs, strict=True):
        assert torch.equal(mask_BLM, visible(query, key, window))
        assert bool(mask_BLM.any())
        assert not bool(mask_BLM.all())


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("scores", [None, "alibi", "buckets"])
@pytest.mark.parametrize("soft_cap", [None, 1.5])
@pytest.mark.parametrize(("causal", "window"), [(True, None), (False, None), (True, 3), (False, 3)])
@pytest.mark.filterwarnings("ignore:flex_attention called without")
@torch.no_grad()
def test_flex_is_the_reference(
    causal: bool, window: int | None, soft_cap: float | None, scores: str | None, groups: int
) -> None:
    query, key, value = states(4, groups=groups)
    view = packed_view(causal=causal, scores=position_scores(scores))
    scoring = Scoring(scale=0.6, soft_cap=soft_cap, window=window)
    used = view.query.document_BL >= 0
    mine = kernel("flex")(query, key, value, view, scoring)
    reference = kernel("reference")(query, key, value, view, scoring)
    torch.testing.assert_close(mine.transpose(1, 2)[used], reference.transpose(1, 2)[used], atol=1e-6, rtol=1e-6)


# On CUDA -----------------------------------------------------------------------------------------------------------


def result_and_gradients(name: KernelName, inputs: list[Tensor], view: View, scoring: Scoring) -> list[Tensor]:
    """What the kernel gives at the used places, and the gradients of queries, keys and values."""
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    used = view.query.document_BL >= 0
    mixed = kernel(name)(*leaves, view, scoring).transpose(1, 2)[used]
    weights = torch.randn(mixed.shape, generator=torch.Generator().manual_seed(9)).to(mixed)
    (mixed * weights).sum().backward()
    gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
    assert len(gradients) == 3
    return [mixed.detach(), *gradients]


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"), [("varlen", torch.bfloat16, 3e-2), ("flex", torch.float32, 5e-3)]
)
def test_forward_and_backward_on_cuda_are_the_reference(
    name: KernelName, dtype: torch.dtype, tolerance: float, causal: bool, window: int | None, groups: int
) -> None:
    # Both operators want head sizes of 16 at least and a multiple of 8.
    rounded = [tensor.to(CUDA, dtype) for tensor in states(5, groups=groups, head_size=32)]
    layout = layout_of(PACKED, causal=causal).map(lambda tensor: tensor.to(CUDA))
    view, scoring = View(layout, layout), Scoring(scale=32**-0.5, window=window)
    mine = result_and_gradients(name, rounded, view, scoring)
    exact = result_and_gradients("reference", [tensor.double() for tensor in rounded], view, scoring)
    for one, other in zip(mine, exact, strict=True):
        assert one.dtype == dtype
        torch.testing.assert_close(one.double(), other, atol=tolerance, rtol=tolerance)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("scores", ["alibi", "buckets"])
def test_flex_on_cuda_caps_and_adds_as_the_reference(scores: str) -> None:
    inputs = [tensor.to(CUDA, torch.float32) for tensor in states(6, groups=2, head_size=32)]
    layout = layout_of(PACKED, causal=True).map(lambda tensor: tensor.to(CUDA))
    added = position_scores(scores)
    assert added is not None
    view = View(layout, layout, scores_BHLM=added.to(CUDA, torch.float32))
    scoring = Scoring(scale=0.5, soft_cap=2.0)
    mine = result_and_gradients("flex", inputs, view, scoring)
    exact = result_and_gradients("reference", [tensor.double() for tensor in inputs], view, scoring)
    for one, other in zip(mine, exact, strict=True):
        torch.testing.assert_close(one.double(), other, atol=5e-3, rtol=5e-3)


@pytest.mark.parametrize("length", [*range(1, 70), 100, 128, 130])
def test_softmax_is_right_for_rows_of_any_length(length: int) -> None:
    scores = 4 * torch.randn(3, 2, 5, length)
    exact = scores.bfloat16().double().softmax(-1)
    found = kernels._softmax(scores.bfloat16())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, atol=1e-3, rtol=2**-7)
    assert torch.equal(kernels._softmax(scores), scores.softmax(-1))
