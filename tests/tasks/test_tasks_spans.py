"""Spans of words: read in any form, learned as tags, given in characters, scored whole."""

import json
from pathlib import Path

import numpy as np
import pytest
from task_support import FAMILIES, lively_model, start, tokenizer, word

from support import shrink
from trivium.core.errors import ConfigError, DataError, HubError
from trivium.core.files import new_folder
from trivium.core.progress import Silent
from trivium.data.labelled import LabelExample, spans_of_tags, tags_of_spans, write_jsonl
from trivium.data.labelled.spans import Span
from trivium.model.config import with_vocabulary
from trivium.model.presets import preset
from trivium.tasks.build import build_task, learned_task, usual_head
from trivium.tasks.config import finetune_config
from trivium.tasks.export.huggingface import export_huggingface
from trivium.tasks.finetune import finetune
from trivium.tasks.fit import fit
from trivium.tasks.folder import load_tuned, save_tuned
from trivium.tasks.metrics import Spans as SpanCounts
from trivium.tasks.predict import predict_texts
from trivium.tasks.start import random_start


def span_examples(count: int, *, seed: int, longest: int = 14) -> list[LabelExample]:
    """Sentences in which `ba` begins a span of two words and `ze` is one of its own."""
    rng = np.random.default_rng(seed)
    examples = []
    for length in rng.integers(4, longest + 1, count):
        words, spans, place = [], [], 0
        while place < length:
            chance = rng.random()
            if chance < 0.2 and place + 2 <= length:
                words += ["ba", "ke" + word(rng)]
                spans.append(Span(place, place + 2, "pair"))
            elif chance < 0.4:
                words.append("ze")
                spans.append(Span(place, place + 1, "one"))
            else:
                words.append("lo" + word(rng))
            place = len(words)
        examples.append(LabelExample(tuple(words), tags_of_spans(spans, len(words))))
    return examples


@pytest.mark.parametrize("chain", ["free", "trained"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_small_network_finds_whole_spans(family: str, chain: str, tmp_path: Path) -> None:
    train, valid = span_examples(100, seed=1), span_examples(30, seed=2)
    chosen = [f"settings.chain={chain}", "optimiser.lr=0.01", "epochs=15", "rows=4", "precision=float32"]
    config, begin = finetune_config("spans", chosen), start(family)
    task = learned_task("spans", train, settings=config.settings)
    fitted = fit(begin, task, task.encode(train, begin.reading()), task.encode(valid, begin.reading()), config)
    assert fitted.best.metrics["f1"] > 0.9
    assert fitted.best is max(fitted.epochs, key=lambda epoch: (epoch.metrics["f1"], -epoch.metrics["loss"]))
    with new_folder(tmp_path / "model") as folder:
        save_tuned(folder, fitted.tuned)
    again = load_tuned(tmp_path / "model")
    assert (again.model.chain is not None) == (chain == "trained")
    texts = [example.tokens for example in valid]
    rows = list(predict_texts(again, texts))
    assert rows == list(predict_texts(fitted.tuned, texts))
    counted, cut = SpanCounts(), 0
    for row, example in zip(rows, valid, strict=True):
        counted.add(spans_of_tags(example.labels), spans_of_tags(row["labels"]))
        for span in row["spans"]:
            assert row["text"][span["start"] : span["end"]] == span["text"] and 0 < span["score"] <= 1
            cut += 1
    assert cut > 20
    assert counted.metrics()["f1"] == pytest.approx(fitted.best.metrics["f1"])


def test_it_is_exported_as_tags_of_words_unless_a_chain_was_learned(tmp_path: Path) -> None:
    examples = span_examples(20, seed=5)
    begin = random_start(with_vocabulary(shrink(preset("bert-tiny")), tokenizer().vocabulary_size), tokenizer())
    for chain in ("free", "trained"):
        config = finetune_config("spans", [f"settings.chain={chain}", "max_steps=2", "precision=float32"])
        task = learned_task("spans", examples, usual_head("spans", begin.config), config.settings)
        encoded = task.encode(examples, begin.reading(task.readout))
        with new_folder(tmp_path / chain) as folder:
            save_tuned(folder, fit(begin, task, encoded, encoded, config).tuned)
    export_huggingface(tmp_path / "free", tmp_path / "hf")
    assert load_tuned(tmp_path / "hf").task.labels == task.labels
    with pytest.raises(HubError, match="knows no chain over labels"):
        export_huggingface(tmp_path / "trained", tmp_path / "no")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("chain", ["free", "trained"])
def test_long_texts_are_stitched_and_tags_are_whole_spans_everywhere(chain: str) -> None:
    examples = span_examples(20, seed=3, longest=60)
    task = learned_task("spans", examples, settings={"chain": chain})
    model, begin = lively_model("encoder", task), start()
    short, whole = (task.encode(examples, begin.for_rows(length).reading()) for length in (16, 64))
    for encoded in (short, whole):
        assert task.score(model, encoded).metrics["coverage"] == 1.0
        for row, example in zip(task.answered(model, examples, encoded), examples, strict=True):
            assert len(row["labels"]) == len(example.tokens)
            assert tags_of_spans(spans_of_tags(row["labels"]), len(row["labels"])) == tuple(row["labels"])


def test_every_form_of_file_is_read(tmp_path: Path) -> None:
    forms = {
        "iob1.txt": "ba I-PER\nlo O\nze I-LOC\n\nba I-PER\nke I-PER\nze I-LOC\n",
        "bioes.jsonl": '{"tokens": ["ba", "ke", "ze"], "labels": ["B-PER", "E-PER", "S-LOC"]}\n',
        "doccano.jsonl": '{"text": "ba ke, ze!", "label": [[0, 5, "PER"], [7, 9, "LOC"]]}\n',
        "chinese.jsonl": '{"text": "\u6211\u7231\u5317\u4eac", "spans": [{"start": 2, "end": 4, "label": "LOC"}]}\n',
    }
    read = {}
    for name, content in forms.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        read[name] = build_task("spans").read(tmp_path / name, min_classes=2).examples
    assert [e.labels for e in read["iob1.txt"]] == [("B-PER", "O", "B-LOC"), ("B-PER", "I-PER", "B-LOC")]
    assert read["bioes.jsonl"][0].labels == ("B-PER", "I-PER", "B-LOC")
    assert read["doccano.jsonl"][0].tokens == ("ba", "ke", ",", "ze", "!")
    assert read["doccano.jsonl"][0].labels == ("B-PER", "I-PER", "O", "B-LOC", "O")
    assert read["chinese.jsonl"][0].labels == ("O", "O", "B-LOC", "I-LOC")


@pytest.mark.parametrize("task", ["spans", "nested"])
def test_the_text_of_spans_may_have_another_name(task: str, tmp_path: Path) -> None:
    row = {"body": "ba ke, ze!", "text": "other", "spans": [[0, 5, "PER"], [7, 9, "LOC"]]}
    write_jsonl(tmp_path / "a.jsonl", [row, {"data": {"body": "ze"}, "annotations": [{"result": []}]}])
    config = finetune_config(task, ["settings.columns.text=body"])
    [first, second] = build_task(task, settings=config.settings).read(tmp_path / "a.jsonl", min_classes=1).examples
    assert first.tokens == ("ba", "ke", ",", "ze", "!") and second.tokens == ("ze",)
    with pytest.raises(ConfigError, match="unknown key `text`"):
        finetune_config("label", ["settings.columns.text=body"])


class Heard(Silent):
    """Keeps warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def test_what_does_not_fit_is_said_and_a_run_has_all_that_a_report_shows(tmp_path: Path) -> None:
    rows = [{"text": " ".join(e.tokens), "spans": _characters(e)} for e in span_examples(30, seed=4)]
    rows[3]["spans"] = [{"start": 1, "end": 2, "label": "one"}]  # inside a word
    file = tmp_path / "spans.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config, heard = finetune_config("spans", ["epochs=2", "patience=1", "precision=float32"]), Heard()
    results = finetune(start(), config, train=file, valid=file, test=file, out=tmp_path / "run", progress=heard)
    assert len(heard.warnings) == 3  # of each file
    said = [f"{file}:4: left out: the span 1 to 2 (`one`"] * 3
    listed = (tmp_path / "run" / "problems.txt").read_text(encoding="utf-8").splitlines()
    assert [line[: len(said[0])] for line in listed] == said
    assert all(line.startswith("1 problem") and "begin and end with a word" in line for line in heard.warnings)
    assert results["chosen_by"] == "f1" and set(results["by_label"]) == {"one", "pair"}
    # It is not learned, and is missed when all are counted: by the model, and by what it is compared with.
    ones = sum(span["label"] == "one" for row in rows for span in row["spans"])
    assert results["by_label"]["one"]["count"] == ones
    assert 0 < results["baselines"]["most frequent of word, else shape"]["f1"] < 1
    assert len(results["mistakes"]) > 0
    assert all("[" in mistake["text"] and mistake["right"] != mistake["given"] for mistake in results["mistakes"])


def _characters(example: LabelExample) -> list[dict[str, object]]:
    starts = np.cumsum([0, *(len(word) + 1 for word in example.tokens)])
    return [
        {"start": int(starts[s.start]), "end": int(starts[s.end]) - 1, "label": s.label}
        for s in spans_of_tags(example.labels)
    ]


def test_mistakes_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("ba O\nlo O\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"none\.txt"):
        build_task("spans").read(tmp_path / "none.txt", min_classes=2)
    with pytest.raises(DataError, match="no training example has a span"):
        learned_task("spans", [LabelExample(("ba",), ("O",))])
    with pytest.raises(DataError, match="B-new"):
        learned_task("spans", span_examples(5, seed=1)).check([LabelExample(("ba",), ("B-new",))], "valid.txt")
    with pytest.raises(ConfigError, match="chain"):
        finetune_config("spans", ["settings.chian=trained"])
    with pytest.raises(ConfigError, match="columns"):
        finetune_config("label", ["settings.colums.word=2"])
