"""Position schemes against those of transformers, and places of a layout that no text uses."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from hub_cases import LENGTHS, SOURCE_LENGTHS, drawn, named, ours, packed, saved, texts
from torch import Tensor, nn

from trivium.core.batch import Batch, reading
from trivium.core.layout import TokenLayout
from trivium.hub.folder import read_folder


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("num_buckets", "max_distance"), [(32, 128), (8, 20), (16, 17), (4, 9), (5, 30)])
def test_relative_buckets_are_those_of_t5(num_buckets: int, max_distance: int, bidirectional: bool) -> None:
    from transformers.models.t5.modeling_t5 import T5Attention

    from trivium.model.positions import RelativeBucketScores

    scores = RelativeBucketScores(
        num_heads=1, num_buckets=num_buckets, max_distance=max_distance, bidirectional=bidirectional
    )
    with torch.no_grad():
        scores.weight.copy_(torch.arange(num_buckets)[:, None])
    places_1L = torch.arange(300)[None]
    expected_LM = T5Attention._relative_position_bucket(
        places_1L - places_1L.t(), bidirectional=bidirectional, num_buckets=num_buckets, max_distance=max_distance
    )
    assert torch.equal(scores(places_1L, places_1L)[0, 0].long(), expected_LM)


def test_rotary_positions_are_those_of_llama() -> None:
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    from trivium.model.rotary import RotaryPositions, plain_frequencies

    config = transformers.LlamaConfig(hidden_size=64, num_attention_heads=4, max_position_embeddings=64)
    states = torch.randn(2, 4, 20, 16)
    position_BL = torch.stack((torch.arange(20), torch.arange(20) + 13))
    cos, sin = LlamaRotaryEmbedding(config)(states, position_BL)
    expected, _ = apply_rotary_pos_emb(states, states, cos, sin)
    rotation = RotaryPositions(plain_frequencies(16, 10_000.0)).rotation(position_BL, torch.float32)
    torch.testing.assert_close(rotation.apply(states), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("num_heads", [1, 2, 4, 6, 8, 12, 16])
def test_alibi_slopes_are_those_of_bloom(num_heads: int) -> None:
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    from trivium.model.positions import AlibiScores

    length = 9
    theirs = build_alibi_tensor(torch.ones(1, length), num_heads, torch.float32)[:, 0]
    places_1L = torch.arange(length)[None]
    mine_HLM = AlibiScores(num_heads=num_heads)(places_1L, places_1L)[0]
    # Bloom adds slope x key: for each query the same up to a constant, which the softmax does not see.
    torch.testing.assert_close(mine_HLM[:, -1] - mine_HLM[:, -1, :1], theirs, atol=1e-6, rtol=1e-6)


def test_unused_places_of_a_layout_do_not_matter_to_t5(tmp_path: Path) -> None:
    theirs = drawn(transformers.T5ForConditionalGeneration(named("t5").config(0)), 0)
    network = ours(read_folder(saved(theirs, tmp_path)))
    sources, targets = texts(SOURCE_LENGTHS, 0), texts(LENGTHS, 10)
    batch = replace(packed(targets, causal=True), source=packed(sources, causal=False))

    def widened(narrow: Batch) -> Batch:
        def fill(tensor: Tensor, value: int) -> Tensor:
            return nn.functional.pad(tensor, (0, 6), value=value)

        layout = narrow.layout
        return reading(
            fill(narrow.tokens_BL, 0),
            TokenLayout(
                fill(layout.document_BL, -1), fill(layout.position_BL, 0), fill(layout.rank_BL, 0), layout.kind
            ),
        )

    wide = replace(widened(batch), source=widened(packed(sources, causal=False)))
    with torch.inference_mode():
        torch.testing.assert_close(network(wide)[:, : sum(LENGTHS)], network(batch), atol=1e-5, rtol=1e-5)
