"""What the tests of pages share: a parser that counts, a summary of a made-up main job, and made-up run folders."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import tomli_w
import torch

from support import tiny
from trivium.core.random import Key
from trivium.data.tokenizer import Tokenizer
from trivium.model.build import build_network
from trivium.model.config import DEFAULT_READOUT, ModelConfig, ReadoutConfig, with_vocabulary
from trivium.model.count import num_parameters
from trivium.model.folder import save_model
from trivium.model.initialise import initialise
from trivium.tasks.base import reading_of, reading_part
from trivium.tasks.build import build_model, build_task
from trivium.tasks.folder import TunedModel, save_tuned

HOSTILE = "<script>alert('x')</script>&amp;\"quoted\"<b>\x00\x1b]]>\ud800 https://example.org/?a=1&b=2"
VOID = {"meta", "wbr", "br", "link", "img"}


class Page(HTMLParser):
    """A parsed page: its elements in order, its text, and whether all elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        if self._open:
            raise AssertionError(f"not closed: {self._open}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            raise AssertionError(f"</{tag}> closes something else")

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a name."""
        return [attributes for name, attributes in self.elements if name == tag]


def checked(text: str) -> Page:
    """Parse a page and check that it is whole, holds no script and asks for nothing outside itself."""
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert [name for name, _ in page.elements if name in {"html", "head", "body", "title"}][:2] == ["html", "head"]
    assert not page.named("script") and not page.named("link") and not page.named("img") and not page.named("iframe")
    for name, attributes in page.elements:
        for key, value in attributes.items():
            assert not key.startswith("on"), f"<{name} {key}>"
            assert key not in {"src", "srcset", "xlink:href", "action"}, f"<{name} {key}>"
            assert key != "href" or re.fullmatch(r"(?!/)[^:]+", value or ""), f"<{name} {key}> leaves the run's folder"
            assert key == "xmlns" or "url(" not in (value or ""), f"<{name} {key}>"
    [style] = re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL)
    assert "url(" not in style and "@import" not in style and "http" not in style
    text.encode("utf-8")
    return page


def numbers(attributes: Iterable[Mapping[str, str | None]], *keys: str) -> list[float]:
    """The values of attributes of drawn things."""
    return [float(each[key] or "nan") for each in attributes for key in keys if key in each]


def summary() -> dict[str, Any]:
    """A main job as it may have gone."""
    families = []
    for number, (name, like) in enumerate((("encoder", "BERT"), ("decoder", "GPT"), ("seq2seq", "T5"))):
        steps = 600 - 50 * number
        curve = [[step, 3.5 + number / 10 + 5 * math.exp(-step / 100)] for step in range(1, steps + 1)]
        tokens, labels = ["def", "read", "(", "path", ")", ":"], ["_", "function", "_", "parameter", "_", "_"]
        said: dict[str, Any] = {"what": "a filled mask", "prompt": "Return the [MASK] of it."}
        said["answers"] = [{"text": " length", "probability": 0.31}, {"text": " index", "probability": 0.22}]
        if name == "decoder":
            said = {"what": "a continuation", "prompt": "def ", "completion": "read(self):\n    return 1"}
        families.append(
            {
                "name": name,
                "like": like,
                "preset": f"{name}-mini",
                "parameters": 4_212_992 + number,
                "steps": steps,
                "tokens_per_second": 33120.4 + number,
                "latency_ms": 3.91 + number / 10,
                "quality": {
                    "unit": "bits a byte",
                    "model": 1.7 + number / 10,
                    "baseline": 1.75,
                    "baseline_name": "Kneser-Ney 5-gram",
                    "accuracy": 0.3312 if number == 0 else None,
                    "baseline_accuracy": 0.2411 if number == 0 else None,
                },
                "task": {
                    "name": "label",
                    "metric": "accuracy",
                    "pretrained": {"mean": 0.7923 - number / 50, "sd": 0.0061, "scores": [0.785, 0.793, 0.799]},
                    "scratch": {"mean": 0.6184, "sd": 0.0172, "scores": [0.6, 0.62, 0.635]},
                    "baseline": {"name": "word, else shape", "score": 0.6481},
                },
                "curve": {
                    "train": curve,
                    "validation": curve[59::60],
                    "reference": {"uniform": 8.318, "unigram": 6.41},
                },
                "examples": [
                    said,
                    {"what": "a labelled line of code", "tokens": tokens, "labels": labels, "gold": labels},
                ],
            }
        )
    phases = [("prepare", 20.0, 21.4), ("pretrain encoder", 70.0, 71.0), ("report", 2.0, 1.0)]
    return {
        "title": "Three families on one text",
        "machine": {"processor": "x86", "cores": 2, "torch": "2.11.0", "python": "3.11.2"},
        "data": {
            "documents": 18_234,
            "bytes": 14_812_345,
            "tokens": 4_012_345,
            "vocabulary_size": 4096,
            "what": "the standard library",
        },
        "phases": [{"name": name, "planned_seconds": planned, "seconds": took} for name, planned, took in phases],
        "families": families,
        "verdict": ["Best on `label`: the encoder.", "Pretraining helps."],
    }


def pretrained_run(folder: Path, *, family: str = "encoder", seed: int = 0, loss: float = 3.5) -> Path:
    """Write a pretraining run's folder with random weights."""
    tokenizer, config = _parts(family)
    network = build_network(config)
    initialise(network, config, Key(seed))
    (folder / "model").mkdir(parents=True)
    save_model(folder / "model", network, config, tokenizer.to_bytes())
    kind = {"encoder": "masked", "decoder": "causal", "encoder_decoder": "spans"}[family]
    run = {
        "seed": seed,
        "model": config.model_dump(mode="json", exclude_none=True),
        "objective": {"kind": kind, "rate": 0.15},
        "data": {"row_length": 32, "fingerprint": "abc"},
        "optimiser": {"kind": "adamw", "lr": 0.001},
        "schedule": {"kind": "linear"},
        "train": {"steps": 40, "rows": 8},
    }
    log = [
        {
            "step": step,
            "loss": 8 / step + 3,
            "tokens": 256 * step,
            "seconds": step / 10,
            "lr": 1e-3,
            "gradient_norm": 1.0,
        }
        for step in range(1, 41)
    ]
    log += [{"step": step, "split": "validation", "loss": 8 / step + 3.2} for step in (10, 20, 30, 40)]
    results = {"task": kind, "valid": {"loss": loss, kind: loss}, "seed": seed}
    results |= {"parameters": num_parameters(network), "tokens": 10240, "seconds": 4.0}
    _write(folder, run, log, results)
    return folder


def tuned_run(
    folder: Path,
    *,
    family: str = "encoder",
    seed: int = 0,
    accuracy: float = 0.8,
    changes: Mapping[str, Any] | None = None,
    readout: ReadoutConfig = DEFAULT_READOUT,
) -> Path:
    """Write a fine-tuned run's folder with random weights; `changes` go into its results."""
    tokenizer, config = _parts(family)
    task = build_task("label", ("class", "function", "module"), readout)
    torch.manual_seed(seed)
    network = build_network(config)
    initialise(network, config, Key(seed))
    model = build_model(task, config, reading_part(network, readout), dropout=0.0, key=Key(seed))
    (folder / "model").mkdir(parents=True)
    save_tuned(folder / "model", TunedModel(model, config, task, reading_of(tokenizer, 32, config, readout)))
    run = {"task": "label", "seed": seed, "start_from": f"runs/{family}", "train": "train.jsonl", "test": "test.jsonl"}
    log: list[dict[str, Any]] = [{"step": step, "loss": 2 / step, "lr": 1e-3} for step in range(1, 21)]
    log += [{"step": step, "split": "validation", "loss": 2 / step, "accuracy": step / 40} for step in (10, 20)]
    results: dict[str, Any] = {
        "task": "label",
        "valid": {"accuracy": accuracy + 0.01, "loss": 0.7, "coverage": 1.0},
        "test": {"accuracy": accuracy, "loss": 0.71, "coverage": 1.0},
        "baselines": {"majority": {"accuracy": 0.31}, "word, else shape": {"accuracy": 0.6481}},
        "seed": seed,
        "parameters": num_parameters(model),
        "seconds": 12.0,
        "from": f"runs/{family}",
    }
    _write(folder, run, log, results | dict(changes or {}))
    return folder


def _parts(family: str) -> tuple[Tokenizer, ModelConfig]:
    tokenizer = Tokenizer.train(["a few words are enough for this"] * 4, "bpe", 380)
    return tokenizer, with_vocabulary(tiny(family), tokenizer.vocabulary_size)


def _write(folder: Path, run: Mapping[str, Any], log: list[dict[str, Any]], results: Mapping[str, Any]) -> None:
    (folder / "config.toml").write_text(tomli_w.dumps(run), encoding="utf-8")
    (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log), encoding="utf-8")
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
