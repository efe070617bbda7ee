"""One temperature a model: it changes no answer, makes probabilities truer, and holds wherever the model is read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from task_support import classify_examples, label_examples, lively_model, reading, start, task_files, tokenizer
from test_tasks_numbers import multi_label_examples

from support import equal, parameters_of, shrink
from trivium.core.files import new_folder
from trivium.data.labelled import ClassifyExample, LabelExample
from trivium.model.presets import preset
from trivium.tasks import temperature as fitting
from trivium.tasks.base import Task
from trivium.tasks.build import learned_task
from trivium.tasks.config import finetune_config
from trivium.tasks.export.huggingface import export_huggingface
from trivium.tasks.finetune import finetune
from trivium.tasks.fit import fit
from trivium.tasks.folder import TunedModel, load_tuned, save_tuned, tuned_in
from trivium.tasks.metrics import Calibration
from trivium.tasks.predict import predict_texts
from trivium.tasks.start import random_start
from trivium.tasks.temperature import tempered

MAKE: dict[str, Any] = {"classify": classify_examples, "label": label_examples, "multi_label": multi_label_examples}


def span_examples(count: int, seed: int) -> list[LabelExample]:
    """Words of one class are spans, and those of another go on with them."""
    tags = {"low": "B-x", "high": "O", "top": "I-x", "_": "O"}
    made = []
    for example in label_examples(count, seed=seed):
        labels = [tags[label] for label in example.labels]
        for place, label in enumerate(labels):
            if label == "I-x" and (place == 0 or labels[place - 1] == "O"):
                labels[place] = "B-x"
        made.append(LabelExample(example.tokens, tuple(labels)))
    return made


def examples_of(task: str, count: int, seed: int) -> list[Any]:
    return span_examples(count, seed=seed) if task == "spans" else MAKE[task](count, seed=seed)


def as_printed(task: Task, model: Any, examples: list[Any]) -> list[dict[str, Any]]:
    return list(task.answered(model, examples, task.encode(examples, reading(row_length=24), known=False)))


def shown_labels(rows: list[dict[str, Any]]) -> list[Any]:
    return [row.get("labels", row.get("label")) for row in rows]


def nearly_right(task: Task, model: Any, examples: list[Any]) -> list[Any]:
    """Examples whose labels are the model's answers, but for every third, which has those of the one before."""
    said = shown_labels(as_printed(task, model, examples))
    given = []
    for number, (example, label) in enumerate(zip(examples, said, strict=True)):
        if isinstance(label, str):
            given.append(example._replace(label=said[number - (number % 3 == 2)]))
        elif hasattr(example, "text"):
            given.append(example._replace(labels=tuple(said[number - (number % 3 == 2)])))
        else:
            given.append(
                example._replace(labels=tuple(["O" if "O" in task.labels else "low"] * len(label)))
                if number % 3 == 2
                else example._replace(labels=tuple(label))
            )
    return given


@pytest.mark.parametrize("name", ["classify", "label", "multi_label", "spans"])
def test_no_answer_changes_and_validation_is_more_likely(name: str) -> None:
    train, others = examples_of(name, 60, 1), examples_of(name, 80, 2)
    task = learned_task(name, train)
    model, again = (lively_model("encoder", task) for _ in range(2))
    with torch.no_grad():
        for each in (model, again):
            each.head.projection.weight.mul_(150.0)  # much too sure
    valid = task.encode(
        nearly_right(task, model, train), reading(row_length=24)
    )  # rows in which most texts are read in windows
    assert len(valid.pieces) > len(train)
    before, printed = task.score(model, valid).metrics, as_printed(task, model, others)
    found = tempered(model, task, valid)
    assert found is not None and found.value > 1.5
    after = task.score(model, valid).metrics
    assert {key: before[key] for key in found.before} == pytest.approx(found.before, rel=1e-5)
    assert {key: after[key] for key in found.after} == pytest.approx(found.after, rel=1e-3)
    assert after["nll"] < before["nll"]
    said = as_printed(task, model, others)
    assert len(said) == 80 and shown_labels(said) == shown_labels(printed)
    changed = [key for key, value in before.items() if after[key] != pytest.approx(value, abs=1e-12)]
    # Of three classes the order of texts by one class's probability may change, of yes and no it may not.
    several = {"macro_auc"} if name == "classify" else set()
    assert set(changed) - several == {"loss", "nll", "ece", "brier"}
    assert tempered(again, task, valid) == found and equal(parameters_of(model), parameters_of(again))
    rest = tempered(model, task, valid)
    assert rest is not None and rest.value == pytest.approx(1.0, abs=1e-5)


def test_the_logits_are_divided_and_nothing_else_changes() -> None:
    train = classify_examples(40, seed=1)
    task = learned_task("classify", train)
    model, before = (lively_model("encoder", task) for _ in range(2))
    with torch.no_grad():
        for each in (model, before):
            each.head.projection.bias.copy_(torch.tensor([0.1, -0.2, 0.1]))
    valid = task.encode(nearly_right(task, model, train), reading())
    found = tempered(model, task, valid)
    assert found is not None and found.value != 1.0
    old, new = parameters_of(before), parameters_of(model)
    assert {name for name in old if not torch.equal(old[name], new[name])} == {
        "head.projection.weight",
        "head.projection.bias",
    }
    hidden_ND = torch.randn(500, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        logits, scaled = before.head(hidden_ND), model.head(hidden_ND)
    torch.testing.assert_close(scaled * found.value, logits, rtol=1e-5, atol=1e-6)
    assert torch.equal(scaled.argmax(-1), logits.argmax(-1))


def test_tasks_without_such_probabilities_are_left_alone() -> None:
    train = span_examples(20, seed=1)
    task = learned_task("spans", train, None, {"chain": "trained"})
    model, before = (lively_model("encoder", task) for _ in range(2))
    assert tempered(model, task, task.encode(train, reading())) is None
    assert equal(parameters_of(model), parameters_of(before))
    assert "ece" not in task.score(model, task.encode(train, reading())).metrics
    free = learned_task("spans", train)
    assert tempered(lively_model("encoder", free), free, free.encode([], reading())) is None


@pytest.mark.parametrize("count", [1, 12])
def test_few_answers_that_are_all_right_or_all_of_one_class_give_no_certainty(count: int) -> None:
    task = learned_task("classify", classify_examples(40, seed=1))
    for label in task.labels:
        model = lively_model("encoder", task)
        valid_example = ClassifyExample("zeze ba", label, None)
        valid = task.encode([valid_example] * count, reading())
        found = tempered(model, task, valid)
        assert found is not None and 0.01 <= found.value <= 100.0
        scores = task.score(model, valid)
        assert np.isfinite(list(scores.metrics.values())).all()
        (row,) = as_printed(task, model, [valid_example])
        assert row["probabilities"][label] < 1 - 0.2 / (count + 1)


def test_of_very_many_answers_some_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    train = label_examples(40, seed=1)
    task = learned_task("label", train)
    valid = task.encode(nearly_right(task, lively_model("encoder", task), train), reading())
    every = tempered(lively_model("encoder", task), task, valid)
    logs = [np.full((n, 3), n, dtype=float) for n in (1, 2, 7, 5)]
    numbered = np.split(np.arange(15), [1, 3, 10])
    monkeypatch.setattr(fitting, "_MOST_NUMBERS", 12)
    kept, rights = fitting._kept(iter(zip(logs, numbered, strict=True)), 45)
    assert rights.tolist() == [0, 4, 8, 12] and kept[:, 0].tolist() == [1, 7, 7, 5]
    monkeypatch.setattr(fitting, "_MOST_NUMBERS", valid.num_answers)
    some = tempered(lively_model("encoder", task), task, valid)
    assert every is not None and some is not None and some.value != every.value
    assert some.value == pytest.approx(every.value, rel=0.5)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a network that was trained far too long on wrong labels to be rightly sure."""
    folder = tmp_path_factory.mktemp("tempered")
    files = task_files(folder, "classify")
    rng = np.random.default_rng(0)
    rows = [json.loads(line) for line in files["train"].read_text().splitlines()]
    for row in rows:
        row["label"] = str(rng.choice(["first", "second", "third"])) if rng.random() < 0.5 else row["label"]
    files["train"].write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = finetune_config("classify", ["epochs=12", "rows=2", "optimiser.lr=0.02", "precision=float32"])
    begin = random_start(shrink(preset("bert-tiny")), tokenizer(), row_length=64)
    finetune(begin, config, **files, out=folder / "run")
    return folder


def test_a_run_tells_its_temperature_and_is_what_it_says(tuned: Path, tmp_path: Path) -> None:
    results = json.loads((tuned / "run" / "results.json").read_text())
    told = results["temperature"]
    assert told["value"] != 1.0 and told["after"]["nll"] <= told["before"]["nll"]
    assert {"ece", "brier", "nll"} <= results["valid"].keys() & results["test"].keys()
    assert {key: results["valid"][key] for key in told["after"]} == pytest.approx(told["after"], rel=1e-3)
    low, high = results["intervals"]["accuracy"]
    assert 0.0 <= low <= results["test"]["accuracy"] <= high <= 1.0 and low < high
    assert sum(results["reliability"]["counts"]) == 15
    model = load_tuned(tuned / "run")
    examples = model.task.read(tuned / "test.jsonl", min_classes=1).examples
    assert model.task.score(model.model, model.task.encode(examples, model.reading)).metrics == results["test"]
    counted = Calibration()
    for example, row in zip(examples, predict_texts(model, [each.text for each in examples]), strict=True):
        chances = np.array([row["probabilities"][label] for label in model.task.labels])
        counted.add(np.log(chances)[None], np.array([model.task.labels.index(example.label)]))
    assert counted.metrics() == pytest.approx({key: results["test"][key] for key in ("ece", "brier", "nll")}, abs=1e-4)


def test_another_library_and_narrow_numbers_give_the_same_probabilities(tuned: Path, tmp_path: Path) -> None:
    model = load_tuned(tuned / "run")
    texts = [example.text for example in classify_examples(20, seed=8)]
    mine = np.array([[*row["probabilities"].values()] for row in predict_texts(model, texts)])
    narrow = np.array([[*row["probabilities"].values()] for row in predict_texts(tuned_in(model, "int8"), texts)])
    # With another temperature all would be others; of so small a network a text between two classes may well move.
    difference = np.abs(narrow - mine).max(axis=1)
    assert np.median(difference) < 0.01 and difference.max() < 0.25
    export_huggingface(tuned / "run", tmp_path / "out")
    pipe = transformers.pipeline("text-classification", model=str(tmp_path / "out"), device="cpu", top_k=None)
    for text, row in zip(texts, mine, strict=True):
        theirs = {each["label"]: each["score"] for each in pipe([text])[0]}
        assert [theirs[label] for label in model.task.labels] == pytest.approx(row, abs=2e-6)


def test_saved_and_fitted_again_it_has_the_same_bytes(tmp_path: Path) -> None:
    train, valid = classify_examples(40, seed=1), classify_examples(15, seed=2)
    task, begin = learned_task("classify", train), start()
    config = finetune_config("classify", ["epochs=2"])
    weights = []
    for number in range(2):
        found = fit(begin, task, *(task.encode(each, begin.reading()) for each in (train, valid)), config)
        assert isinstance(found.tuned, TunedModel) and found.temperature is not None
        assert found.best in found.epochs and found.valid.metrics["nll"] <= found.best.metrics["nll"] + 1e-9
        with new_folder(tmp_path / str(number)) as folder:
            save_tuned(folder, found.tuned)
        weights.append((tmp_path / str(number) / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1] and tokenizer().vocabulary_size
