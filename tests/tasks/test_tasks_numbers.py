"""Several labels for a text, and a number for a text."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from task_support import FAMILIES, lively_model, reading, start, tokenizer, word

from support import shrink
from trivium.core.errors import DataError
from trivium.core.files import new_folder
from trivium.core.random import Key
from trivium.data.labelled import MultiLabelExample, RegressionExample
from trivium.evaluate.report import run_report
from trivium.hub.families import usual_readout
from trivium.model.config import with_vocabulary
from trivium.model.presets import preset
from trivium.tasks.build import build_task, head_kind, learned_task
from trivium.tasks.config import finetune_config
from trivium.tasks.export.huggingface import export_huggingface
from trivium.tasks.finetune import finetune
from trivium.tasks.fit import Fitted, fit
from trivium.tasks.folder import load_tuned, save_tuned
from trivium.tasks.pieces import TrainingRows
from trivium.tasks.predict import predict_texts
from trivium.tasks.scores import Mistake, WorstMistakes
from trivium.tasks.start import random_start

SIGNS = {"first": "ba", "second": "zeze", "third": "mira"}


def multi_label_examples(count: int, *, seed: int, longest: int = 12) -> list[MultiLabelExample]:
    """Texts that each of three words may be in; each word is a label."""
    rng = np.random.default_rng(seed)
    examples = []
    for length in rng.integers(3, longest + 1, count):
        labels = tuple(label for label in SIGNS if rng.random() < 0.4)
        words = ["lo" + word(rng) for _ in range(length)] + [SIGNS[label] for label in labels]
        examples.append(MultiLabelExample(" ".join(rng.permutation(words)), labels, None))
    return examples


def regression_examples(count: int, *, seed: int, longest: int = 12) -> list[RegressionExample]:
    """Texts whose number is 300 and 40 for each `ba` among four words."""
    rng = np.random.default_rng(seed)
    examples = []
    for _ in range(count):
        words = [str(rng.choice(["ba", "zeze"])) for _ in range(4)]
        examples.append(RegressionExample(" ".join(words), 300.0 + 40.0 * words.count("ba"), None))
    return examples


MAKE = {"multi_label": multi_label_examples, "regress": regression_examples}
FIELD = {"multi_label": "labels", "regress": "value"}


def fitted(task_name: str, family: str = "encoder", epochs: int = 25) -> Fitted:
    train, valid = (MAKE[task_name](count, seed=seed, longest=5) for count, seed in ((150, 1), (40, 2)))
    config = finetune_config(task_name, ["optimiser.lr=0.01", f"epochs={epochs}", "rows=4", "precision=float32"])
    task, begin = learned_task(task_name, train), start(family)
    return fit(begin, task, task.encode(train, begin.reading()), task.encode(valid, begin.reading()), config)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("task_name", "metric"), [("multi_label", "micro_f1"), ("regress", "pearson")])
def test_a_small_network_learns_an_easy_task(task_name: str, metric: str, family: str, tmp_path: Path) -> None:
    found = fitted(task_name, family, epochs=40)
    assert found.tuned.task.chosen_by == metric and found.best.metrics[metric] > 0.8
    with new_folder(tmp_path / "model") as folder:
        save_tuned(folder, found.tuned)
    texts = [example.text for example in MAKE[task_name](30, seed=3, longest=5)]
    rows = list(predict_texts(load_tuned(tmp_path / "model"), texts))
    assert rows == list(predict_texts(found.tuned, texts))
    if task_name == "regress":
        right = [example.value for example in regression_examples(30, seed=3)]
        assert np.abs(np.array([row["label"] for row in rows]) - right).mean() < 20
        assert found.best.metrics["mae"] < 20
    else:
        assert all(set(row["labels"]) == {k for k, p in row["probabilities"].items() if p > 0.5} for row in rows)


@pytest.mark.parametrize("task_name", ["multi_label", "regress"])
def test_the_loss_is_that_of_each_text_alone_by_the_formula(task_name: str, float64: None) -> None:
    examples = MAKE[task_name](25, seed=4, longest=40)
    task = learned_task(task_name, examples)
    model = lively_model("encoder", task).double()
    encoded = task.encode(examples, start().for_rows(48).reading())
    rows = TrainingRows(encoded, rows=3, accumulation=1, epochs=1, key=Key(1))
    total = count = 0.0
    with torch.no_grad():
        for step in range(rows.epochs.total):
            batch = rows.batch(step)
            (term,) = task.loss(model, batch, Key(0))
            total, count = total + float(term.sum), count + task.counts(batch)[task_name]
    assert count == pytest.approx(len(examples))
    expected = 0.0
    numbers = {label: number for number, label in enumerate(task.labels)}
    for example in examples:
        alone = task.encode([example], start().for_rows(48).reading())
        batches = TrainingRows(alone, rows=1, accumulation=1, epochs=1, key=Key(1))
        for step in range(batches.epochs.total):
            batch = batches.batch(step)
            with torch.no_grad():
                logits_NC = model(batch)
            for logits, weight in zip(logits_NC, batch.weights_BN.flatten(), strict=True):
                if isinstance(example, RegressionExample):
                    right = (example.value - task.centre) / task.spread  # type: ignore[attr-defined]
                    expected += float(weight) * (float(logits[0]) - right) ** 2
                else:
                    has = torch.zeros(len(numbers), dtype=torch.bool)
                    has[[numbers[label] for label in example.labels]] = True
                    chances = torch.where(has, logits.sigmoid(), 1 - logits.sigmoid())
                    expected -= float(weight) * float(chances.log().mean())
    assert total == pytest.approx(expected, rel=1e-5)  # targets are float32


@pytest.mark.parametrize("task_name", ["multi_label", "regress"])
@pytest.mark.parametrize("name", ["bert-tiny", "gpt2"])
def test_transformers_answers_alike(task_name: str, name: str, tmp_path: Path) -> None:
    config = with_vocabulary(shrink(preset(name)), tokenizer().vocabulary_size)
    examples = MAKE[task_name](40, seed=5)
    task = learned_task(task_name, examples, usual_readout(config, head_kind(task_name)))
    begin = random_start(config, tokenizer(), row_length=64)
    encoded = task.encode(examples, begin.reading(task.readout))
    settings = finetune_config(task_name, ["max_steps=4", "optimiser.lr=0.02", "precision=float32"])
    tuned = fit(begin, task, encoded, encoded, settings).tuned
    with new_folder(tmp_path / "model") as folder:
        save_tuned(folder, tuned)
    if task_name == "regress" and tuned.model.head.projection.bias is None:
        return  # refused, see below
    export_huggingface(tmp_path / "model", tmp_path / "hf")
    network = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "hf").eval()
    read = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    texts = [example.text for example in examples[:8]]
    ours = list(predict_texts(tuned, texts))
    back = list(predict_texts(load_tuned(tmp_path / "hf"), texts))
    compared = 0
    for text, row, again in zip(texts, ours, back, strict=True):
        with torch.no_grad():
            logits = network(**read(text, return_tensors="pt")).logits[0]
        if task_name == "regress":
            assert network.config.problem_type == "regression"
            assert float(logits[0]) == pytest.approx(row["label"], rel=1e-4) == again["label"]
        else:
            assert network.config.problem_type == "multi_label_classification"
            assert logits.sigmoid().tolist() == pytest.approx(list(row["probabilities"].values()), abs=1e-5)
            assert list(again["probabilities"].values()) == pytest.approx(list(row["probabilities"].values()), abs=1e-5)
        compared += 1
    assert compared == 8


@pytest.mark.parametrize("task_name", ["multi_label", "regress"])
def test_a_run_from_files_has_baselines_and_mistakes(task_name: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [{"text": e.text, "label": getattr(e, FIELD[task_name])} for e in MAKE[task_name](40, seed=6)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = finetune_config(task_name, ["epochs=1", "precision=float32"])
    results = finetune(start(), config, train=file, valid=file, test=file, out=tmp_path / "run")
    assert len(results["baselines"]) == 2 and results["mistakes"]
    assert all(math.isfinite(value) for value in results["test"].values())
    written = json.loads((tmp_path / "run" / "results.json").read_text())["mistakes"]
    page = run_report(tmp_path / "run")
    assert written == results["mistakes"] and ("off by" in page) == (task_name == "regress")
    assert ("sure of it" in page) == (task_name == "multi_label")
    known = "error" if task_name == "regress" else "probability"
    sizes = [row[known] for row in written]
    assert all({"error", "probability"} & row.keys() == {known} for row in written)
    assert sizes == sorted(sizes, reverse=True)


def test_the_worst_numbers_are_those_farthest_off() -> None:
    rng = np.random.default_rng()
    texts = [" ".join(word(rng) for _ in range(int(rng.integers(1, 12)))) for _ in range(60)]
    examples = [RegressionExample(text, float(rng.normal(50, 20)), None) for text in texts]
    task = learned_task("regress", examples)
    model, encoded = lively_model("encoder", task), task.encode(examples, reading())
    given = [row["label"] for row in task.answered(model, examples, encoded)]
    errors = np.array([abs(example.value - number) for example, number in zip(examples, given, strict=True)])
    found = task.score(model, encoded).mistakes
    assert [mistake.example for mistake in found] == np.argsort(-errors, kind="stable")[:30].tolist()
    assert [mistake.error for mistake in found] == pytest.approx(sorted(errors, reverse=True)[:30], abs=1e-4)
    assert all(mistake.probability is None for mistake in found)


def test_in_bounded_memory_the_worst_are_kept_and_of_equal_ones_the_first() -> None:
    rng, kept = np.random.default_rng(), WorstMistakes(most=7)
    made = [Mistake(float(rng.integers(5)) / 5, n, int(rng.integers(3)), "a", "b") for n in range(200)]
    for mistake in made:
        kept.add(mistake)
    assert kept.worst_first() == tuple(sorted(made, key=lambda each: (-(each.probability or 0.0), each.example))[:7])


def test_mistakes_are_one_clear_line() -> None:
    with pytest.raises(DataError, match="all the same number"):
        learned_task("regress", [RegressionExample("a", 1.0, None)] * 3)
    with pytest.raises(DataError, match="no training example has a label"):
        learned_task("multi_label", [MultiLabelExample("a", (), None)])
    task = learned_task("multi_label", [MultiLabelExample("a", ("x",), None)])
    with pytest.raises(DataError, match="the label `y`"):
        task.check([MultiLabelExample("a", ("y",), None)], "valid.csv")
    with pytest.raises(DataError, match="a list of 3"):
        build_task("regress").unlabelled(["a", "b", "c"])
