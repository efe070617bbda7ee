"""T5 (1.0, 1.1, Flan) and mT5: two stacks with relative positions over one token embedding."""

from functools import partial

from trivium.core.errors import HubError
from trivium.hub.family import BUFFERS, HubFamily, Names, Readout, block_entries
from trivium.hub.keymap import Copy, Entry
from trivium.hub.options import Tree, activation_name, named_activation, only, option, parts, required
from trivium.hub.readouts import ends, projection, words
from trivium.hub.vocabulary_heads import projected
from trivium.model.config import (
    BlockConfig,
    EmbeddingConfig,
    EncoderDecoder,
    HeadConfig,
    ModelConfig,
    ReadoutConfig,
    StackConfig,
    T5Init,
    TransformConfig,
)
from trivium.model.parts import AttentionConfig, FeedForwardConfig, Gated, Plain, RelativeBuckets, RMSNormConfig

_STACKS = ("encoder", "decoder")
_SELF = (
    ("attention.into", "0.layer_norm"),
    ("attention.branch.qkv", "0.SelfAttention.q 0.SelfAttention.k 0.SelfAttention.v"),
    ("attention.branch.out", "0.SelfAttention.o"),
)
_CROSS = (
    ("cross_attention.into", "1.layer_norm"),
    ("cross_attention.branch.query", "1.EncDecAttention.q"),
    ("cross_attention.branch.key_value", "1.EncDecAttention.k 1.EncDecAttention.v"),
    ("cross_attention.branch.out", "1.EncDecAttention.o"),
)


def _feed_forward(place: int) -> tuple[tuple[str, str], ...]:
    dense = f"{place}.DenseReluDense"
    return (
        ("feed_forward.into", f"{place}.layer_norm"),
        ("feed_forward.branch.up", f"{dense}.wi"),
        ("feed_forward.branch.gate_up", f"{dense}.wi_0 {dense}.wi_1"),
        ("feed_forward.branch.down", f"{dense}.wo"),
    )


def _read(tree: Tree, *, gated: bool, scaled: bool) -> ModelConfig:
    """Return mT5 (gated, its scores never scaled) or T5; v1.0's tied head is scaled, v1.1's is neither."""
    only(tree)
    size, num_layers = required(tree, "d_model"), option(tree, "num_layers", 6)
    tied = option(tree, "tie_word_embeddings", True)
    scale = size**-0.5 if scaled and option(tree, "scale_decoder_outputs", tied) else 1.0
    return ModelConfig(
        vocabulary_size=required(tree, "vocab_size"),
        hidden_size=size,
        max_length=option(tree, "n_positions", 512),
        family=EncoderDecoder(
            encoder=_stack(tree, num_layers, gated=gated, writes=False),
            decoder=_stack(tree, option(tree, "num_decoder_layers", num_layers), gated=gated, writes=True),
        ),
        head=HeadConfig(tied=tied, scale=scale),
        initialisation=T5Init(factor=option(tree, "initializer_factor", 1.0) or 1.0),
    )


def _stack(tree: Tree, num_layers: int, *, gated: bool, writes: bool) -> StackConfig:
    dropout, norm = option(tree, "dropout_rate", 0.1), RMSNormConfig(eps=option(tree, "layer_norm_epsilon", 1e-6))
    num_heads = required(tree, "num_heads")
    attention = AttentionConfig(
        num_heads=num_heads,
        num_key_value_heads=num_heads,
        head_size=option(tree, "d_kv", 64),
        bias=False,
        scale=1.0,
        dropout=dropout,
    )
    block = BlockConfig(
        attention=attention,
        cross_attention=attention if writes else None,
        feed_forward=_read_feed_forward(tree, dropout, gated=gated),
        norm=norm,
        placement="pre",
        dropout=dropout,
    )
    return StackConfig(
        num_layers=num_layers,
        pattern=(block,),
        position=RelativeBuckets(
            num_buckets=option(tree, "relative_attention_num_buckets", 32),
            max_distance=option(tree, "relative_attention_max_distance", 128),
            bidirectional=not writes,
        ),
        embedding=EmbeddingConfig(dropout=dropout),
        final_norm=norm,
        final_dropout=dropout,
    )


def _read_feed_forward(tree: Tree, dropout: float, *, gated: bool) -> FeedForwardConfig:
    said = option(tree, "feed_forward_proj", "gated-gelu" if gated else "relu")
    kind, _, name = said.rpartition("-")
    if kind not in ("", "gated"):
        raise HubError(f"config.json: `feed_forward_proj` {said!r} is not supported: an activation, or `gated-` one.")
    # Their "gated-gelu" is the approximation, other names are what they say.
    used = named_activation("gelu_new" if said == "gated-gelu" else name, "feed_forward_proj")
    size = required(tree, "d_ff")
    if kind:
        return Gated(size=size, activation=used, dropout=dropout)
    return Plain(size=size, activation=used, bias=False, dropout=dropout)


def _write(config: ModelConfig, *, scaled: bool) -> Tree:
    stack, block, attention, feed_forward, _ = parts(config)
    position, head, stacks = stack.position, config.head, config.stacks()
    buckets = position if isinstance(position, RelativeBuckets) else RelativeBuckets(bidirectional=True)
    name = activation_name(feed_forward.activation)
    if isinstance(feed_forward, Gated):
        name = "gated-" + {"gelu_new": "gelu", "gelu": "gelu_python"}.get(name, name)
    return {
        "vocab_size": config.vocabulary_size,
        "d_model": config.hidden_size,
        "d_kv": attention.head_size,
        "d_ff": feed_forward.size,
        "num_layers": stack.num_layers,
        "num_decoder_layers": stacks[-1].num_layers,
        "num_heads": attention.num_heads,
        "relative_attention_num_buckets": buckets.num_buckets,
        "relative_attention_max_distance": buckets.max_distance,
        "dropout_rate": block.dropout,
        "layer_norm_epsilon": block.norm.eps,
        "initializer_factor": config.initialisation.factor if isinstance(config.initialisation, T5Init) else 1.0,
        "feed_forward_proj": name,
        "is_encoder_decoder": True,
        "n_positions": config.max_length,
        "tie_word_embeddings": head.tied,
        **({"scale_decoder_outputs": head.scale != 1.0} if scaled else {}),
    }


def _body(config: ModelConfig) -> Names:
    found = [Entry("encoder.embedding.tokens", ("shared",))]
    for name, stack in zip(_STACKS, config.stacks(), strict=False):
        writes = name == "decoder"
        pairs = (*_SELF, *(_CROSS if writes else ()), *_feed_forward(2 if writes else 1))
        first = f"{name}.block.0.layer.0.SelfAttention.relative_attention_bias"
        found += [Entry(f"{name}.scores", (first,)), Entry(f"{name}.final_norm", (f"{name}.final_layer_norm",))]
        found += block_entries(stack, name, f"{name}.block.{{}}.layer", pairs)
    copies = (
        Copy("encoder.embed_tokens.weight", "shared.weight"),
        Copy("decoder.embed_tokens.weight", "shared.weight"),
    )
    return Names(tuple(found), copies)


def _language(config: ModelConfig) -> Names:
    return projected(config, "lm_head", "shared")


def _text(name: str) -> Readout:
    """Return the head of a text, which reads the decoder's state at the text's last token (there: its end token)."""
    readout = ReadoutConfig(stack="writer", pooling="last", transform=TransformConfig(activation="tanh"))
    named = (Entry("head.transform.dense", ("classification_head.dense",)), *projection("classification_head.out_proj"))
    models = (f"{name}ForSequenceClassification",)
    return Readout("classify", models, named, lambda tree: readout, prefix="transformer.")


def _answer(name: str) -> Readout:
    """Return the head of an answer's ends: it reads the decoder's state at each token."""
    return ends(name)._replace(read=lambda tree: ReadoutConfig(stack="writer"))


def _family(model_type: str, name: str, *, gated: bool, scaled: bool) -> HubFamily:
    return HubFamily(
        model_type=model_type,
        read=partial(_read, gated=gated, scaled=scaled),
        write=partial(_write, scaled=scaled),
        body=_body,
        language=_language,
        language_models=(f"{name}ForConditionalGeneration", f"{name}WithLMHeadModel"),
        base_models=(f"{name}Model", f"{name}EncoderModel"),
        readouts=(words(name, prefix="transformer."), _text(name), _answer(name)),
        # Early checkpoints have positions in the cross-attention, which nothing reads.
        spare=(*BUFFERS, r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight"),
        tied_by_weights=True,
    )


T5 = _family("t5", "T5", gated=False, scaled=True)
MT5 = _family("mt5", "MT5", gated=True, scaled=False)
