"""Spans that may overlap: every candidate judged once, learned, given so far as they go together, scored whole."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from nested_inputs import best_flat_f1, nested_examples, outermost, write_nested
from task_support import FAMILIES, WRITER, lively_model, reading, start, tokenizer
from torch.nn import functional

from stopping import Killed, KilledAt
from support import tiny
from trivium.core.batch import Batch
from trivium.core.errors import ConfigError, DataError, HubError
from trivium.core.files import new_folder
from trivium.core.progress import Silent
from trivium.core.random import Key
from trivium.data.labelled import NestedExample, Span, spans_of_tags
from trivium.model.precision import InferencePrecision
from trivium.tasks.base import TaskModel, TaskReader
from trivium.tasks.baselines.by_task import baselines
from trivium.tasks.build import build_task, learned_task
from trivium.tasks.config import finetune_config
from trivium.tasks.export.huggingface import export_huggingface
from trivium.tasks.finetune import finetune
from trivium.tasks.fit import fit
from trivium.tasks.folder import TunedModel, load_tuned, save_tuned, tuned_in
from trivium.tasks.metrics import Spans as SpanCounts
from trivium.tasks.nested.baselines import DICTIONARY
from trivium.tasks.nested.spans import chosen_spans, judge_spans, overlaps_of, span_classes
from trivium.tasks.nested.task import Nested
from trivium.tasks.pieces import TrainingRows, pack
from trivium.tasks.predict import predict_texts
from trivium.tasks.settings import Overlaps
from trivium.train.log import read_log


def made(examples: list[NestedExample], **settings: object) -> Nested:
    task = learned_task("nested", examples, settings=settings)
    assert isinstance(task, Nested)
    return task


def of_words(part: TaskReader, batch: Batch) -> torch.Tensor:
    """States that do not depend on what stands around a word: any window says the same."""
    tokens_BN = batch.tokens_BL.gather(1, batch.places_BN)
    return functional.embedding(tokens_BN.flatten(), part.embedding.tokens.weight)  # type: ignore[union-attr]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_small_network_finds_spans_inside_each_other_which_tags_cannot(family: str, tmp_path: Path) -> None:
    train, valid = nested_examples(300, seed=1), nested_examples(60, seed=2)
    bound = best_flat_f1(valid)
    assert bound < 0.8
    config, begin = finetune_config("nested", ["epochs=12", "rows=4", "precision=float32"]), start(family)
    config = config.model_copy(update={"optimiser": config.optimiser.model_copy(update={"lr": 0.005})})
    task = made(train)
    assert task.overlaps == "nested" and task.max_words == max(s.end - s.start for e in train for s in e.spans)
    fitted = fit(begin, task, task.encode(train, begin.reading()), task.encode(valid, begin.reading()), config)
    assert fitted.best.metrics["f1"] > 0.95 and fitted.best.metrics["coverage"] == 1.0
    assert fitted.best is max(fitted.epochs, key=lambda epoch: (epoch.metrics["f1"], -epoch.metrics["loss"]))
    with new_folder(tmp_path / "model") as folder:
        save_tuned(folder, fitted.tuned)
    again = load_tuned(tmp_path / "model")
    assert again.task == fitted.tuned.task == task
    texts = [example.tokens for example in valid]
    rows = list(predict_texts(again, texts))
    assert rows == list(predict_texts(fitted.tuned, texts))
    counted = SpanCounts()
    for row, example in zip(rows, valid, strict=True):
        assert set(row) == {"text", "tokens", "spans"} and row["tokens"] == list(example.tokens)
        assert [(s["start"], -s["end"]) for s in row["spans"]] == sorted((s["start"], -s["end"]) for s in row["spans"])
        begins = np.cumsum([0, *(len(token) + 1 for token in example.tokens)]).tolist()
        for span in row["spans"]:
            assert row["text"][span["start"] : span["end"]] == span["text"] and 0 < span["score"] <= 1
        given = [(begins.index(s["start"]), begins.index(s["end"] + 1), s["label"]) for s in row["spans"]]
        counted.add(example.spans, given)
    assert counted.metrics()["f1"] == pytest.approx(fitted.best.metrics["f1"])


def test_the_best_tags_of_the_same_language_stay_below_the_bound() -> None:
    train, valid = nested_examples(150, seed=1), nested_examples(60, seed=2)
    flat = [outermost(example) for example in train]
    config, begin = finetune_config("spans", ["epochs=10", "rows=4", "optimiser.lr=0.01", "precision=float32"]), start()
    task = learned_task("spans", flat)
    encoded = task.encode(flat, begin.reading()), task.encode([outermost(e) for e in valid], begin.reading())
    fitted, counted = fit(begin, task, *encoded, config), SpanCounts()
    for example, row in zip(valid, predict_texts(fitted.tuned, [e.tokens for e in valid]), strict=True):
        counted.add(example.spans, spans_of_tags(row["labels"]))
    assert fitted.best.metrics["f1"] > 0.9
    assert counted.metrics()["f1"] <= best_flat_f1(valid) + 1e-9 < 0.8


@pytest.mark.parametrize("family", ["encoder", "decoder"])
@pytest.mark.parametrize("row_length", [12, 20, 64])
def test_every_candidate_is_looked_at_once_with_its_own_class_however_long_its_text(
    family: str, row_length: int
) -> None:
    examples = nested_examples(40, seed=5, longest=70)
    task = made(examples, max_words=4)
    encoded = task.encode(examples, reading(family, row_length))
    seen: dict[tuple[int, int, int], int] = {}
    for piece in encoded.pieces:
        assert piece.targets_NC is not None and piece.targets_NC.shape == (len(piece.places_N), 4)
        assert len(piece.tokens_L) <= row_length and (np.diff(piece.answers_N) == 1).all()
        for place, width in zip(*np.nonzero(piece.targets_NC >= 0), strict=True):
            candidate = (piece.example, int(piece.answers_N[place]), int(width) + 1)
            assert candidate not in seen
            seen[candidate] = int(piece.targets_NC[place, width])
            for number in (place, place + width):  # both ends are shown
                token = tokenizer().decode([piece.tokens_L[piece.places_N[number]]]).strip()
                word = examples[piece.example].tokens[piece.answers_N[number]]
                assert token and (word.startswith(token) if family == "encoder" else word.endswith(token))
    counts = [len(example.tokens) for example in examples]
    wanted = {
        (e, n, w) for e, count in enumerate(counts) for n in range(count) for w in range(1, min(4, count - n) + 1)
    }
    right = {(e, s.start, s.end - s.start): s.label for e, example in enumerate(examples) for s in example.spans}
    if row_length > 12:
        assert set(seen) == wanted
    assert len(seen) > 2000 and set(seen) <= wanted
    for candidate, number in seen.items():
        assert right.get(candidate) == (task.labels[number - 1] if number else None)


def test_windows_say_what_the_whole_says() -> None:
    examples = nested_examples(25, seed=6, longest=60)
    task = made(examples, max_words=5)
    model = lively_model("encoder", task)
    model.states = of_words
    short, whole = (task.encode(examples, start().for_rows(length).reading()) for length in (24, 512))
    assert len(short.pieces) > 2 * len(whole.pieces) == 2 * len(examples)
    compared = 0
    for one, other in zip(judge_spans(model, short), judge_spans(model, whole), strict=True):
        assert one.looked_at == other.looked_at and one.nats == pytest.approx(other.nats, rel=1e-4)
        assert np.array_equal(one.spans_S3, other.spans_S3) and np.array_equal(one.right_S, other.right_S)
        np.testing.assert_allclose(one.log_probability_S, other.log_probability_S, atol=1e-4)
        compared += len(one.spans_S3)
    assert compared > 200
    assert task.score(model, short).metrics == pytest.approx(task.score(model, whole).metrics, rel=1e-4)


@pytest.mark.parametrize(("family", "again"), [*((family, False) for family in FAMILIES), ("encoder_decoder", True)])
def test_packed_texts_score_and_learn_as_they_do_alone(family: str, again: bool) -> None:
    examples = nested_examples(12, seed=7)
    task = learned_task("nested", examples, WRITER.model_copy(update={"transform": None}) if again else None)
    model = lively_model(family, task)
    encoded = task.encode(examples, start(family).reading(task.readout))
    rows = [encoded.pieces[:2], encoded.pieces[2:4], encoded.pieces[4:5]]
    batch = pack(rows, encoded.reading, num_rows=4, capacity=60, length=128).batch
    alone = [pack([[p]], encoded.reading, num_rows=1, capacity=len(p.places_N)).batch for p in encoded.pieces[:5]]
    assert task.counts(batch)["nested"] == sum(task.counts(each)["nested"] for each in alone) > 100
    with torch.no_grad():
        scores, classes = model(batch).view(4, 60, task.max_words, -1), span_classes(batch).view(4, 60, -1)
        places = [0, len(encoded.pieces[0].places_N), 0, len(encoded.pieces[2].places_N), 0]
        for number, (each, place) in enumerate(zip(alone, places, strict=True)):
            used = slice(place, place + len(encoded.pieces[number].places_N))
            judged = span_classes(each) >= 0
            assert torch.equal(classes[number // 2, used], span_classes(each))
            torch.testing.assert_close(scores[number // 2, used][judged], model(each)[judged], rtol=0, atol=2e-5)
    [term], terms = task.loss(model, batch, Key(0)), [task.loss(model, each, Key(0))[0] for each in alone]
    assert float(term.sum.detach()) == pytest.approx(sum(float(each.sum.detach()) for each in terms), rel=1e-5)
    assert float(term.sum.detach()) == pytest.approx(_nats_by_hand(model, alone), rel=1e-5)
    term.sum.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert ".scores." in name or parameter.grad.abs().max() > 0, name


def _nats_by_hand(model: TaskModel, batches: list[Batch]) -> float:
    """Return the cross-entropy, candidate by candidate."""
    total = 0.0
    for batch in batches:
        scores, classes = model(batch).detach().double(), span_classes(batch)
        count = len(classes)
        for word in range(count):
            for width in range(classes.shape[1]):
                assert (classes[word, width] >= 0) == (word + width < count)
                if word + width < count:
                    total -= float(scores[word, width].log_softmax(-1)[classes[word, width]])
    return total


@pytest.mark.parametrize("overlaps", ["none", "nested", "crossing"])
def test_spans_are_taken_by_their_worth_as_far_as_they_go_together(overlaps: Overlaps) -> None:
    rng, left_out = np.random.default_rng(8), 0
    for _ in range(400):
        count = int(rng.integers(0, 12))
        every = [(a, b) for a in range(8) for b in range(a + 1, 9)]
        spans = [every[n] for n in rng.choice(len(every), count, replace=False)]
        worth = rng.choice(np.linspace(-3, 0, 5), count)  # some are equal
        spans_S3 = np.array([(*span, 1) for span in spans], dtype=np.int64).reshape(-1, 3)
        taken: list[int] = []
        for number in sorted(range(count), key=lambda n: (-worth[n], spans[n][0], -spans[n][1])):
            if all(_together(spans[number], spans[other], overlaps) for other in taken):
                taken.append(number)
        expected = sorted(taken, key=lambda n: (spans[n][0], -spans[n][1]))
        assert chosen_spans(spans_S3, worth, overlaps).tolist() == expected
        left_out += count - len(taken)
    assert (left_out > 200) == (overlaps != "crossing")


def _together(one: tuple[int, int], other: tuple[int, int], overlaps: Overlaps) -> bool:
    shared = len(set(range(*one)) & set(range(*other)))
    inside = shared in (one[1] - one[0], other[1] - other[0])
    return {"none": shared == 0, "nested": shared == 0 or inside, "crossing": True}[overlaps]


def test_how_spans_overlap_is_known_from_those_to_learn_from() -> None:
    rng, found = np.random.default_rng(9), set()
    every = [(a, b) for a in range(9) for b in range(a + 1, 10)]
    for _ in range(500):
        spans = [every[n] for n in rng.choice(len(every), int(rng.integers(0, 5)))]
        distinct = list(combinations(sorted(set(spans)), 2))
        expected = next(kind for kind in ("none", "nested", "crossing") if all(_together(*p, kind) for p in distinct))  # type: ignore[arg-type]
        assert overlaps_of(spans) == expected
        found.add(expected)
    assert found == {"none", "nested", "crossing"}
    flat, nested = (Span(0, 1, "x"), Span(1, 3, "x")), (Span(0, 3, "y"), Span(1, 2, "y"))
    words = ("ba", "ke", "lo")
    assert made([NestedExample(words, flat)]).overlaps == "none"
    assert made([NestedExample(words, flat), NestedExample(words, nested)]).overlaps == "nested"
    assert made([NestedExample(words, flat), NestedExample(words, nested)], overlaps="crossing").overlaps == "crossing"
    assert made([NestedExample(words, (Span(0, 2, "x"), Span(1, 3, "x")))]).settings.max_words == 2


def test_what_can_never_be_given_is_said_with_its_line_and_counts_as_missed(tmp_path: Path) -> None:
    examples = nested_examples(20, seed=10)
    path = write_nested(tmp_path / "a.jsonl", examples)
    examples = build_task("nested").read(path, min_classes=2).examples
    twice = examples[0]._replace(spans=(Span(0, 1, "A"), Span(0, 1, "D")))
    task = made(examples, max_words=3)
    encoded = task.encode([twice, *examples[1:]], reading())
    [said] = encoded.said
    too_long = [(e, s) for e in examples[1:] for s in e.spans if s.end - s.start > 3]
    assert said.startswith(
        f"{len(too_long) + 1} problems in what is labelled: {path}:1: the span {twice.tokens[0]!r} (`D`) has two"
    )
    first, span = too_long[0]
    held = " ".join(first.tokens[span.start : span.end])[:20]
    assert f"{first.where}: the span '{held}" in said
    assert f"has {span.end - span.start} words, more than settings.max_words=3: it counts as missed" in said
    metrics = task.score(lively_model("encoder", task), encoded).metrics
    right = 2 + sum(len(e.spans) for e in examples[1:])
    assert encoded.num_answers == right
    assert (
        metrics["coverage"] == pytest.approx(1 - (len(too_long) + 1) / right)
        and metrics["recall"] <= metrics["coverage"]
    )
    long = NestedExample(("bakelominu",) * 30, (Span(0, 30, "A"),), None, "here:7")
    task = made([long])
    [said] = task.encode([long], reading(row_length=16)).said
    assert "here:7: the span 'bakelominu" in said and said.endswith("is longer than a row shows: it counts as missed.")
    assert made([long._replace(tokens=long.tokens * 2, spans=(Span(0, 60, "A"),))]).max_words == 32


def test_texts_without_words_or_spans_are_answered_and_strings_are_cut_as_files_are() -> None:
    task = made(nested_examples(20, seed=11))
    model, read = lively_model("decoder", task), reading("decoder")
    examples = [task.unlabelled(value) for value in ("", " \n", "ba, ke!", ["ba,", "ke!"], "\u6211\u7231\u5317\u4eac")]
    assert [e.tokens for e in examples] == [
        (),
        (),
        ("ba", ",", "ke", "!"),
        ("ba,", "ke!"),
        tuple("\u6211\u7231\u5317\u4eac"),
    ]
    rows = list(task.answered(model, examples, task.encode(examples, read, known=False)))
    assert [row["text"] for row in rows] == ["", " \n", "ba, ke!", "ba, ke!", "\u6211\u7231\u5317\u4eac"]
    assert rows[0]["spans"] == [] and len(list(task.answered(model, [], task.encode([], read)))) == 0
    none = [NestedExample(("ba", "ke"), ())]
    assert task.score(model, task.encode(none, read)).metrics["coverage"] == 1.0


def test_mistakes_show_the_span_and_the_dictionary_gives_what_was_labelled(tmp_path: Path) -> None:
    train, valid = nested_examples(40, seed=12), nested_examples(20, seed=13)
    task = made(train)
    model, encoded = lively_model("encoder", task), task.encode(valid, reading())
    scores, rows = task.score(model, encoded), list(task.answered(model, valid, encoded))
    assert len(scores.mistakes) > 5 and set(scores.by_label) == {"A", "C", "D"}
    for mistake in scores.mistakes:
        example = valid[mistake.example]
        shown = task.shown(example, mistake.answer)
        held = shown[shown.index("[") + 1 : shown.index("]")].split(" ")
        labels = {s.label for s in example.spans if list(example.tokens[s.start : s.end]) == held}
        assert mistake.right in labels or mistake.right == "no span"
        given = {(span["label"], span["text"]) for span in rows[mistake.example]["spans"]}
        assert mistake.given == "no span" or (mistake.given, " ".join(held)) in given
        assert mistake.right != mistake.given and 0 < mistake.probability <= 1
    row = baselines(task, train, valid, valid)[DICTIONARY]
    assert 0.2 < float(row["recall"]) < 1 and float(row["precision"]) > 0.9  # type: ignore[arg-type]
    words = ("ba", "ke", "lo")
    seen = [NestedExample(words, (Span(0, 2, "A"), Span(1, 2, "C"))), NestedExample(words, (Span(1, 3, "D"),))]
    # "ke lo" crosses "ba ke", which is as long and comes first; both hold "ke".
    row = baselines(made(seen, overlaps="nested"), seen, seen, seen[:1])[DICTIONARY]
    assert row["precision"] == row["recall"] == 1.0
    row = baselines(made(seen, overlaps="crossing"), seen, seen, seen[:1])[DICTIONARY]
    assert row["precision"] == pytest.approx(2 / 3)


def test_a_run_that_is_killed_ends_as_if_it_never_was(tmp_path: Path) -> None:
    files = {
        name: write_nested(tmp_path / f"{name}.jsonl", nested_examples(40, seed=n))
        for n, name in enumerate(("train", "valid", "test"))
    }
    config = finetune_config("nested", ["epochs=2", "rows=4", "checkpoint_steps=1"])
    finetune(start(), config, **files, out=tmp_path / "whole", progress=Silent())
    kills = 0
    for step in range(1, 9):
        try:
            finetune(start(), config, **files, out=tmp_path / "broken", progress=KilledAt(step), resume=True)
        except Killed:
            kills += 1
    finetune(start(), config, **files, out=tmp_path / "broken", progress=Silent(), resume=True)
    assert kills >= 4
    ended = [_ended(tmp_path / name) for name in ("whole", "broken")]
    assert ended[0] == ended[1]
    results = json.loads((tmp_path / "whole" / "results.json").read_text())
    assert results["chosen_by"] == "f1" and DICTIONARY in results["baselines"]
    with pytest.raises(HubError, match="transformers has no model with a head for `nested`; it is used with trivium"):
        export_huggingface(tmp_path / "whole", tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


def _ended(run: Path) -> dict[str, object]:
    results = json.loads((run / "results.json").read_text())
    results.pop("seconds")
    log = [{key: value for key, value in line.items() if key != "seconds"} for line in read_log(run / "log.jsonl")]
    return {"model": {f.name: f.read_bytes() for f in (run / "model").iterdir()}, "results": results, "log": log}


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_models_that_read_narrowly_score_nearly_the_same(precision: InferencePrecision) -> None:
    examples = nested_examples(30, seed=16)
    task = made(examples)
    tuned = TunedModel(lively_model("encoder", task), tiny("encoder"), task, reading())
    encoded, narrow = task.encode(examples, tuned.reading), tuned_in(tuned, precision)
    exact, found = (task.score(each.model, encoded).metrics["loss"] for each in (tuned, narrow))
    assert narrow.model is not tuned.model and 0 < abs(found - exact) < 0.05 * exact


def test_cutting_a_step_into_micro_batches_changes_no_gradient() -> None:
    examples = nested_examples(30, seed=14)
    task = made(examples)
    model, encoded = lively_model("encoder", task), task.encode(examples, reading())
    batch = TrainingRows(encoded, rows=4, accumulation=2, epochs=1, key=Key(0)).batch(0)
    gradients = []
    for parts in ([batch], [batch.rows(0, 2), batch.rows(2, 4)]):
        model.zero_grad()
        for part in parts:
            task.loss(model, part, Key(0))[0].sum.backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
    assert len(gradients[0]) == len(list(model.parameters()))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_user_mistakes_are_one_clear_line(tmp_path: Path) -> None:
    examples = nested_examples(10, seed=15)
    task = made(examples)
    with pytest.raises(DataError, match="no training example has a span; expected at least one"):
        learned_task("nested", [NestedExample(("ba",), ())])
    with pytest.raises(DataError, match=r"^a\.jsonl:3: the label `AA` is not one of .*Did you mean `A`"):
        task.check([NestedExample(("ba",), (Span(0, 1, "AA"),), None, "a.jsonl:3")], "a.jsonl")
    with pytest.raises(DataError, match="nested reads a text, or a list of words; found an object"):
        task.unlabelled({"text": "ba"})
    with pytest.raises(ConfigError, match="max_words"):
        finetune_config("nested", ["settings.max_words=0"])
    with pytest.raises(ConfigError, match="overlap"):
        finetune_config("nested", ["settings.overlaps=some"])
    config = finetune_config("nested", ['regularisers=[{kind="r_drop"}]'])
    encoded = task.encode(examples, reading())
    with pytest.raises(ConfigError, match="`r_drop` needs logits of labels, and `nested` shows none; leave it out"):
        fit(start(), task, encoded, encoded, config)
