"""Llama, and what the networks after it have in common with it: RMSNorm, rotary positions, gated feed-forwards."""

from trivium.hub.family import BUFFERS, HubFamily, Names, block_entries, entries
from trivium.hub.keymap import Entry
from trivium.hub.options import (
    Tree,
    activation,
    activation_name,
    head_size,
    normal,
    only,
    option,
    parts,
    required,
    sizes,
)
from trivium.hub.readouts import ends, last_token, words
from trivium.hub.rotary import read_rotary, write_rotary
from trivium.hub.vocabulary_heads import projected
from trivium.model.config import BlockConfig, Decoder, HeadConfig, ModelConfig, StackConfig
from trivium.model.parts import AttentionConfig, Gated, RMSNormConfig

BLOCK = (
    ("attention.into", "input_layernorm"),
    ("attention.branch.qkv", "self_attn.q_proj self_attn.k_proj self_attn.v_proj"),
    ("attention.branch.out", "self_attn.o_proj"),
    ("feed_forward.into", "post_attention_layernorm"),
    ("feed_forward.branch.gate_up", "mlp.gate_proj mlp.up_proj"),
    ("feed_forward.branch.down", "mlp.down_proj"),
)


def read_modern(
    tree: Tree, *, eps: float = 1e-6, max_length: int = 2048, size_of_heads: int | None = None
) -> ModelConfig:
    """Return a decoder by Llama's names of its options; the numbers are the family's defaults.

    Where heads have no size by default, transformers refuses a number of them that does not divide the hidden size.
    """
    only(tree)
    size, num_heads = required(tree, "hidden_size"), required(tree, "num_attention_heads")
    max_length, norm = option(tree, "max_position_embeddings", max_length), read_norm(tree, eps)
    divided = size_of_heads or head_size(size, num_heads)
    block = BlockConfig(
        attention=AttentionConfig(
            num_heads=num_heads,
            num_key_value_heads=option(tree, "num_key_value_heads", num_heads),
            head_size=option(tree, "head_dim", divided),
            bias=option(tree, "attention_bias", False),
            dropout=option(tree, "attention_dropout", 0.0),
        ),
        feed_forward=Gated(
            size=required(tree, "intermediate_size"),
            activation=activation(tree, "hidden_act", "silu"),
            bias=option(tree, "mlp_bias", False),
        ),
        norm=norm,
        placement="pre",
    )
    stack = StackConfig(
        num_layers=required(tree, "num_hidden_layers"),
        pattern=(block,),
        position=read_rotary(tree, max_length=max_length),
        final_norm=norm,
    )
    return ModelConfig(
        vocabulary_size=required(tree, "vocab_size"),
        hidden_size=size,
        max_length=max_length,
        family=Decoder(stack=stack),
        head=HeadConfig(tied=option(tree, "tie_word_embeddings", False)),
        initialisation=normal(tree),
    )


def read_norm(tree: Tree, eps: float) -> RMSNormConfig:
    """Return the norm of every place."""
    return RMSNormConfig(eps=option(tree, "rms_norm_eps", eps))


def write_modern(config: ModelConfig) -> Tree:
    """Return the options that `read_modern` reads."""
    stack, block, attention, feed_forward, _ = parts(config)
    return {
        **sizes(config),
        "num_key_value_heads": attention.num_key_value_heads,
        "head_dim": attention.head_size,
        "hidden_act": activation_name(feed_forward.activation),
        "max_position_embeddings": config.max_length,
        "rms_norm_eps": block.norm.eps,
        "rope_parameters": write_rotary(stack.position),
        "attention_bias": attention.bias,
        "attention_dropout": attention.dropout,
        "mlp_bias": feed_forward.bias,
    }


def modern_body(config: ModelConfig) -> Names:
    """Return the names of Llama's stack."""
    (stack,) = config.stacks()
    own = (("embedding.tokens", "embed_tokens"), ("final_norm", "norm"))
    return Names((*entries("stack.", "", own), *block_entries(stack, "stack", "layers.{}", BLOCK)))


def modern_language(config: ModelConfig) -> Names:
    """Return the names of Llama's head; its bias is EuroBERT's."""
    bias = (Entry("head", ("lm_head",)),) if config.head.bias else ()
    own = projected(config, "lm_head", "model.embed_tokens")
    return Names((*bias, *own.entries), own.copies)


LLAMA = HubFamily(
    model_type="llama",
    read=read_modern,
    write=write_modern,
    body=modern_body,
    language=modern_language,
    language_models=("LlamaForCausalLM",),
    base_models=("LlamaModel",),
    prefix="model.",
    readouts=(last_token("Llama"), words("Llama", label="score"), ends("Llama", prefix="transformer.")),
    spare=BUFFERS,
)
