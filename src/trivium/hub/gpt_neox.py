"""GPT-NeoX and Pythia: parallel branches, rotary positions on a part of each head."""

from trivium.hub.family import BUFFERS, HubFamily, Names, block_entries, entries
from trivium.hub.keymap import Copy, Entry, interleaved
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
from trivium.model.config import BlockConfig, Decoder, EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from trivium.model.parts import AttentionConfig, LayerNormConfig, Parallel, Plain, Sequential

_BLOCK = (
    ("attention.into", "input_layernorm"),
    ("attention.branch.out", "attention.dense"),
    ("feed_forward.into", "post_attention_layernorm"),
    ("feed_forward.branch.up", "mlp.dense_h_to_4h"),
    ("feed_forward.branch.down", "mlp.dense_4h_to_h"),
)
_QKV = (("attention.branch.qkv", "attention.query_key_value"),)


def _read(tree: Tree) -> ModelConfig:
    only(tree)
    size, num_heads = required(tree, "hidden_size"), required(tree, "num_attention_heads")
    max_length, dropout = option(tree, "max_position_embeddings", 2048), option(tree, "hidden_dropout", 0.0)
    norm = LayerNormConfig(eps=option(tree, "layer_norm_eps", 1e-5))
    block = BlockConfig(
        attention=AttentionConfig(
            num_heads=num_heads,
            num_key_value_heads=num_heads,
            head_size=head_size(size, num_heads),
            bias=option(tree, "attention_bias", True),
            dropout=option(tree, "attention_dropout", 0.0),
        ),
        feed_forward=Plain(size=required(tree, "intermediate_size"), activation=activation(tree, "hidden_act", "gelu")),
        norm=norm,
        placement="pre",
        arrangement=Parallel() if option(tree, "use_parallel_residual", True) else Sequential(),
        dropout=dropout,
    )
    base, share = option(tree, "rotary_emb_base", 10_000.0), option(tree, "rotary_pct", 0.25)
    stack = StackConfig(
        num_layers=required(tree, "num_hidden_layers"),
        pattern=(block,),
        position=read_rotary(tree, base=base, share=share, max_length=max_length, partial=True),
        embedding=EmbeddingConfig(dropout=dropout),
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


def _write(config: ModelConfig) -> Tree:
    stack, block, attention, feed_forward, _ = parts(config)
    return {
        **sizes(config),
        "hidden_act": activation_name(feed_forward.activation),
        "attention_dropout": attention.dropout,
        "hidden_dropout": block.dropout,
        "max_position_embeddings": config.max_length,
        "layer_norm_eps": block.norm.eps,
        "rope_parameters": write_rotary(stack.position, partial=True),
        "use_parallel_residual": isinstance(block.arrangement, Parallel),
        "attention_bias": attention.bias,
    }


def _body(config: ModelConfig) -> Names:
    (stack,) = config.stacks()
    own = (("embedding.tokens", "embed_in"), ("final_norm", "final_layer_norm"))
    by_head = interleaved(stack.block(0).attention.num_heads)
    blocks = block_entries(stack, "stack", "layers.{}", _BLOCK)
    return Names((*entries("stack.", "", own), *blocks, *block_entries(stack, "stack", "layers.{}", _QKV, by_head)))


def _language(config: ModelConfig) -> Names:
    if config.head.tied:
        tokens = "gpt_neox.embed_in.weight"
        return Names((), (Copy("embed_out.weight", tokens), Copy("lm_head.weight", tokens)))
    return Names((Entry("head.projection", ("embed_out",)),), (Copy("lm_head.weight", "embed_out.weight"),))


GPT_NEOX = HubFamily(
    model_type="gpt_neox",
    read=_read,
    write=_write,
    body=_body,
    language=_language,
    language_models=("GPTNeoXForCausalLM",),
    base_models=("GPTNeoXModel",),
    prefix="gpt_neox.",
    readouts=(last_token("GPTNeoX"), words("GPTNeoX"), ends("GPTNeoX")),
    spare=(*BUFFERS, r"gpt_neox\.layers\.\d+\.attention\.(masked_)?bias"),
)
