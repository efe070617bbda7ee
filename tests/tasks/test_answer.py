"""Questions are answered by the right piece of their context: learned, kept, scored, and printed."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answer_support import (
    KINDS,
    answer_model,
    answer_reading,
    answer_start,
    chinese_questions,
    questions,
    write_squad,
)
from typer.testing import CliRunner

from stopping import Killed, KilledAt, Lines
from trivium.cli.main import app
from trivium.core.config import parse, read_toml
from trivium.core.errors import ConfigError, DataError
from trivium.core.progress import Silent
from trivium.data.labelled import Answer as Placed
from trivium.data.labelled import AnswerExample
from trivium.tasks.answer.baselines import answer_baselines, answer_length, placed_words, sliding_window
from trivium.tasks.answer.scores import NO_ANSWER, answer_score
from trivium.tasks.answer.spans import find_spans
from trivium.tasks.answer.task import Answer
from trivium.tasks.build import build_task, learned_task, task_numbers, texts_of
from trivium.tasks.config import TaskFile, finetune_config
from trivium.tasks.finetune import finetune
from trivium.tasks.fit import fit
from trivium.tasks.folder import load_tuned, tuned_in
from trivium.tasks.metrics import cmrc_score, squad_score
from trivium.tasks.predict import predict_texts
from trivium.tasks.settings import AnswerSettings
from trivium.train.log import read_log


@pytest.mark.parametrize(
    ("family", "assignments", "least"),
    [
        ("encoder", ["epochs=8"], 0.9),
        pytest.param("decoder", ["epochs=10"], 0.9, marks=pytest.mark.slow),
        # What it reads comes a place late, so that each token is known by way of the encoder only.
        pytest.param("encoder_decoder", ["epochs=14", "readout.stack=writer"], 0.7, marks=pytest.mark.slow),
    ],
)
def test_an_easy_task_is_learned(family: str, assignments: list[str], least: float) -> None:
    train, valid = (questions(count, seed=count, words=(2, 8), unanswerable=0.25) for count in (300, 60))
    settings = ["optimiser.lr=0.01", "rows=4", "precision=float32", "dropout=0.0", *assignments]
    config, begin = finetune_config("answer", settings), answer_start(family)
    task = learned_task("answer", train, config.readout)
    reading = begin.reading(task.readout)
    fitted = fit(begin, task, task.encode(train, reading), task.encode(valid, reading), config)
    assert fitted.best.metrics["f1"] > least and fitted.best.metrics["coverage"] == 1.0
    kinds = [fitted.best.metrics[f"{kind}_f1"] for kind in ("answerable", "unanswerable")]
    assert min(kinds) > least - 0.25
    tuned = fitted.tuned
    assert isinstance(tuned.task, Answer) and tuned.task.threshold == fitted.best.metrics["threshold"]
    fresh = questions(60, seed=3, words=(2, 8), unanswerable=0.25)
    scores = tuned.task.score(tuned.model, tuned.task.encode(fresh, reading))
    assert scores.metrics["f1"] > least - 0.05 and scores.metrics["threshold"] == tuned.task.threshold


def scored_by_hand(task: Answer, examples: list[AnswerExample], given: list[str]) -> dict[str, float]:
    means: dict[str, list[Any]] = {"": [], "answerable_": [], "unanswerable_": []}
    for example, text in zip(examples, given, strict=True):
        rule = cmrc_score if "\u4e00" <= example.context[0] <= "\u9fff" else squad_score
        score = rule(text, [answer.text for answer in example.answers])
        for kind in ("", "answerable_" if example.answers else "unanswerable_"):
            means[kind].append(score)
    return {
        f"{kind}{name}": float(np.mean([getattr(score, name) for score in scores]))
        for kind, scores in means.items()
        for name in ("exact_match", "f1")
    }


@pytest.mark.parametrize("threshold", [None, "open", -0.5, 1e9])
def test_scores_are_those_of_the_answers_that_are_printed(threshold: Any) -> None:
    model, reading = answer_model("encoder"), answer_reading()
    examples = [*questions(25, seed=8, unanswerable=0.5), *chinese_questions(15, seed=8)]
    # Right answers that the model gives, so that there is something to score.
    task = Answer(threshold=threshold, settings=AnswerSettings(num_best=4))
    encoded = task.encode(examples, reading)
    for number, found in enumerate(find_spans(model, encoded, task.settings)):
        if number % 3 == 0 and examples[number].answers:
            _, start, end = found.spans[0]
            examples[number] = examples[number]._replace(
                answers=(Placed(start, examples[number].context[start:end]), *examples[number].answers)
            )
    encoded = task.encode(examples, reading)
    scores = task.score(model, encoded)
    settled = task.settled(scores.metrics)
    assert (settled.threshold is None) == (threshold is None) and settled.threshold != "open"
    printed = list(settled.answered(model, examples, encoded))
    expected = scored_by_hand(task, examples, [row["answer"] for row in printed])
    for name, value in expected.items():
        assert scores.metrics[name] == pytest.approx(value), name
    told = {"answered", "threshold"} if threshold is not None else set()
    assert set(scores.metrics) == {*expected, "loss", "coverage", *told}
    if threshold == 1e9:
        assert scores.metrics["answered"] == 0.0 and scores.metrics["unanswerable_f1"] == 1.0
    wrong = [row for row, example in zip(printed, examples, strict=True) if missed(row, example)]
    assert len(scores.mistakes) == min(30, len(wrong)) > 5
    for mistake in scores.mistakes:
        row, example = printed[mistake.example], examples[mistake.example]
        assert mistake.given == (row["answer"] or NO_ANSWER)
        assert mistake.probability == pytest.approx(row["score"], abs=1e-6)
        assert mistake.right == (example.answers[0].text if example.answers else NO_ANSWER)
        assert f"[{mistake.right}]" in task.shown(example, 0) or not example.answers


def missed(row: dict[str, Any], example: AnswerExample) -> bool:
    return answer_score(example, row["answer"]).exact_match < 1.0


def test_an_open_threshold_is_the_best_one_of_the_validation_questions() -> None:
    model, reading = answer_model("encoder"), answer_reading()
    examples = questions(30, seed=12, unanswerable=0.5)
    task = Answer(threshold="open")
    encoded = task.encode(examples, reading)
    best = task.score(model, encoded).metrics
    tried = [Answer(threshold=float(t)).score(model, encoded).metrics["f1"] for t in np.linspace(-200, 200, 9)]
    assert best["f1"] >= max(tried) - 1e-9 and math.isfinite(best["threshold"])
    answerable = task.encode([example for example in examples if example.answers], reading)
    assert "threshold" not in task.score(model, answerable).metrics
    assert task.settled({"f1": 1.0}).threshold is None
    assert Answer(threshold=0.5).settled({"threshold": 3.0}).threshold == 0.5


@pytest.mark.parametrize("may_be_none", [False, True])
def test_answers_are_characters_of_the_context(may_be_none: bool) -> None:
    model, examples = answer_model("encoder"), [*questions(12, seed=4, words=(1, 80)), *chinese_questions(12, seed=4)]
    encoded = Answer().encode(examples, answer_reading(row_length=40), known=False)
    odds = [found.spans[0].log_odds for found in find_spans(model, encoded, Answer().settings)]
    task = Answer(threshold=float(np.median(odds)) if may_be_none else None)
    rows = list(task.answered(model, examples, encoded))
    none = 0
    for row, example in zip(rows, examples, strict=True):
        assert list(row) == ["question", "answer", "start", "end", "score", "others"]
        assert row["question"] == example.question
        every = [row, *row["others"]]
        for one in every:
            if one["start"] is None:
                assert one["answer"] == "" and one["end"] is None
            else:
                assert one["answer"] == example.context[one["start"] : one["end"]] and one["answer"]
        assert sum(one["score"] for one in every) == pytest.approx(1.0, abs=1e-4)
        others = [one["score"] for one in row["others"]]
        assert others == sorted(others, reverse=True)
        assert sum(one["start"] is None for one in every) == may_be_none
        none += row["start"] is None
    assert len(rows) == 24 and none == (12 if may_be_none else 0)
    json.dumps(rows)


def test_a_question_about_nothing_has_no_answer() -> None:
    task, reading = Answer(), answer_reading()
    examples = [task.unlabelled({"question": "Which?", "context": context}) for context in ("", "  ")]
    for row in task.answered(answer_model("encoder"), examples, task.encode(examples, reading, known=False)):
        assert row == {"question": "Which?", "answer": "", "start": None, "end": None, "score": 1.0, "others": []}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("Where?", "found no JSON: 'Where\\?'"),
        ('["Where?"]', "found a list"),
        ("3", "found a number"),
        ('{"question": "Where?"}', "found an object of question"),
        ({"question": "Where?", "context": 3}, "found an object of question, context"),
        (["a", "b"], "found a list"),
        ({"question": " ", "context": "Here."}, "the question is empty"),
    ],
)
def test_what_is_no_question_with_a_context_is_refused(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        Answer().unlabelled(value)
    assert "\n" not in str(caught.value)


def test_a_line_of_json_and_an_object_are_the_same_question() -> None:
    value = {"question": "谁？", "context": "张三在这里。", "id": 3}
    assert Answer().unlabelled(value) == Answer().unlabelled(json.dumps(value))
    for name in ("classify", "label"):
        with pytest.raises(DataError, match="found an object"):
            build_task(name, ("a", "b")).unlabelled(value)


def test_questions_none_of_which_has_an_answer_are_nothing_to_learn_from() -> None:
    with pytest.raises(DataError, match="no training question has an answer"):
        learned_task("answer", questions(5, seed=1, unanswerable=1.0))


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("settings.strid=3", "unknown key `strid`. Did you mean `stride`"),
        ("settings.stride=0", "stride"),
        ("settings.max_answer_tokens=0", "max_answer_tokens"),
    ],
)
def test_settings_that_do_not_fit_are_refused(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        finetune_config("answer", [assignment])
    with pytest.raises(ConfigError, match="unknown key `stride`"):
        finetune_config("classify", ["settings.stride=3"])


def test_a_regulariser_that_needs_classes_is_refused() -> None:
    train = questions(5, seed=1)
    begin, task = answer_start(), learned_task("answer", train)
    encoded = task.encode(train, begin.reading())
    config = finetune_config("answer", ['regularisers=[{kind="label_smoothing"}]'])
    with pytest.raises(ConfigError, match="`answer` shows none"):
        fit(begin, task, encoded, encoded, config)


def files_of(folder: Path, *, unanswerable: float = 0.3) -> dict[str, Path]:
    counts = {"train": 40, "valid": 15, "test": 15}
    made = {
        split: questions(count, seed=n, unanswerable=unanswerable) for n, (split, count) in enumerate(counts.items())
    }
    made["train"][:8] = chinese_questions(8, seed=5)
    return {split: write_squad(folder / f"{split}.json", examples) for split, examples in made.items()}


def ended(out: Path) -> dict[str, Any]:
    """Return what a run leaves, but for how long it took."""
    results = json.loads((out / "results.json").read_text())
    results.pop("seconds")
    log = [{key: value for key, value in line.items() if key != "seconds"} for line in read_log(out / "log.jsonl")]
    return {"model": {f.name: f.read_bytes() for f in (out / "model").iterdir()}, "results": results, "log": log}


@pytest.mark.parametrize("family", ["encoder", "decoder"])
def test_killed_after_any_step_a_run_ends_as_if_never_killed(family: str, tmp_path: Path) -> None:
    files = files_of(tmp_path)
    config = finetune_config(
        "answer", ["epochs=2", "rows=8", "checkpoint_steps=1", "settings.stride=20", "accumulation=2"]
    )
    finetune(answer_start(family), config, **files, out=tmp_path / "unbroken")
    steps = json.loads((tmp_path / "unbroken" / "log.jsonl").read_text().splitlines()[-1])["step"]
    kills = 0
    for step in (1, steps // 2, steps - 1, steps):
        try:
            finetune(answer_start(family), config, **files, out=tmp_path / "run", progress=KilledAt(step), resume=True)
        except Killed:
            kills += 1
    finetune(answer_start(family), config, **files, out=tmp_path / "run", progress=Silent(), resume=True)
    assert kills == 4 and ended(tmp_path / "run") == ended(tmp_path / "unbroken")


def test_a_run_keeps_its_threshold_and_answers_from_the_command_line(tmp_path: Path) -> None:
    files, out, progress = files_of(tmp_path), tmp_path / "run", Lines()
    tree = json.loads(files["test"].read_text())
    tree["data"][0]["paragraphs"][0]["qas"][0] |= {
        "is_impossible": False,
        "answers": [{"text": "Qqq", "answer_start": 0}],
    }
    tree["data"][0]["paragraphs"][1]["qas"][0] |= {
        "is_impossible": False,
        "answers": [{"text": tree["data"][0]["paragraphs"][1]["context"], "answer_start": 0}],
    }
    files["test"].write_text(json.dumps(tree))
    config = finetune_config("answer", ["epochs=2", "settings.max_answer_tokens=9", "row_length=48"])
    results = finetune(answer_start(), config, **files, out=out, progress=progress)
    said = " ".join(progress.lines)
    assert "the answer 'Qqq' is not in the context" in said and "questions have no right answer that a window" in said
    assert results["coverage"] < 1.0 and set(results["baselines"]) == {"sliding window", "no answer"}
    assert results["chosen_by"] == "f1" and results["mistakes"][0].keys() >= {"text", "right", "given"}
    tuned, file = load_tuned(out), parse(TaskFile, read_toml(out / "model" / "task.toml"), "task.toml")
    assert isinstance(tuned.task, Answer) and tuned.task.settings.max_answer_tokens == 9
    assert file.numbers == task_numbers(tuned.task) == {"threshold": results["valid"]["threshold"]}
    assert tuned.task.threshold == results["test"]["threshold"]
    runner = CliRunner()
    printed = runner.invoke(app, ["evaluate", str(out), "--data", str(files["test"]), "--json"])
    scored = json.loads(printed.stdout)
    assert scored.pop("intervals").keys() == {"f1"}
    assert scored == pytest.approx(results["test"], abs=1e-6)
    asked = [
        {"question": e.question, "context": e.context} for e in (*questions(3, seed=6), *chinese_questions(3, seed=6))
    ]
    lines = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in asked)
    printed = runner.invoke(app, ["predict", str(out)], input=lines)
    answers = [json.loads(line) for line in printed.stdout.splitlines()]
    assert answers == list(predict_texts(tuned_in(tuned, "float32"), asked)) and len(answers) == 6
    one = runner.invoke(app, ["predict", str(out), json.dumps(asked[4])])
    assert json.loads(one.stdout)["answer"] == answers[4]["answer"]


def test_a_tokenizer_is_made_of_each_context_once_and_of_the_questions() -> None:
    examples = [*questions(2, seed=1), *questions(2, seed=1)]
    examples[2] = examples[2]._replace(question="Other?")
    contexts = [example.context for example in examples[:2]]
    assert texts_of(examples) == [*contexts, *(example.question for example in examples)]


@pytest.mark.parametrize("seed", range(5))
def test_the_sliding_window_is_that_of_trying_every_run(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vocabulary = list("abcdefgh")
    compared = 0
    for _ in range(20):
        context = " ".join(rng.choice(vocabulary, int(rng.integers(1, 30)))) + "."
        question = " ".join(rng.choice(vocabulary[:4], int(rng.integers(1, 5)))) + "?"
        length = int(rng.integers(1, 5))
        words, asked = context.rstrip(".").split(), question.rstrip("?").split()
        length = min(length, len(words))
        best: tuple[float, int] = (-2.0, 0)
        for begin in range(len(words) - length + 1):
            near = words[max(0, begin - len(asked)) : begin + length + len(asked)]
            score = sum(math.log(1 + 1 / words.count(w)) for w in near if w in asked)
            if set(asked) & set(words[begin : begin + length]):
                score = -1.0
            if score > best[0] + 1e-9:
                best = (score, begin)
        example = AnswerExample("", None, context, question, ())
        assert sliding_window(example, length) == " ".join(words[best[1] : best[1] + length])
        compared += 1
    assert compared == 20


def test_baselines_know_chinese_and_questions_without_an_answer() -> None:
    train, test = chinese_questions(20, seed=1), chinese_questions(20, seed=2)
    assert answer_length(train) == 2 and answer_length([]) == 1
    assert [word.text for word in placed_words("我爱 Paris，2024！")] == ["我", "爱", "paris", "2024"]
    rows = answer_baselines(train, test)
    assert set(rows) == {"sliding window"} and 0.0 <= float(rows["sliding window"]["f1"]) <= 1.0
    rows = answer_baselines(train, [*test, *questions(20, seed=3, unanswerable=1.0)])
    assert rows["no answer"]["f1"] == 0.5 and rows["no answer"]["unanswerable_f1"] == 1.0
    assert sliding_window(AnswerExample("", None, "", "Who?", ()), 3) == ""
    assert len(KINDS) == 3
