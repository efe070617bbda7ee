"""Objectives at equal compute for an encoder; AdamW and Muon, vocabularies and row lengths for a decoder.

    python benchmarks/objectives.py --texts FOLDER [--work runs/objectives] [--tflop 45] [--only NAME]... [--jobs 2]

FOLDER holds en_mix_10m.train.txt.xz, en_mix_10m.dev.txt.xz, sst2.tar.xz and conll2003.tar.xz. Every cell is one run,
pretrained with the same number of floating-point operations (counted on a real step; with the usual 45 TFLOP a tiny
model has about ten minutes of one core), then scored: an encoder fine-tuned on 4,000 examples of SST-2 (accuracy) and
of CoNLL-2003 (words right), a decoder by bits a byte of the held-out text. What is computed in is the processor's own
choice (float32 where bfloat16 is not in hardware) and said in each row. A cell is written to
benchmarks/results/objectives.json as soon as it is there: when it is stopped, the same command goes on.
"""

import argparse
import csv
import json
import lzma
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mean, median, stdev
from time import perf_counter
from typing import Any, NamedTuple

from cells import add_cell, read_cells, run_cells

RESULTS = Path(__file__).parent / "results" / "objectives.json"
EXAMPLES = 4000
FEW = "objective.rate=0.15"
HYBRID = (
    '[{objective={kind="masked",predicted_from="before",rate={start=0.3,stop=0.15}},share=3},'
    '{objective={kind="causal"},share=1}]'
)


class Cell(NamedTuple):
    """One run: its architecture, what differs from the recipe, and the data it reads."""

    name: str
    preset: str
    settings: tuple[str, ...] = ()
    vocabulary: int = 8192


ENCODERS = (
    Cell("masked", "encoder-tiny", (FEW,)),
    Cell("masked 30 %", "encoder-tiny", ("objective.rate=0.3",)),
    Cell("masked 30 to 15 %", "encoder-tiny", ("objective.rate.start=0.3", "objective.rate.stop=0.15")),
    Cell("masked words", "encoder-tiny", (FEW, "objective.unit.kind=words")),
    Cell("masked spans", "encoder-tiny", (FEW, "objective.unit.kind=spans")),
    Cell("masked n-grams", "encoder-tiny", (FEW, "objective.unit.kind=ngrams")),
    Cell("masked rare", "encoder-tiny", (FEW, "objective.rarity=0.5")),
    Cell("replaced", "encoder-tiny", ("objective.kind=replaced",)),
    Cell("permuted", "encoder-tiny", ("objective.kind=permuted",)),
    Cell("hybrid", "encoder-tiny", ("objective.kind=mixed", f"objective.parts={HYBRID}")),
    Cell("sentence order", "encoder-tiny", ("objective.kind=sentences", "objective.question=order")),
    Cell("next sentence", "encoder-tiny", ("objective.kind=sentences", "objective.question=next")),
    Cell("causal", "encoder-tiny", ("objective.kind=causal",)),
)
DECODERS = (
    Cell("AdamW, 8k, rows of 128", "decoder-tiny"),
    Cell("Muon", "decoder-tiny", ("optimiser.kind=muon",)),
    Cell("vocabulary 4k", "decoder-tiny", vocabulary=4096),
    Cell("vocabulary 16k", "decoder-tiny", vocabulary=16384),
    Cell("rows of 64", "decoder-tiny", ("data.row_length=64", "train.rows=32")),
    Cell("rows of 256", "decoder-tiny", ("data.row_length=256", "train.rows=8")),
)


def main() -> None:
    """Run the cells that are not there yet and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--texts", type=Path, help="folder of the corpora")
    parser.add_argument("--work", type=Path, default=Path("runs/objectives"), help="prepared data and runs")
    parser.add_argument("--tflop", type=float, default=45.0, help="compute of each run")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", action="append", default=[], help="cells of this name; all without it")
    parser.add_argument("--jobs", type=int, default=2, help="cells at once, each on one core")
    parser.add_argument("--cell", nargs=2, metavar=("NAME", "SEED"), help="run this one here and print its row")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    arguments = parser.parse_args()
    if arguments.cell:
        name, seed = arguments.cell
        cell = next(cell for cell in (*ENCODERS, *DECODERS) if cell.name == name)
        print(json.dumps(run(cell, int(seed), arguments.work, arguments.tflop)))
        return
    if not arguments.table:
        if arguments.texts is None:
            parser.error("--texts: expected the folder of the corpora")
        cells = [cell for cell in (*ENCODERS, *DECODERS) if not arguments.only or cell.name in arguments.only]
        make_texts(arguments.texts, arguments.work, {cell.vocabulary for cell in cells})
        run_all(cells, arguments)
    print(tables(read_cells(RESULTS)))


def run_all(cells: list[Cell], arguments: argparse.Namespace) -> None:
    """Run the cells that are not there, and write each one's row when it ends."""
    there = {(row["work"], row["settings"]["seed"]) for row in read_cells(RESULTS)}
    asked = [(cell, seed) for seed in range(arguments.seeds) for cell in cells if (cell.name, seed) not in there]
    given = ["--texts", str(arguments.texts), "--work", str(arguments.work), "--tflop", str(arguments.tflop)]
    commands = {
        f"{cell.name}, seed {seed}": [sys.executable, __file__, *given, "--cell", cell.name, str(seed)]
        for cell, seed in asked
    }
    for row in run_cells(commands, jobs=arguments.jobs):
        add_cell(RESULTS, row, order=in_order)


def run(cell: Cell, seed: int, work: Path, tflop: float) -> dict[str, Any]:
    """Pretrain one cell and score it; return its row."""
    from trivium.cli.environment import set_up_process

    set_up_process()
    from trivium.core.progress import Silent
    from trivium.data.shards import PreparedData
    from trivium.train.config import load_recipe
    from trivium.train.measure import settled_precision
    from trivium.train.run import pretrain

    data = PreparedData.open(work / f"data-{cell.vocabulary}")
    config = load_recipe(cell.preset, [f"seed={seed}", *cell.settings])
    gflop = flop_a_step(config, data) / 1e9
    steps = max(10, round(tflop * 1e3 / gflop))
    config = config.model_copy(update={"train": config.train.model_copy(update={"steps": steps})})
    out = work / f"{cell.name.replace(' ', '-').replace('%', 'percent')}-{seed}"
    shutil.rmtree(out, ignore_errors=True)
    begun = perf_counter()
    results = pretrain(config, data, out, progress=Silent())
    settings = {"preset": cell.preset, "set": list(cell.settings), "vocabulary": cell.vocabulary, "seed": seed}
    row = {
        "work": cell.name,
        "unit": "see scores",
        "settings": settings | {"precision": settled_precision(config.train.precision)},
        "tflop": tflop,
        "steps": steps,
        "tokens": results["tokens"],
        "minutes": round((perf_counter() - begun) / 60, 2),
        "held_out": {name: round(value, 4) for name, value in results["valid"].items()},
        "machine": platform.processor() or platform.machine(),
        "versions": versions(),
    }
    return row | {"scores": score_encoder(out, work, seed) if cell in ENCODERS else score_decoder(out, data)}


def flop_a_step(config: Any, data: Any) -> int:
    """Return the floating-point operations of one step's forward and backward passes, in the middle of a run."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from trivium.core.random import Key
    from trivium.data.loader import micro_batches
    from trivium.model.initialise import initialise
    from trivium.train.material import fit_to_data, make_material

    config = fit_to_data(config, data)
    material = make_material(config, data, None)
    network = material.objective.network(config.model)
    initialise(network, config.model, Key(0))
    counts = []
    for step in (50, 51, 52, 53):
        (batch,) = micro_batches(material.batches(100)(step), 1)
        with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: added}) as counter:
            terms = material.objective.loss(network, batch, Key(0))
            sum(term.sum for term in terms).backward()  # type: ignore[union-attr]
        counts.append(counter.get_total_flops())
    return round(mean(counts))


def added(into: Any, left: Any, right: Any, **kwargs: Any) -> int:
    """Return the operations of a product of these shapes that is added in place: PyTorch's counter does not know it.

    The gradient of the vocabulary's table is one.
    """
    return int(2 * left[0] * left[1] * right[1])


def score_encoder(run_folder: Path, work: Path, seed: int) -> dict[str, float]:
    """Fine-tune on both tasks and return the share of right answers of each."""
    from trivium.tasks.config import finetune_config
    from trivium.tasks.finetune import finetune
    from trivium.tasks.start import open_run

    scores = {}
    for name, task, ending in (("SST-2", "classify", "tsv"), ("CoNLL-2003", "label", "jsonl")):
        out = work / f"{run_folder.name}-{name}"
        shutil.rmtree(out, ignore_errors=True)
        files = (work / f"{name}-{split}.{ending}" for split in ("train", "valid"))
        config = finetune_config(task, [f"seed={seed}", "epochs=4"])
        train, valid = files
        results = finetune(open_run(run_folder), config, train=train, valid=valid, out=out)
        scores[name] = round(results["valid"]["accuracy"], 4)
    return scores


def score_decoder(run_folder: Path, data: Any) -> dict[str, float]:
    """Return the bits a byte of the held-out text."""
    from trivium.core.progress import Silent
    from trivium.evaluate.perplexity import evaluate_run

    quality = evaluate_run(run_folder, data.folder, "validation", progress=Silent())
    return {quality.unit: round(quality.model, 4), quality.baseline_name: round(quality.baseline, 4)}


def make_texts(texts: Path, work: Path, vocabularies: set[int]) -> None:
    """Make the prepared data and the tasks' files that are not there yet."""
    work.mkdir(parents=True, exist_ok=True)
    for split in ("train", "dev"):
        target = work / f"{split}.txt"
        if not target.is_file():
            with lzma.open(texts / f"en_mix_10m.{split}.txt.xz") as packed, target.open("wb") as plain:
                shutil.copyfileobj(packed, plain)
    for size in sorted(vocabularies):
        if not (work / f"data-{size}").is_dir():
            command = [sys.executable, "-m", "trivium", "prepare", str(work / "train.txt"), "--quiet"]
            command += ["--vocabulary-size", str(size), "--out", str(work / f"data-{size}")]
            subprocess.run(command, check=True)
    if not (work / "SST-2-valid.tsv").is_file():
        with tarfile.open(texts / "sst2.tar.xz") as packed:
            for split, member in (("train", "sst2/train.tsv"), ("valid", "sst2/dev.tsv")):
                lines = read_member(packed, member)[1:]
                # Of the phrases cut from sentences, which come in no order that means anything, the first ones.
                with (work / f"SST-2-{split}.tsv").open("w", encoding="utf-8", newline="") as file:
                    writer = csv.writer(file, delimiter="\t")
                    writer.writerow(("text", "label"))
                    writer.writerows(line.rsplit("\t", 1) for line in lines[:EXAMPLES])
    if not (work / "CoNLL-2003-valid.jsonl").is_file():
        with tarfile.open(texts / "conll2003.tar.xz") as packed:
            for split, member in (("train", "conll2003/eng.train"), ("valid", "conll2003/eng.testa")):
                found = sentences(read_member(packed, member))
                rows = [json.dumps({"tokens": words, "labels": labels}) for words, labels in found]
                (work / f"CoNLL-2003-{split}.jsonl").write_text("\n".join(rows[:EXAMPLES]) + "\n", encoding="utf-8")


def read_member(packed: tarfile.TarFile, name: str) -> list[str]:
    """Return the lines of a file of an archive."""
    file = packed.extractfile(name)
    if file is None:
        raise SystemExit(f"{packed.name}: no {name} in it.")
    return file.read().decode().splitlines()


def sentences(lines: list[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the words and labels of each sentence of a CoNLL file."""
    words: list[str] = []
    labels: list[str] = []
    for line in (*lines, ""):
        if line.strip() and not line.startswith("-DOCSTART-"):
            columns = line.split()
            words.append(columns[0])
            labels.append(columns[-1])
        elif words:
            yield words, labels
            words, labels = [], []


def versions() -> dict[str, str]:
    """Return the versions that matter."""
    import torch

    import trivium

    return {"python": platform.python_version(), "torch": torch.__version__, "trivium": trivium.__version__}


def in_order(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return what rows are sorted by."""
    return row["settings"]["preset"], row["work"]


def tables(rows: list[dict[str, Any]]) -> str:
    """Return both tables as Markdown, each cell the mean of its seeds and their deviation."""
    lines: list[str] = []
    for cells in (ENCODERS, DECODERS):
        found = [(cell, [row for row in rows if row["work"] == cell.name]) for cell in cells]
        found = [(cell, own) for cell, own in found if own]
        if not found:
            continue
        names = list(found[0][1][0]["scores"])
        lines += ["", f"| | seeds | {' | '.join(names)} | held-out terms | steps | tokens | minutes |"]
        lines.append("|---|" + "---:|" * (len(names) + 5))
        for cell, own in found:
            scores = [spread([row["scores"][name] for row in own]) for name in names]
            terms = ", ".join(f"{name} {value:.3f}" for name, value in own[0]["held_out"].items() if name != "loss")
            minutes = median(row["minutes"] for row in own)
            lines.append(
                f"| {cell.name} | {len(own)} | {' | '.join(scores)} | {terms} | {own[0]['steps']:,} | "
                f"{own[0]['tokens'] / 1e6:.1f} M | {minutes:.1f} |"
            )
    return "\n".join(lines[1:])


def spread(values: list[float]) -> str:
    """Return a mean, with its deviation where there are several."""
    return f"{mean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
