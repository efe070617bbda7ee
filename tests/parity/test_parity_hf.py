"""Tiny random Hugging Face models: the same weights in our network give the same logits, packed or padded."""

from dataclasses import replace

import pytest
import torch
import transformers
from torch import Tensor, nn

from support import layout_of
from trivium.core.batch import Batch, reading
from trivium.core.layout import TokenLayout
from trivium.model.build import build_network
from trivium.model.config import (
    AttentionConfig,
    BlockConfig,
    Decoder,
    Encoder,
    EncoderDecoder,
    Gated,
    HeadConfig,
    LayerNormConfig,
    Learned,
    ModelConfig,
    Plain,
    RelativeBuckets,
    RMSNormConfig,
    Rotary,
    StackConfig,
    TransformConfig,
)
from trivium.model.folder import load_tensors
from trivium.model.heads import Network

SEEDS = (0, 1, 2)
LENGTHS = (17, 5, 1, 30, 11)
SOURCE_LENGTHS = (9, 26, 14, 2, 13)
VOCABULARY_SIZE = 83
Weights = dict[str, Tensor]


def sizes(seed: int) -> tuple[int, int, int, int]:
    """Number of heads, head size, feed-forward size and number of layers."""
    return ((4, 8, 52, 2), (3, 12, 64, 3), (2, 6, 20, 1))[seed]


def drawn(model: nn.Module, seed: int) -> nn.Module:
    """The model with weights that are not near 0, and no dropout."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def texts(lengths: tuple[int, ...], seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1000 + seed)
    return [torch.randint(3, VOCABULARY_SIZE, (length,), generator=generator) for length in lengths]


def padded(sequences: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Texts one a row, and the mask of what is text: how Hugging Face reads them."""
    tokens_BL = nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    mask_BL = nn.utils.rnn.pad_sequence([torch.ones_like(text) for text in sequences], batch_first=True)
    return tokens_BL, mask_BL


def packed(sequences: list[Tensor], *, causal: bool) -> Batch:
    """The same texts in one row, how we read them."""
    document_L = [number for number, text in enumerate(sequences) for _ in text]
    return reading(torch.cat(sequences)[None], layout_of([document_L], causal=causal))


def ours(config: ModelConfig, weights: Weights) -> Network:
    network = build_network(config)
    load_tensors(network, {name: tensor.detach() for name, tensor in weights.items()}, "the test")
    return network.eval()


def compare(network: Network, batch: Batch, logits_BLV: Tensor, mask_BL: Tensor) -> None:
    with torch.inference_mode():
        packed_LV = network.head(network(batch)[0])
    expected_LV = logits_BLV[mask_BL.bool()]
    assert expected_LV.shape == packed_LV.shape and len(packed_LV) == sum(LENGTHS)
    assert float(expected_LV.std()) > 0.1
    torch.testing.assert_close(packed_LV, expected_LV, atol=1e-5, rtol=1e-5)


# BERT --------------------------------------------------------------------------------------------------------------


def bert(seed: int) -> tuple[transformers.BertForMaskedLM, ModelConfig]:
    heads, head_size, feed_forward, layers = sizes(seed)
    size = heads * head_size
    theirs = transformers.BertForMaskedLM(
        transformers.BertConfig(
            vocab_size=VOCABULARY_SIZE,
            hidden_size=size,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=feed_forward,
            max_position_embeddings=40,
            type_vocab_size=2,
        )
    )
    norm = LayerNormConfig(eps=1e-12)
    block = BlockConfig(
        attention=AttentionConfig(num_heads=heads, num_key_value_heads=heads, head_size=head_size, dropout=0.1),
        feed_forward=Plain(size=feed_forward, activation="gelu"),
        norm=norm,
        placement="post",
        dropout=0.1,
    )
    stack = StackConfig(
        num_layers=layers,
        pattern=(block,),
        position=Learned(max_length=40),
        num_segments=2,
        embedding_norm=norm,
        embedding_dropout=0.1,
    )
    config = ModelConfig(
        vocabulary_size=VOCABULARY_SIZE,
        hidden_size=size,
        max_length=40,
        family=Encoder(stack=stack),
        head=HeadConfig(bias=True, transform=TransformConfig(activation="gelu", norm=norm)),
    )
    return drawn(theirs, seed), config


def bert_weights(state: Weights, layers: int) -> Weights:
    result = {
        "stack.embedding.tokens.weight": state["bert.embeddings.word_embeddings.weight"],
        "stack.embedding.positions.weight": state["bert.embeddings.position_embeddings.weight"],
        "stack.embedding.segments.weight": state["bert.embeddings.token_type_embeddings.weight"],
        "head.bias": state["cls.predictions.bias"],
    }
    for kind in ("weight", "bias"):
        result[f"stack.embedding.norm.{kind}"] = state[f"bert.embeddings.LayerNorm.{kind}"]
        result[f"head.transform.dense.{kind}"] = state[f"cls.predictions.transform.dense.{kind}"]
        result[f"head.transform.norm.{kind}"] = state[f"cls.predictions.transform.LayerNorm.{kind}"]
        for layer in range(layers):
            old, new = f"bert.encoder.layer.{layer}", f"stack.blocks.{layer}"
            result[f"{new}.attention.branch.qkv.{kind}"] = torch.cat(
                [state[f"{old}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            )
            result[f"{new}.attention.branch.out.{kind}"] = state[f"{old}.attention.output.dense.{kind}"]
            result[f"{new}.attention.after.{kind}"] = state[f"{old}.attention.output.LayerNorm.{kind}"]
            result[f"{new}.feed_forward.branch.up.{kind}"] = state[f"{old}.intermediate.dense.{kind}"]
            result[f"{new}.feed_forward.branch.down.{kind}"] = state[f"{old}.output.dense.{kind}"]
            result[f"{new}.feed_forward.after.{kind}"] = state[f"{old}.output.LayerNorm.{kind}"]
    return result


@pytest.mark.parametrize("seed", SEEDS)
def test_bert_without_segments(seed: int) -> None:
    theirs, config = bert(seed)
    network = ours(config, bert_weights(theirs.state_dict(), sizes(seed)[3]))
    sequences = texts(LENGTHS, seed)
    tokens_BL, mask_BL = padded(sequences)
    with torch.inference_mode():
        logits_BLV = theirs(input_ids=tokens_BL, attention_mask=mask_BL).logits
    compare(network, packed(sequences, causal=False), logits_BLV, mask_BL)


@pytest.mark.parametrize("seed", SEEDS)
def test_bert_with_segments(seed: int) -> None:
    theirs, config = bert(seed)
    network = ours(config, bert_weights(theirs.state_dict(), sizes(seed)[3]))
    sequences = texts(LENGTHS, seed)
    segments = [(torch.arange(len(text)) > len(text) // 2).long() for text in sequences]
    tokens_BL, mask_BL = padded(sequences)
    with torch.inference_mode():
        logits_BLV = theirs(input_ids=tokens_BL, attention_mask=mask_BL, token_type_ids=padded(segments)[0]).logits
    batch = replace(packed(sequences, causal=False), segments_BL=torch.cat(segments)[None])
    compare(network, batch, logits_BLV, mask_BL)


def test_bert_hidden_states() -> None:
    theirs, config = bert(0)
    network = ours(config, bert_weights(theirs.state_dict(), sizes(0)[3]))
    sequences = texts(LENGTHS, 0)
    tokens_BL, mask_BL = padded(sequences)
    with torch.inference_mode():
        hidden_BLD = theirs.bert(input_ids=tokens_BL, attention_mask=mask_BL).last_hidden_state
        packed_LD = network(packed(sequences, causal=False))[0]
    torch.testing.assert_close(packed_LD, hidden_BLD[mask_BL.bool()], atol=1e-5, rtol=1e-5)


# GPT-2 -------------------------------------------------------------------------------------------------------------


def gpt2(seed: int) -> tuple[transformers.GPT2LMHeadModel, ModelConfig]:
    heads, head_size, feed_forward, layers = sizes(seed)
    size = heads * head_size
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=VOCABULARY_SIZE, n_embd=size, n_layer=layers, n_head=heads, n_inner=feed_forward, n_positions=40
        )
    )
    norm = LayerNormConfig()
    block = BlockConfig(
        attention=AttentionConfig(num_heads=heads, num_key_value_heads=heads, head_size=head_size, dropout=0.1),
        feed_forward=Plain(size=feed_forward, activation="gelu_tanh"),
        norm=norm,
        placement="pre",
        dropout=0.1,
    )
    stack = StackConfig(num_layers=layers, pattern=(block,), position=Learned(max_length=40), final_norm=norm)
    config = ModelConfig(vocabulary_size=VOCABULARY_SIZE, hidden_size=size, max_length=40, family=Decoder(stack=stack))
    return drawn(theirs, seed), config


def gpt2_weights(state: Weights, layers: int) -> Weights:
    result = {
        "stack.embedding.tokens.weight": state["transformer.wte.weight"],
        "stack.embedding.positions.weight": state["transformer.wpe.weight"],
    }
    for kind in ("weight", "bias"):
        result[f"stack.final_norm.{kind}"] = state[f"transformer.ln_f.{kind}"]
        for layer in range(layers):
            old, new = f"transformer.h.{layer}", f"stack.blocks.{layer}"
            result[f"{new}.attention.into.{kind}"] = state[f"{old}.ln_1.{kind}"]
            result[f"{new}.feed_forward.into.{kind}"] = state[f"{old}.ln_2.{kind}"]
            for theirs, mine in (
                ("attn.c_attn", "attention.branch.qkv"),
                ("attn.c_proj", "attention.branch.out"),
                ("mlp.c_fc", "feed_forward.branch.up"),
                ("mlp.c_proj", "feed_forward.branch.down"),
            ):
                # Conv1D keeps its matrices the other way round; `t` of a bias is the bias.
                result[f"{new}.{mine}.{kind}"] = state[f"{old}.{theirs}.{kind}"].t()
    return result


@pytest.mark.parametrize("seed", SEEDS)
def test_gpt2(seed: int) -> None:
    theirs, config = gpt2(seed)
    network = ours(config, gpt2_weights(theirs.state_dict(), sizes(seed)[3]))
    sequences = texts(LENGTHS, seed)
    tokens_BL, mask_BL = padded(sequences)
    with torch.inference_mode():
        logits_BLV = theirs(input_ids=tokens_BL, attention_mask=mask_BL).logits
    compare(network, packed(sequences, causal=True), logits_BLV, mask_BL)


# Llama -----------------------------------------------------------------------------------------------------------


def llama(seed: int) -> tuple[transformers.LlamaForCausalLM, ModelConfig]:
    heads, head_size, feed_forward, layers = sizes(seed)
    groups = 1 if heads == 3 else heads // 2
    size = heads * (head_size + 2)  # the heads need not fill the hidden size
    theirs = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=VOCABULARY_SIZE,
            hidden_size=size,
            intermediate_size=feed_forward,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=groups,
            head_dim=head_size,
            max_position_embeddings=64,
            rms_norm_eps=1e-6,
            tie_word_embeddings=bool(seed % 2),
        )
    )
    block = BlockConfig(
        attention=AttentionConfig(num_heads=heads, num_key_value_heads=groups, head_size=head_size, bias=False),
        feed_forward=Gated(size=feed_forward, activation="silu"),
        norm=RMSNormConfig(),
        placement="pre",
    )
    stack = StackConfig(num_layers=layers, pattern=(block,), position=Rotary(), final_norm=RMSNormConfig())
    config = ModelConfig(
        vocabulary_size=VOCABULARY_SIZE,
        hidden_size=size,
        max_length=64,
        family=Decoder(stack=stack),
        head=HeadConfig(tied=bool(seed % 2)),
    )
    return drawn(theirs, seed), config


def llama_weights(state: Weights, config: ModelConfig) -> Weights:
    result = {
        "stack.embedding.tokens.weight": state["model.embed_tokens.weight"],
        "stack.final_norm.weight": state["model.norm.weight"],
    }
    if not config.head.tied:
        result["head.projection.weight"] = state["lm_head.weight"]
    for layer in range(config.stacks()[0].num_layers):
        old, new = f"model.layers.{layer}", f"stack.blocks.{layer}"
        result[f"{new}.attention.into.weight"] = state[f"{old}.input_layernorm.weight"]
        result[f"{new}.attention.branch.qkv.weight"] = torch.cat(
            [state[f"{old}.self_attn.{part}_proj.weight"] for part in "qkv"]
        )
        result[f"{new}.attention.branch.out.weight"] = state[f"{old}.self_attn.o_proj.weight"]
        result[f"{new}.feed_forward.into.weight"] = state[f"{old}.post_attention_layernorm.weight"]
        result[f"{new}.feed_forward.branch.gate_up.weight"] = torch.cat(
            [state[f"{old}.mlp.{part}_proj.weight"] for part in ("gate", "up")]
        )
        result[f"{new}.feed_forward.branch.down.weight"] = state[f"{old}.mlp.down_proj.weight"]
    return result


@pytest.mark.parametrize("seed", SEEDS)
def test_llama_is_our_modern_decoder(seed: int) -> None:
    theirs, config = llama(seed)
    network = ours(config, llama_weights(theirs.state_dict(), config))
    sequences = texts(LENGTHS, seed)
    tokens_BL, mask_BL = padded(sequences)
    with torch.inference_mode():
        logits_BLV = theirs(input_ids=tokens_BL, attention_mask=mask_BL).logits
    compare(network, packed(sequences, causal=True), logits_BLV, mask_BL)


# T5 ----------------------------------------------------------------------------------------------------------------


def t5(seed: int) -> tuple[transformers.T5ForConditionalGeneration, ModelConfig]:
    heads, head_size, feed_forward, layers = sizes(seed)
    # T5's heads need not fill the hidden size.
    size = heads * head_size + 4
    theirs = transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=VOCABULARY_SIZE,
            d_model=size,
            d_kv=head_size,
            d_ff=feed_forward,
            num_layers=layers,
            num_decoder_layers=layers,
            num_heads=heads,
            relative_attention_num_buckets=8,
            relative_attention_max_distance=14,
            feed_forward_proj="relu",
            tie_word_embeddings=True,
        )
    )

    def stack(*, writes: bool) -> StackConfig:
        attention = AttentionConfig(
            num_heads=heads, num_key_value_heads=heads, head_size=head_size, bias=False, scale=1.0, dropout=0.1
        )
        block = BlockConfig(
            attention=attention,
            cross_attention=attention if writes else None,
            feed_forward=Plain(size=feed_forward, activation="relu", bias=False),
            norm=RMSNormConfig(),
            placement="pre",
            dropout=0.1,
        )
        position = RelativeBuckets(num_buckets=8, max_distance=14, bidirectional=not writes)
        return StackConfig(num_layers=layers, pattern=(block,), position=position, final_norm=RMSNormConfig())

    config = ModelConfig(
        vocabulary_size=VOCABULARY_SIZE,
        hidden_size=size,
        max_length=40,
        family=EncoderDecoder(encoder=stack(writes=False), decoder=stack(writes=True)),
        head=HeadConfig(scale=size**-0.5),
    )
    return drawn(theirs, seed), config


def t5_weights(state: Weights, layers: int) -> Weights:
    result = {"encoder.embedding.tokens.weight": state["shared.weight"]}
    for stack in ("encoder", "decoder"):
        first = f"{stack}.block.0.layer.0.SelfAttention"
        result[f"{stack}.scores.weight"] = state[f"{first}.relative_attention_bias.weight"]
        result[f"{stack}.final_norm.weight"] = state[f"{stack}.final_layer_norm.weight"]
        for layer in range(layers):
            old, new = f"{stack}.block.{layer}.layer", f"{stack}.blocks.{layer}"
            result[f"{new}.attention.into.weight"] = state[f"{old}.0.layer_norm.weight"]
            result[f"{new}.attention.branch.qkv.weight"] = torch.cat(
                [state[f"{old}.0.SelfAttention.{part}.weight"] for part in "qkv"]
            )
            result[f"{new}.attention.branch.out.weight"] = state[f"{old}.0.SelfAttention.o.weight"]
            if stack == "decoder":
                cross = f"{old}.1.EncDecAttention"
                result[f"{new}.cross_attention.into.weight"] = state[f"{old}.1.layer_norm.weight"]
                result[f"{new}.cross_attention.branch.query.weight"] = state[f"{cross}.q.weight"]
                result[f"{new}.cross_attention.branch.key_value.weight"] = torch.cat(
                    [state[f"{cross}.{part}.weight"] for part in "kv"]
                )
                result[f"{new}.cross_attention.branch.out.weight"] = state[f"{cross}.o.weight"]
            last = f"{old}.{1 if stack == 'encoder' else 2}"
            result[f"{new}.feed_forward.into.weight"] = state[f"{last}.layer_norm.weight"]
            result[f"{new}.feed_forward.branch.up.weight"] = state[f"{last}.DenseReluDense.wi.weight"]
            result[f"{new}.feed_forward.branch.down.weight"] = state[f"{last}.DenseReluDense.wo.weight"]
    return result


@pytest.mark.parametrize("seed", SEEDS)
def test_t5(seed: int) -> None:
    theirs, config = t5(seed)
    network = ours(config, t5_weights(theirs.state_dict(), sizes(seed)[3]))
    sources, targets = texts(SOURCE_LENGTHS, seed), texts(LENGTHS, seed + 10)
    source_BL, source_mask_BL = padded(sources)
    target_BL, target_mask_BL = padded(targets)
    with torch.inference_mode():
        logits_BLV = theirs(
            input_ids=source_BL,
            attention_mask=source_mask_BL,
            decoder_input_ids=target_BL,
            decoder_attention_mask=target_mask_BL,
        ).logits
    batch = replace(packed(targets, causal=True), source=packed(sources, causal=False))
    compare(network, batch, logits_BLV, target_mask_BL)


@pytest.mark.parametrize("seed", SEEDS)
def test_t5_encoder(seed: int) -> None:
    theirs, config = t5(seed)
    network = ours(config, t5_weights(theirs.state_dict(), sizes(seed)[3]))
    sources = texts(SOURCE_LENGTHS, seed)
    source_BL, mask_BL = padded(sources)
    with torch.inference_mode():
        hidden_BLD = theirs.encoder(input_ids=source_BL, attention_mask=mask_BL).last_hidden_state
        packed_LD = network.reader(packed(sources, causal=False))[0]
    torch.testing.assert_close(packed_LD, hidden_BLD[mask_BL.bool()], atol=1e-5, rtol=1e-5)


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


# Positions -----------------------------------------------------------------------------------------------------------


def test_rotary_positions_are_those_of_llama() -> None:
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    from trivium.model.positions import RotaryPositions

    config = transformers.LlamaConfig(hidden_size=64, num_attention_heads=4, max_position_embeddings=64)
    states = torch.randn(2, 4, 20, 16)
    position_BL = torch.stack((torch.arange(20), torch.arange(20) + 13))
    cos, sin = LlamaRotaryEmbedding(config)(states, position_BL)
    expected, _ = apply_rotary_pos_emb(states, states, cos, sin)
    rotation = RotaryPositions(head_size=16, base=10_000.0)(position_BL, torch.float32)
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


def test_unused_places_of_a_layout_do_not_matter_to_t5() -> None:
    theirs, config = t5(0)
    network = ours(config, t5_weights(theirs.state_dict(), sizes(0)[3]))
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
