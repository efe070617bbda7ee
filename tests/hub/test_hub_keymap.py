"""What a checkpoint may not be: too much, too little, misshapen, untied; options we do not have; what is not theirs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trivium.core.errors import HubError
from trivium.hub.compare import canonical, differences
from trivium.hub.families import family_of, read_config, write_config
from trivium.hub.folder import SpecialIds, read_folder, read_model, write_folder
from trivium.hub.keymap import TRANSPOSED, Copy, Entry, KeyMap, interleaved, to_ours, to_theirs
from trivium.hub.weights import write_weights
from trivium.model.build import build_network
from trivium.model.config import Decoder, Encoder, ModelConfig, ReadoutConfig, StackConfig, TransformConfig
from trivium.model.folder import unique_tensors
from trivium.model.parts import (
    Gated,
    LayerNormConfig,
    LayerScaleConfig,
    Looped,
    Plain,
    RMSNormConfig,
    Rotary,
    Sinusoidal,
    YarnScaling,
)
from trivium.model.presets import preset

BERT: dict[str, Any] = {
    "model_type": "bert",
    "architectures": ["BertForMaskedLM"],
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
}
GPT2: dict[str, Any] = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "vocab_size": 20,
    "n_embd": 8,
    "n_layer": 1,
    "n_head": 2,
    "n_positions": 16,
}
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
}


def config_of(tree: dict[str, Any]) -> ModelConfig:
    return read_config(family_of(tree), tree)


def weights_of(tree: dict[str, Any]) -> dict[str, Tensor]:
    """Random weights by their names."""
    config, generator = config_of(tree), torch.Generator().manual_seed(0)
    shapes = {name: tensor.shape for name, tensor in unique_tensors(build_network(config, device="meta")).items()}
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return to_theirs(family_of(tree).keymap(config, "language"), tensors)


# Entries -----------------------------------------------------------------------------------------------------------


def test_rows_are_stacked_and_parted_again() -> None:
    keymap = KeyMap((Entry("a", ("q", "k", "v"), (4, 2, 2)), Entry("b", ("c",), (), TRANSPOSED)))
    theirs = {"q.weight": torch.randn(4, 3), "k.weight": torch.randn(2, 3), "v.weight": torch.randn(2, 3)}
    theirs |= {"c.weight": torch.randn(3, 5), "c.bias": torch.randn(5)}
    shapes = {"a.weight": torch.Size((8, 3)), "b.weight": torch.Size((5, 3)), "b.bias": torch.Size((5,))}
    ours = to_ours(keymap, theirs, shapes)
    assert torch.equal(ours["a.weight"], torch.cat([theirs[f"{part}.weight"] for part in "qkv"]))
    assert torch.equal(ours["b.weight"], theirs["c.weight"].t())
    back = to_theirs(keymap, ours)
    assert back.keys() == theirs.keys() and all(torch.equal(back[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("shape", [(18, 5), (18,)])
def test_interleaved_heads_are_put_side_by_side_and_back(shape: tuple[int, ...]) -> None:
    # 3 heads of size 2: row 0 and 1 are the first head's query, 2 and 3 its key.
    theirs = torch.arange(18).reshape(18, *[1] * (len(shape) - 1)).expand(shape)
    layout = interleaved(3)
    ours = layout.to_ours(theirs)
    assert ours.reshape(18, -1)[:, 0].tolist() == [0, 1, 6, 7, 12, 13, 2, 3, 8, 9, 14, 15, 4, 5, 10, 11, 16, 17]
    assert torch.equal(layout.to_theirs(ours), theirs)


def test_a_copy_stands_for_what_is_missing_and_must_else_be_equal() -> None:
    keymap = KeyMap((Entry("a", ("b",)),), (Copy("c.weight", "b.weight"),))
    one, other, shapes = torch.randn(2, 2), torch.randn(2, 2), {"a.weight": torch.Size((2, 2))}
    for tensors in ({"b.weight": one}, {"c.weight": one}, {"b.weight": one, "c.weight": one.clone()}):
        assert torch.equal(to_ours(keymap, tensors, shapes)["a.weight"], one)
    with pytest.raises(HubError, match=r"untied, though config\.json says tied: c\.weight from b\.weight"):
        to_ours(keymap, {"b.weight": one, "c.weight": other}, shapes)


# Weights -----------------------------------------------------------------------------------------------------------


def test_unexpected_missing_and_misshapen_keys_are_named_in_one_line() -> None:
    weights = weights_of(BERT)
    for name in [name for name in weights if ".layer.1.attention.self." in name]:
        del weights[name]
    weights["bert.encoder.layer.2.output.dense.bias"] = torch.zeros(8)
    weights["cls.predictions.bias"] = torch.zeros(21)
    with pytest.raises(HubError) as caught:
        read_model(BERT, weights)
    told = str(caught.value)
    first = "bert.encoder.layer.1.attention.self"
    assert f"missing: {first}.key.bias, {first}.key.weight, {first}.query.bias and 3 more" in told
    assert "unexpected: bert.encoder.layer.2.output.dense.bias" in told
    assert "of another shape: cls.predictions.bias (21,) instead of (20,)" in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("tree", "copy"), [(BERT, "cls.predictions.decoder.weight"), (GPT2, "lm_head.weight")], ids=["bert", "gpt2"]
)
def test_an_untied_head_is_told_where_config_json_says_tied(tree: dict[str, Any], copy: str) -> None:
    with pytest.raises(HubError, match=f"untied, though config.json says tied: {copy} from"):
        read_model(tree, weights_of(tree) | {copy: torch.randn(20, 8)})


def test_known_copies_buffers_and_spare_heads_are_left_out() -> None:
    weights = weights_of(BERT)
    expected = read_model(BERT, weights).tensors
    more = {
        "cls.predictions.decoder.weight": weights["bert.embeddings.word_embeddings.weight"],
        "cls.predictions.decoder.bias": weights["cls.predictions.bias"],
        "bert.embeddings.position_ids": torch.arange(16)[None],
        "bert.pooler.dense.weight": torch.randn(8, 8),
        "bert.pooler.dense.bias": torch.randn(8),
        "cls.seq_relationship.weight": torch.randn(2, 8),
        "cls.seq_relationship.bias": torch.randn(2),
    }
    found = read_model({**BERT, "architectures": ["BertForPreTraining"]}, weights | more).tensors
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


def test_masks_that_old_versions_saved_are_left_out() -> None:
    weights = weights_of(GPT2)
    # The published file has no prefix, though its architecture has a head.
    bare = {name.removeprefix("transformer."): tensor for name, tensor in weights.items()}
    found = read_model(GPT2, bare | {"h.0.attn.bias": torch.ones(1, 1, 16, 16), "h.0.attn.masked_bias": torch.ones(())})
    expected = read_model(GPT2, weights).tensors
    assert all(torch.equal(found.tensors[name], expected[name]) for name in expected)


def test_norms_by_their_first_names_and_a_body_without_its_prefix_are_understood() -> None:
    weights, old = weights_of(BERT), {"weight": "gamma", "bias": "beta"}
    renamed = {}
    for name, tensor in weights.items():
        module, _, kind = name.removeprefix("bert.").rpartition(".")
        renamed[f"{module}.{old[kind]}" if module.endswith("LayerNorm") else f"{module}.{kind}"] = tensor
    assert "embeddings.LayerNorm.gamma" in renamed and "cls.predictions.transform.LayerNorm.beta" in renamed
    found, expected = read_model(BERT, renamed).tensors, read_model(BERT, weights).tensors
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


def test_half_precision_is_read_as_float32() -> None:
    half = {name: tensor.bfloat16() for name, tensor in weights_of(LLAMA).items()}
    found = read_model(LLAMA, half).tensors
    assert found and all(tensor.dtype == torch.float32 for tensor in found.values())


def test_an_error_names_the_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    weights = weights_of(BERT)
    del weights["cls.predictions.bias"]
    write_weights(tmp_path, weights)
    with pytest.raises(HubError, match=f"^{tmp_path}: the weights .* missing: cls.predictions.bias"):
        read_folder(tmp_path)


# Options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tree", "changed", "told"),
    [
        (BERT, {"is_decoder": True}, "`is_decoder` true is not supported"),
        (BERT, {"position_embedding_type": "relative_key"}, '`position_embedding_type` "relative_key"'),
        (BERT, {"pruned_heads": {"1": [0]}}, "`pruned_heads`"),
        (BERT, {"hidden_act": "mish"}, "`hidden_act` 'mish' is no activation of ours"),
        (BERT, {"num_attention_heads": 3}, "must divide the hidden size: 3, 8"),
        (BERT, {"hidden_size": None}, "`hidden_size` is missing"),
        (BERT, {"hidden_size": "big"}, "an option of the wrong kind"),
        (BERT, {"num_hidden_layers": 0}, "greater than 0"),
        (BERT, {"architectures": ["BertForMultipleChoice"]}, "`architectures` BertForMultipleChoice is not read"),
        (BERT, {"model_type": "bart"}, "`model_type` 'bart' is no family"),
        (GPT2, {"scale_attn_by_inverse_layer_idx": True}, "`scale_attn_by_inverse_layer_idx` true"),
        (GPT2, {"add_cross_attention": True}, "`add_cross_attention` true"),
        (LLAMA, {"quantization_config": {"bits": 4}}, '`quantization_config` {"bits": 4}'),
        (LLAMA, {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "`rope_type` 'dynamic'"),
        (LLAMA, {"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}, "`rope_type` 'longrope'"),
        (LLAMA, {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "`factor` is missing"),
        (LLAMA, {"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "`rope_parameters` that differ by layer"),
        (LLAMA, {"partial_rotary_factor": 0.5}, "`partial_rotary_factor` 0.5"),
        (LLAMA, {"num_key_value_heads": 3}, "`num_key_value_heads` must divide `num_heads`"),
    ],
)
def test_an_option_that_we_do_not_have_is_named(tree: dict[str, Any], changed: dict[str, Any], told: str) -> None:
    with pytest.raises(HubError) as caught:
        read_model({**tree, **changed}, {})
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_labels_with_gaps_in_their_numbers_are_refused() -> None:
    tree = {**BERT, "architectures": ["BertForTokenClassification"], "id2label": {"0": "a", "2": "b"}}
    with pytest.raises(HubError, match="`id2label` must number the labels from 0: found 0, 2"):
        read_model(tree, {})


def test_a_null_base_of_the_local_layers_is_the_global_one() -> None:
    tree = {**LLAMA, "model_type": "modernbert", "global_rope_theta": 5e4, "num_hidden_layers": 3}
    for local, expected in (({"local_rope_theta": None}, None), ({}, Rotary(base=1e4))):
        (stack,) = config_of({**tree, **local}).stacks()
        assert stack.position == Rotary(base=5e4)
        assert [block.position for block in stack.pattern] == [None, expected, expected]


def test_albert_with_layers_inside_its_groups_is_refused() -> None:
    tree = {**BERT, "model_type": "albert", "inner_group_num": 2, "architectures": ["AlbertForMaskedLM"]}
    with pytest.raises(HubError, match="`inner_group_num` 2 is not supported: expected 1"):
        read_model(tree, {})


# What is not theirs ------------------------------------------------------------------------------------------------


def changed(config: ModelConfig, change: Callable[[StackConfig], StackConfig]) -> ModelConfig:
    (stack,) = config.stacks()
    family = type(config.family)(stack=change(stack))
    return config.model_copy(update={"family": family})


def blocks(**update: Any) -> Callable[[StackConfig], StackConfig]:
    def change(stack: StackConfig) -> StackConfig:
        pattern = tuple(block.model_copy(update=update) for block in stack.pattern)
        return stack.model_copy(update={"pattern": pattern})

    return change


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("encoder-tiny", blocks(placement="sandwich"), "`family.stack.pattern.0.placement` is sandwich, not pre"),
        (
            "encoder-tiny",
            blocks(residual=LayerScaleConfig()),
            "`family.stack.pattern.0.residual.kind` is layer_scale, not sum",
        ),
        ("encoder-tiny", lambda stack: stack.model_copy(update={"position": Sinusoidal()}), "sinusoidal, not rotary"),
        (
            "encoder-tiny",
            lambda stack: stack.model_copy(update={"final_norm": None}),
            "final_norm` is none, not rms_norm",
        ),
        ("encoder-tiny", lambda stack: stack.model_copy(update={"sharing": Looped(num_blocks=1)}), "sharing.kind"),
        ("bert-tiny", blocks(feed_forward=Gated(size=9, activation="gelu")), "feed_forward.kind` is gated, not plain"),
        ("gpt2", blocks(norm=RMSNormConfig()), "pattern.0.norm.kind` is rms_norm, not layer_norm"),
    ],
)
def test_a_network_that_is_not_theirs_is_refused_with_what_stands_in_the_way(
    name: str, change: Callable[[StackConfig], StackConfig], told: str
) -> None:
    with pytest.raises(HubError, match="transformers has no such network; nearest is") as caught:
        write_config(changed(preset(name), change))
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_the_family_that_is_asked_for_says_what_it_needs() -> None:
    with pytest.raises(HubError, match=r"nearest is `llama`.*`family\.kind` is encoder, not decoder"):
        write_config(preset("encoder-tiny"), model_type="llama")


def test_a_head_that_is_not_theirs_is_refused() -> None:
    config = preset("encoder-tiny")
    with pytest.raises(HubError, match="readout: `transform` is none, not there"):
        write_config(config, head="classify", readout=ReadoutConfig(), model_type="eurobert")
    theirs = ReadoutConfig(pooling="first", transform=TransformConfig(activation="gelu"))
    family, tree = write_config(config, head="classify", readout=theirs)
    assert (family.model_type, tree["classifier_pooling"]) == ("eurobert", "bos")
    with pytest.raises(HubError, match="`head` answer: the family has no such head"):
        write_config(config, head="answer", readout=ReadoutConfig(), model_type="eurobert")


def test_a_language_head_stands_in_the_way_only_when_it_is_written() -> None:
    config = preset("bert-tiny")
    config = config.model_copy(update={"head": config.head.model_copy(update={"transform": None})})
    with pytest.raises(HubError, match=r"`head\.transform` is none"):
        write_config(config)
    assert write_config(config, head="none")[0].model_type == "bert"


def test_positions_of_roberta_go_with_the_padding_token(tmp_path: Path) -> None:
    tree = {**BERT, "model_type": "roberta", "architectures": ["RobertaForMaskedLM"], "pad_token_id": 1}
    model = read_model(tree, weights_of(tree))
    assert model.config.max_length == 14
    with pytest.raises(HubError, match=r"`position\.offset` needs 1, the tokenizer has 0"):
        write_folder(tmp_path, model.config, model.tensors, ids=SpecialIds(pad=0))
    write_folder(tmp_path, model.config, model.tensors, ids=SpecialIds(pad=1))
    assert json.loads((tmp_path / "config.json").read_text())["pad_token_id"] == 1


def test_tensors_of_another_network_are_not_written(tmp_path: Path) -> None:
    config = preset("encoder-tiny")
    with pytest.raises(HubError, match="not those of the architecture"):
        write_folder(tmp_path, config, {"stack.final_norm.weight": torch.zeros(3)})


# Comparing ---------------------------------------------------------------------------------------------------------


def test_what_means_the_same_is_no_difference() -> None:
    config = preset("decoder-tiny")
    (stack,) = config.stacks()
    block = stack.pattern[0]
    explicit = block.attention.model_copy(update={"scale": block.attention.head_size**-0.5, "output_bias": False})
    same = block.model_copy(update={"attention": explicit, "position": stack.position, "dropout": 0.3})
    other = changed(config, lambda stack: stack.model_copy(update={"pattern": (same, block)}))
    other = other.model_copy(update={"max_length": 99})
    assert differences(config, other) == []
    assert len(other.stacks()[0].pattern) == 2 and len(canonical(other).stacks()[0].pattern) == 1


def test_a_layer_that_differs_is_told_by_its_number() -> None:
    config = preset("encoder-mini")
    windowed = blocks(attention=config.stacks()[0].pattern[0].attention.model_copy(update={"window": 8}))
    first = changed(config, windowed).stacks()[0].pattern[0]
    other = changed(config, lambda stack: stack.model_copy(update={"pattern": (*stack.pattern, first)}))
    assert differences(other, config) == ["`family.stack.pattern.1.attention.window` is 8, not none"]


def test_differences_are_dotted_and_say_both_values() -> None:
    config = preset("decoder-tiny")
    scaling = YarnScaling(factor=4.0, original_length=64)
    other = changed(config, lambda stack: stack.model_copy(update={"position": Rotary(base=5e5, scaling=scaling)}))
    assert differences(config, other) == [
        "`family.stack.position.base` is 10000.0, not 500000.0",
        "`family.stack.position.scaling` is none, not yarn",
    ]
    norm = changed(config, blocks(norm=LayerNormConfig(), feed_forward=Plain(size=3, activation="relu")))
    assert "`family.stack.pattern.0.norm.kind` is rms_norm, not layer_norm" in differences(config, norm)
    both_ways = config.model_copy(update={"family": Encoder(stack=config.stacks()[0])})
    assert differences(config, both_ways) == ["`family.kind` is decoder, not encoder"]
    assert isinstance(config.family, Decoder)
