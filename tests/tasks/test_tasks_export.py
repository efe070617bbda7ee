"""What is fine-tuned here and exported answers the same in transformers' pipelines, and in ours."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import transformers
from task_support import WRITER, classify_examples, label_examples, tokenizer

from support import shrink
from trivium.core.errors import ConfigError, HubError
from trivium.core.files import new_folder
from trivium.core.random import Key
from trivium.core.special import SpecialTokens
from trivium.data.labelled import LabelExample, text_of
from trivium.data.tokenizer import Tokenizer
from trivium.hub.families import usual_readout, write_config
from trivium.hub.folder import read_folder
from trivium.hub.open import is_foreign, open_pretrained
from trivium.model.build import build_network
from trivium.model.config import ModelConfig, ReadoutConfig, with_vocabulary
from trivium.model.folder import load_tensors, save_model, unique_tensors
from trivium.model.heads import Network
from trivium.model.initialise import initialise
from trivium.model.presets import preset
from trivium.tasks.base import reads_both_ways
from trivium.tasks.build import empty_model, head_kind, learned_task
from trivium.tasks.class_answers import class_answers
from trivium.tasks.config import finetune_config
from trivium.tasks.export.huggingface import export_huggingface
from trivium.tasks.fit import fit
from trivium.tasks.folder import TunedModel, load_tuned, save_tuned
from trivium.tasks.pieces import Reading
from trivium.tasks.start import open_run, random_start

# Every road, and the presets of our own that transformers has a class for.
CLASSIFIERS = ("encoder-tiny", "bert-tiny", "modernbert-base", "decoder-tiny", "gpt2", "qwen3-0.6b", "distilbert")
WRITERS = ("t5-small",)  # whose head reads the decoder
LABELLERS = (*CLASSIFIERS, "t5-small", "electra-small", "albert-base")


def config_of(name: str) -> ModelConfig:
    return with_vocabulary(shrink(preset(name)), tokenizer().vocabulary_size)


def tuned_model(name: str, task_name: str, folder: Path) -> TunedModel:
    """Fine-tune random weights for a few steps, and save the result."""
    config = config_of(name)
    read = classify_examples if task_name == "classify" else label_examples
    examples: Sequence[object] = read(60, seed=1)
    readout = WRITER if name in WRITERS and task_name == "classify" else usual_readout(config, head_kind(task_name))
    task = learned_task(task_name, examples, readout)  # type: ignore[arg-type]
    start = random_start(config, tokenizer(), row_length=64)
    # Faster, and a post-norm network says the same of all texts.
    settings = finetune_config(task_name, ["max_steps=4", "optimiser.lr=0.005", "precision=float32"])
    encoded = task.encode(examples, start.reading(task.readout))
    tuned = fit(start, task, encoded, encoded, settings).tuned
    with new_folder(folder) as empty:
        save_tuned(empty, tuned)
    return tuned


def probabilities(tuned: TunedModel, examples: Sequence[object]) -> list[np.ndarray]:
    encoded = tuned.task.encode(examples, tuned.reading, known=False)
    answered = class_answers(tuned.model, encoded, num_classes=len(tuned.task.labels))
    return [np.exp(answer.outputs_AC) for answer in answered]


@pytest.mark.parametrize("name", [*CLASSIFIERS, *WRITERS])
def test_a_classifier_gives_the_pipeline_the_same_probabilities(name: str, tmp_path: Path) -> None:
    tuned = tuned_model(name, "classify", tmp_path / "tuned")
    exported = export_huggingface(tmp_path / "tuned", tmp_path / "out")
    assert exported.difference == 0.0 and exported.compared > 100
    pipeline = transformers.pipeline("text-classification", model=str(tmp_path / "out"), device="cpu")
    examples = classify_examples(8, seed=5, lengths=(1, 9))
    mine = probabilities(tuned, examples)
    # Singly and in a padded batch.
    for size in (1, 4):
        theirs = pipeline([example.text for example in examples], top_k=None, batch_size=size)
        assert len(theirs) == len(mine) == 8
        for scores, probabilities_1C in zip(theirs, mine, strict=True):
            by_label = {row["label"]: row["score"] for row in scores}
            expected = dict(zip(tuned.task.labels, probabilities_1C[0].tolist(), strict=True))
            assert by_label == pytest.approx(expected, abs=1e-5)
    assert np.std([row[0, 0] for row in mine]) > 1e-4  # the texts are told apart
    again = load_tuned(tmp_path / "out")
    for one, other in zip(probabilities(again, examples), mine, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_usual_head_of_an_encoder_decoder_reads_its_encoder() -> None:
    config = config_of("t5-small")
    assert usual_readout(config, "classify") is None
    assert usual_readout(config, "label") == ReadoutConfig()
    with pytest.raises(HubError, match=r"nearest is `t5`.*`stack` is reader, not writer"):
        write_config(config, head="classify", readout=ReadoutConfig())


def test_a_text_that_does_not_end_in_its_end_token_is_not_what_a_head_over_the_decoder_reads(tmp_path: Path) -> None:
    tuned = tuned_model("t5-small", "classify", tmp_path / "tuned")
    export_huggingface(tmp_path / "tuned", tmp_path / "out")
    # Under another name of one token it is not known for ours, whose roles are fixed.
    framed = (tmp_path / "out" / "tokenizer.json").read_bytes().replace(b"[MASK]", b"[mask]")
    special = tuned.reading.tokenizer.special

    def saved(name: str, tokenizer_json: bytes, told: SpecialTokens) -> Path:
        other = Tokenizer(tokenizer_json, "the test", special=told)
        with new_folder(tmp_path / name) as folder:
            save_tuned(folder, tuned._replace(reading=tuned.reading._replace(tokenizer=other)))
        return tmp_path / name

    export_huggingface(saved("same", framed, special), tmp_path / "again")
    bare = json.dumps(json.loads(framed) | {"post_processor": None}).encode()
    for path in (
        saved("another", framed, special._replace(eos=special.sep)),
        saved("several", framed, special._replace(stops=frozenset({special.sep}))),
        saved("none", bare, special),
    ):
        with pytest.raises(HubError, match="does not end every text with it") as caught:
            export_huggingface(path, tmp_path / path.name / "out")
        assert "\n" not in str(caught.value) and not (tmp_path / path.name / "out").exists()


@pytest.mark.parametrize("name", LABELLERS)
def test_a_labeller_gives_the_pipeline_the_same_probabilities(name: str, tmp_path: Path) -> None:
    tuned = tuned_model(name, "label", tmp_path / "tuned")
    export_huggingface(tmp_path / "tuned", tmp_path / "out")
    pipeline = transformers.pipeline(
        "token-classification", model=str(tmp_path / "out"), device="cpu", ignore_labels=[]
    )
    examples = [
        example._replace(labels=("",) * len(example.tokens)) for example in label_examples(5, seed=6, lengths=(2, 8))
    ]
    compared = 0
    for example, mine_WC in zip(examples, probabilities(tuned, examples), strict=True):
        text, starts = text_of(example)
        found = pipeline(text)
        for word, (start, mine_C) in enumerate(zip(starts, mine_WC, strict=True)):
            token = answering_token(found, start, start + len(example.tokens[word]), both_ways=both_ways(name))
            assert token["score"] == pytest.approx(float(mine_C.max()), abs=1e-5)
            assert token["entity"] == tuned.task.labels[int(mine_C.argmax())]
            compared += 1
    assert compared > 10


def both_ways(name: str) -> bool:
    return reads_both_ways(config_of(name))


def answering_token(found: list[dict[str, object]], start: int, end: int, *, both_ways: bool) -> dict[str, object]:
    """The first or last token that holds a character of the word."""
    inside = [token for token in found if int(token["end"]) > start and int(token["start"]) < end]  # type: ignore[call-overload]
    assert inside
    return inside[0] if both_ways else inside[-1]


@pytest.mark.parametrize("name", ["encoder-tiny", "bert-tiny", "decoder-tiny", "t5-small"])
def test_a_pretrained_model_is_exported_and_opened_as_a_run(name: str, tmp_path: Path) -> None:
    config = config_of(name)
    network = drawn_network(config)
    with new_folder(tmp_path / "run") as folder:
        save_model(folder, network, config, tokenizer().to_bytes())
    export_huggingface(tmp_path / "run", tmp_path / "out")
    assert is_foreign(tmp_path / "out") and not is_foreign(tmp_path / "run")
    opened = open_pretrained(tmp_path / "out", speaks=True)
    before, after = unique_tensors(network), unique_tensors(opened.network)
    assert before.keys() == after.keys() and len(before) > 10
    assert all(bool((before[key] == after[key]).all()) for key in before)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert theirs("loke mira", add_special_tokens=False)["input_ids"] == tokenizer().encode("loke mira")
    again = open_run(tmp_path / "out")
    assert again.tokenizer.encode("loke mira") == tokenizer().encode("loke mira")


def drawn_network(config: ModelConfig) -> Network:
    network = build_network(config)
    initialise(network, config, Key(1))
    return network


def test_what_transformers_has_no_class_for_is_refused_with_what_stands_in_the_way(tmp_path: Path) -> None:
    config = config_of("seq2seq-tiny")
    with new_folder(tmp_path / "run") as folder:
        save_model(folder, drawn_network(config), config, tokenizer().to_bytes())
    with pytest.raises(HubError, match="position") as error:
        export_huggingface(tmp_path / "run", tmp_path / "out")
    assert "transformers has no such network" in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="already exists"):
        export_huggingface(tmp_path / "run", tmp_path)


def test_a_task_that_was_read_reads_words_and_texts_again(tmp_path: Path) -> None:
    tuned = tuned_model("bert-tiny", "label", tmp_path / "tuned")
    export_huggingface(tmp_path / "tuned", tmp_path / "out")
    found = read_folder(tmp_path / "out")
    assert found.labels == tuned.task.labels and found.head == "label"
    model = empty_model(tuned.task, found.config)
    load_tensors(model, found.tensors, "the test")
    examples = [LabelExample(("loke", "mira"), ("", ""))]
    encoded = tuned.task.encode(examples, Reading(tokenizer(), 64, True), known=False)
    (one,) = class_answers(model.eval(), encoded, num_classes=len(tuned.task.labels))
    (other,) = class_answers(tuned.model, encoded, num_classes=len(tuned.task.labels))
    np.testing.assert_array_equal(one.outputs_AC, other.outputs_AC)
