"""A Hugging Face folder wherever a run is expected, and a run as a Hugging Face folder."""

import json
import os
import pickle
import struct
import tomllib
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from conftest import SMALL, Command

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def words_of(workshop: Path) -> str:
    return (workshop / "text" / "0.txt").read_text()


@pytest.fixture(scope="module")
def bert(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT as transformers saves it, with a vocabulary file and more rows than words."""
    folder = tmp_path_factory.mktemp("hub") / "bert"
    library = LibraryTokenizer(models.WordPiece(unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer(lowercase=True)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece()
    library.train_from_iterator(
        [words_of(workshop)], trainers.WordPieceTrainer(vocab_size=150, special_tokens=SPECIAL, show_progress=False)
    )
    names = sorted(library.get_vocab().items(), key=lambda item: item[1])
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(names) + 3,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    transformers.BertForMaskedLM(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(name for name, _ in names) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def gpt2(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 as transformers saves it."""
    folder = tmp_path_factory.mktemp("hub") / "gpt2"
    library = LibraryTokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator([words_of(workshop)], trainer)
    end = "<|endoftext|>"
    transformers.PreTrainedTokenizerFast(tokenizer_object=library, bos_token=end, eos_token=end).save_pretrained(folder)
    torch.manual_seed(1)
    config = transformers.GPT2Config(
        vocab_size=300, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def test_inspect_says_what_it_is(trivium: Command, bert: Path) -> None:
    code, out, _ = trivium("inspect", bert, "--json")
    described = json.loads(out)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(bert)
    assert code == 0
    assert described["parts"][-1]["parameters"] == sum(parameter.numel() for parameter in theirs.parameters())
    assert described["kernels"] == {"cpu": "dense", "cuda": "sdpa"}


def test_a_part_is_changed_and_the_rest_goes_on(trivium: Command, workshop: Path, bert: Path, tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    assert trivium("prepare", workshop / "text", "--tokenizer", bert, "--out", data, "--quiet")[0] == 0
    deeper = ["--set", "model.family.stack.num_layers=3"]
    begun = ["--data", data, "--from", bert, "--steps", 2, *SMALL]
    code, _, err = trivium("pretrain", "bert-tiny", *begun, "--out", run, *deeper)
    assert code == 0 and "drawn anew: stack.blocks.2." in err
    stack = tomllib.loads((run / "config.toml").read_text())["model"]["family"]["stack"]
    assert stack["num_layers"] == 3
    code, _, err = trivium("pretrain", "gpt2", *begun, "--out", tmp_path / "x")
    assert code == 2 and "recipe's family" in err


def test_fill_says_what_transformers_says(trivium: Command, bert: Path) -> None:
    code, out, _ = trivium("fill", bert, "she takes the [MASK] .", "--top", 3, "--json")
    (mine,) = json.loads(out)["masks"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert)
    model = transformers.AutoModelForMaskedLM.from_pretrained(bert).eval()
    inputs = tokenizer("she takes the [MASK] .", return_tensors="pt")
    with torch.inference_mode():
        logits_V = model(**inputs).logits[0, inputs["input_ids"][0].tolist().index(tokenizer.mask_token_id)]
    said = [number for number in range(len(tokenizer)) if number not in tokenizer.all_special_ids]
    best = sorted(said, key=lambda number: -float(logits_V[number]))[:3]
    assert code == 0
    assert [guess["text"] for guess in mine] == tokenizer.convert_ids_to_tokens(best)


def test_generate_says_what_transformers_says(trivium: Command, gpt2: Path) -> None:
    code, out, _ = trivium("generate", gpt2, "--prompt", "she takes", "--max-new-tokens", 8, "--greedy", "--json")
    tokenizer = transformers.AutoTokenizer.from_pretrained(gpt2)
    model = transformers.AutoModelForCausalLM.from_pretrained(gpt2).eval()
    ids = tokenizer("she takes", return_tensors="pt")["input_ids"]
    written = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False, pad_token_id=tokenizer.eos_token_id
    )
    assert code == 0
    assert json.loads(out)["tokens"] == written[0, ids.shape[1] :].tolist()


def test_text_prepared_with_its_tokenizer_is_trained_on_and_scored(
    trivium: Command, workshop: Path, bert: Path, tmp_path: Path
) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    assert trivium("prepare", workshop / "text", "--tokenizer", bert, "--out", data, "--quiet")[0] == 0
    assert (
        trivium("pretrain", "bert-tiny", "--data", data, "--from", bert, "--out", run, "--steps", 3, "--quiet", *SMALL)[
            0
        ]
        == 0
    )
    # The source is not asked for again when a run goes on, nor is the padded vocabulary in the way of what follows.
    more = ["--data", data, "--out", run, "--steps", 3, "--quiet", *SMALL, "--resume"]
    assert trivium("pretrain", "bert-tiny", *more)[0] == 0
    files = ["--train", workshop / "train.csv", "--valid", workshop / "valid.csv", "--epochs", 1, "--quiet"]
    assert trivium("finetune", run, "--task", "classify", *files, "--out", tmp_path / "task")[0] == 0
    code, out, _ = trivium("evaluate", bert, "--data", data, "--json", "--quiet")
    before = json.loads(out)
    assert code == 0 and before["unit"] == "bits a hidden token"
    assert trivium("export", run, "--out", tmp_path / "back")[0] == 0
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "back")
    began = transformers.AutoModelForMaskedLM.from_pretrained(bert)
    assert theirs.config.vocab_size == began.config.vocab_size
    moved = [
        float((one - other).detach().abs().max())
        for one, other in zip(theirs.parameters(), began.parameters(), strict=True)
    ]
    assert 0 < max(moved) < 0.1
    code, _, err = trivium(
        "pretrain", "bert-tiny", "--data", workshop / "data", "--from", bert, "--out", tmp_path / "x"
    )
    assert code == 2 and f"--tokenizer {bert}" in err


def test_it_is_fine_tuned_exported_and_answers_alike(
    trivium: Command, workshop: Path, bert: Path, tmp_path: Path
) -> None:
    tuned, back = tmp_path / "tuned", tmp_path / "back"
    files = ["--train", workshop / "train.csv", "--valid", workshop / "valid.csv"]
    assert trivium("finetune", bert, "--task", "classify", *files, "--out", tuned, "--epochs", 2, "--quiet")[0] == 0
    code, out, _ = trivium("export", tuned, "--to", "huggingface", "--out", back, "--json")
    assert code == 0
    assert json.loads(out) | {"compared": 0} == {
        "model_type": "bert",
        "parameters": json.loads(out)["parameters"],
        "difference": 0.0,
        "compared": 0,
    }
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(back)
    for folder in (tuned, back):
        described = json.loads(trivium("inspect", folder, "--json")[1])
        assert described["parts"][-1]["parameters"] == sum(parameter.numel() for parameter in theirs.parameters())
        assert sum(part["parameters"] for part in described["parts"][:-1]) == described["parts"][-1]["parameters"]
    answers = [trivium("predict", run, "she buys the plum")[1] for run in (tuned, back)]
    assert answers[0] == answers[1] != ""
    scores = [trivium("evaluate", run, "--data", workshop / "test.csv", "--json")[1] for run in (tuned, back)]
    one, other = map(json.loads, scores)
    assert one.pop("intervals") == other.pop("intervals") and one["ece"] > 0
    assert one == pytest.approx(other, abs=1e-6)
    code, out, _ = trivium("compare", tuned, back, "--out", tmp_path / "comparison", "--json", "--quiet")
    assert code == 0
    assert [entry["parameters"] for entry in json.loads(out)["models"]] == [
        json.loads(out)["models"][0]["parameters"]
    ] * 2
    (row,) = transformers.pipeline("text-classification", model=str(back), device="cpu")("she buys the plum")
    mine = json.loads(answers[0])
    assert row["label"] == mine["label"]
    assert row["score"] == pytest.approx(mine["probabilities"][mine["label"]], abs=1e-5)
    code, _, err = trivium("report", back)
    assert code == 2 and "no log" in err


class Malicious:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("damage", ["cut", "header", "shape", "pickle", "missing", "unexpected"])
def test_damaged_or_malicious_weights_are_one_clear_line(
    trivium: Command, bert: Path, tmp_path: Path, damage: str
) -> None:
    folder, trace = tmp_path / "model", tmp_path / "trace"
    folder.mkdir()
    for file in bert.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = folder / "model.safetensors"
    from safetensors.torch import load, save

    tensors = load(weights.read_bytes())
    name = "bert.encoder.layer.1.output.dense.weight"
    match damage:
        case "cut":
            weights.write_bytes(weights.read_bytes()[:-100])
        case "header":
            weights.write_bytes(struct.pack("<Q", 1 << 60) + weights.read_bytes()[8:])
        case "shape":
            weights.write_bytes(save(tensors | {name: torch.zeros(3, 4)}))
        case "missing":
            weights.write_bytes(save({key: tensor for key, tensor in tensors.items() if key != name}))
        case "unexpected":
            weights.write_bytes(save(tensors | {"bert.surprise": torch.zeros(2)}))
        case "pickle":
            weights.unlink()
            (folder / "pytorch_model.bin").write_bytes(pickle.dumps({name: Malicious(trace)}, protocol=2))
    code, out, err = trivium("fill", folder, "the [MASK]")
    assert (code, out) == (2, "")
    assert err.startswith("trivium: ") and err.count("\n") == 1
    named = {"shape": name, "missing": name, "unexpected": "bert.surprise"}.get(damage, str(folder))
    assert named in err
    assert not trace.exists()


def test_names_that_are_nothing_are_said_so(trivium: Command, bert: Path, tmp_path: Path) -> None:
    for arguments in (
        ("export", tmp_path / "none", "--out", tmp_path / "x"),
        ("fill", tmp_path, "the [MASK]"),
        ("generate", bert, "--prompt", "the"),
        ("predict", bert, "the"),
        ("prepare", tmp_path, "--tokenizer", tmp_path, "--out", tmp_path / "x"),
    ):
        code, out, err = trivium(*arguments)
        assert (code, out) == (2, ""), arguments
        assert err.startswith("trivium: ") and err.count("\n") == 1, arguments
