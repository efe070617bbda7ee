"""Texts learned to be written: easy tasks, runs that are killed and go on, models saved, opened and exported."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from task_support import classify_examples
from test_tasks_resume import ended, killed_at_each_step, run, steps_of
from write_inputs import CHINESE, ENGLISH, WRITERS, pairs, reversed_words, start, tokenizer

from stopping import Lines
from support import equal, lively, parameters_of, shrink, tiny
from trivium.core.config import write_toml
from trivium.core.errors import ConfigError
from trivium.core.files import new_folder, write_text
from trivium.data.labelled import PairExample, write_jsonl
from trivium.data.tokenizer import Tokenizer
from trivium.model.folder import load_model, save_model
from trivium.model.presets import preset
from trivium.tasks.build import learned_task
from trivium.tasks.config import finetune_config
from trivium.tasks.export.huggingface import export_huggingface
from trivium.tasks.finetune import finetune
from trivium.tasks.fit import Fitted, fit
from trivium.tasks.folder import TunedModel, does_task, load_tuned, save_tuned
from trivium.tasks.predict import predict_texts
from trivium.tasks.start import Start, open_run, random_start
from trivium.tasks.write.written import target_nats
from trivium.train.config import load_recipe

FAST = ["precision=float32", "rows=2", "optimiser.lr=0.01", "settings.valid_outputs=0"]


def fitted(begin: Start, train: list[PairExample], valid: list[PairExample], *assignments: str) -> Fitted:
    config = finetune_config("write", [*FAST, *assignments])
    task = learned_task("write", train, None, config.settings)
    reading = begin.reading(task.readout)
    return fit(begin, task, task.encode(train, reading), task.encode(valid, reading), config)


@pytest.mark.parametrize(
    ("family", "count", "epochs"),
    [("decoder", 400, 4), pytest.param("encoder_decoder", 600, 6, marks=pytest.mark.slow)],
)
def test_words_are_learned_to_be_written_backwards(family: str, count: int, epochs: int) -> None:
    begin = start(family, row_length=32)
    found = fitted(begin, reversed_words(count, seed=1), reversed_words(30, seed=2), f"epochs={epochs}")
    assert found.tuned.task.chosen_by == "loss"
    assert found.best.metrics["loss"] == min(epoch.metrics["loss"] for epoch in found.epochs)
    fresh = found.tuned.task.encode(reversed_words(40, seed=3), found.tuned.reading)
    metrics = found.tuned.task.score(found.tuned.model, fresh).metrics
    assert metrics["exact"] > 0.9 and metrics["rouge_l"] > 0.9 and metrics["bits_a_byte"] < 0.5
    [answer] = predict_texts(found.tuned, ["ze ba mi"])
    assert answer == {"text": "ze ba mi", "written": "mi ba ze"}


def test_an_encoder_decoder_writes_the_names_of_classes() -> None:
    def named(count: int, seed: int) -> list[PairExample]:
        names = {"first": "the first of all", "second": "第二", "third": "third"}
        examples = classify_examples(count, seed=seed, lengths=(3, 8))
        return [PairExample(example.text, (names[example.label],)) for example in examples]

    train = named(120, 1)
    made = Tokenizer.train([f"{source} {targets[0]}" for source, targets in train], "bpe", 420)
    begin = random_start(tiny("encoder_decoder", "learned"), made, row_length=64)
    begin = begin._replace(network=lively(begin.config))
    found = fitted(begin, train, named(20, 2), "epochs=8")
    fresh = found.tuned.task.encode(named(40, 3), found.tuned.reading)
    assert found.tuned.task.score(found.tuned.model, fresh).metrics["exact"] > 0.9


def files_of(folder: Path, *, dialogues: bool = False) -> dict[str, Path]:
    found = {}
    for seed, (split, count) in enumerate({"train": 10, "valid": 3, "test": 3}.items()):
        found[split] = folder / f"{split}.jsonl"
        examples = [*pairs(count, seed=seed, lengths=(1, 6)), CHINESE, ENGLISH]
        rows: list[dict[str, Any]] = [{"source": source, "target": list(targets)} for source, targets in examples]
        if dialogues:
            rows = [{"turns": [source, *targets, source]} for source, targets in examples]
        write_jsonl(found[split], rows)
    return found


@pytest.mark.parametrize(
    ("family", "assignments"),
    [
        ("encoder_decoder", ['regularisers=[{kind="neftune"},{kind="label_smoothing"},{kind="r_drop"}]', "mixout=0.3"]),
        ("decoder", ["settings.prefix=true", 'averaging={kind="ema",decay=0.9}', "reinitialise_layers=1"]),
        pytest.param(
            "encoder_decoder",
            ["accumulation=2", "stochastic_depth=0.2", "precision=bfloat16", "settings.valid_outputs=0"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_killed_after_every_step_it_ends_as_if_never_killed(
    family: str, assignments: list[str], tmp_path: Path
) -> None:
    files, begin = files_of(tmp_path), start(family)
    usual = [
        "epochs=2",
        "rows=2",
        "row_length=48",
        "checkpoint_steps=1",
        "settings.valid_outputs=4",
        "settings.max_target=12",
    ]
    config = finetune_config("write", [*usual, *assignments])
    run(tmp_path / "unbroken", files, begin, config)
    steps = steps_of(tmp_path / "unbroken")
    assert killed_at_each_step(tmp_path / "broken", files, begin, config, steps) == steps >= 4
    assert ended(tmp_path / "broken") == ended(tmp_path / "unbroken")


@pytest.mark.parametrize("family", WRITERS)
def test_a_run_leaves_a_model_that_answers_as_it_did_and_is_a_pretrained_one_still(family: str, tmp_path: Path) -> None:
    files, begin, out, said = files_of(tmp_path, dialogues=True), start(family), tmp_path / "run", Lines()
    config = finetune_config("write", ["max_steps=2", "settings.max_turns=2", "settings.max_target=6"])
    results = finetune(begin, config, **files, out=out, progress=said)
    assert results["chosen_by"] == "rouge_l" and {"rouge_l", "chrf", "bits_a_byte"} <= results["valid"].keys()
    assert {"rouge_1", "bleu", "distinct_2"} <= results["test"].keys() and results["coverage"] < 1.0
    assert len(results["baselines"]) == 2
    cut = [line for line in said.lines if " were cut; " in line]
    assert [line.split(":")[0] for line in cut] == ["training", "validation", "test"]
    assert does_task(out)
    tuned, again = load_tuned(out), load_tuned(out / "model")
    assert again.task == tuned.task and tuned.task.labels == ()
    asked: list[str | list[str]] = [CHINESE.source, [*CHINESE.targets, "ba ke"], '{"turns": ["x", "lo", "mi"]}', "ba"]
    answers = list(predict_texts(tuned, asked))
    assert answers == list(predict_texts(again, asked))
    assert [answer["text"] for answer in answers] == [CHINESE.source, "读书\nba ke", "lo\nmi", "ba"]
    assert all(set(answer) == {"text", "written"} for answer in answers)
    # The test's scores are those of the model that was kept.
    examples = tuned.task.read(files["test"], min_classes=1).examples
    assert tuned.task.score(tuned.model, tuned.task.encode(examples, tuned.reading)).metrics == pytest.approx(
        results["test"]
    )
    saved = load_model(out / "model")
    assert equal(parameters_of(saved.network), parameters_of(tuned.model))
    again = open_run(out)  # a model that writes is whole
    assert again.network is not None and equal(parameters_of(again.network), parameters_of(tuned.model))
    assert not again.lost and again.reader(0, None) is again.network


def test_an_encoder_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    files, out = files_of(tmp_path), tmp_path / "run"
    with pytest.raises(ConfigError, match="an encoder does not write texts") as caught:
        finetune(start("encoder"), finetune_config("write"), **files, out=out)
    assert "\n" not in str(caught.value) and not out.exists()


@pytest.mark.parametrize("name", ["gpt2", "t5-small"])
def test_transformers_computes_the_same_losses_and_writes_the_same_texts(name: str, tmp_path: Path) -> None:
    config = shrink(preset(name), vocabulary_size=tokenizer().vocabulary_size)
    network, begin = lively(config), random_start(config, tokenizer(), row_length=64)
    task = learned_task("write", [ENGLISH], None, {"max_target": 12, "decoding": {"max_new_tokens": 8}})
    tuned = TunedModel(network, config, task, begin.reading(None))
    with new_folder(tmp_path / "run") as folder:
        save_tuned(folder, tuned)
    assert export_huggingface(tmp_path / "run", tmp_path / "out").compared > 0
    special, examples = tokenizer().special, [*pairs(6, seed=1, lengths=(1, 6)), CHINESE]
    kind = transformers.AutoModelForCausalLM if name == "gpt2" else transformers.AutoModelForSeq2SeqLM
    theirs = kind.from_pretrained(tmp_path / "out").eval()
    nats, texts = 0.0, []
    for source, targets in examples:
        read, labels = tokenizer().encode(source), [*tokenizer().encode(targets[0]), special.eos]
        given = [special.bos, *read, special.sep if name == "gpt2" else special.eos]
        never = sorted(special.all() - {special.eos})
        with torch.no_grad():
            if name == "gpt2":
                asked = torch.tensor([[-100] * len(given) + labels])
                loss = theirs(input_ids=torch.tensor([given + labels]), labels=asked).loss
            else:
                loss = theirs(input_ids=torch.tensor([given]), labels=torch.tensor([labels])).loss
            written = theirs.generate(
                input_ids=torch.tensor([given]),
                attention_mask=torch.ones(1, len(given), dtype=torch.int64),
                generation_config=transformers.GenerationConfig(
                    do_sample=False,
                    max_new_tokens=8,
                    eos_token_id=special.eos,
                    pad_token_id=special.pad,
                    decoder_start_token_id=special.bos,
                    suppress_tokens=never,
                ),
            )[0]
        nats += float(loss) * len(labels)
        texts.append(tokenizer().decode(written[len(given) if name == "gpt2" else 1 :].tolist()))
    mine, _ = target_nats(network, task.encode(examples, tuned.reading))
    whole = task.encode(examples, tuned.reading).written
    assert whole is not None and whole.cut == 0
    assert mine == pytest.approx(nats, rel=1e-5)
    assert [answer["written"] for answer in predict_texts(tuned, [source for source, _ in examples])] == texts
    assert len(set(texts)) > 3


def test_runs_pretrained_on_prefixes_are_known_by_their_objective(tmp_path: Path) -> None:
    begin = start("decoder")
    mixed = 'objective={kind="mixed",parts=[{objective={kind="causal"}},{objective={kind="prefix"}}]}'
    found = {}
    for objective in ("objective.kind=prefix", "objective.kind=causal", mixed):
        folder = tmp_path / str(len(found))
        with new_folder(folder) as pretrained, new_folder(pretrained / "model") as model:
            save_model(model, lively(begin.config), begin.config, tokenizer().to_bytes())
            write_text(pretrained / "config.toml", write_toml(load_recipe("decoder-tiny", [objective])))
        found[objective] = open_run(folder).prefix
    assert list(found.values()) == [True, False, True]
