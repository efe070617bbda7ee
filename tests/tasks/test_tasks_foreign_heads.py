"""Checkpoints of transformers with a task's head, read here: the same answers, or one line that says why not."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from task_support import classify_examples
from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from support import equal, parameters_of, shrink
from trivium.core.errors import CheckpointError, HubError
from trivium.core.files import new_folder
from trivium.core.random import Key
from trivium.data.tokenizer import Tokenizer
from trivium.hub.open import open_pretrained
from trivium.hub.tokenizers import read_tokenizer
from trivium.model.build import build_network
from trivium.model.config import with_vocabulary
from trivium.model.folder import save_model
from trivium.model.initialise import initialise
from trivium.model.presets import preset
from trivium.tasks.class_answers import class_answers
from trivium.tasks.config import finetune_config
from trivium.tasks.export.huggingface import export_huggingface
from trivium.tasks.finetune import finetune
from trivium.tasks.folder import TunedModel, load_tuned
from trivium.tasks.predict import predict_texts
from trivium.tasks.start import open_run

END = "<|endoftext|>"
EXAMPLES = classify_examples(8, seed=3, lengths=(1, 9))
SIZES = {"vocab_size": 320, "num_labels": 3, "initializer_range": 0.3}
MODELS = {
    "gpt2": lambda: transformers.GPT2ForSequenceClassification(
        transformers.GPT2Config(n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0, pad_token_id=0, **SIZES)
    ),
    "llama": lambda: transformers.LlamaForSequenceClassification(
        transformers.LlamaConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=48,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
            **SIZES,
        )
    ),
}
# Of an encoder-decoder: how a text begins and ends, and what its decoder begins with.
FRAMES = {"t5": ("", "<pad>"), "mt5": ("", "<pad>"), "codet5": ("<s>", "<pad>")}


def folder_of(name: str, folder: Path, **changes: int) -> Path:
    """A classifier and a tokenizer that puts nothing around a text, whose one special token does everything."""
    library = LibraryTokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=[END], initial_alphabet=sorted(alphabet), show_progress=False
    )
    library.train_from_iterator([example.text for example in EXAMPLES], trainer)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=library, bos_token=END, eos_token=END, pad_token=END
    ).save_pretrained(folder)
    torch.manual_seed(7)
    model = MODELS[name]()
    model.save_pretrained(folder)
    tree = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(tree | changes))
    return folder


def writer_folder(name: str, folder: Path) -> Path:
    """A classifier that reads its decoder, as transformers saves it, with its tokenizer."""
    library = LibraryTokenizer(models.Unigram())
    library.pre_tokenizer = pre_tokenizers.Metaspace()
    library.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>", "<s>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=special, unk_token="<unk>", initial_alphabet=["<"], show_progress=False
    )
    library.train_from_iterator([example.text for example in EXAMPLES], trainer)
    before, begin = FRAMES[name]
    ids = {token: library.token_to_id(token) for token in special}
    library.post_processor = processors.TemplateProcessing(
        single=f"{before} $A </s>".strip(), pair=f"{before} $A </s> $B </s>".strip(), special_tokens=list(ids.items())
    )
    named = {"bos_token": "<s>"} if before else {}
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=library, eos_token="</s>", pad_token="<pad>", unk_token="<unk>", **named
    ).save_pretrained(folder)
    torch.manual_seed(7)
    kind, config = (
        (transformers.MT5ForSequenceClassification, transformers.MT5Config)
        if name == "mt5"
        else (transformers.T5ForSequenceClassification, transformers.T5Config)
    )
    sizes = {"vocab_size": 320, "num_labels": 3, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    ends = {"pad_token_id": ids["<pad>"], "eos_token_id": ids["</s>"], "decoder_start_token_id": ids[begin]}
    model = kind(config(**sizes, **ends))
    with torch.no_grad():
        model.classification_head.out_proj.weight.mul_(3.0)
        model.classification_head.out_proj.bias.add_(torch.randn(3))
    model.save_pretrained(folder)
    return folder


def probabilities(tuned: TunedModel) -> np.ndarray:
    encoded = tuned.task.encode(EXAMPLES, tuned.reading, known=False)
    answered = class_answers(tuned.model, encoded, num_classes=len(tuned.task.labels))
    return np.stack([np.exp(answer.outputs_AC[0]) for answer in answered])


def pipeline_probabilities(folder: Path, labels: tuple[str, ...], *, rows: int) -> np.ndarray:
    pipeline = transformers.pipeline("text-classification", model=str(folder), device="cpu")
    found = pipeline([example.text for example in EXAMPLES], top_k=None, batch_size=rows)
    return np.array([[next(row["score"] for row in one if row["label"] == label) for label in labels] for one in found])


@pytest.mark.parametrize("name", MODELS)
def test_a_classifier_whose_tokenizer_adds_nothing_answers_as_there(name: str, tmp_path: Path) -> None:
    folder = folder_of(name, tmp_path / "theirs")
    tuned = load_tuned(folder)
    mine = probabilities(tuned)
    assert mine.std() > 1e-2
    np.testing.assert_allclose(mine, pipeline_probabilities(folder, tuned.task.labels, rows=1), atol=1e-5)
    np.testing.assert_allclose(mine, pipeline_probabilities(folder, tuned.task.labels, rows=4), atol=1e-5)
    export_huggingface(folder, tmp_path / "back")
    np.testing.assert_allclose(mine, pipeline_probabilities(tmp_path / "back", tuned.task.labels, rows=4), atol=1e-5)


def test_such_a_model_fine_tuned_here_answers_alike_there(tmp_path: Path) -> None:
    folder = folder_of("gpt2", tmp_path / "theirs")
    start = open_run(folder)
    settings = finetune_config("classify", ["max_steps=3", "precision=float32"])
    finetune(start, settings, train=classify_examples(40, seed=4), valid=EXAMPLES, out=tmp_path / "run")
    export_huggingface(tmp_path / "run", tmp_path / "back")
    tuned = load_tuned(tmp_path / "run")
    theirs = pipeline_probabilities(tmp_path / "back", tuned.task.labels, rows=4)
    np.testing.assert_allclose(probabilities(tuned), theirs, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_of_a_task_checkpoint_only_what_reads_is_gone_on_with(name: str, tmp_path: Path) -> None:
    folder = folder_of(name, tmp_path)
    reader, whole = open_run(folder).network, load_tuned(folder).model.reader
    assert reader is not None
    pairs = list(zip(reader.reader.parameters(), whole.parameters(), strict=True))
    assert len(pairs) > 10
    assert all(torch.equal(one, other) for one, other in pairs)
    assert reader.head.projection.weight.shape == (320, 32)


@pytest.mark.parametrize("name", FRAMES)
def test_a_classifier_that_reads_its_decoder_answers_as_there(name: str, tmp_path: Path) -> None:
    folder = writer_folder(name, tmp_path / "theirs")
    tuned = load_tuned(folder)
    assert tuned.task.readout.stack == "writer" and tuned.reading.again
    assert tuned.reading.tokenizer.special.bos == 0  # the padding token's id
    mine = probabilities(tuned)
    assert mine.std(axis=0).min() > 1e-3
    for rows in (1, 4):
        np.testing.assert_allclose(mine, pipeline_probabilities(folder, tuned.task.labels, rows=rows), atol=1e-5)
    rows_told = list(predict_texts(tuned, [example.text for example in EXAMPLES]))
    told = np.array([[row["probabilities"][label] for label in tuned.task.labels] for row in rows_told])
    np.testing.assert_allclose(told, mine, atol=1e-6)
    export_huggingface(folder, tmp_path / "back")
    np.testing.assert_allclose(mine, pipeline_probabilities(tmp_path / "back", tuned.task.labels, rows=4), atol=1e-5)
    weights = [(tmp_path / side / "model.safetensors").read_bytes() for side in ("theirs", "back")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("settings", [(), ("stack=writer", "pooling=last", "transform.activation=tanh")])
def test_both_stacks_of_such_a_classifier_are_gone_on_with(settings: tuple[str, ...], tmp_path: Path) -> None:
    folder = writer_folder("t5", tmp_path / "theirs")
    start, whole = open_run(folder), parameters_of(load_tuned(folder).model.reader)
    assert start.network is not None
    body = {name: one for name, one in parameters_of(start.network).items() if not name.startswith("head.")}
    assert equal(body, whole) and len(whole) > 30
    changes = [f"readout.{setting}" for setting in settings]
    config = finetune_config("classify", ["max_steps=3", "precision=float32", *changes])
    results = finetune(start, config, train=classify_examples(40, seed=4), valid=EXAMPLES, out=tmp_path / "run")
    assert results["coverage"] == 1.0
    tuned = load_tuned(tmp_path / "run")
    assert tuned.task.readout.stack == ("writer" if settings else "reader")
    if settings:
        export_huggingface(tmp_path / "run", tmp_path / "back")
        theirs = pipeline_probabilities(tmp_path / "back", tuned.task.labels, rows=4)
        np.testing.assert_allclose(probabilities(tuned), theirs, atol=1e-5)


def test_a_head_of_one_number_is_a_regression(tmp_path: Path) -> None:
    folder = folder_of("gpt2", tmp_path)
    model = transformers.GPT2ForSequenceClassification.from_pretrained(
        folder, num_labels=1, ignore_mismatched_sizes=True
    ).eval()
    model.save_pretrained(folder)
    tuned = load_tuned(folder)
    assert tuned.task.name == "regress"
    text = "a quiet harbour"
    [answer] = predict_texts(tuned, [text])
    with torch.no_grad():
        ids = transformers.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")["input_ids"]
        assert answer["label"] == pytest.approx(float(model(ids).logits), abs=1e-5)


def test_a_tokenizer_with_more_ids_than_the_model_has_rows_is_refused(tmp_path: Path) -> None:
    folder = folder_of("gpt2", tmp_path)
    config = transformers.GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=200, num_labels=2)
    transformers.GPT2ForSequenceClassification(config).save_pretrained(folder)
    with pytest.raises(CheckpointError, match="the model 200"):
        load_tuned(folder)


def test_several_ends_of_a_text_are_kept(tmp_path: Path) -> None:
    folder = folder_of("llama", tmp_path / "theirs", eos_token_id=[0, 7, 9])  # type: ignore[arg-type]
    tokenizer = read_tokenizer(folder)
    assert tokenizer.special.stops == {7, 9}
    assert Tokenizer.from_bytes(tokenizer.to_bytes()).special == tokenizer.special
    export_huggingface(folder, tmp_path / "back")
    assert json.loads((tmp_path / "back" / "config.json").read_text())["eos_token_id"] == [0, 7, 9]


def test_a_model_that_is_not_a_number_is_not_exported(tmp_path: Path) -> None:
    tokenizer = read_tokenizer(folder_of("gpt2", tmp_path / "theirs"))
    config = with_vocabulary(shrink(preset("decoder-tiny")), 320)
    network = build_network(config)
    initialise(network, config, Key(0))
    network.stack.final_norm.weight.data[3] = float("nan")
    with new_folder(tmp_path / "run") as folder:
        save_model(folder, network, config, tokenizer.to_bytes())
    with pytest.raises(HubError, match="otherwise, by nan"):
        export_huggingface(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert open_pretrained(tmp_path / "run", speaks=True).config == config
