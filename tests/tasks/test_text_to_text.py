"""Several tasks that are written, in one network: what is asked stands before each text."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from write_inputs import WRITERS, pairs, read_by, start, tokenizer

from support import equal, parameters_of
from trivium.core.errors import ConfigError
from trivium.data.labelled import PairExample, write_jsonl
from trivium.tasks.build import learned_task
from trivium.tasks.config import finetune_config
from trivium.tasks.finetune import finetune
from trivium.tasks.folder import load_tuned
from trivium.tasks.predict import predict_texts
from trivium.tasks.several.config import several_config
from trivium.tasks.several.finetune import finetune_several
from trivium.tasks.write.config import WriteConfig
from trivium.tasks.write.pieces import encode_pairs, room

ASKED = {"first": 0, "last": -1}  # which word of a text is written
FAST = ["rows=4", "precision=float32", "optimiser.lr=0.01"]


def tasks_file(folder: Path, *names: str, count: int = 10, more: str = "") -> Path:
    """Write the words that each task asks for, of the same texts, and the file that names the tasks."""
    text = ""
    for name in names:
        for seed, (split, size) in enumerate({"train": count, "valid": 8, "test": 20}.items()):
            sources = [source for source, _ in pairs(size, seed=seed, lengths=(2, 3))]
            rows = [{"source": source, "target": source.split()[ASKED[name]]} for source in sources]
            write_jsonl(folder / f"{name}-{split}.jsonl", rows)
        files = "".join(f'{split} = "{name}-{split}.jsonl"\n' for split in ("train", "valid", "test"))
        settings = f'settings = {{ instruction = "{name}: ", max_target = 4{more} }}\n'
        text += f'[[task]]\ntask = "write"\nname = "{name}"\n{files}{settings}\n'
    (folder / "tasks.toml").write_text(text, encoding="utf-8")
    return folder / "tasks.toml"


@pytest.mark.parametrize("family", WRITERS)
@pytest.mark.parametrize("keep", ["first", "last"])
def test_an_instruction_stands_whole_before_every_source(family: str, keep: str) -> None:
    reading = read_by(family, row_length=24)
    settings = WriteConfig(instruction="nu ra: ", keep=keep, max_target=4)
    asked, special = tokenizer().encode("nu ra: "), tokenizer().special
    examples = [*pairs(6, seed=1, lengths=(1, 2)), *pairs(6, seed=2, lengths=(40, 50))]
    encoded = encode_pairs(examples, settings, reading, known=True)
    assert encoded.written is not None and encoded.written.sources_cut == 6
    plain = room(settings.model_copy(update={"instruction": ""}), reading)
    assert room(settings, reading) == plain._replace(source=plain.source - len(asked))
    for example, piece in zip(examples, encoded.pieces, strict=True):
        read_L = piece.tokens_L[: piece.given] if piece.source_L is None else piece.source_L
        inside = [token for token in read_L.tolist() if token not in special.all()]
        ids = tokenizer().encode(example.source)
        most = room(settings, reading).source
        assert inside == asked + (ids[:most] if keep == "first" else ids[-most:])


def test_an_instruction_that_leaves_no_room_is_refused() -> None:
    settings = WriteConfig(instruction="ba ke lo " * 20, max_target=4)
    for family, said in (("decoder", "`settings.max_target` 4, "), ("encoder_decoder", "")):
        with pytest.raises(ConfigError) as caught:
            room(settings, read_by(family, row_length=24))
        told = r"`settings\.instruction` of \d+ tokens and special tokens leave no room in rows of 24"
        assert re.match(re.escape(said) + told, str(caught.value))


@pytest.mark.parametrize("family", WRITERS)
def test_one_network_does_what_it_is_asked(family: str, tmp_path: Path) -> None:
    config = several_config(tasks_file(tmp_path, "first", "last", count=200), [*FAST, "epochs=12"])
    results = finetune_several(start(family, row_length=32), config, out=tmp_path / "run")
    scores = [results["test"][f"{name}.exact"] for name in ASKED]
    assert min(scores) > 0.8
    assert results["valid"]["mean"] == pytest.approx(np.mean([results["valid"][f"{name}.rouge_l"] for name in ASKED]))
    tuned = {name: load_tuned(tmp_path / "run" / "tasks" / name) for name in ASKED}
    assert equal(*(parameters_of(each.model) for each in tuned.values()))
    sources = [source for source, _ in pairs(20, seed=9, lengths=(2, 3))]
    for name, place in ASKED.items():
        answers = list(predict_texts(tuned[name], sources))
        assert [answer["text"] for answer in answers] == sources  # as it was asked, without what stands before it
        right = [answer["written"] == source.split()[place] for answer, source in zip(answers, sources, strict=True)]
        assert np.mean(right) > 0.8


def test_one_task_of_several_is_as_it_is_alone(tmp_path: Path) -> None:
    settings = [*FAST, "epochs=2", "dropout=0"]
    config = several_config(tasks_file(tmp_path, "first"), settings)
    finetune_several(start("encoder_decoder", row_length=32), config, out=tmp_path / "several")
    own = finetune_config("write", [*settings, 'settings.instruction="first: "', "settings.max_target=4"])
    files = {split: tmp_path / f"first-{split}.jsonl" for split in ("train", "valid", "test")}
    finetune(start("encoder_decoder", row_length=32), own, **files, out=tmp_path / "one")
    folder = tmp_path / "several" / "tasks" / "first"
    for name in ("weights.safetensors", "task.toml", "model.toml", "tokenizer.json"):
        assert (folder / "model" / name).read_bytes() == (tmp_path / "one" / "model" / name).read_bytes()
    begin = start("encoder_decoder", row_length=32)
    again = finetune_several(begin, config, out=tmp_path / "several", resume=True)
    assert again["test"] == json.loads((tmp_path / "several" / "results.json").read_text())["test"]
    found, expected = (json.loads((run / "results.json").read_text()) for run in (folder, tmp_path / "one"))
    assert found["test"] == expected["test"] and found["baselines"] == expected["baselines"]


def test_what_cannot_be_learned_together_is_said(tmp_path: Path) -> None:
    file = tasks_file(tmp_path, "first", "last")
    mixed = tmp_path / "mixed.toml"
    classes = '[[task]]\ntask = "classify"\ntrain = "a.csv"\nvalid = "b.csv"\n'
    mixed.write_text(file.read_text(encoding="utf-8") + classes, encoding="utf-8")
    with pytest.raises(ConfigError, match="only tasks that write learn with it, not classify"):
        several_config(mixed)
    alike = tmp_path / "alike.toml"
    alike.write_text(file.read_text(encoding="utf-8").replace("first: ", "last: "), encoding="utf-8")
    with pytest.raises(ConfigError, match="those of `first` and `last` are the same; give each its own"):
        several_config(alike)
    text = file.read_text(encoding="utf-8").replace("max_target = 4", "max_target = 4, valid_outputs = 0", 1)
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="must be 0 for all tasks, so that the loss chooses, or for none"):
        several_config(file)


def test_the_loss_may_choose_the_epoch(tmp_path: Path) -> None:
    file = tasks_file(tmp_path, "first", "last", more=", valid_outputs = 0")
    results = finetune_several(
        start("decoder", row_length=32), several_config(file, [*FAST, "epochs=3"]), out=tmp_path / "run"
    )
    assert results["chosen_by"] == "loss"
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    scored = [line for line in lines if line.get("split") == "validation"]
    assert len(scored) == 3 and results["best_step"] == min(scored, key=lambda line: line["loss"])["step"]


def test_an_instruction_is_kept_with_the_model() -> None:
    task = learned_task("write", [PairExample("ba", ("ke",))], None, WriteConfig(instruction="first: "))
    assert task.settings.model_dump(exclude_none=True)["instruction"] == "first: "
