"""Pretraining speed beside transformers' Trainer, as shipped and tuned, and nanoGPT.

    python benchmarks/pretrain.py --texts FOLDER [--nanogpt FOLDER] [--only WORK]... [--rounds 5] [--steps 8] [--again]

FOLDER of --texts holds en_mix_10m.train.txt.xz, whose documents are of natural lengths; --nanogpt is a checkout of
karpathy/nanoGPT, whose rows are left out without it. Both sides read the same ids of the same tokenizer and train the
same architecture with AdamW and the same rows a step. `Trainer as shipped` is what run_mlm and run_clm do: float32,
SDPA, texts joined and cut to rows, dropout 0.1, the system's allocator, GNU OpenMP's own waiting; `bfloat16` is that
with its option `--bf16`, where the processor multiplies it. `tuned` has beside this no dropout, the allocator's large
blocks kept, and plain attention where that is faster. Ours is what `trivium pretrain` sets up, with the same dropout as
the peer of the row. What is counted is real tokens: places that hold text, not padding. The peak is a product of 1,024
x 1,024 matrices, by turns with both (8,192 on a GPU). Where PyTorch sees a GPU, the two works of `gpu-` are measured
instead of the others: Trainer with its fused AdamW; nanoGPT compiled, in bfloat16.
"""

import argparse
import lzma
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from pretrain_peers import VOCABULARY, SetUp, Work, device, nanogpt, precision, trainer, type_of
from turns import Side, Turns, by_turns, read_rows, row, table, write_rows

PACKAGES = ("transformers", "datasets", "accelerate", "numpy")
KEPT_LARGE = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


class Peer(NamedTuple):
    """Whom we are compared with, and how it is set up."""

    name: str
    kind: str
    dropout: float
    set_up: SetUp = "shipped"

    @property
    def environment(self) -> dict[str, str]:
        """What is set before its process starts."""
        return KEPT_LARGE if self.set_up == "tuned" else {}


WORKS = {
    "mlm-4x256-128": Work("masked", 4, 256, 32, 128),
    "mlm-4x256-512": Work("masked", 4, 256, 8, 512),
    "mlm-4x256-lines": Work("masked", 4, 256, 32, 128, lines=True),
    "mlm-6x384-128": Work("masked", 6, 384, 16, 128),
    "mlm-12x768-128": Work("masked", 12, 768, 8, 128, slow=True),
    "clm-6x384-12x64": Work("causal", 6, 384, 12, 64),
    "clm-6x384-32x256": Work("causal", 6, 384, 32, 256, slow=True),
    "span-4x256-128": Work("spans", 4, 256, 32, 128),
    "gpu-mlm-12x768-512": Work("masked", 12, 768, 64, 512, gpu=True),  # the shape of BERT-base
    "gpu-clm-12x768-1024": Work("causal", 12, 768, 32, 1024, gpu=True),  # of GPT-2
}
SHIPPED = Peer("Trainer as shipped", "trainer", dropout=0.1)
NARROW = Peer("Trainer, bfloat16", "trainer", dropout=0.1, set_up="bfloat16")
TUNED = Peer("Trainer tuned", "trainer", dropout=0.0, set_up="tuned")
NANOGPT = Peer("nanoGPT", "nanogpt", dropout=0.0)


def main() -> None:
    """Measure what is not there yet, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--nanogpt", type=Path, help="a checkout of karpathy/nanoGPT")
    parser.add_argument("--data", type=Path, default=Path("runs/benchmarks"), help="where the prepared text is kept")
    parser.add_argument("--only", action="append", default=[], choices=WORKS, help="work to measure; all without it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help="steps a turn")
    parser.add_argument("--again", action="store_true", help="measure also what is there")
    parser.add_argument("--side", nargs=5, metavar=("KIND", "WORK", "DROPOUT", "SETUP", "STEPS"), help="be this side")
    arguments = parser.parse_args()
    if arguments.side:
        kind, work, dropout, set_up, steps = arguments.side
        be(kind, WORKS[work], float(dropout), set_up, int(steps), arguments)
        return
    prepared(arguments.texts, arguments.data)
    for name, work in WORKS.items():
        if (arguments.only and name not in arguments.only) or work.gpu != (device() == "cuda"):
            continue
        there = {each["peer"] for each in read_rows("pretrain") if each["work"] == name}
        peers = [peer for peer in peers_of(work, arguments.nanogpt) if arguments.again or peer.name not in there]
        if peers:
            rows = measured(name, work, peers, arguments)
            write_rows("pretrain", rows, PACKAGES)
            print(table(rows), flush=True)
    print(table(read_rows("pretrain")))


def peers_of(work: Work, nanogpt: Path | None) -> list[Peer]:
    """Return whom one work is compared with."""
    trainers = [SHIPPED, TUNED] if precision() == "float32" else [SHIPPED, NARROW, TUNED]
    if work.lines:
        return [peer._replace(name=f"{peer.name}, line by line") for peer in trainers]
    return [*trainers, NANOGPT] if work.objective == "causal" and nanogpt else trainers


def measured(name: str, work: Work, peers: list[Peer], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of one work: all of its peers, and ours with each one's dropout, by turns."""
    steps = max(1, arguments.steps // 4) if work.slow else arguments.steps

    def side(kind: str, dropout: float, set_up: SetUp, environment: dict[str, str]) -> Side:
        options = ["--texts", str(arguments.texts), "--data", str(arguments.data)]
        options += ["--nanogpt", str(arguments.nanogpt)] if arguments.nanogpt else []
        command = [sys.executable, __file__, *options, "--side", kind, name, str(dropout), set_up, str(steps)]
        return Side(f"{kind} {dropout} {set_up}", command, environment)

    ours = {dropout: side("ours", dropout, "tuned", {}) for dropout in {peer.dropout for peer in peers}}
    theirs = {peer.name: side(peer.kind, peer.dropout, peer.set_up, peer.environment) for peer in peers}
    ceiling = side("peak", 0.0, "tuned", {})
    turns = by_turns([*ours.values(), ceiling, *theirs.values()], rounds=arguments.rounds)
    rows = []
    for peer in peers:
        own, other = turns[ours[peer.dropout].name], turns[theirs[peer.name].name]
        settings = {
            **work._asdict(),
            "vocabulary": VOCABULARY,
            "dropout": peer.dropout,
            "steps_a_turn": steps,
            "precision": {"ours": precision(), "theirs": type_of(peer.set_up)},
            "tokens_a_step": {"ours": own[-1].units / steps, "theirs": other[-1].units / steps},
            "loss": {"ours": own[-1].said["loss"], "theirs": other[-1].said["loss"]},
        }
        made = row(name, "tokens/s", own, peer.name, other, **settings)
        shares = [
            turn.speed * turn.said["flops_a_token"] / most.speed
            for turn, most in zip(own, turns[ceiling.name], strict=True)
        ]
        rows.append(made | {"peak_share": round(median(shares), 3)})
    return rows


def be(kind: str, work: Work, dropout: float, set_up: SetUp, steps: int, arguments: argparse.Namespace) -> None:
    """Be one side, until there is no more to do."""
    if kind == "ours":
        ours(work, dropout, steps, arguments.data)
    elif kind == "peak":
        peak(steps)
    elif kind == "nanogpt":
        nanogpt(work, steps, arguments.data, arguments.nanogpt)
    else:
        trainer(work, dropout, set_up, steps, arguments.data)


def ours(work: Work, dropout: float, steps: int, folder: Path) -> None:
    """Train as `trivium pretrain` does."""
    from trivium.cli.environment import set_up_process

    set_up_process()
    from trivium.core.progress import Silent
    from trivium.core.random import Key
    from trivium.data.loader import ahead
    from trivium.data.shards import PreparedData
    from trivium.train.begin import begin
    from trivium.train.loop import train_steps
    from trivium.train.material import fit_to_data, make_material
    from trivium.train.roofline import Meter
    from trivium.train.settle import settle

    data = PreparedData.open(folder / "data")
    config = fit_to_data(run_config(work, dropout), data)
    material = make_material(config, data, None)
    config = settle(config, material, None, 0.0, Silent())
    begun = begin(config, material, Path("no such run"), Silent())
    many = config.train.steps or 0
    reports = train_steps(
        begun.weights,
        material.learned,
        begun.optimiser,
        ahead(material.batches(many), 0, many),
        start=0,
        lr=lambda step: 1e-4,
        accumulation=1,
        max_gradient_norm=1.0,
        key=Key(0),
    )
    turns, meter = Turns(steps), Meter(lambda reached: 1.0)
    for report in meter.over(reports, start=0):
        read = meter.read()
        flops = read.flops_per_second * sum(read.seconds_by_phase.values())
        turns.tick(report.tokens, loss=report.loss, flops_a_token=flops / report.tokens)


def peak(steps: int) -> None:
    """Multiply large square matrices, in the type that the others compute in; a unit is an operation."""
    import torch

    size, products = (1024, 20) if device() == "cpu" else (8192, 20)
    dtype = torch.bfloat16 if precision() == "bfloat16" else torch.float32
    matrix = torch.ones(size, size, dtype=dtype, device=device())
    result, turns = torch.empty_like(matrix), Turns(steps)
    while True:
        for _ in range(products):
            torch.mm(matrix, matrix, out=result)
        if matrix.is_cuda:
            torch.cuda.synchronize()
        turns.tick(products * 2 * size**3)


def run_config(work: Work, dropout: float) -> Any:
    """Return our run: the peer's architecture, by its published preset's function."""
    from trivium.core.config import parse
    from trivium.model.preset_families import bert, gpt2, t5
    from trivium.train.config import RunConfig, complete

    match work.objective:
        case "masked":
            model = bert(work.layers, work.width, num_segments=2)
        case "causal":
            model = gpt2(work.layers, work.width)
        case _:
            model = t5(work.layers, work.width, work.width // 64, 4 * work.width)
    tree = complete(
        {
            "model": with_dropout(model.model_dump(mode="json", exclude_none=True), dropout),
            "optimiser": {"kind": "adamw", "lr": 1e-4},
            "data": {"row_length": work.length},
            "train": {"rows": work.rows, "steps": 1_000_000},
        }
    )
    return parse(RunConfig, tree, "benchmark")


def with_dropout(tree: Any, dropout: float) -> Any:
    """Return a configuration with every dropout that is not 0 in it changed."""
    if isinstance(tree, dict):
        return {
            key: dropout if key == "dropout" and value else with_dropout(value, dropout) for key, value in tree.items()
        }
    return [with_dropout(value, dropout) for value in tree] if isinstance(tree, list | tuple) else tree


def prepared(texts: Path, folder: Path) -> None:
    """Make the prepared text that is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "train.txt"
    if not (folder / "data").is_dir():
        with lzma.open(texts / "en_mix_10m.train.txt.xz") as packed:
            text.write_bytes(packed.read())
        asked = ["--vocabulary-size", str(VOCABULARY), "--out", str(folder / "data"), "--quiet"]
        subprocess.run([sys.executable, "-m", "trivium", "prepare", str(text), *asked], check=True, env=os.environ)


if __name__ == "__main__":
    main()
