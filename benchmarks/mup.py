"""Whether the best learning rate of a narrow decoder is that of one four times as wide, with muP and without.

    python benchmarks/mup.py [--data DATA] [--out runs/mup.json] [--steps 200]

Trains a two-layer decoder of width 64 and of width 256 at learning rates a factor of 2 apart, on one core, each cell by
itself, and writes every cell's loss to the JSON file as soon as it is there: when it is stopped, the same command goes
on. Without DATA the text is made up. A cell's loss is the mean over the last fifth of its steps (of rows not seen
before, if the text is long enough). Width 64 is muP's base, so that there both are one and the same. Under ten minutes.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trivium.core.files import write_json
from trivium.core.random import Key
from trivium.core.special import NUM_SENTINELS, SpecialTokens
from trivium.data.loader import step_batches
from trivium.data.packing import RowReader
from trivium.data.shards import PreparedData
from trivium.model.config import ModelConfig, MuP
from trivium.model.initialise import initialise
from trivium.model.presets import decoder, small_init
from trivium.objectives.build import Vocabulary, build_objective, usual_objective
from trivium.train.config import RunConfig
from trivium.train.loop import train_steps
from trivium.train.optimiser_config import AdamWConfig, usual_lr
from trivium.train.optimisers import build_optimiser
from trivium.train.paces import run_paces
from trivium.train.precision import TrainedWeights
from trivium.train.schedule_config import LinearSchedule
from trivium.train.schedules import lr_share

BASE, WIDE, ROWS, ROW_LENGTH, HEAD_SIZE = 64, 256, 8, 64, 32
KINDS = ("standard", "mup")
SPECIAL = SpecialTokens(pad=0, bos=1, eos=2, cls=3, sep=4, mask=5, sentinels=tuple(range(6, 6 + NUM_SENTINELS)))
FIRST_WORD, NUM_WORDS = 6 + NUM_SENTINELS, 400


@dataclass(frozen=True)
class MadeUpText:
    """Documents in memory, read as a split of prepared data is."""

    name: str
    texts: tuple[np.ndarray, ...]

    @property
    def lengths_S(self) -> np.ndarray:
        """Tokens of each document."""
        return np.array([len(text) for text in self.texts], dtype=np.int64)

    @property
    def num_documents(self) -> int:
        """Number of documents."""
        return len(self.texts)

    @property
    def num_tokens(self) -> int:
        """Number of tokens."""
        return int(self.lengths_S.sum())

    def read(self, document: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return tokens of one document and what begins at each."""
        tokens = self.texts[document][start:stop]
        return tokens, np.ones(len(tokens), dtype=np.uint8)


def made_up(num_documents: int, seed: int = 0) -> MadeUpText:
    """Return documents that follow one of four Markov chains each and now and then repeat what they said before."""
    rng = np.random.default_rng(seed)
    successors = rng.integers(0, NUM_WORDS, (4, NUM_WORDS, 6))
    texts = []
    for length in rng.integers(40, 200, num_documents):
        chain, words = successors[rng.integers(4)], [int(rng.integers(NUM_WORDS))]
        while len(words) < length:
            if len(words) > 20 and rng.random() < 0.05:
                begin = int(rng.integers(len(words) - 10))
                words += words[begin : begin + 8]
            else:
                words.append(int(chain[words[-1], min(int(rng.exponential(1.5)), 5)]))
        texts.append(np.concatenate(([SPECIAL.bos], FIRST_WORD + np.array(words[:length]), [SPECIAL.eos])))
    return MadeUpText("train", tuple(texts))


def architecture(kind: str, width: int, vocabulary_size: int) -> ModelConfig:
    """Return the decoder of a width; with muP it is drawn as one of the base width."""
    config = decoder(2, width, width // HEAD_SIZE)
    changes: dict[str, Any] = {"vocabulary_size": vocabulary_size, "max_length": ROW_LENGTH}
    if kind == "mup":
        changes |= {"parametrisation": MuP(base_hidden_size=BASE), "initialisation": small_init(BASE)}
    return ModelConfig.model_validate(config.model_copy(update=changes).model_dump())


def train(config: RunConfig, split: Any, special: SpecialTokens, steps: int) -> float | None:
    """Return the mean loss of the last fifth of a run; None when it diverged."""
    objective, key = (
        build_objective(config.objective, Vocabulary(special, config.model.vocabulary_size)),
        Key(config.seed),
    )
    network = objective.network(config.model)
    initialise(network, config.model, key)
    reader = RowReader(split, row_length=ROW_LENGTH, key=key.child("data"), pad=special.pad)
    batch = step_batches(reader, objective.make, rows_per_step=ROWS, key=key.child("make"))
    reports = train_steps(
        TrainedWeights(network, "float32"),
        objective,
        build_optimiser(config.optimiser, network, run_paces(config, network)),
        map(batch, range(steps)),
        start=0,
        lr=lambda step: config.optimiser.lr * lr_share(config.schedule, step, steps),
        accumulation=1,
        max_gradient_norm=1.0,
        key=key,
    )
    made = list(reports)
    if any(report.skipped for report in made):
        return None
    losses = [report.loss for report in made]
    return float(np.mean(losses[-max(1, steps // 5) :]))


def table(cells: dict[str, dict[str, Any]], rates: Sequence[float]) -> str:
    """Return the losses by learning rate, the best of each column marked, and how far the best rates are apart."""
    columns = [("standard", BASE), ("standard", WIDE), ("mup", WIDE)]
    lines = ["learning rate" + "".join(f"{f'{kind} {width}':>16}" for kind, width in columns)]
    best: dict[tuple[str, int], float] = {}
    for column in columns:
        known = {lr: cells[name(*column, lr)]["loss"] for lr in rates if name(*column, lr) in cells}
        known = {lr: loss for lr, loss in known.items() if loss is not None}
        if known:
            best[column] = min(known, key=lambda lr: known[lr])
    for lr in rates:
        line = f"{lr:>13.6f}"
        for column in columns:
            cell = cells.get(name(*column, lr))
            loss = "" if cell is None else "diverged" if cell["loss"] is None else f"{cell['loss']:.4f}"
            line += f"{loss + ('*' if best.get(column) == lr else ' '):>16}"
        lines.append(line)
    if len(best) == len(columns):
        for kind in KINDS:
            factor = best[kind, WIDE] / best["standard", BASE]
            lines.append(f"{kind}: the best learning rate at {WIDE} is {factor:g} times that at {BASE}")
    return "\n".join(lines)


def name(kind: str, width: int, lr: float) -> str:
    """Return what a cell is called in the JSON file."""
    return f"{kind}-{width}-{lr:.6f}"


def main() -> None:
    """Run the cells that are not there yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="folder that `trivium prepare` made; none = text made up here")
    parser.add_argument("--out", type=Path, default=Path("runs/mup.json"))
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    split: Any = made_up(4000)
    special, vocabulary_size, text = SPECIAL, FIRST_WORD + NUM_WORDS, "made up"
    if arguments.data is not None:
        data = PreparedData.open(arguments.data)
        split, special = data.split("train"), data.tokenizer.special
        vocabulary_size, text = data.tokenizer.vocabulary_size, data.fingerprint
    settings = {"text": text, "steps": arguments.steps, "rows": ROWS, "row_length": ROW_LENGTH}
    rates = [usual_lr("adamw", BASE) * 2.0**power for power in range(-4, 4)]
    results: dict[str, Any] = {"settings": settings, "cells": {}}
    if arguments.out.is_file():
        results = json.loads(arguments.out.read_text(encoding="utf-8"))
        if results["settings"] != settings:
            raise SystemExit(f"{arguments.out} is of {results['settings']}, not of {settings}; choose another --out.")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for kind, width in (("standard", BASE), ("mup", WIDE), ("standard", WIDE)):
        for lr in rates:
            if name(kind, width, lr) in results["cells"]:
                continue
            model = architecture(kind, width, vocabulary_size)
            config = RunConfig(
                model=model,
                objective=usual_objective(model),
                optimiser=AdamWConfig(lr=lr, weight_decay=0.0),
                schedule=LinearSchedule(warmup_share=0.1),
            )
            begun = time.perf_counter()
            loss = train(config, split, special, arguments.steps)
            seconds = round(time.perf_counter() - begun, 2)
            results["cells"][name(kind, width, lr)] = {"loss": loss, "seconds": seconds}
            write_json(arguments.out, results)
            print(f"{kind:>8} {width:>4} {lr:.6f}: {loss} ({seconds} s)", flush=True)
    print(table(results["cells"], rates))


if __name__ == "__main__":
    main()
