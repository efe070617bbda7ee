"""Tiny random models of every family: read from what transformers saves, and written so that transformers reads it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from hub_cases import (
    CASES,
    LENGTHS,
    SEEDS,
    SOURCE_LENGTHS,
    VOCABULARY_SIZE,
    Case,
    close,
    drawn,
    named,
    our_logits,
    ours,
    packed,
    padded,
    same,
    saved,
    sizes,
    texts,
    their_logits,
)

from trivium.core.batch import reading
from trivium.core.layout import TokenLayout
from trivium.hub.folder import SpecialIds, read_folder, write_folder
from trivium.hub.weights import read_weights
from trivium.model.build import build_network
from trivium.model.choose import greedy
from trivium.model.folder import unique_tensors
from trivium.model.generate import generate
from trivium.model.presets import PRESETS, preset

UNREAD_BIAS = {
    "bert-untied": "cls.predictions.bias",
    "roberta-untied": "lm_head.bias",
    "albert-untied": "predictions.bias",
}
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def theirs(case: Case, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return drawn(case.auto.from_config(case.config(seed)), seed)


@every_case
@pytest.mark.parametrize("seed", SEEDS)
def test_what_transformers_saved_gives_the_same_logits_and_is_saved_alike(
    case: Case, seed: int, tmp_path: Path
) -> None:
    model = theirs(case, seed)
    read = read_folder(saved(model, tmp_path / "theirs"))
    assert (read.head, read.family) == ("language", model.config.model_type)
    close(our_logits(ours(read), case, seed), their_logits(model, case, seed))

    (tmp_path / "ours").mkdir()
    write_folder(tmp_path / "ours", read.config, read.tensors, ids=read.ids, model_type=read.family)
    if case.name in UNREAD_BIAS:
        # Nothing reads this one: it is written as the one that is read.
        before, after = read_weights(tmp_path / "theirs"), read_weights(tmp_path / "ours")
        assert before.keys() == after.keys() and UNREAD_BIAS[case.name] in before
        assert all(torch.equal(before[name], after[name]) for name in before if name != UNREAD_BIAS[case.name])
    else:
        weights = [(tmp_path / side / "model.safetensors").read_bytes() for side in ("theirs", "ours")]
        assert weights[0] == weights[1]
    again = case.auto.from_pretrained(tmp_path / "ours").eval()
    assert torch.equal(their_logits(again, case, seed), their_logits(model, case, seed))


@every_case
def test_our_random_network_is_read_by_transformers(case: Case, tmp_path: Path) -> None:
    config = read_folder(saved(theirs(case, 1), tmp_path / "theirs")).config
    network = build_network(config).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter.detach(), std=0.3)
    (tmp_path / "ours").mkdir()
    name = case.config(1).model_type
    offset = getattr(config.stacks()[0].position, "offset", 0)
    ids = SpecialIds(pad=max(offset - 1, 0), bos=1, eos=(2,), decoder_start=0)
    write_folder(tmp_path / "ours", config, unique_tensors(network), ids=ids, model_type=name)
    model, report = case.auto.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    close(our_logits(network, case, 3), their_logits(model.eval(), case, 3))


@pytest.mark.parametrize("name", [name for name in PRESETS if not name.startswith("seq2seq")])
def test_presets_are_written_and_read_back(name: str, tmp_path: Path) -> None:
    config = preset(name)
    short = {key: stack.model_copy(update={"num_layers": 2}) for key, stack in config.family if key != "kind"}
    family = config.family.model_copy(update=short)
    config = config.model_copy(update={"vocabulary_size": VOCABULARY_SIZE, "family": family})
    network = build_network(config)
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter.detach())
    tensors = unique_tensors(network)
    write_folder(tmp_path, config, tensors)
    read = read_folder(tmp_path)
    assert read.head == "language"
    same(read.tensors, tensors)


@pytest.mark.parametrize("case", [case for case in CASES if case.kind == "causal"], ids=lambda case: case.name)
@pytest.mark.parametrize("seed", SEEDS)
def test_causal_generation_with_a_cache_is_the_same(case: Case, seed: int, tmp_path: Path) -> None:
    model = theirs(case, seed)
    network = ours(read_folder(saved(model, tmp_path)))
    prompts = texts(LENGTHS, seed)
    model.generation_config.eos_token_id = None
    expected = [
        model.generate(prompt[None], attention_mask=torch.ones_like(prompt)[None], max_new_tokens=12, do_sample=False)[
            0, len(prompt) :
        ].tolist()
        for prompt in prompts
    ]
    lists = [prompt.tolist() for prompt in prompts]
    assert generate(network, lists, choose=greedy, max_new_tokens=12, stop=frozenset()) == expected


@pytest.mark.parametrize("case", [case for case in CASES if case.kind == "conditional"], ids=lambda case: case.name)
@pytest.mark.parametrize("seed", SEEDS)
def test_conditional_generation_with_a_cache_is_the_same(case: Case, seed: int, tmp_path: Path) -> None:
    model = theirs(case, seed)
    read = read_folder(saved(model, tmp_path))
    tokens_BL, mask_BL = padded(texts(SOURCE_LENGTHS, seed))
    model.generation_config.eos_token_id = None
    expected_BL = model.generate(tokens_BL, attention_mask=mask_BL, max_new_tokens=12, do_sample=False)[:, 1:]
    document_BL = mask_BL.int() - 1
    position_BL = torch.arange(tokens_BL.shape[1], dtype=torch.int32).expand_as(document_BL)
    source = reading(tokens_BL, TokenLayout.bidirectional(document_BL, position_BL))
    assert read.ids.decoder_start == 0
    prompts = [[0]] * len(tokens_BL)
    new = generate(ours(read), prompts, choose=greedy, max_new_tokens=12, stop=frozenset(), source=source)
    assert new == expected_BL.tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_segments_of_bert(seed: int, tmp_path: Path) -> None:
    model = theirs(named("bert"), seed)
    network = ours(read_folder(saved(model, tmp_path)))
    sequences = texts(LENGTHS, seed)
    segments = [(torch.arange(len(text)) > len(text) // 2).long() for text in sequences]
    tokens_BL, mask_BL = padded(sequences)
    batch = replace(packed(sequences, causal=False), segments_BL=torch.cat(segments)[None])
    with torch.inference_mode():
        logits_BLV = model(input_ids=tokens_BL, attention_mask=mask_BL, token_type_ids=padded(segments)[0]).logits
        close(network.head(network(batch)[0]), logits_BLV[mask_BL.bool()])


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "albert", "modernbert", "gpt2", "llama", "gpt_neox"])
def test_a_base_model_is_read_by_its_names_without_a_prefix(name: str, tmp_path: Path) -> None:
    case = named(name)
    torch.manual_seed(0)
    model = drawn(transformers.AutoModel.from_config(case.config(0)), 0)
    read = read_folder(saved(model, tmp_path))
    assert read.head == "none" and not any(key.startswith("head.") for key in read.tensors)
    head = build_network(read.config)
    body = {key.removeprefix("stack."): tensor for key, tensor in read.tensors.items()}
    head.stack.load_state_dict(body, strict=False)
    assert body.keys() == unique_tensors(head.stack).keys()
    tokens_BL, mask_BL = padded(texts(LENGTHS, 0), model.config.pad_token_id)
    batch = packed(texts(LENGTHS, 0), causal=case.kind == "causal")
    with torch.inference_mode():
        hidden_BLD = model(input_ids=tokens_BL, attention_mask=mask_BL).last_hidden_state
        close(head.eval().stack(batch)[0], hidden_BLD[mask_BL.bool()])

    (tmp_path / "ours").mkdir()
    write_folder(tmp_path / "ours", read.config, read.tensors, head="none", ids=read.ids, model_type=read.family)
    again, report = transformers.AutoModel.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["unexpected_keys"] and all(key.startswith("pooler.") for key in report["missing_keys"])
    with torch.inference_mode():
        found_BLD = again.eval()(input_ids=tokens_BL, attention_mask=mask_BL).last_hidden_state
    assert torch.equal(found_BLD, hidden_BLD)


@pytest.mark.parametrize("name", ["t5", "t5-1.1", "mt5"])
def test_a_head_of_t5_is_tied_as_its_weights_are(name: str, tmp_path: Path) -> None:
    model = theirs(named(name), 0)
    model.lm_head.weight = torch.nn.Parameter(torch.randn(VOCABULARY_SIZE, model.config.d_model))
    model.save_pretrained(tmp_path, state_dict=model.state_dict())
    read = read_folder(tmp_path)
    assert not read.config.head.tied
    close(our_logits(ours(read), named(name), 0), their_logits(model, named(name), 0))


@pytest.mark.parametrize("seed", SEEDS)
def test_t5_encoder(seed: int, tmp_path: Path) -> None:
    torch.manual_seed(seed)
    model = drawn(transformers.T5EncoderModel(named("t5").config(seed)), seed)
    read = read_folder(saved(model, tmp_path))
    assert read.head == "none" and all(name.startswith("encoder.") for name in read.tensors)
    network = build_network(read.config)
    network.load_state_dict(read.tensors, strict=False)
    tokens_BL, mask_BL = padded(texts(SOURCE_LENGTHS, seed))
    with torch.inference_mode():
        hidden_BLD = model(input_ids=tokens_BL, attention_mask=mask_BL).last_hidden_state
        mine_LD = network.eval().reader(packed(texts(SOURCE_LENGTHS, seed), causal=False))[0]
    close(mine_LD, hidden_BLD[mask_BL.bool()])
    assert sizes(seed)[3] == len(network.encoder.blocks)
