"""Relations of two spans: packed as alone, both places read, learned, scored as by hand, saved, resumed, predicted."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from relate_inputs import relate_examples, relate_files, row_of
from task_support import FAMILIES, WRITER, lively_model, reading, start

from stopping import Killed, KilledAt
from support import lively
from trivium.core.batch import read_again
from trivium.core.errors import ConfigError, DataError, HubError
from trivium.core.progress import Silent
from trivium.data.labelled import RelationExample, write_jsonl
from trivium.data.labelled.spans import Span
from trivium.data.packing import first_fit
from trivium.evaluate.speed import reading_batch
from trivium.model.config import DEFAULT_READOUT, ReadoutConfig, TransformConfig
from trivium.tasks.base import class_logits
from trivium.tasks.baselines.by_task import baselines, relation_terms
from trivium.tasks.build import build_task, learned_task
from trivium.tasks.class_answers import class_answers
from trivium.tasks.config import finetune_config
from trivium.tasks.export.huggingface import export_huggingface
from trivium.tasks.finetune import finetune
from trivium.tasks.fit import fit
from trivium.tasks.folder import load_tuned
from trivium.tasks.pieces import pack, places_of, row_capacity
from trivium.tasks.predict import predict_texts
from trivium.tasks.relate.task import Relate, no_relation

SETTINGS = ["epochs=2", "rows=4", "optimiser.lr=0.02", "precision=float32"]
Files = dict[str, Path]


@pytest.mark.parametrize(
    ("family", "readout"), [*((family, DEFAULT_READOUT) for family in FAMILIES), ("encoder_decoder", WRITER)]
)
def test_packed_rows_give_each_pair_the_logits_it_gets_alone(family: str, readout: ReadoutConfig) -> None:
    examples = [*relate_examples(20, seed=1), *relate_examples(4, seed=2, lengths=(30, 60), chinese=True)]
    task = learned_task("relate", examples, readout)
    model = lively_model(family, task)
    encoded = task.encode(examples, reading(family)._replace(again=readout.stack == "writer"))
    rows = [[encoded.pieces[n] for n in row] for row in first_fit([len(p.tokens_L) for p in encoded.pieces], 64)]
    capacity = row_capacity(encoded.pieces, 64)
    packed = pack(rows, encoded.reading, num_rows=len(rows) + 1, capacity=capacity)
    assert packed.batch.places_BN.shape == (len(rows) + 1, 2 * capacity)
    assert packed.batch.labels_BN.shape == packed.example_BN.shape == (len(rows) + 1, capacity)
    differences = []
    with torch.inference_mode():
        packed_BNC = class_logits(model, packed.batch).unflatten(0, packed.example_BN.shape)
        for b, row in enumerate(rows):
            for n, piece in enumerate(row):
                alone = pack([[piece]], encoded.reading, num_rows=1, capacity=1).batch
                [alone_C] = class_logits(model, alone)
                differences.append(float((packed_BNC[b, n] - alone_C).abs().max()))
    assert len(differences) == 24 and max(map(len, rows)) > 1
    assert max(differences) < 1e-5
    assert float(packed_BNC.std()) > 1e-3


@pytest.mark.parametrize("transform", [None, TransformConfig(activation="tanh")])
def test_the_head_sees_both_markers_side_by_side(transform: TransformConfig | None) -> None:
    examples = relate_examples(10, seed=3)
    task = learned_task("relate", examples, ReadoutConfig(transform=transform))
    model = lively_model("encoder", task)
    encoded = task.encode(examples, reading())
    sentinels = encoded.reading.tokenizer.special.sentinels
    batch = pack([encoded.pieces[:2], encoded.pieces[2:3]], encoded.reading, num_rows=2, capacity=2).batch
    with torch.inference_mode():
        hidden_BLD = model.reader(batch)
        for b, n, number in ((0, 0, 0), (0, 1, 1), (1, 0, 2)):
            first = len(encoded.pieces[0].tokens_L) if n else 0
            places = [first + encoded.pieces[number].tokens_L.tolist().index(sentinels[k]) for k in (0, 2)]
            both_2D = torch.cat([hidden_BLD[b, place] for place in places])
            torch.testing.assert_close(model.head(both_2D[None]), model(batch)[2 * b + n][None])
    assert model.head.projection.in_features == 2 * hidden_BLD.shape[-1]


@pytest.mark.parametrize("family", FAMILIES)
def test_both_spans_are_seen_where_the_answer_is_read(family: str) -> None:
    """Turning head and tail, or another type of either, changes the answer."""
    examples = relate_examples(12, seed=4)
    task = learned_task("relate", examples)
    model = lively_model(family, task)

    def answer(each: RelationExample) -> np.ndarray:
        [given] = class_answers(model, task.encode([each], reading(family)), num_classes=len(task.labels))
        return given.outputs_AC[0]

    checked = 0
    for example in examples[:4]:
        right_C, (text, head, tail, relation, _) = answer(example), example
        turned = RelationExample(text, tail, head, relation)
        retyped = (
            example._replace(head=head._replace(label="thing")),
            example._replace(tail=tail._replace(label="thing")),
        )
        for other in (turned, *retyped):
            assert np.abs(answer(other) - right_C).max() > 1e-4
            checked += 1
    assert checked == 12


@pytest.mark.parametrize(
    ("family", "count", "epochs"),
    [
        ("decoder", 160, 6),
        pytest.param("encoder", 400, 12, marks=pytest.mark.slow),
        pytest.param("encoder_decoder", 400, 12, marks=pytest.mark.slow),
    ],
)
def test_a_small_network_learns_an_easy_relation(family: str, count: int, epochs: int) -> None:
    train, valid, test = (relate_examples(size, seed=seed) for seed, size in enumerate((count, 30, 60)))
    begin = start(family)
    if family == "decoder":
        begin = begin._replace(network=lively(begin.config))
    task = learned_task("relate", train)
    assert task.chosen_by == "micro_f1"
    config = finetune_config("relate", ["optimiser.lr=0.01", f"epochs={epochs}", "rows=2", "precision=float32"])
    read = begin.reading()
    fitted = fit(begin, task, task.encode(train, read), task.encode(valid, read), config)
    scores = fitted.tuned.task.score(fitted.tuned.model, task.encode(test, read))
    assert scores.metrics["micro_f1"] > 0.9 and scores.metrics["accuracy"] > 0.9
    assert scores.metrics["coverage"] == 1.0 == scores.metrics["whole"]


def test_scores_are_those_counted_by_hand() -> None:
    examples = [*relate_examples(80, seed=5), *relate_examples(6, seed=5, lengths=(60, 90))]
    task = learned_task("relate", examples)
    assert isinstance(task, Relate) and task.settings.none == "Other"
    model = lively_model("encoder", task)
    encoded = task.encode(examples, reading())
    scores = task.score(model, encoded)
    given = [
        task.labels[int(answer.outputs_AC[0].argmax())]
        for answer in class_answers(model, encoded, num_classes=len(task.labels))
    ]
    right = [example.relation for example in examples]
    hits = sum(a == b != "Other" for a, b in zip(right, given, strict=True))
    found, there = (sum(label != "Other" for label in side) for side in (given, right))
    metrics = scores.metrics
    assert metrics["precision"] == pytest.approx(hits / found if found else 0.0)
    assert metrics["recall"] == pytest.approx(hits / there)
    assert metrics["micro_f1"] == pytest.approx(2 * hits / (found + there))
    assert metrics["accuracy"] == pytest.approx(np.mean([a == b for a, b in zip(right, given, strict=True)]))
    assert 0.9 < metrics["whole"] < 1.0 and metrics["coverage"] == 1.0
    assert scores.confusion is not None and np.sum(scores.confusion["counts"]) == len(examples)
    wrong = sum(a != b for a, b in zip(right, given, strict=True))
    assert len(scores.mistakes) == min(30, wrong) > 5
    assert "[1 " in task.shown(examples[scores.mistakes[0].example], 0)


def test_spans_are_shown_in_brackets() -> None:
    task = build_task("relate", ())
    text = "Ada met Bob"
    one = RelationExample(text, Span(8, 11, "a"), Span(0, 3, "b"), "x")
    assert task.shown(one, 0) == "[2 Ada] met [1 Bob]"
    nested = RelationExample(text, Span(0, 11, "a"), Span(4, 7, "b"), "x")
    assert task.shown(nested, 0) == "[1 Ada [2 met] Bob]"


def test_semevals_labels_are_scored_as_semeval_does() -> None:
    labels = ["Cause-Effect(e1,e2)", "Cause-Effect(e2,e1)", "Other"]
    examples = [e._replace(relation=labels[n % 3]) for n, e in enumerate(relate_examples(9, seed=6))]
    task = learned_task("relate", examples)
    assert task.chosen_by == "macro_f1"
    rows = baselines(task, examples, examples, examples)
    assert list(rows["majority"]) == ["accuracy", "macro_f1", "micro_f1", "precision", "recall"]


@pytest.mark.parametrize(
    ("labels", "none"),
    [
        (["a", "Other"], "Other"),
        (["no_relation", "other"], "no_relation"),
        (["per:title", "NA"], "NA"),
        (["父母", "无关系"], "无关系"),
        (["No-Relation", "x"], "No-Relation"),
        (["another", "knows"], ""),
    ],
)
def test_the_label_of_no_relation_is_known_by_its_name(labels: list[str], none: str) -> None:
    assert no_relation(labels) == none
    examples = [e._replace(relation=labels[n % 2]) for n, e in enumerate(relate_examples(4, seed=7))]
    task = learned_task("relate", examples)
    assert isinstance(task, Relate) and task.settings.none == none
    for said in (labels[1], ""):
        named = learned_task("relate", examples, settings={"none": said})
        assert isinstance(named, Relate) and named.settings.none == said
    with pytest.raises(DataError, match=r"`settings.none` nothing is no label of the training examples\. (Known|Did)"):
        learned_task("relate", examples, settings={"none": "nothing"})


def test_settings_of_the_task_are_for_the_task() -> None:
    assert finetune_config("relate", ["settings.none=Other"]).settings == {"none": "Other"}
    with pytest.raises(ConfigError, match=r"settings of classify.*none"):
        finetune_config("classify", ["settings.none=Other"])


def test_baselines_know_the_types_the_words_and_the_order() -> None:
    example = RelationExample("Ada lives in Bonn now", Span(0, 3, "person"), Span(13, 17, "place"), "x")
    terms = relation_terms(example)
    assert {"head: ada", "tail: bonn", "head type: person", "forwards: lives", "forwards: lives in"} <= set(terms)
    assert not any("now" in term for term in terms)
    backwards = relation_terms(example._replace(head=example.tail, tail=example.head))
    assert {"head: bonn", "backwards", "backwards: lives in"} <= set(backwards)
    pytest.importorskip("sklearn")
    train, test = relate_examples(150, seed=8), relate_examples(60, seed=9)
    rows = baselines(learned_task("relate", train), train, train[:40], test)
    commonest = max({e.relation for e in train}, key=[e.relation for e in train].count)
    share = np.mean([example.relation == commonest for example in test])
    assert rows["majority"]["accuracy"] == pytest.approx(share)
    assert float(rows["tf-idf + logistic regression"]["accuracy"]) > 0.9


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return relate_files(tmp_path_factory.mktemp("relations"))


@pytest.fixture(scope="module")
def run(files: Files) -> Path:
    out = files["train"].parent / "run"
    finetune(start(), finetune_config("relate", SETTINGS), **files, out=out)
    return out


def test_a_saved_model_predicts_what_was_scored(run: Path, files: Files) -> None:
    tuned = load_tuned(run)
    assert isinstance(tuned.task, Relate) and tuned.task.settings.none == "Other"
    examples = tuned.task.read(files["test"], min_classes=1).examples
    lines = [json.dumps(row_of(example)) for example in examples]
    rows = list(predict_texts(tuned, lines))
    assert rows == list(predict_texts(tuned, [json.loads(line) for line in lines]))
    for example, row in zip(examples, rows, strict=True):
        asked = {name: value for name, value in row_of(example).items() if name != "relation"}
        assert {name: row[name] for name in asked} == asked
        assert row["relation"] == max(row["probabilities"], key=row["probabilities"].get)
        assert sum(row["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)
    right = np.mean([row["relation"] == e.relation for row, e in zip(rows, examples, strict=True)])
    results = json.loads((run / "results.json").read_text())
    assert results["test"]["accuracy"] == pytest.approx(right) and results["chosen_by"] == "micro_f1"
    assert set(results["baselines"]["majority"]) < set(results["test"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Ada met Bob", r"text 2: relate reads a JSON object with `text`, `head` and `tail`, found 'Ada met Bob'\."),
        ('{"text": "Ada"}', r"text 2: relate: no column `head`; found `text`\."),
        ('{"text": ', r"text 2: relate: not valid JSON: "),
        (["Ada", "Bob"], r"text 2: relate reads an object with `text`, `head` and `tail`; found a list\."),
        (
            {"text": "Ada", "head": [0, 3, "a"], "tail": [2, 9, "b"]},
            r"text 2: relate: `tail`: the span 2 to 9 \(`b`\) is not inside the text, which has 3 characters\.",
        ),
    ],
)
def test_what_is_no_pair_of_spans_is_refused_in_one_line(run: Path, text: Any, message: str) -> None:
    good = row_of(relate_examples(1, seed=0)[0])
    with pytest.raises(DataError, match=f"^{message}") as caught:
        list(predict_texts(load_tuned(run), [good, text]))
    assert "\n" not in str(caught.value)


def test_other_tasks_refuse_objects() -> None:
    for name in ("classify", "label"):
        with pytest.raises(DataError, match=f"{name} reads .* found an object"):
            build_task(name, ()).unlabelled({"text": "a"})


class _Warnings(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def warn(self, text: str) -> None:
        self.said.append(text)


def test_spans_that_do_not_fit_their_text_are_said(files: Files, tmp_path: Path) -> None:
    rows = [row_of(example) for example in relate_examples(12, seed=0)]
    rows += [{**rows[n], "head": {"start": 900, "end": 903, "label": "person"}} for n in range(5)]
    broken = tmp_path / "broken.jsonl"
    write_jsonl(broken, rows)
    heard = _Warnings()
    config = finetune_config("relate", [*SETTINGS, "max_steps=1"])
    finetune(start(), config, train=broken, valid=files["valid"], out=tmp_path / "run", progress=heard)
    [said] = heard.said
    assert said.startswith(f"5 problems in what is labelled: {broken}:13: left out: the span 900 to 903")
    listed = tmp_path / "run" / "problems.txt"
    assert said.endswith(f"; and 2 more: {listed}.") and "\n" not in said
    lines = listed.read_text(encoding="utf-8").splitlines()
    assert [line.partition(": left out: the span 900 to 903")[0] for line in lines] == [
        f"{broken}:{number}" for number in range(13, 18)
    ]


@pytest.mark.parametrize(
    "family", ["decoder", *(pytest.param(each, marks=pytest.mark.slow) for each in ("encoder", "encoder_decoder"))]
)
def test_killed_and_resumed_it_ends_as_if_never_killed(family: str, files: Files, tmp_path: Path) -> None:
    config = finetune_config("relate", [*SETTINGS, "checkpoint_steps=1", 'regularisers=[{kind="r_drop"}]'])
    finetune(start(family), config, **files, out=tmp_path / "unbroken")
    kills = 0
    for step in (1, 3):
        try:
            finetune(start(family), config, **files, out=tmp_path / "broken", progress=KilledAt(step), resume=True)
        except Killed:
            kills += 1
    finetune(start(family), config, **files, out=tmp_path / "broken", resume=True)
    assert kills == 2
    for name in ("weights.safetensors", "task.toml", "checksums.json"):
        first, second = (tmp_path / out / "model" / name for out in ("unbroken", "broken"))
        assert first.read_bytes() == second.read_bytes()


def test_transformers_has_no_such_head(run: Path, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="transformers has no model with a head for `relate`"):
        export_huggingface(run, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_a_saved_model_reads_the_batches_that_time_it(run: Path) -> None:
    tuned = load_tuned(run)
    batch = reading_batch(tuned.config, [[16, 20], [30]], num_places=tuned.task.num_places)
    with torch.inference_mode():
        assert tuned.model(batch).shape == (4, len(tuned.task.labels))


def test_a_decoder_that_reads_again_answers_from_after_the_markers() -> None:
    examples = relate_examples(5, seed=1)
    task = learned_task("relate", examples)
    first, again = (task.encode(examples, reading("encoder_decoder")._replace(again=late)) for late in (False, True))
    for one, other in zip(first.pieces, again.pieces, strict=True):
        assert (places_of(other) == places_of(one) + 1).all()
        batch = pack([[other]], first.reading, num_rows=1, capacity=1).batch
        read = read_again(batch, first.reading.tokenizer.special.bos)
        at_places = read.tokens_BL[0, read.places_BN[0]].tolist()
        assert at_places == [first.reading.tokenizer.special.sentinels[n] for n in (0, 2)]
    assert len(first.pieces) == 5
    assert replace(task, labels=()).num_places == 2  # type: ignore[type-var]
