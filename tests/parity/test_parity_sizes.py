"""Published architectures, counted without memory: as many parameters as transformers' own networks have."""

from typing import Any

import pytest
import torch
import transformers

from trivium.hub.families import family_of, read_config
from trivium.hub.family import body_shapes, network_shapes

BERT = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "model_type": "bert",
}
ELECTRA = {**BERT, "model_type": "electra", "embedding_size": 128, "hidden_size": 256, "num_attention_heads": 4}
T5 = {
    "model_type": "t5",
    "vocab_size": 32128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_heads": 8,
    "dropout_rate": 0.1,
    "relative_attention_num_buckets": 32,
    "decoder_start_token_id": 0,
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "bert-base-uncased": BERT,
    "roberta-base": {
        **BERT,
        "model_type": "roberta",
        "vocab_size": 50265,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
    },
    "distilbert-base-uncased": {
        "model_type": "distilbert",
        "vocab_size": 30522,
        "dim": 768,
        "hidden_dim": 3072,
        "n_heads": 12,
        "n_layers": 6,
        "max_position_embeddings": 512,
        "sinusoidal_pos_embds": False,
        "tie_weights_": True,
        "activation": "gelu",
    },
    "electra-small-generator": {**ELECTRA, "intermediate_size": 1024},
    "electra-small-discriminator": {**ELECTRA, "intermediate_size": 1024},
    "electra-base-generator": {**ELECTRA, "embedding_size": 768, "intermediate_size": 1024},
    "albert-base-v2": {
        **BERT,
        "model_type": "albert",
        "vocab_size": 30000,
        "embedding_size": 128,
        "hidden_act": "gelu_new",
        "num_hidden_groups": 1,
        "inner_group_num": 1,
        "hidden_dropout_prob": 0,
        "attention_probs_dropout_prob": 0,
    },
    "ModernBERT-base": {
        "model_type": "modernbert",
        "vocab_size": 50368,
        "hidden_size": 768,
        "intermediate_size": 1152,
        "num_hidden_layers": 22,
        "num_attention_heads": 12,
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 160000.0,
        "local_rope_theta": 10000.0,
        "local_attention": 128,
        "max_position_embeddings": 8192,
        "hidden_activation": "gelu",
        "position_embedding_type": "absolute",
    },
    "gpt2": {
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "n_ctx": 1024,
        "n_embd": 768,
        "n_head": 12,
        "n_layer": 12,
        "n_positions": 1024,
        "vocab_size": 50257,
    },
    "t5-small": {**T5, "n_positions": 512, "feed_forward_proj": "relu"},
    "t5-v1_1-small": {
        **T5,
        "d_ff": 1024,
        "num_heads": 6,
        "num_layers": 8,
        "num_decoder_layers": 8,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
    },
    "Llama-3.2-1B": {
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "factor": 32.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "pretraining_tp": 1,
    },
    "Qwen3-0.6B": {
        "model_type": "qwen3",
        "vocab_size": 151936,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_window_layers": 28,
        "use_sliding_window": False,
        "sliding_window": None,
        "rope_theta": 1000000,
        "rope_scaling": None,
        "tie_word_embeddings": True,
    },
    "pythia-70m": {
        "model_type": "gpt_neox",
        "vocab_size": 50304,
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "rotary_pct": 0.25,
        "rotary_emb_base": 10000,
        "use_parallel_residual": True,
        "tie_word_embeddings": False,
    },
}


def counted(shapes: dict[str, torch.Size]) -> int:
    return sum(shape.numel() for shape in shapes.values())


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_architecture_has_as_many_parameters_as_theirs(name: str) -> None:
    tree = PUBLISHED[name]
    config = read_config(family_of(tree), tree)
    settings = transformers.AutoConfig.for_model(**tree)
    with torch.device("meta"):
        if name.endswith("discriminator"):
            theirs, mine = transformers.AutoModel.from_config(settings), body_shapes(config)
        elif settings.model_type == "t5":
            theirs, mine = transformers.AutoModelForSeq2SeqLM.from_config(settings), network_shapes(config)
        else:
            auto = transformers.AutoModelForMaskedLM
            if config.family.kind == "decoder":
                auto = transformers.AutoModelForCausalLM
            theirs, mine = auto.from_config(settings), network_shapes(config)
    expected = sum(parameter.numel() for parameter in theirs.parameters())
    if name == "bert-base-uncased":
        assert expected == 109_514_298
    if name == "t5-v1_1-small":
        # transformers 5 ties this head until it sees the checkpoint, which has one of its own.
        expected += settings.vocab_size * settings.d_model
    if name.endswith("discriminator"):
        assert not any("pooler" in key for key, _ in theirs.named_parameters())
    assert counted(mine) == expected


def test_old_and_new_names_of_rotary_options_are_one() -> None:
    for name in ("Llama-3.2-1B", "ModernBERT-base", "Qwen3-0.6B", "pythia-70m"):
        tree = PUBLISHED[name]
        new = transformers.AutoConfig.for_model(**tree).to_dict()
        assert "rope_parameters" in new and "rope_theta" not in new
        family = family_of(tree)
        assert read_config(family, tree).family == read_config(family, new).family
