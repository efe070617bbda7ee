"""Tiny models of every family that is read: random sizes by seed, weights away from 0, and texts for them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from support import layout_of
from trivium.core.batch import Batch, reading
from trivium.hub.folder import HubModel
from trivium.hub.keymap import Tensors
from trivium.model.build import build_network
from trivium.model.folder import load_tensors
from trivium.model.heads import Network
from trivium.tasks.base import reading_part

SEEDS = (0, 1, 2)
LENGTHS = (17, 5, 1, 30, 11)
SOURCE_LENGTHS = (9, 26, 14, 2, 13)
VOCABULARY_SIZE = 83
Config = transformers.PreTrainedConfig


@dataclass(frozen=True)
class Case:
    """A family, or a way in which its models differ."""

    name: str
    config: Callable[[int], Config]
    kind: str = "masked"  # or causal, or conditional

    @property
    def auto(self) -> Any:
        """The class that opens models of this kind."""
        return {
            "masked": transformers.AutoModelForMaskedLM,
            "causal": transformers.AutoModelForCausalLM,
            "conditional": transformers.AutoModelForSeq2SeqLM,
        }[self.kind]


def sizes(seed: int) -> tuple[int, int, int, int]:
    """Number of heads, head size, feed-forward size and number of layers."""
    return ((4, 8, 52, 2), (3, 12, 64, 4), (2, 6, 20, 1))[seed]


def encoder(kind: type[Config], **changed: Any) -> Callable[[int], Config]:
    """BERT's names."""

    def config(seed: int) -> Config:
        heads, size, feed_forward, layers = sizes(seed)
        options = {
            "vocab_size": VOCABULARY_SIZE,
            "hidden_size": heads * size,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "intermediate_size": feed_forward,
            "max_position_embeddings": 40,
            "hidden_act": ("gelu", "gelu_new", "relu")[seed],
            "layer_norm_eps": (1e-12, 1e-5, 1e-7)[seed],
        }
        return kind(**options | changed)

    return config


def albert(seed: int) -> Config:
    layers, groups = ((2, 1), (4, 2), (3, 3))[seed]
    changed = {"embedding_size": 10, "num_hidden_layers": layers, "num_hidden_groups": groups}
    return encoder(transformers.AlbertConfig, **changed)(seed)


def electra(seed: int) -> Config:
    # The second has no layer between embedding and stack.
    size = (10, sizes(seed)[0] * sizes(seed)[1], 50)[seed]
    return encoder(transformers.ElectraConfig, embedding_size=size)(seed)


def distilbert(seed: int) -> Config:
    heads, size, feed_forward, layers = sizes(seed)
    return transformers.DistilBertConfig(
        vocab_size=VOCABULARY_SIZE,
        dim=heads * size,
        hidden_dim=feed_forward,
        n_layers=layers,
        n_heads=heads,
        max_position_embeddings=40,
        activation=("gelu", "relu", "gelu")[seed],
    )


def modernbert(seed: int) -> Config:
    heads, size, feed_forward, _ = sizes(seed)
    changed = ({}, {"norm_bias": True, "attention_bias": True, "mlp_bias": True, "classifier_bias": True}, {})[seed]
    return transformers.ModernBertConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=heads * size,
        intermediate_size=feed_forward,
        num_hidden_layers=(3, 7, 1)[seed],
        num_attention_heads=heads,
        local_attention=(8, 5, 128)[seed],
        max_position_embeddings=40,
        decoder_bias=seed != 2,
        classifier_pooling=("cls", "mean", "cls")[seed],
        **dict.fromkeys(("pad_token_id", "cls_token_id", "bos_token_id"), 0),
        **dict.fromkeys(("eos_token_id", "sep_token_id"), 1),
        **changed,
    )


def modern(kind: type[Config], **changed: Any) -> Callable[[int], Config]:
    """Llama's names."""

    def config(seed: int) -> Config:
        heads, size, feed_forward, layers = sizes(seed)
        options = {
            "vocab_size": VOCABULARY_SIZE,
            # The heads need not fill the hidden size.
            "hidden_size": heads * (size + 2),
            "intermediate_size": feed_forward,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": 1 if heads == 3 else heads // 2,
            "head_dim": size,
            "max_position_embeddings": 64,
            "rms_norm_eps": (1e-6, 1e-5, 1e-4)[seed],
            "tie_word_embeddings": bool(seed % 2),
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
        return kind(**options | changed)

    return config


def turned(kind: str, **options: Any) -> Callable[[int], Config]:
    """Llama with scaled rotary positions."""
    rope = {"rope_type": kind, "rope_theta": 500.0, "factor": 4.0, **options}
    if kind != "linear":
        rope["original_max_position_embeddings"] = 16
    return modern(transformers.LlamaConfig, rope_parameters=rope)


def gpt2(seed: int) -> Config:
    heads, size, feed_forward, layers = sizes(seed)
    return transformers.GPT2Config(
        vocab_size=VOCABULARY_SIZE,
        n_positions=64,
        n_embd=heads * size,
        n_layer=layers,
        n_head=heads,
        n_inner=None if seed else feed_forward,
        scale_attn_weights=seed != 2,
        tie_word_embeddings=seed != 1,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def gpt_neox(seed: int) -> Config:
    heads, size, feed_forward, layers = sizes(seed)
    return transformers.GPTNeoXConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=heads * size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=feed_forward,
        max_position_embeddings=64,
        rotary_pct=(0.25, 0.5, 1.0)[seed],
        use_parallel_residual=seed != 1,
        attention_bias=seed != 2,
        tie_word_embeddings=seed == 2,
        pad_token_id=0,
        eos_token_id=2,
    )


def t5(kind: type[Config], **changed: Any) -> Callable[[int], Config]:
    def config(seed: int) -> Config:
        heads, size, feed_forward, layers = sizes(seed)
        options = {
            "vocab_size": VOCABULARY_SIZE,
            "d_model": heads * size + 4,
            "d_kv": size,
            "d_ff": feed_forward,
            "num_layers": layers,
            # Not more than the encoder's: the cache of transformers 5.23 has as many layers as the encoder.
            "num_decoder_layers": max(layers - 1, 1),
            "num_heads": heads,
            "relative_attention_num_buckets": 8,
            "relative_attention_max_distance": 14,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "decoder_start_token_id": 0,
        }
        return kind(**options | changed)

    return config


def untied(config: Callable[[int], Config]) -> Callable[[int], Config]:
    """A family whose heads are tied, with one that is not."""

    def changed(seed: int) -> Config:
        result = config(seed)
        result.tie_word_embeddings = False
        return result

    return changed


CASES = (
    Case("bert", encoder(transformers.BertConfig)),
    Case("bert-untied", untied(encoder(transformers.BertConfig))),
    Case("roberta-untied", untied(encoder(transformers.RobertaConfig))),
    Case("distilbert-untied", untied(distilbert)),
    Case("electra-untied", untied(electra)),
    Case("albert-untied", untied(albert)),
    Case("modernbert-untied", untied(modernbert)),
    Case("roberta", encoder(transformers.RobertaConfig)),
    Case("xlm-roberta", encoder(transformers.XLMRobertaConfig, type_vocab_size=1)),
    Case("distilbert", distilbert),
    Case("electra", electra),
    Case("albert", albert),
    Case("modernbert", modernbert),
    Case("eurobert", modern(transformers.EuroBertConfig, mask_token_id=3, classifier_pooling="mean")),
    Case("eurobert-biased", modern(transformers.EuroBertConfig, mlp_bias=True, attention_bias=True, mask_token_id=3)),
    Case("gpt2", gpt2, "causal"),
    Case("llama", modern(transformers.LlamaConfig), "causal"),
    Case("llama-biased", modern(transformers.LlamaConfig, attention_bias=True, mlp_bias=True), "causal"),
    Case("llama-linear", turned("linear"), "causal"),
    Case("llama-yarn", turned("yarn", beta_fast=8.0, beta_slow=0.5), "causal"),
    Case("llama-yarn-mscale", turned("yarn", mscale=1.0, mscale_all_dim=0.5), "causal"),
    Case("llama-llama3", turned("llama3", low_freq_factor=1.0, high_freq_factor=4.0), "causal"),
    Case("qwen3", modern(transformers.Qwen3Config), "causal"),
    Case(
        "qwen3-windows",
        modern(transformers.Qwen3Config, use_sliding_window=True, sliding_window=6, max_window_layers=1),
        "causal",
    ),
    Case("gpt_neox", gpt_neox, "causal"),
    Case("t5", t5(transformers.T5Config), "conditional"),
    Case("t5-1.1", t5(transformers.T5Config, feed_forward_proj="gated-gelu", tie_word_embeddings=False), "conditional"),
    Case("mt5", t5(transformers.MT5Config), "conditional"),
)


def named(name: str) -> Case:
    """The case of a name."""
    return next(case for case in CASES if case.name == name)


def drawn(model: nn.Module, seed: int) -> nn.Module:
    """The model with weights that are not near 0, and no dropout."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def texts(lengths: tuple[int, ...], seed: int) -> list[Tensor]:
    """Texts without special tokens."""
    generator = torch.Generator().manual_seed(1000 + seed)
    return [torch.randint(4, VOCABULARY_SIZE, (length,), generator=generator) for length in lengths]


def padded(sequences: list[Tensor], pad: int = 0) -> tuple[Tensor, Tensor]:
    """Texts one a row, and the mask of what is text: how Hugging Face reads them."""
    tokens_BL = nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=pad)
    mask_BL = nn.utils.rnn.pad_sequence([torch.ones_like(text) for text in sequences], batch_first=True)
    return tokens_BL, mask_BL


def packed(sequences: list[Tensor], *, causal: bool) -> Batch:
    """The same texts in one row, how we read them."""
    document_L = [number for number, text in enumerate(sequences) for _ in text]
    return reading(torch.cat(sequences)[None], layout_of([document_L], causal=causal))


def ours(model: HubModel) -> Network:
    """Our network with a model's weights."""
    network = build_network(model.config)
    load_tensors(network, model.tensors, "the test")
    return network.eval()


def reader(model: HubModel) -> nn.Module:
    """What reads for a task, with a model's weights."""
    assert model.readout is not None
    part = reading_part(build_network(model.config), model.readout)
    body = {name: tensor for name, tensor in model.tensors.items() if name.startswith("reader.")}
    load_tensors(part, {name.removeprefix("reader."): tensor for name, tensor in body.items()}, "the test")
    return part.eval()


@torch.inference_mode()
def our_logits(network: Network, case: Case, seed: int) -> Tensor:
    """Logits of all texts, packed."""
    batch = packed(texts(LENGTHS, seed), causal=case.kind != "masked")
    if case.kind == "conditional":
        batch = replace(batch, source=packed(texts(SOURCE_LENGTHS, seed + 10), causal=False))
    return network.head(network(batch)[0])


@torch.inference_mode()
def their_logits(model: nn.Module, case: Case, seed: int) -> Tensor:
    """Logits of all texts, from a padded batch."""
    pad = model.config.pad_token_id
    tokens_BL, mask_BL = padded(texts(LENGTHS, seed), pad)
    if case.kind != "conditional":
        return model(input_ids=tokens_BL, attention_mask=mask_BL).logits[mask_BL.bool()]
    source_BL, source_mask_BL = padded(texts(SOURCE_LENGTHS, seed + 10), pad)
    logits_BLV = model(
        input_ids=source_BL,
        attention_mask=source_mask_BL,
        decoder_input_ids=tokens_BL,
        decoder_attention_mask=mask_BL,
    ).logits
    return logits_BLV[mask_BL.bool()]


def close(mine: Tensor, theirs: Tensor) -> None:
    """Check that numbers are the same, and are not all the same number; what is wide is compared at width 1."""
    width = float(theirs.std())
    assert mine.shape == theirs.shape
    assert width > 0.02
    torch.testing.assert_close(mine / max(width, 1.0), theirs / max(width, 1.0), atol=1e-5, rtol=1e-5)


def saved(model: nn.Module, folder: Path) -> Path:
    """The folder that transformers saves a model in."""
    model.save_pretrained(folder)
    return folder


def same(mine: Tensors, theirs: Tensors) -> None:
    """Check that tensors are equal to the bit."""
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
