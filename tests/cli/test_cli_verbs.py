"""The verbs on a folder of one's own text, one after the other as a user would."""

import json
import tomllib
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import pytest

from conftest import Command
from trivium.cli import progress


def test_prepare_says_what_it_kept_and_inspect_the_same(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    code, out, _ = trivium("prepare", workshop / "text", "--out", tmp_path / "d", "--vocabulary-size", 420, "--json")
    made = json.loads(out)
    assert code == 0
    ledger = made["ledger"]
    dropped = sum(entry["bytes"] for entry in ledger["dropped"].values())
    size = sum(file.stat().st_size for file in (workshop / "text").iterdir())
    assert ledger["bytes_in"] == ledger["kept_bytes"] + dropped == size
    code, out, _ = trivium("inspect", tmp_path / "d", "--json")
    assert code == 0
    assert json.loads(out) == made


def test_a_run_folder_holds_what_the_contract_says(workshop: Path) -> None:
    run = workshop / "decoder"
    config = tomllib.loads((run / "config.toml").read_text())
    assert config["train"]["steps"] == 12
    assert config["data"]["fingerprint"] == json.loads((workshop / "data" / "manifest.json").read_text())["fingerprint"]
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "split" not in line]
    assert [line["step"] for line in steps] == list(range(1, 13))
    assert list(steps[0])[:6] == ["step", "loss", "tokens", "seconds", "lr", "gradient_norm"]
    assert {line["split"] for line in lines if "split" in line} == {"validation"}
    assert {file.name for file in (run / "model").iterdir()} == {
        *("weights.safetensors", "model.toml", "tokenizer.json", "history.json", "checksums.json")
    }
    results = json.loads((run / "results.json").read_text())
    assert {"task", "valid", "seed", "parameters", "seconds"} <= set(results)
    assert not list(run.rglob(".*"))


def test_a_runs_config_runs_it_again(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    code, _, _ = trivium(
        "pretrain", workshop / "encoder" / "config.toml", "--data", workshop / "data", "--out", again, "--quiet"
    )
    assert code == 0
    names = [file.name for file in (workshop / "encoder" / "model").iterdir()]
    assert names
    for name in names:
        assert (again / "model" / name).read_bytes() == (workshop / "encoder" / "model" / name).read_bytes()


def test_generate_is_reproducible_and_greedy_ignores_the_seed(trivium: Command, workshop: Path) -> None:
    for family in ("decoder", "seq2seq"):
        ask = ("generate", workshop / family, "--prompt", "she takes", "--max-new-tokens", 8, "--json")
        first, second = (json.loads(trivium(*ask, "--seed", 5)[1]) for _ in range(2))
        assert first == second
        assert set(first) == {"prompt", "completion", "tokens"}
        assert len(first["tokens"]) <= 8
        assert trivium(*ask, "--greedy", "--seed", 1)[1] == trivium(*ask, "--greedy", "--seed", 2)[1]


def test_generate_with_beams_gives_the_finished_texts_best_first(trivium: Command, workshop: Path) -> None:
    for family in ("decoder", "seq2seq"):
        ask = ("generate", workshop / family, "--prompt", "she takes", "--max-new-tokens", 6, "--beams", 3, "--json")
        answer = json.loads(trivium(*ask)[1])
        scores = [said["score"] for said in answer["beams"]]
        assert (
            answer["tokens"] == answer["beams"][0]["tokens"]
            and answer["completion"] == answer["beams"][0]["completion"]
        )
        assert len(scores) == 3 and scores == sorted(scores, reverse=True)
        longer = json.loads(trivium(*ask, "--min-new-tokens", 4, "--no-repeat-ngram", 1, "--length-penalty", 0)[1])
        assert [len(set(said["tokens"])) for said in longer["beams"]] == [
            len(said["tokens"]) for said in longer["beams"]
        ]
        assert all(len(said["tokens"]) >= 4 for said in longer["beams"])


def test_fill_gives_probabilities_in_order(trivium: Command, workshop: Path) -> None:
    for family in ("encoder", "seq2seq"):
        code, out, _ = trivium("fill", workshop / family, "she [MASK] the [MASK]", "--top", 4, "--json")
        answer = json.loads(out)
        assert code == 0
        assert len(answer["masks"]) == 2
        for place in answer["masks"]:
            chances = [guess["probability"] for guess in place]
            assert len(chances) == 4
            assert chances == sorted(chances, reverse=True)
            assert 0.0 < sum(chances) <= 1.0


def test_evaluate_gives_each_family_its_unit_beside_a_count_model(trivium: Command, workshop: Path) -> None:
    units = {"encoder": "bits a hidden token", "decoder": "bits a byte", "seq2seq": "bits a hidden byte"}
    for family, unit in units.items():
        code, out, _ = trivium("evaluate", workshop / family, "--data", workshop / "data", "--quiet", "--json")
        quality = json.loads(out)
        assert code == 0
        assert quality["unit"] == unit
        assert quality["coverage"] == 1.0
        assert 0.0 < quality["baseline"] < 20.0
        assert quality["predicted"] > 0


@pytest.fixture(scope="module")
def tuned(workshop: Path) -> Path:
    from trivium.cli.main import _run

    for task, suffix in (("classify", "csv"), ("label", "jsonl")):
        files = [
            part for split in ("train", "valid", "test") for part in (f"--{split}", workshop / f"{split}.{suffix}")
        ]
        command = ["finetune", workshop / "encoder", "--task", task, *files, "--out", workshop / task, "--epochs", 12]
        extra = ["--set", "optimiser.lr=0.003", "--quiet"]
        assert _run([str(part) for part in [*command, *extra]]) == 0
    return workshop


def test_finetune_beats_the_majority_and_says_so_beside_baselines(tuned: Path) -> None:
    for task in ("classify", "label"):
        results = json.loads((tuned / task / "results.json").read_text())
        assert results["task"] == task
        assert results["coverage"] == 1.0
        assert results["test"]["accuracy"] > results["baselines"]["majority"]["accuracy"] + 0.2
        assert len(results["baselines"]) == {"classify": 2, "label": 3}[task]


def test_predict_answers_in_the_contracts_form(trivium: Command, tuned: Path) -> None:
    code, out, _ = trivium("predict", tuned / "classify", "she takes the pear and the plum", "she buys the saw")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [row["text"] for row in rows] == ["she takes the pear and the plum", "she buys the saw"]
    assert all(abs(sum(row["probabilities"].values()) - 1.0) < 1e-6 for row in rows)
    code, out, _ = trivium("predict", tuned / "label", "she takes the pear")
    assert json.loads(out)["tokens"] == ["she", "takes", "the", "pear"]
    assert len(json.loads(out)["labels"]) == 4


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_a_narrower_type_answers_nearly_the_same(trivium: Command, tuned: Path, workshop: Path, precision: str) -> None:
    texts = ("she takes the pear and the plum", "she buys the saw")
    answers = [
        [json.loads(line) for line in trivium("predict", tuned / "classify", *texts, *extra)[1].splitlines()]
        for extra in ((), ("--precision", precision))
    ]
    exact, found = ([row["probabilities"] for row in rows] for rows in answers)
    assert len(found) == 2
    for one, other in zip(exact, found, strict=True):
        assert other == pytest.approx(one, abs=0.1)
    code, out, _ = trivium(
        "evaluate", tuned / "classify", "--data", tuned / "test.csv", "--json", "--precision", precision
    )
    results = json.loads((tuned / "classify" / "results.json").read_text())
    assert code == 0
    assert json.loads(out)["accuracy"] == pytest.approx(results["test"]["accuracy"], abs=0.1)
    assert json.loads(out)["loss"] != pytest.approx(results["test"]["loss"], rel=1e-4)
    written = trivium(
        "generate", workshop / "decoder", "--prompt", "she", "--greedy", "--precision", precision, "--json"
    )
    assert written[0] == 0 and json.loads(written[1])["tokens"]
    code, _, error = trivium(
        "evaluate", workshop / "decoder", "--data", workshop / "data", "--precision", precision, "--quiet"
    )
    assert code == 2 and "a pretrained run is scored in float32" in error


def test_a_profile_says_what_a_step_costs(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    code, _, error = trivium(
        *("pretrain", "decoder-tiny", "--data", workshop / "data", "--out", tmp_path / "run", "--steps", 12),
        *("--no-preflight", "--profile"),
    )
    assert code == 0
    assert "the largest costs of a step" in error and "aten::mm" in error
    assert {file.name for file in (tmp_path / "run" / "profile").iterdir()} == {"trace.json.gz", "costs.json"}


def test_evaluate_scores_a_fine_tuned_run_on_a_file(trivium: Command, tuned: Path) -> None:
    code, out, _ = trivium("evaluate", tuned / "classify", "--data", tuned / "test.csv", "--json")
    results = json.loads((tuned / "classify" / "results.json").read_text())
    assert code == 0
    assert json.loads(out)["accuracy"] == pytest.approx(results["test"]["accuracy"])


def test_evaluate_shows_how_far_it_is_unless_quiet_and_knows_no_split_of_a_file(
    trivium: Command, tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PlainLines", partial(progress.PlainLines, 0.0))  # every word is a line
    asked = ("evaluate", tuned / "classify", "--data", tuned / "test.csv", "--json")
    code, out, error = trivium(*asked)
    assert code == 0 and error.splitlines()[-1] == "score: 20 of 20 pieces of text, 0 s left"
    assert trivium(*asked, "--quiet") == (0, out, "")
    code, _, error = trivium(*asked, "--split", "test")
    assert code == 2 and "--split test: a fine-tuned run is scored on all of its labelled file" in error


def test_a_preset_is_fine_tuned_from_random_weights_with_a_tokenizer_of_the_texts(
    trivium: Command, tuned: Path, tmp_path: Path
) -> None:
    files = ("--train", tuned / "train.csv", "--valid", tuned / "valid.csv")
    code, out, _ = trivium(
        "finetune",
        "encoder-tiny",
        "--task",
        "classify",
        *files,
        "--out",
        tmp_path / "s",
        "--epochs",
        1,
        "--quiet",
        "--json",
    )
    assert code == 0
    assert "random" in json.loads(out)["from"]


def test_compare_and_report_write_pages(trivium: Command, tuned: Path, tmp_path: Path) -> None:
    code, out, _ = trivium("compare", tuned / "classify", "--out", tmp_path / "c", "--quiet", "--json")
    assert code == 0
    assert json.loads(out)
    assert (tmp_path / "c" / "comparison.json").is_file()
    for run in ("decoder", "classify", "label"):
        assert trivium("report", tuned / run)[0] == 0
    for page in (
        tmp_path / "c" / "comparison.html",
        tuned / "decoder" / "report.html",
        tuned / "label" / "report.html",
    ):
        HTMLParser().feed(page.read_text(encoding="utf-8"))
        assert "<svg" in page.read_text(encoding="utf-8")


def test_inspect_counts_a_preset_as_published(trivium: Command) -> None:
    for name, parameters in (("gpt2", 124_439_808), ("t5-small", 60_506_624)):
        code, out, _ = trivium("inspect", name, "--json")
        assert code == 0
        assert json.loads(out)["parts"][-1]["parameters"] == parameters


def test_doctor_names_versions(trivium: Command) -> None:
    code, out, _ = trivium("doctor", "--json")
    assert code == 0
    assert json.loads(out)["torch"].startswith("2.")
