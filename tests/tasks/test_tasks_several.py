"""Several tasks on one stack: rows of all in every step, one alone as by itself, learned, resumed, refused."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from task_support import classify_examples, label_examples, label_of, start, task_files, tokenizer, word

from stopping import Killed, KilledAt
from support import equal, lively, parameters_of, tiny
from trivium.core.errors import ConfigError
from trivium.core.progress import Progress, Silent
from trivium.core.random import Key
from trivium.data.labelled import ClassifyExample, write_jsonl
from trivium.data.loader import micro_batches
from trivium.model.folder import model_folder, unique_tensors
from trivium.tasks.base import Task
from trivium.tasks.build import learned_task
from trivium.tasks.config import finetune_config
from trivium.tasks.finetune import finetune
from trivium.tasks.fit import as_at_best, begin_fit, fit, fit_steps
from trivium.tasks.folder import load_tuned
from trivium.tasks.pieces import Encoded
from trivium.tasks.several.config import several_config
from trivium.tasks.several.finetune import finetune_several
from trivium.tasks.several.rows import SeveralRows
from trivium.tasks.several.task import Part, make_several, several_model
from trivium.tasks.start import Start, open_run, random_start
from trivium.train.checkpoint import checkpoints, step_of
from trivium.train.log import read_log

MAKE = {"label": label_examples, "classify": classify_examples}


def encoded(task: Task, count: int, seed: int) -> Encoded:
    return task.encode(MAKE[task.name](count, seed=seed), start().reading(task.readout))


def part(name: str, count: int, weight: float = 1.0, train_seed: int = 1) -> Part:
    task = learned_task(name, MAKE[name](200, seed=99))
    return Part(name, task, weight, encoded(task, count, train_seed), encoded(task, 20, 2))


def tasks_file(folder: Path, *names: str, more: str = "") -> Path:
    """Write made-up examples of tasks, and the file that names them."""
    text = ""
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        task_files(folder / name, name)
        files = "".join(f'{split} = "{name}/{split}.jsonl"\n' for split in ("train", "valid", "test"))
        text += f'[[task]]\ntask = "{name}"\n{files}{more}\n'
    (folder / "tasks.toml").write_text(text, encoding="utf-8")
    return folder / "tasks.toml"


def pretrained(family: str = "encoder") -> Start:
    begin = random_start(tiny(family), tokenizer(), row_length=64)
    return begin._replace(network=lively(begin.config), name="pretrained")


@pytest.mark.parametrize(("counts", "rows", "accumulation"), [((50, 20), 8, 1), ((60, 3), 6, 3), ((5, 70), 4, 4)])
def test_every_step_has_rows_of_all_and_an_epoch_every_example(
    counts: tuple[int, int], rows: int, accumulation: int
) -> None:
    parts = [part("label", counts[0]), part("classify", counts[1])]
    made = SeveralRows(
        [each.train for each in parts], [3.0, 1.0], rows=rows, accumulation=accumulation, epochs=2, key=Key(5)
    )
    assert made.rows % accumulation == 0 and made.rows <= rows
    begin = steps = 0
    for end in made.epochs.ends:
        labels = [Counter[int](), Counter[int]()]
        for step in range(begin, end):
            batch = made.batch(step)
            assert batch.num_rows == made.rows == sum(made.rows_of_each) and batch.weights == (0.75, 0.25)
            assert sorted(np.concatenate(batch.rows_of).tolist()) == list(range(made.rows))
            for number, own in enumerate(batch.parts):
                assert own is not None and own.num_rows == made.rows_of_each[number] and own.weights_BN.sum() > 0
                labels[number] += Counter(own.labels_BN[own.weights_BN > 0].tolist())
            steps += 1
        for number, each in enumerate(parts):
            right = Counter(int(label) for piece in each.train.pieces for label in piece.classes_N)
            times = [labels[number][label] / count for label, count in right.items()]
            # The smaller task is read again where its rows are fewer than the steps.
            assert set(times) == {1.0} or (min(times) >= 1.0 and counts[number] < 10)
        begin = end
    assert steps == made.epochs.total > 3 and 0.0 < made.share_of_real_tokens <= 1.0


@pytest.mark.parametrize("task", ["label", "classify"])
@pytest.mark.parametrize("family", ["encoder", "decoder"])
def test_one_task_alone_is_learned_as_by_itself(family: str, task: str, tmp_path: Path) -> None:
    more = ["epochs=2", "rows=4", "optimiser.lr=0.02", 'regularisers=[{kind="r_drop"}]', "accumulation=2", "mixout=0.2"]
    finetune_several(pretrained(family), several_config(tasks_file(tmp_path, task), more), out=tmp_path / "several")
    files = {split: tmp_path / task / f"{split}.jsonl" for split in ("train", "valid", "test")}
    finetune(pretrained(family), finetune_config(task, more), **files, out=tmp_path / "one")
    own = tmp_path / "several" / "tasks" / task
    for name in ("weights.safetensors", "task.toml", "model.toml", "tokenizer.json"):
        assert (own / "model" / name).read_bytes() == (tmp_path / "one" / "model" / name).read_bytes()
    found, expected = (json.loads((run / "results.json").read_text()) for run in (own, tmp_path / "one"))
    for results in (found, expected):
        results.pop("seconds")
        results["history"][-1].pop("data")  # of all training files, and of one
    assert found == expected


@pytest.mark.parametrize("accumulation", [2, 4])
def test_accumulation_changes_no_gradient(accumulation: int) -> None:
    norms = []
    for micro in (1, accumulation):
        settings = ["rows=8", f"accumulation={micro}", "dropout=0", "precision=float32", "epochs=2", "max_steps=4"]
        config = finetune_config("label", settings)
        fitting = make_several(start(), [part("label", 40, 2.0), part("classify", 30)], config)
        assert len(micro_batches(fitting.rows.batch(0), micro)) == micro
        trained, done = begin_fit(fitting, None)
        reports = [report for report, _ in fit_steps(fitting, trained, done)]
        norms.append([(report.loss, report.gradient_norm, *report.terms.values()) for report in reports])
    assert len(norms[0]) == 4 and np.allclose(norms[0], norms[1], rtol=1e-4)


def test_both_tasks_are_learned_by_one_stack(tmp_path: Path) -> None:
    settings = ["optimiser.lr=0.01", "epochs=20", "rows=8", "precision=float32"]
    config = finetune_config("label", settings)
    fitting = make_several(start(), [part("label", 120), part("classify", 120)], config)
    trained, done = begin_fit(fitting, None)
    for _, now in fit_steps(fitting, trained, done):
        done = now
    best = done.best_epoch
    assert best is not None and best.metrics["label.accuracy"] > 0.9 and best.metrics["classify.accuracy"] > 0.9
    assert best.metrics["mean"] == max(epoch.metrics["mean"] for epoch in done.epochs)
    assert best.metrics["mean"] == (best.metrics["label.accuracy"] + best.metrics["classify.accuracy"]) / 2


def test_weights_say_how_much_a_task_counts() -> None:
    losses = []
    for weight in (1.0, 3.0):
        fitting = make_several(start(), [part("label", 40, weight), part("classify", 30)], finetune_config("label"))
        batch = fitting.rows.batch(0)
        terms = fitting.learned.loss(fitting.model.eval(), batch, Key(0))
        assert [term.name for term in terms] == ["label", "classify"]
        assert [term.weight for term in terms] == [weight / (weight + 1), 1 / (weight + 1)]
        assert set(fitting.learned.counts(batch)) == {term.name for term in terms}
        losses.append([float(term.sum.detach()) for term in terms])
    assert losses[0] == losses[1]


def test_a_run_of_several_is_killed_and_ends_as_if_it_never_was(tmp_path: Path) -> None:
    config = several_config(
        tasks_file(tmp_path, "label", "classify", more="weight = 2.0\n"),
        ["epochs=2", "rows=8", "checkpoint_steps=1", 'averaging={kind="ema",decay=0.9}', "accumulation=2"],
    )

    def run(out: Path, progress: Progress) -> None:
        finetune_several(pretrained(), config, out=out, progress=progress, resume=True)

    run(tmp_path / "whole", Silent())
    steps = step_of(checkpoints(tmp_path / "whole")[-1])
    kills = 0
    for step in range(1, steps + 1):
        try:
            run(tmp_path / "broken", KilledAt(step))
        except Killed:
            kills += 1
    run(tmp_path / "broken", Silent())
    assert kills == steps >= 4
    assert _ended(tmp_path / "broken") == _ended(tmp_path / "whole")


def _ended(out: Path) -> dict[str, Any]:
    """Return what a run leaves, but for how long it took."""
    found: dict[str, Any] = {"config": (out / "config.toml").read_bytes()}
    found["log"] = [
        {k: v for k, v in line.items() if not k.startswith("seconds")} for line in read_log(out / "log.jsonl")
    ]
    for file in sorted((out / "tasks").rglob("*")):
        if file.is_file() and file.name != "results.json":
            found[str(file.relative_to(out))] = file.read_bytes()
    results = json.loads((out / "results.json").read_text())
    for each in (results, *results["tasks"].values()):
        each.pop("seconds")
    return found | {"results": results}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several")
    config = several_config(tasks_file(folder, "label", "classify"), ["epochs=2", "rows=8"])
    finetune_several(pretrained(), config, out=folder / "run")
    return folder / "run"


def test_each_task_has_a_folder_that_is_used_as_a_run(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    tuned = {name: load_tuned(run / "tasks" / name) for name in ("label", "classify")}
    readers = [unique_tensors(each.model.reader) for each in tuned.values()]
    assert len(readers[0]) > 10 and equal(*({n: t.clone() for n, t in reader.items()} for reader in readers))
    scores = []
    for name, each in tuned.items():
        encoded = each.task.encode(MAKE[name](15, seed=2), each.reading)  # the test file's
        found = json.loads((run / "tasks" / name / "results.json").read_text())
        assert each.task.score(each.model, encoded).metrics == pytest.approx(found["test"])
        assert results["tasks"][name] == found and set(found["baselines"]) >= {"majority"}
        assert results["test"][f"{name}.accuracy"] == found["test"]["accuracy"]
        assert found["history"][-1]["task"] == "label + classify"
        scores.append(found["test"]["accuracy"])
    assert results["task"] == "several" and results["chosen_by"] == "mean"
    assert results["test"]["mean"] == pytest.approx(np.mean(scores))
    heads = [sum(p.numel() for n, p in parameters_of(each.model).items() if "head" in n) for each in tuned.values()]
    assert results["parameters"] == sum(t.numel() for t in readers[0].values()) + sum(heads)
    again = open_run(run / "tasks" / "label")  # and begun with
    assert again.network is not None and len(again.history) == 1


def test_a_run_of_several_asked_as_one_names_its_tasks(run: Path) -> None:
    with pytest.raises(Exception, match=r"a run of several tasks; name one of them: .*tasks/classify, .*tasks/label\."):
        model_folder(run)
    files = {split: run.parent / "label" / f"{split}.jsonl" for split in ("train", "valid")}
    with pytest.raises(ConfigError, match="a run of several tasks; go on with it by --tasks"):
        finetune(pretrained(), finetune_config("label"), **files, out=run, resume=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('task = "embed"', "`embed` compares the texts of whole batches: fine-tune it by itself"),
        ('task = "clasify"', "`clasify` is no task. Did you mean `classify`"),
        ('task = "classify"\nwieght = 2', "unknown key `wieght`. Did you mean `weight`"),
        ('task = "classify"\nweight = 0', "weight"),
        ('task = "classify"\nname = "a/b"', "name"),
        ('task = "classify"\nsettings = {chain = "trained"}', "unknown key `chain`"),
    ],
)
def test_what_cannot_be_learned_with_others_is_said(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "tasks.toml"
    file.write_text(f'[[task]]\ntrain = "a"\nvalid = "b"\n{text}\n', encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        several_config(file)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_mistakes_are_one_line_and_nothing_is_written(tmp_path: Path, run: Path) -> None:
    twice = tasks_file(tmp_path, "label", "label")
    with pytest.raises(ConfigError, match="two tasks are called `label`"):
        several_config(twice)
    file, out = tasks_file(tmp_path, "label", "classify"), tmp_path / "out"
    with pytest.raises(ConfigError, match="settings of label: unknown key `chain`"):
        several_config(file, ["tasks.0.settings.chain=trained"])
    with pytest.raises(ConfigError, match="`rows` must be at least the number of tasks, 2: found 1"):
        finetune_several(pretrained(), several_config(file, ["rows=1"]), out=out)
    stacks = several_config(file, ['tasks.1.readout={stack="writer",pooling="last"}'])
    with pytest.raises(ConfigError, match=r"read one stack; `readout.stack` of each: label reader, classify writer"):
        finetune_several(pretrained("encoder_decoder"), stacks, out=out)
    assert not out.exists()
    same = run.parent / "tasks.toml"
    for change in ("tasks.0.weight=5", "rows=4"):
        with pytest.raises(ConfigError, match=r"--resume: `(weight|rows)` was"):
            finetune_several(pretrained(), several_config(same, ["epochs=2", "rows=8", change]), out=run, resume=True)
    edited = tmp_path / "label" / "train.jsonl"
    edited.write_text(edited.read_text(encoding="utf-8").replace("low", "top", 1), encoding="utf-8")
    with pytest.raises(ConfigError, match="--resume: the training file has changed"):
        finetune_several(pretrained(), several_config(file, ["epochs=2", "rows=8"]), out=run, resume=True)


def test_a_task_of_few_examples_learns_from_one_that_shares_its_rule() -> None:
    rng = np.random.default_rng(7)
    words = [word(rng) for _ in range(380)]
    texts = [ClassifyExample(each, label_of(each), None) for each in words]  # the rule that `label_examples` go by
    task = learned_task("classify", texts)
    reading = start().reading(task.readout)
    few, valid, test = (task.encode(part, reading) for part in (texts[:40], texts[40:80], texts[80:]))
    settings = ["optimiser.lr=0.01", "rows=8", "precision=float32"]
    config = finetune_config("label", [*settings, "epochs=20"])
    fitting = make_several(start(), [part("label", 120), Part("classify", task, 1.0, few, valid)], config)
    trained, done = begin_fit(fitting, None)
    for _, now in fit_steps(fitting, trained, done):
        done = now
    as_at_best(fitting, done)
    beside = task.score(several_model(fitting.model).of(1), test).metrics["accuracy"]
    alone = fit(start(), task, few, valid, finetune_config("classify", [*settings, f"epochs={done.step}"]))
    assert alone.epochs[-1].step == done.step  # as many updates, of a row of its own each
    assert beside > 0.02 + task.score(alone.tuned.model, test).metrics["accuracy"]


def test_the_problems_of_all_files_of_all_tasks_are_in_one_file(tmp_path: Path) -> None:
    file = tasks_file(tmp_path, "classify")
    rows = [{"text": "ba ke lo", "spans": [[0, 2, "x"], [3, 4, "y"]]}] * 5
    for name in ("train", "valid"):
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    more = '[[task]]\ntask = "spans"\ntrain = "train.jsonl"\nvalid = "valid.jsonl"\n'
    file.write_text(file.read_text(encoding="utf-8") + more, encoding="utf-8")
    finetune_several(start(), several_config(file, ["max_steps=1", "precision=float32"]), out=tmp_path / "run")
    lines = (tmp_path / "run" / "problems.txt").read_text(encoding="utf-8").splitlines()
    expected = [f"{tmp_path / split}.jsonl:{number}" for split in ("train", "valid") for number in range(1, 6)]
    assert [line.partition(": left out: the span 3 to 4")[0] for line in lines] == expected
