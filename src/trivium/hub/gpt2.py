"""GPT-2: norms before the branches, learned positions, matrices kept the other way round."""

from trivium.hub.family import BUFFERS, HubFamily, Names, block_entries, entries
from trivium.hub.keymap import TRANSPOSED
from trivium.hub.options import (
    Tree,
    activation,
    activation_name,
    head_size,
    normal,
    only,
    option,
    parts,
    spread,
)
from trivium.hub.readouts import ends, last_token, words
from trivium.hub.vocabulary_heads import projected
from trivium.model.config import (
    BlockConfig,
    Decoder,
    EmbeddingConfig,
    HeadConfig,
    ModelConfig,
    StackConfig,
)
from trivium.model.parts import AttentionConfig, LayerNormConfig, Learned, Plain

_BLOCK = (
    ("attention.into", "ln_1"),
    ("attention.branch.qkv", "attn.c_attn"),
    ("attention.branch.out", "attn.c_proj"),
    ("feed_forward.into", "ln_2"),
    ("feed_forward.branch.up", "mlp.c_fc"),
    ("feed_forward.branch.down", "mlp.c_proj"),
)


def _read(tree: Tree) -> ModelConfig:
    only(tree, scale_attn_by_inverse_layer_idx=False)
    size, num_heads = option(tree, "n_embd", 768), option(tree, "n_head", 12)
    max_length, norm = option(tree, "n_positions", 1024), LayerNormConfig(eps=option(tree, "layer_norm_epsilon", 1e-5))
    block = BlockConfig(
        attention=AttentionConfig(
            num_heads=num_heads,
            num_key_value_heads=num_heads,
            head_size=head_size(size, num_heads),
            scale=None if option(tree, "scale_attn_weights", True) else 1.0,
            dropout=option(tree, "attn_pdrop", 0.1),
        ),
        feed_forward=Plain(
            size=option(tree, "n_inner", 4 * size),
            activation=activation(tree, "activation_function", "gelu_new"),
        ),
        norm=norm,
        placement="pre",
        dropout=option(tree, "resid_pdrop", 0.1),
    )
    stack = StackConfig(
        num_layers=option(tree, "n_layer", 12),
        pattern=(block,),
        position=Learned(max_length=max_length),
        embedding=EmbeddingConfig(dropout=option(tree, "embd_pdrop", 0.1)),
        final_norm=norm,
    )
    return ModelConfig(
        vocabulary_size=option(tree, "vocab_size", 50_257),
        hidden_size=size,
        max_length=max_length,
        family=Decoder(stack=stack),
        head=HeadConfig(tied=option(tree, "tie_word_embeddings", True)),
        initialisation=normal(tree).model_copy(update={"residual": "scaled"}),
    )


def _write(config: ModelConfig) -> Tree:
    stack, block, attention, feed_forward, table_length = parts(config)
    return {
        "vocab_size": config.vocabulary_size,
        "n_positions": table_length,
        "n_embd": config.hidden_size,
        "n_layer": stack.num_layers,
        "n_head": attention.num_heads,
        "n_inner": feed_forward.size,
        "activation_function": activation_name(feed_forward.activation),
        "resid_pdrop": block.dropout,
        "embd_pdrop": stack.embedding.dropout,
        "attn_pdrop": attention.dropout,
        "layer_norm_epsilon": block.norm.eps,
        "initializer_range": spread(config),
        "scale_attn_weights": attention.scale != 1.0,
        "tie_word_embeddings": config.head.tied,
    }


def _body(config: ModelConfig) -> Names:
    (stack,) = config.stacks()
    own = (("embedding.tokens", "wte"), ("embedding.positions", "wpe"), ("final_norm", "ln_f"))
    return Names((*entries("stack.", "", own), *block_entries(stack, "stack", "h.{}", _BLOCK, TRANSPOSED)))


def _language(config: ModelConfig) -> Names:
    return projected(config, "lm_head", "transformer.wte")


GPT2 = HubFamily(
    model_type="gpt2",
    read=_read,
    write=_write,
    body=_body,
    language=_language,
    language_models=("GPT2LMHeadModel",),
    base_models=("GPT2Model",),
    prefix="transformer.",
    readouts=(last_token("GPT2"), words("GPT2"), ends("GPT2")),
    spare=(*BUFFERS, r"transformer\.h\.\d+\.attn\.(masked_)?bias"),
)
