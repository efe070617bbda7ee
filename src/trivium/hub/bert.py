"""BERT, and what the encoders after it have in common with it."""

from trivium.hub.family import BUFFERS, HubFamily, Names, block_entries, entries
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
from trivium.hub.readouts import ends, first_token, words
from trivium.hub.vocabulary_heads import transformed
from trivium.model.config import (
    BlockConfig,
    EmbeddingConfig,
    Encoder,
    HeadConfig,
    ModelConfig,
    StackConfig,
    TransformConfig,
)
from trivium.model.parts import (
    Activation,
    AttentionConfig,
    LayerNormConfig,
    Learned,
    Plain,
    Sharing,
    Unshared,
)

EMBEDDING = (
    ("tokens", "word_embeddings"),
    ("positions", "position_embeddings"),
    ("segments", "token_type_embeddings"),
    ("norm", "LayerNorm"),
)
BLOCK = (
    ("attention.branch.qkv", "attention.self.query attention.self.key attention.self.value"),
    ("attention.branch.out", "attention.output.dense"),
    ("attention.after", "attention.output.LayerNorm"),
    ("feed_forward.branch.up", "intermediate.dense"),
    ("feed_forward.branch.down", "output.dense"),
    ("feed_forward.after", "output.LayerNorm"),
)


def read_encoder(
    tree: Tree,
    *,
    offset: int = 0,
    embedding_size: int | None = None,
    sharing: Sharing | None = None,
    segments: bool = True,
    head_activation: Activation | None = None,
) -> ModelConfig:
    """Return an encoder with learned positions and norms after the sums, by BERT's names of its options.

    Args:
        tree: config.json.
        offset: the row of the table of positions that the first token has.
        embedding_size: as in `ModelConfig`.
        sharing: as in `StackConfig`.
        segments: whether there is a table of them.
        head_activation: that of the language head; None = that of the feed-forwards.
    """
    only(tree)
    size, num_heads = required(tree, "hidden_size"), required(tree, "num_attention_heads")
    dropout, table_length = option(tree, "hidden_dropout_prob", 0.1), option(tree, "max_position_embeddings", 512)
    norm, used = LayerNormConfig(eps=option(tree, "layer_norm_eps", 1e-12)), activation(tree, "hidden_act", "gelu")
    num_segments = option(tree, "type_vocab_size", 2) if segments else 0
    block = BlockConfig(
        attention=AttentionConfig(
            num_heads=num_heads,
            num_key_value_heads=num_heads,
            head_size=head_size(size, num_heads),
            dropout=option(tree, "attention_probs_dropout_prob", 0.1),
        ),
        feed_forward=Plain(size=required(tree, "intermediate_size"), activation=used),
        norm=norm,
        placement="post",
        dropout=dropout,
    )
    stack = StackConfig(
        num_layers=required(tree, "num_hidden_layers"),
        pattern=(block,),
        sharing=sharing or Unshared(),
        position=Learned(max_length=table_length, offset=offset),
        embedding=EmbeddingConfig(num_segments=num_segments, norm=norm, dropout=dropout),
    )
    return ModelConfig(
        vocabulary_size=required(tree, "vocab_size"),
        hidden_size=size,
        embedding_size=embedding_size,
        max_length=table_length - offset,
        family=Encoder(stack=stack),
        head=HeadConfig(
            tied=option(tree, "tie_word_embeddings", True),
            bias=True,
            transform=TransformConfig(activation=head_activation or used, norm=norm),
        ),
        initialisation=normal(tree),
    )


def write_encoder(config: ModelConfig) -> Tree:
    """Return the options that `read_encoder` reads."""
    stack, block, attention, feed_forward, table_length = parts(config)
    return {
        **sizes(config),
        "hidden_act": activation_name(feed_forward.activation),
        "hidden_dropout_prob": block.dropout,
        "attention_probs_dropout_prob": attention.dropout,
        "max_position_embeddings": table_length,
        # Their network adds segment 0 to every token, so that there is one.
        "type_vocab_size": max(stack.embedding.num_segments, 1),
        "layer_norm_eps": block.norm.eps,
    }


def body(config: ModelConfig) -> Names:
    """Return the names of BERT's stack."""
    (stack,) = config.stacks()
    layers = block_entries(stack, "stack", "encoder.layer.{}", BLOCK)
    return Names((*entries("stack.embedding.", "embeddings.", EMBEDDING), *layers))


def _language(config: ModelConfig) -> Names:
    head = "cls.predictions"
    tokens = "bert.embeddings.word_embeddings"
    return transformed(config, f"{head}.transform.", "dense", "LayerNorm", f"{head}.decoder", tokens, head)


BERT = HubFamily(
    model_type="bert",
    read=read_encoder,
    write=write_encoder,
    body=body,
    language=_language,
    language_models=("BertForMaskedLM", "BertForPreTraining"),
    base_models=("BertModel", "BertForNextSentencePrediction"),
    prefix="bert.",
    readouts=(
        first_token("Bert", "bert.pooler.dense", "classifier", "tanh"),
        words("Bert"),
        ends("Bert"),
    ),
    spare=(*BUFFERS, r"bert\.pooler\..*", r"cls\.seq_relationship\..*"),
)
