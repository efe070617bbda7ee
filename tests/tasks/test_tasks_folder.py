"""A fine-tuning run on disk: made, opened, asked, refused."""

import itertools
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from task_support import CHINESE, WRITER, lively_model, start, task_files, tokenizer

from trivium.core.config import parse, read_toml
from trivium.core.errors import CheckpointError, ConfigError, DataError, DivergedError, UserError
from trivium.data.labelled import write_jsonl
from trivium.model.build import build_network
from trivium.model.config import with_vocabulary
from trivium.model.folder import SavedModel, save_model, unique_tensors
from trivium.tasks.build import build_task
from trivium.tasks.config import FinetuneConfig, finetune_config
from trivium.tasks.finetune import finetune
from trivium.tasks.folder import TunedModel, load_tuned, save_tuned
from trivium.tasks.predict import predict_texts
from trivium.tasks.start import Start, open_run, random_start
from trivium.train.log import read_log


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A fine-tuned run of each task."""
    found = {}
    for task in ("label", "classify"):
        folder = tmp_path_factory.mktemp(task)
        found[task] = folder / "run"
        config = finetune_config(task, ["epochs=2", "optimiser.lr=0.01"])
        finetune(start("decoder"), config, **task_files(folder, task), out=found[task])
    return found


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    """A pretrained run's folder, with random weights."""
    (tmp_path / "pretrained" / "model").mkdir(parents=True)
    begin = start()
    network = build_network(begin.config)
    save_model(tmp_path / "pretrained" / "model", network, begin.config, tokenizer().to_bytes())
    return tmp_path / "pretrained"


@pytest.mark.parametrize("task", ["label", "classify"])
def test_a_run_folder_holds_what_the_contract_says(runs: dict[str, Path], task: str) -> None:
    run = runs[task]
    assert {path.name for path in run.iterdir()} == {
        "config.toml",
        "log.jsonl",
        "checkpoints",
        "model",
        "results.json",
    }
    assert {path.name for path in (run / "model").iterdir()} == {
        "weights.safetensors",
        "model.toml",
        "tokenizer.json",
        "task.toml",
        "history.json",
        "checksums.json",
    }
    results = json.loads((run / "results.json").read_text())
    expected = {"task", "valid", "test", "coverage", "baselines", "seed", "parameters", "seconds", "from"}
    assert expected <= set(results)
    assert results["coverage"] == 1.0 and results["test"]["coverage"] == 1.0
    assert 0.0 < results["test"]["accuracy"] <= 1.0 and 0.0 < results["valid"]["macro_f1"] <= 1.0
    assert (
        len(results["baselines"]) == {"label": 3, "classify": 2}[results["task"]] and "majority" in results["baselines"]
    )
    assert {"accuracy", "macro_f1"} <= set(results["baselines"]["majority"])
    config = parse(FinetuneConfig, read_toml(run / "config.toml"), "config.toml")
    assert config.train == str(run.parent / "train.jsonl") and config.row_length == 64
    assert [line["split"] for line in read_log(run / "log.jsonl") if "split" in line] == ["validation"] * 2


def test_the_saved_run_repeats_itself_byte_for_byte(runs: dict[str, Path], tmp_path: Path) -> None:
    config = parse(FinetuneConfig, read_toml(runs["label"] / "config.toml"), "config.toml")
    assert config.train and config.valid and config.test
    files = {"train": Path(config.train), "valid": Path(config.valid), "test": Path(config.test)}
    finetune(start("decoder"), config, **files, out=tmp_path / "again")
    for name in ("weights.safetensors", "task.toml", "checksums.json"):
        assert (tmp_path / "again" / "model" / name).read_bytes() == (runs["label"] / "model" / name).read_bytes()


@pytest.mark.parametrize("task", ["label", "classify"])
def test_a_saved_model_predicts_what_was_scored(runs: dict[str, Path], task: str) -> None:
    tuned = load_tuned(runs[task])
    examples = build_task(task, ()).read(runs[task].parent / "test.jsonl", min_classes=1).examples
    given: list[str] = []
    right: list[str] = []
    if task == "label":
        rows = list(predict_texts(tuned, [example.tokens for example in examples]))  # type: ignore[union-attr]
        for example, row in zip(examples, rows, strict=True):
            assert tuple(row["tokens"]) == example.tokens  # type: ignore[union-attr]
            scored = [n for n, label in enumerate(example.labels) if label != "_"]  # type: ignore[union-attr]
            given += [row["labels"][n] for n in scored]
            right += tuned.task.gold(example)
    else:
        rows = list(predict_texts(tuned, [example.text for example in examples]))  # type: ignore[union-attr]
        for example, row in zip(examples, rows, strict=True):
            assert row["text"] == example.text  # type: ignore[union-attr]
            assert sum(row["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)
            assert row["label"] == max(row["probabilities"], key=row["probabilities"].get)
            given.append(row["label"])
            right += tuned.task.gold(example)
    accuracy = sum(a == b for a, b in zip(given, right, strict=True)) / len(right)
    results = json.loads((runs[task] / "results.json").read_text())
    assert accuracy == pytest.approx(results["test"]["accuracy"])


def test_predictions_keep_the_order_and_stream_from_endless_input(runs: dict[str, Path]) -> None:
    tuned = load_tuned(runs["classify"])
    texts = [f"{'babake ' * (n % 90)}loke {n}" for n in range(150)]
    rows = list(itertools.islice(predict_texts(tuned, itertools.cycle(texts)), 200))
    assert [row["text"] for row in rows] == (texts * 2)[:200]
    alone = next(predict_texts(tuned, [texts[89]]))  # several rows long
    assert alone["probabilities"] == pytest.approx(rows[89]["probabilities"], abs=2e-5)


def test_label_reads_strings_words_and_scripts_without_spaces(runs: dict[str, Path]) -> None:
    tuned = load_tuned(runs["label"])
    chinese = CHINESE.replace(" ", "")
    rows = list(predict_texts(tuned, ["ba ke lo", ["ba", "ke lo"], chinese, "", " ".join(["ba"] * 300)]))
    assert rows[0]["tokens"] == ["ba", "ke", "lo"] and rows[1]["tokens"] == ["ba", "ke lo"]
    assert len(rows[2]["tokens"]) > 10 and "".join(rows[2]["tokens"]) == chinese
    assert rows[3] == {"text": "", "tokens": [], "labels": [], "words": []}
    assert len(rows[4]["labels"]) == 300
    assert all(label in tuned.task.labels for row in rows for label in row["labels"])


def test_classify_reads_pairs(runs: dict[str, Path]) -> None:
    tuned = load_tuned(runs["classify"])
    [row] = predict_texts(tuned, [["babake loke", "ti ti"]])
    assert row["text"] == "babake loke" and row["text_pair"] == "ti ti"
    with pytest.raises(DataError, match="a list of 3"):
        list(predict_texts(tuned, [["a", "b", "c"]]))


def test_lines_of_deep_json_and_half_a_surrogate_pair_are_answered(runs: dict[str, Path]) -> None:
    deep = random.randint(2_000, 5_000)  # levels: more than Python's own calls may be
    halves, whole = '["ba", "\\ud83d ke"]', '["ba", "\\ud83d\\ude00 ke"]'
    given = ["[" * deep, "[" * deep + "]" * deep, '{"text": ' * deep + "1" + "}" * deep, halves, whole]
    rows = list(predict_texts(load_tuned(runs["classify"]), given))
    assert [row["text"] for row in rows] == [*given[:3], "ba", "ba"]  # what is no JSON is a text
    assert [row["text_pair"] for row in rows[3:]] == ["\ufffd ke", "\U0001f600 ke"]
    words = predict_texts(load_tuned(runs["label"]), [halves, '{"text": "\\ud83d hi"}'])
    assert [row["tokens"] for row in words] == [["ba", "\ufffd ke"], ["\ufffd", "hi"]]


@pytest.mark.parametrize("name", ["weights.safetensors", "task.toml", "tokenizer.json", "model.toml"])
def test_a_damaged_file_is_refused(runs: dict[str, Path], tmp_path: Path, name: str) -> None:
    shutil.copytree(runs["label"], tmp_path / "run")
    file = tmp_path / "run" / "model" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x20
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name}: damaged"):
        load_tuned(tmp_path / "run")
    file.unlink()
    with pytest.raises(CheckpointError):
        load_tuned(tmp_path / "run")


def test_a_run_of_the_other_kind_is_refused(runs: dict[str, Path], pretrained: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a pretrained run, not a fine-tuned one"):
        load_tuned(pretrained)
    with pytest.raises(CheckpointError, match="expected a fine-tuned run"):
        load_tuned(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="not a model folder"):
        open_run(tmp_path / "nothing")


@pytest.mark.parametrize(("family", "lost"), [("encoder", False), ("encoder_decoder", True)])
def test_a_fine_tuned_run_gives_the_stack_that_it_kept(family: str, lost: bool, tmp_path: Path) -> None:
    task = build_task("label", ("a", "b"))
    begin, model = start(family), lively_model(family, task)
    (tmp_path / "model").mkdir()
    save_tuned(tmp_path / "model", TunedModel(model, begin.config, task, begin.reading()))
    again = open_run(tmp_path)
    assert again.row_length == begin.row_length and bool(again.lost) == lost
    kept = unique_tensors(again.reader(0))
    assert len(kept) > 10 and all(torch.equal(kept[n], t) for n, t in unique_tensors(model.reader).items())
    if not lost:  # its head over the vocabulary has no numbers of its own
        assert again.reader(0, None) is again.network
        return
    for readout in (WRITER, None):
        with pytest.raises(ConfigError, match="was fine-tuned before and kept only what read for that task"):
            again.reader(0, readout)


def test_a_pretrained_run_is_opened_and_fine_tuned(pretrained: Path, tmp_path: Path) -> None:
    begin = open_run(pretrained)
    assert begin.network is not None and begin.row_length == 64  # no longer than the model reads
    files = task_files(tmp_path, "label")
    config = finetune_config("label", ["max_steps=1"])
    results = finetune(begin, config, train=files["train"], valid=files["valid"], out=tmp_path / "run")
    assert results["from"] == str(pretrained)
    assert "test" not in results and results["coverage"] == 1.0


def test_a_tokenizer_of_another_model_is_refused() -> None:
    config = with_vocabulary(start().config, 50)
    saved = SavedModel(config, build_network(config), tokenizer().to_bytes())
    with pytest.raises(CheckpointError, match=f"tokenizer has {tokenizer().vocabulary_size} ids, the model 50"):
        Start.of(saved, row_length=64, name="run")


def _unknown_label(files: dict[str, Path]) -> None:
    rows = [json.loads(line) for line in files["valid"].read_text().splitlines()]
    rows[7]["labels"][0] = "hihg"
    write_jsonl(files["valid"], rows)


def _one_class(files: dict[str, Path]) -> None:
    write_jsonl(files["train"], [{"tokens": ["ba"], "labels": ["low"]}])


def _no_file(files: dict[str, Path]) -> None:
    files["test"].unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_unknown_label, r"valid\.jsonl:8: the label `hihg` is not one of the training examples.*`high`"),
        (_one_class, "at least 2 classes"),
        (_no_file, r"test\.jsonl: no such file"),
    ],
)
def test_files_that_do_not_fit_are_refused_before_anything_is_made(
    tmp_path: Path, spoil: Callable[[dict[str, Path]], None], message: str
) -> None:
    files = task_files(tmp_path, "label")
    spoil(files)
    with pytest.raises(UserError, match=message) as caught:
        finetune(start(), finetune_config("label"), **files, out=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_head_over_a_decoder_that_is_not_there_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    config = finetune_config("classify", ["readout.stack=writer"])
    with pytest.raises(ConfigError, match=r"`readout\.stack` writer needs an encoder_decoder, found: encoder;"):
        finetune(start(), config, **task_files(tmp_path, "classify"), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_diverges_has_no_model(tmp_path: Path) -> None:
    config = finetune_config("classify", ["optimiser.lr=1e30"])
    with pytest.raises(DivergedError):
        finetune(start(), config, **task_files(tmp_path, "classify"), out=tmp_path / "run")
    assert (tmp_path / "run" / "config.toml").is_file()
    assert not (tmp_path / "run" / "model").exists() and not (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["reinitialise_layers=9"], "`reinitialise_layers` must be at most"),
        (["mixout=0.5"], "`mixout` pulls towards pretrained weights"),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused_before_anything_is_made(
    tmp_path: Path, assignments: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        finetune(start(), finetune_config("label", assignments), **task_files(tmp_path, "label"), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_existing_folder_is_refused_and_left_alone(runs: dict[str, Path]) -> None:
    before = (runs["label"] / "results.json").read_bytes()
    files = {split: runs["label"].parent / f"{split}.jsonl" for split in ("train", "valid")}
    with pytest.raises(ConfigError, match="already exists"):
        finetune(start(), finetune_config("label"), **files, out=runs["label"])
    assert (runs["label"] / "results.json").read_bytes() == before


@pytest.mark.parametrize(
    ("task", "assignments", "message"),
    [
        ("lable", [], "`lable` is no task. Did you mean `label`"),
        ("label", ["epoch=3"], "unknown key `epoch`. Did you mean `epochs`"),
        ("label", ["epochs=0"], "`epochs`"),
        ("label", ["rows=6", "accumulation=4"], "4 does not divide 6"),
        ("label", ["steps=5"], "`steps` follows from .* `max_steps` sets"),
    ],
)
def test_settings_that_cannot_be(task: str, assignments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        finetune_config(task, assignments)


PAIR = '{"text": "Ada met Bob", "head": [0, 3, "A"], "tail": [8, 11, "A"], "relation": "%s"}'


@pytest.mark.parametrize(
    ("task", "name", "rows", "unknown"),
    [
        ("classify", "m.csv", ["text,label", '"a\nb",x', "b,y"], "c,z"),
        (
            "classify",
            "m.jsonl",
            ['{"text": "a", "label": "x"}', '{"text": "b", "label": 1}'],
            '{"text": "c", "label": 2}',
        ),
        ("multi_label", "m.jsonl", ['{"text": "a", "label": ["x"]}', "", '{"text": "b", "label": ["y"]}'], None),
        ("label", "m.txt", ["a x", "b y", ""], "c z"),
        ("label", "m.conllu", ["\t".join(("1", "a", "_", "X", *"______")), ""], None),
        ("spans", "m.jsonl", ['{"text": "ba ke", "spans": [[0, 2, "x"]]}', ""], None),
        ("nested", "m.txt", ["a B-x", "b I-x", ""], "c B-z"),
        ("relate", "m.jsonl", [PAIR % "x", PAIR % "y"], PAIR % "z"),
    ],
)
def test_a_label_that_was_not_learned_is_named_with_file_and_line(
    task: str, name: str, rows: list[str], unknown: str | None, tmp_path: Path
) -> None:
    unknown = unknown or rows[0].replace('"x"', '"z"').replace("X", "Z")
    labels = {"spans": ("O", "B-x", "I-x"), "label": ("x", "y", "X"), "classify": ("x", "y", "1")}.get(task, ("x", "y"))
    content = "\n".join([*rows, unknown])
    (tmp_path / name).write_text(f"{content}\n", encoding="utf-8")
    tuned = build_task(task, labels)
    examples = tuned.read(tmp_path / name, min_classes=1).examples
    line = content.count("\n") + 1
    with pytest.raises(DataError, match=rf"/{re.escape(name)}:{line}: the label `"):
        tuned.check(examples, "another name")


def test_settings_change_one_by_one() -> None:
    config = finetune_config("label", ["optimiser.lr=0.001"])
    usual = finetune_config("label")
    assert config.optimiser == usual.optimiser.model_copy(update={"lr": 0.001})


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(ConfigError, match="Did you mean `encoder-tiny`"):
        random_start("encoder-tny", tokenizer())


@pytest.fixture(autouse=True)
def _no_leftovers(tmp_path: Path) -> Iterator[None]:
    yield
    assert not list(tmp_path.glob(".*.partial"))
