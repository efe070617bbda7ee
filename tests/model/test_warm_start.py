"""An encoder-decoder that begins as one stack on both sides: what each side computes is what that stack does."""

from dataclasses import replace

import pytest
import torch

from support import POSITIONS, lively, logits_of, packed_batch, shrink, tiny, without_dropout
from trivium.core.random import Key
from trivium.model.build import build_network
from trivium.model.config import EncoderDecoder, ModelConfig
from trivium.model.folder import load_matching, unique_tensors
from trivium.model.heads import Network, SequenceToSequence
from trivium.model.initialise import initialise
from trivium.model.presets import PRESETS, preset
from trivium.model.warm_start import begins_with, on_both_sides, written_from

ONE_STACK = [name for name in PRESETS if not isinstance(preset(name).family, EncoderDecoder)]


def doubled(config: ModelConfig) -> tuple[Network, SequenceToSequence, list[str]]:
    """A network of one stack with lively weights, the encoder-decoder that begins with it, what has other weights."""
    one = lively(config)
    both = build_network(written_from(config))
    initialise(both, written_from(config), Key(1))
    anew = load_matching(both, on_both_sides(unique_tensors(one)))
    assert isinstance(both, SequenceToSequence)
    return one.eval(), both.eval(), anew


@pytest.mark.parametrize("name", ONE_STACK)
def test_all_but_what_looks_across_is_the_stacks_own(name: str) -> None:
    config = without_dropout(shrink(preset(name)))
    assert begins_with(written_from(config), config) and not begins_with(config, written_from(config))
    assert written_from(written_from(config)) == written_from(config)
    one, both, anew = doubled(config)
    assert anew and all(".cross_attention." in path and path.startswith("decoder.") for path in anew)
    batch = packed_batch("encoder_decoder")
    assert batch.source is not None
    with torch.inference_mode():
        assert torch.equal(both.encoder(batch.source), one(batch.source))


@pytest.mark.parametrize("family", ["encoder", "decoder"])
@pytest.mark.parametrize("position", sorted(POSITIONS))
def test_a_decoder_that_takes_nothing_from_its_source_writes_what_the_stack_does(family: str, position: str) -> None:
    one, both, _ = doubled(tiny(family, position, groups=2))
    with torch.no_grad():
        for block in both.decoder.blocks:
            block.cross_attention.branch.out.weight.zero_()
            block.cross_attention.branch.out.bias.zero_()
    batch = packed_batch("encoder_decoder")
    alone = replace(batch, source=None)
    torch.testing.assert_close(logits_of(both, batch), logits_of(one, alone), rtol=1e-5, atol=1e-5)


def test_no_stack_but_an_encoder_decoders_is_begun_with_a_stack_of_another_family() -> None:
    encoder, decoder, both = (tiny(family) for family in ("encoder", "decoder", "encoder_decoder"))
    assert not begins_with(encoder, decoder) and not begins_with(decoder, encoder)
    assert begins_with(both, encoder) and begins_with(both, decoder) and begins_with(both, both)
