"""Heads of tasks: of a text, of its words, of an answer's ends, read and written, against transformers' own."""

from pathlib import Path

import pytest
import torch
import transformers
from hub_cases import CASES, LENGTHS, SEEDS, Case, close, drawn, named, packed, padded, reader, same, saved, texts
from torch import Tensor, nn
from torch.nn import functional

from trivium.core.batch import read_again
from trivium.core.errors import HubError
from trivium.hub.folder import HubModel, read_folder, write_folder
from trivium.hub.weights import read_weights
from trivium.model.build.feed_forward import build_activation

AUTO = {
    "classify": transformers.AutoModelForSequenceClassification,
    "label": transformers.AutoModelForTokenClassification,
    "answer": transformers.AutoModelForQuestionAnswering,
}
# The ways in which models differ elsewhere do not matter to their heads, but for T5's, which read both stacks.
FAMILIES = [case for case in CASES if case.name == case.config(0).model_type or case.kind == "conditional"]
HEADS = [(case, kind) for case in FAMILIES for kind in AUTO if not (case.name == "eurobert" and kind == "answer")]
END = 1  # of T5's and mT5's texts


def task(case: Case, kind: str, seed: int) -> nn.Module:
    config = case.config(seed)
    if kind != "answer":
        names = ["sad", "glad", "mad", "so so", "bad"][: 2 + seed]
        config.id2label, config.label2id = dict(enumerate(names)), {name: i for i, name in enumerate(names)}
    torch.manual_seed(seed)
    return drawn(AUTO[kind].from_config(config), seed)


def read_texts(case: Case, seed: int) -> list[Tensor]:
    """Texts; those of an encoder-decoder end in its end token, where its classifier looks."""
    if case.kind != "conditional":
        return texts(LENGTHS, seed)
    return [torch.cat([text, torch.tensor([END])]) for text in texts(LENGTHS, seed)]


def pooled(hidden_LD: Tensor, pooling: str, lengths: list[int]) -> Tensor:
    ends = torch.tensor(lengths).cumsum(0)
    match pooling:
        case "first":
            return hidden_LD[ends - torch.tensor(lengths)]
        case "last":
            return hidden_LD[ends - 1]
        case _:
            return torch.stack([text_LD.mean(0) for text_LD in hidden_LD.split(lengths)])


@torch.inference_mode()
def our_answers(model: HubModel, case: Case, seed: int) -> Tensor:
    sequences, readout, head = read_texts(case, seed), model.readout, model.tensors
    assert readout is not None
    batch = packed(sequences, causal=case.kind == "causal")
    if readout.stack == "writer":
        assert model.ids.decoder_start is not None
        batch = read_again(batch, model.ids.decoder_start)
    hidden_LD = reader(model)(batch)[0]
    if model.head == "classify":
        hidden_LD = pooled(hidden_LD, readout.pooling, [len(text) for text in sequences])
    if readout.transform is not None:
        bias = head.get("head.transform.dense.bias")
        hidden_LD = functional.linear(hidden_LD, head["head.transform.dense.weight"], bias)
        hidden_LD = build_activation(readout.transform.activation)(hidden_LD)
        if readout.transform.norm is not None:
            weight, bias = head["head.transform.norm.weight"], head.get("head.transform.norm.bias")
            hidden_LD = functional.layer_norm(hidden_LD, weight.shape, weight, bias, readout.transform.norm.eps)
    return functional.linear(hidden_LD, head["head.projection.weight"], head.get("head.projection.bias"))


@torch.inference_mode()
def their_answers(model: nn.Module, case: Case, kind: str, seed: int) -> Tensor:
    tokens_BL, mask_BL = padded(read_texts(case, seed), model.config.pad_token_id)
    answers = model(input_ids=tokens_BL, attention_mask=mask_BL)
    if kind == "answer":
        return torch.stack((answers.start_logits, answers.end_logits), dim=-1)[mask_BL.bool()]
    return answers.logits if kind == "classify" else answers.logits[mask_BL.bool()]


@pytest.mark.parametrize(("case", "kind"), HEADS, ids=[f"{case.name}-{kind}" for case, kind in HEADS])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_head_gives_the_same_numbers_and_is_saved_alike(case: Case, kind: str, seed: int, tmp_path: Path) -> None:
    model = task(case, kind, seed)
    read = read_folder(saved(model, tmp_path / "theirs"))
    assert read.head == kind
    names = ("start", "end") if kind == "answer" else tuple(model.config.id2label.values())
    assert read.labels == names
    close(our_answers(read, case, seed), their_answers(model, case, kind, seed))

    (tmp_path / "ours").mkdir()
    write_folder(
        tmp_path / "ours",
        read.config,
        read.tensors,
        head=read.head,
        readout=read.readout,
        labels=read.labels,
        problem="multi_label_classification",
        ids=read.ids,
        model_type=read.family,
    )
    same(read_weights(tmp_path / "ours"), read_weights(tmp_path / "theirs"))
    weights = [(tmp_path / side / "model.safetensors").read_bytes() for side in ("theirs", "ours")]
    assert weights[0] == weights[1]
    again, report = AUTO[kind].from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    if kind != "answer":
        assert again.config.id2label == model.config.id2label
        assert again.config.problem_type == "multi_label_classification"
    assert torch.equal(their_answers(again.eval(), case, kind, seed), their_answers(model, case, kind, seed))


@pytest.mark.parametrize(("case", "kind"), HEADS, ids=[f"{case.name}-{kind}" for case, kind in HEADS])
def test_a_random_head_of_ours_is_read_by_transformers(case: Case, kind: str, tmp_path: Path) -> None:
    read = read_folder(saved(task(case, kind, 1), tmp_path / "theirs"))
    generator = torch.Generator().manual_seed(5)
    drawn_anew = {name: 0.3 * torch.randn(old.shape, generator=generator) for name, old in read.tensors.items()}
    read = read._replace(tensors=drawn_anew)
    (tmp_path / "ours").mkdir()
    write_folder(
        tmp_path / "ours",
        read.config,
        read.tensors,
        head=read.head,
        readout=read.readout,
        labels=read.labels,
        ids=read.ids,
        model_type=read.family,
    )
    model, report = AUTO[kind].from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    close(our_answers(read, case, 3), their_answers(model.eval(), case, kind, 3))
    same(read_folder(tmp_path / "ours").tensors, read.tensors)


def test_every_head_was_tried() -> None:
    assert len(HEADS) >= 3 * 15 - 1


def test_a_pooling_that_we_do_not_have_is_refused_by_name(tmp_path: Path) -> None:
    config = named("eurobert").config(0)
    config.classifier_pooling = "late"
    model = transformers.EuroBertForSequenceClassification(config)
    with pytest.raises(HubError, match="`classifier_pooling` 'late'"):
        read_folder(saved(model, tmp_path))


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "distilbert", "t5", "mt5"])
@pytest.mark.parametrize("kind", ["classify", "answer"])
def test_a_head_is_known_by_its_keys_where_no_architecture_is_named(name: str, kind: str, tmp_path: Path) -> None:
    folder = saved(task(named(name), kind, 0), tmp_path)
    text = (folder / "config.json").read_text().splitlines()
    start = next(number for number, line in enumerate(text) if "architectures" in line)
    (folder / "config.json").write_text("\n".join(text[:start] + text[start + 3 :]))
    assert read_folder(folder).head == kind
