"""Do packed rows cost anything in quality? Ours and transformers' Trainer fine-tune the same exported model alike.

    python benchmarks/same_score.py --texts FOLDER [--work runs/tasks] [--seeds 5] [--jobs 2]

A BERT of 2 layers of 128 hidden units is pretrained on en_mix_10m and exported by `trivium export`. Both sides begin
with that folder and learn the same 4,000 examples of SST-2 and of AG News with AdamW at the same rate, schedule,
weight decay, dropout, clipping and epochs; the best of the epochs on the same validation examples is scored on the same
test file. Trainer pads each batch of 32 texts to its longest; ours packs as many tokens a step as 32 texts have. Each
cell has one core. It is written to benchmarks/results/same_score.json as soon as it is there.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from statistics import mean, stdev
from time import perf_counter
from typing import Any

from cells import add_cell, read_cells, run_cells
from task_sets import SETS, Road, examples_of
from turns import machine, versions

from tasks import pretrain_road, slug, unpack_set, unpack_text

RESULTS = Path(__file__).parent / "results" / "same_score.json"
BERT = Road("bert", "bert-tiny", "en_mix_10m", 3000)
NAMES = ("SST-2", "AG News")
SIDES = ("ours", "Trainer")
RATE, DECAY, EPOCHS, BATCH, LENGTH, WARMUP = 5e-4, 0.1, 4, 32, 128, 0.1


def main() -> None:
    """Run the cells that are not there yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--texts", type=Path, help="folder of the packed sets")
    parser.add_argument("--work", type=Path, default=Path("runs/tasks"), help="texts, models and runs")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="cells at once, each on one core")
    parser.add_argument("--cell", nargs=3, metavar=("SIDE", "SET", "SEED"), help="run this one, print its row")
    parser.add_argument("--pretrain", action="store_true", help="pretrain the model, print what it cost")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    arguments = parser.parse_args()
    if arguments.pretrain:
        print(json.dumps(pretrain_road(BERT, arguments.work)))
        return
    if arguments.cell:
        side, name, seed = arguments.cell
        print(json.dumps(run(side, name, int(seed), arguments.work)))
        return
    if not arguments.table:
        if arguments.texts is None:
            parser.error("--texts: expected the folder of the packed sets")
        run_all(arguments)
    print(table(read_cells(RESULTS)))


def run_all(arguments: argparse.Namespace) -> None:
    """Make the model and run the cells, both sides of a seed one after another."""
    work = arguments.work
    given = [sys.executable, __file__, "--work", str(work)]
    unpack_text(arguments.texts, work, BERT)
    for name in NAMES:
        unpack_set(arguments.texts, work, SETS[name].archive)
    if not (work / slug(BERT.name) / "results.json").is_file():
        list(run_cells({BERT.name: [*given, "--pretrain"]}, jobs=1))
    if not exported(work).is_dir():
        command = [sys.executable, "-m", "trivium", "export", str(work / slug(BERT.name)), "--to", "huggingface"]
        subprocess.run([*command, "--out", str(exported(work))], check=True)
    there = {(row["side"], row["work"], row["seed"]) for row in read_cells(RESULTS)}
    cells = [(side, name, seed) for seed in range(arguments.seeds) for name in NAMES for side in SIDES]
    commands = {
        f"{side}: {name}, seed {seed}": [*given, "--cell", side, name, str(seed)]
        for side, name, seed in cells
        if (side, name, seed) not in there
    }
    for row in run_cells(commands, jobs=arguments.jobs):
        add_cell(RESULTS, row, order=itemgetter("work", "side", "seed"))


def exported(work: Path) -> Path:
    """Return where the model is that both sides begin with."""
    return work / f"{slug(BERT.name)}-exported"


def run(side: str, name: str, seed: int, work: Path) -> dict[str, Any]:
    """Fine-tune on one side and return the row."""
    from trivium.cli.environment import set_up_process

    if side == "ours":  # the peer has what the system gives it
        set_up_process()
    examples = examples_of(SETS[name], work)
    out = work / "tuned" / slug(f"{side}-{name}-{seed}")
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    begun = perf_counter()
    found = (ours if side == "ours" else trainer)(examples, seed, work, out)
    whole = round(perf_counter() - begun, 1)
    row = {"side": side, "work": name, "seed": seed, "whole_seconds": whole, "machine": machine()}
    packages = ("transformers", "datasets", "accelerate", "numpy")
    return row | found | {"versions": versions(packages)}


def ours(examples: Sequence[Sequence[Any]], seed: int, work: Path, out: Path) -> dict[str, Any]:
    """Fine-tune as `trivium finetune` does."""
    from trivium.core.config import read_toml
    from trivium.tasks.config import finetune_config
    from trivium.tasks.finetune import finetune
    from trivium.tasks.start import open_run

    start = open_run(exported(work))
    tokens = [2 + len(ids.ids) for ids in start.tokenizer.encode_batch([each.text for each in examples[0]])]
    rows = max(1, round(BATCH * mean(min(count, LENGTH) for count in tokens) / LENGTH))
    asked = [f"seed={seed}", f"epochs={EPOCHS}", f"rows={rows}", f"row_length={LENGTH}", f"optimiser.lr={RATE}"]
    asked += [f"optimiser.weight_decay={DECAY}", f"schedule.warmup_share={WARMUP}", "optimiser.beta2=0.999"]
    config = finetune_config("classify", asked)
    train, valid, test = examples
    results = finetune(start, config, train=train, valid=valid, test=test, out=out)
    steps = read_toml(out / "config.toml")["steps"]
    return {"score": results["test"]["accuracy"], "seconds": results["seconds"], "steps": steps}


def trainer(examples: Sequence[Sequence[Any]], seed: int, work: Path, out: Path) -> dict[str, Any]:
    """Fine-tune as transformers' run_classification does, with dynamic padding, as it is shipped."""
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(exported(work))
    labels = sorted({each.label for each in examples[0]})
    network = AutoModelForSequenceClassification.from_pretrained(exported(work), num_labels=len(labels))

    def rows(part: Sequence[Any]) -> Any:
        ids = tokenizer([each.text for each in part], truncation=True, max_length=LENGTH)["input_ids"]
        return Dataset.from_dict({"input_ids": ids, "labels": [labels.index(each.label) for each in part]})

    train, valid, test = map(rows, examples)
    asked = TrainingArguments(
        output_dir=str(out),
        seed=seed,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=BATCH,
        num_train_epochs=EPOCHS,
        learning_rate=RATE,
        weight_decay=DECAY,
        warmup_steps=round(WARMUP * EPOCHS * -(-len(train) // BATCH)),
        lr_scheduler_type="linear",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )

    def accuracy(found: Any) -> dict[str, float]:
        return {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())}

    run = Trainer(
        model=network,
        args=asked,
        train_dataset=train,
        eval_dataset=valid,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=accuracy,
    )
    seconds = run.train().metrics["train_runtime"]
    score = run.evaluate(test)["eval_accuracy"]
    shutil.rmtree(out, ignore_errors=True)
    return {"score": score, "seconds": round(seconds, 3), "steps": run.state.global_step}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return means and deviations as Markdown."""
    lines = ["| set | seeds | ours | Trainer | difference, standard errors | seconds, Trainer / ours |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for name in NAMES:
        sides = {side: [row for row in rows if row["work"] == name and row["side"] == side] for side in SIDES}
        if min(map(len, sides.values())) < 2:
            continue
        scores = {side: [100 * row["score"] for row in own] for side, own in sides.items()}
        error = sum(stdev(own) ** 2 / len(own) for own in scores.values()) ** 0.5
        apart = (mean(scores["ours"]) - mean(scores["Trainer"])) / max(error, 1e-9)
        shown = [f"{mean(own):.1f} ± {stdev(own):.1f}" for own in scores.values()]
        times = {side: mean(row["seconds"] for row in own) for side, own in sides.items()}
        ratio = times["Trainer"] / times["ours"]
        lines.append(f"| {name} | {len(scores['ours'])} | {' | '.join(shown)} | {apart:+.1f} | {ratio:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
