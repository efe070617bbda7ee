"""What answers questions here answers alike in transformers, and what was saved there answers here."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from answer_support import answer_tokenizer, chinese_questions, questions, write_squad
from typer.testing import CliRunner

from support import shrink
from trivium.cli.main import app
from trivium.core.files import new_folder
from trivium.data.labelled import AnswerExample
from trivium.hub.families import usual_readout
from trivium.hub.tokenizers import write_tokenizer
from trivium.model.config import ReadoutConfig, with_vocabulary
from trivium.model.presets import preset
from trivium.tasks.answer.task import Answer
from trivium.tasks.build import learned_task
from trivium.tasks.config import finetune_config
from trivium.tasks.export.huggingface import export_huggingface
from trivium.tasks.fit import fit
from trivium.tasks.folder import TunedModel, load_tuned, save_tuned
from trivium.tasks.predict import predict_texts
from trivium.tasks.start import random_start

NAMES = ("bert-tiny", "modernbert-base", "gpt2", "distilbert", "t5-small")
EXAMPLES = [*questions(8, seed=5, words=(4, 14)), *chinese_questions(6, seed=5, signs=(4, 12))]


def tuned_model(name: str, folder: Path) -> TunedModel:
    """Fine-tune random weights for a few steps, and save the result."""
    config = with_vocabulary(shrink(preset(name)), answer_tokenizer().vocabulary_size)
    readout = ReadoutConfig(stack="writer") if name == "t5-small" else usual_readout(config, "answer")
    train = questions(40, seed=1, words=(4, 14))
    task, start = learned_task("answer", train, readout), random_start(config, answer_tokenizer(), row_length=64)
    encoded = task.encode(train, start.reading(task.readout))
    settings = finetune_config("answer", ["max_steps=4", "optimiser.lr=0.02", "precision=float32"])
    tuned = fit(start, task, encoded, encoded, settings).tuned
    with new_folder(folder) as empty:
        save_tuned(empty, tuned)
    return tuned


@torch.inference_mode()
def theirs(model: Any, tuned: TunedModel, example: AnswerExample) -> tuple[int, int]:
    """The best start and end among the context's tokens, by transformers' raw logits; as characters of the context."""
    tokenizer, most = tuned.reading.tokenizer, tuned.task.settings.max_answer_tokens  # type: ignore[union-attr]
    question, context = tokenizer.encode_batch([example.question, example.context])
    framed = tokenizer.frame.around([question.ids, context.ids])
    inputs: dict[str, torch.Tensor] = {"input_ids": torch.from_numpy(framed.tokens_L)[None]}
    if model.config.model_type == "bert":
        inputs["token_type_ids"] = torch.from_numpy(framed.segments_L)[None]
    found = model(**inputs)
    first = framed.tokens_L.shape[0] - len(context.ids) - len(tokenizer.frame.pair.ids[2])
    starts, ends = (
        logits[0, first : first + len(context.ids)].double().numpy()
        for logits in (found.start_logits, found.end_logits)
    )
    odds = starts[:, None] + ends[None, :]
    place = np.arange(len(starts))
    odds[(place[:, None] > place) | (place - place[:, None] >= most)] = -np.inf
    begin, end = np.unravel_index(int(odds.argmax()), odds.shape)
    return int(context.starts[begin]), int(context.ends[end])


@pytest.mark.parametrize("name", NAMES)
def test_the_best_answer_is_that_of_the_raw_logits_there(name: str, tmp_path: Path) -> None:
    tuned = tuned_model(name, tmp_path / "tuned")
    exported = export_huggingface(tmp_path / "tuned", tmp_path / "out")
    assert exported.difference == 0.0 and exported.compared > 100
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(tmp_path / "out").eval()
    assert type(model).__name__.endswith("ForQuestionAnswering")
    asked = [{"question": example.question, "context": example.context} for example in EXAMPLES]
    mine = list(predict_texts(tuned, asked))
    for row, example in zip(mine, EXAMPLES, strict=True):
        start, end = theirs(model, tuned, example)
        assert row["answer"] == example.context[start:end].strip()
        assert start <= row["start"] < row["end"] <= end
    assert len({row["answer"] for row in mine}) > 3
    again = load_tuned(tmp_path / "out")
    assert isinstance(again.task, Answer) and again.task.threshold is None
    for one, other in zip(predict_texts(again, asked), mine, strict=True):
        assert (one["start"], one["end"]) == (other["start"], other["end"])
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)


def test_a_folder_of_transformers_answers_from_the_command_line(tmp_path: Path) -> None:
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=answer_tokenizer().vocabulary_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    model = transformers.BertForQuestionAnswering(config).eval()
    model.save_pretrained(tmp_path / "theirs")
    write_tokenizer(answer_tokenizer(), tmp_path / "theirs", max_length=64, for_prompts=False, segments=True)
    tuned = load_tuned(tmp_path / "theirs")
    assert isinstance(tuned.task, Answer) and tuned.task.threshold is None
    for example in EXAMPLES:
        [row] = predict_texts(tuned, [{"question": example.question, "context": example.context}])
        start, end = theirs(model, tuned, example)
        assert row["answer"] == example.context[start:end].strip()
    runner, file = CliRunner(), write_squad(tmp_path / "data.json", EXAMPLES)
    scored = runner.invoke(app, ["evaluate", str(tmp_path / "theirs"), "--data", str(file)])
    assert scored.exit_code == 0 and "exact_match" in scored.stdout and "coverage" in scored.stdout
    export_huggingface(tmp_path / "theirs", tmp_path / "back")
    weights = [(tmp_path / side / "model.safetensors").read_bytes() for side in ("theirs", "back")]
    assert weights[0] == weights[1]
