"""Fine-tuning speed on texts of natural lengths, beside transformers' Trainer with dynamic padding, and tuned.

    python benchmarks/finetune.py --texts FOLDER [--rounds 5] [--steps 8] [--again]

A BERT of 4 layers of 256 hidden units and 8,192 tokens (random weights, dropout 0.1 or none) learns the classes of AG
News, SST-2 and SMS spam (their archives in FOLDER), texts of which a batch of 32 differs little or much in length.
`Trainer` pads each batch to its longest text, or takes texts of like lengths together (`group_by_length`); `tuned` has
beside this no dropout, the allocator's large blocks kept, and bfloat16 where the processor multiplies it. Ours is
`trivium finetune`: packed rows, as many tokens a step. What is counted is real tokens: the peer's batches are of
unequal sizes, and `group_by_length` takes the longest texts first.
"""

import argparse
import csv
import io
import sys
import tarfile
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from pretrain import KEPT_LARGE, prepared
from pretrain_peers import VOCABULARY, precision
from turns import Side, Turns, by_turns, read_rows, row, table, write_rows

PACKAGES = ("transformers", "datasets", "accelerate", "numpy")
LAYERS, WIDTH, MOST_TOKENS, TEXTS, BATCH = 4, 256, 128, 8000, 32
PEERS = {
    "Trainer, dynamic padding": ("trainer", 0.1),
    "Trainer, texts of like lengths": ("sorted", 0.1),
    "Trainer tuned, texts of like lengths": ("tuned", 0.0),
}


class Labelled(NamedTuple):
    """A file of texts and their classes, in columns."""

    archive: str
    member: str
    text: int  # which column
    label: int


SETS = {
    "AG News": Labelled("agnews.tar.xz", "agnews/train_10k.tsv", 0, 1),
    "SST-2": Labelled("sst2.tar.xz", "sst2/train.tsv", 0, 1),
    "SMS spam": Labelled("sms_spam.tar.xz", "sms/SMSSpamCollection", 1, 0),
}


def main() -> None:
    """Measure what is not there yet, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("runs/benchmarks"), help="where the prepared text is kept")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help="steps a turn")
    parser.add_argument("--again", action="store_true", help="measure also what is there")
    parser.add_argument("--side", nargs=2, metavar=("KIND", "DROPOUT"), help="be this side")
    parser.add_argument("--set", choices=SETS, default="AG News", help="of this side")
    arguments = parser.parse_args()
    if arguments.side:
        kind, dropout = arguments.side
        pairs = texts(arguments.texts, SETS[arguments.set])
        if kind == "ours":
            ours(pairs, float(dropout), arguments)
        else:
            trainer(pairs, float(dropout), kind, arguments)
        return
    prepared(arguments.texts, arguments.data)
    there = set() if arguments.again else {each["peer"] for each in read_rows("finetune")}
    rows = []
    for name, (peer, (kind, dropout)) in product(SETS, PEERS.items()):
        named = f"{peer}; {name}"
        if named in there:
            continue
        options = ["--texts", str(arguments.texts), "--data", str(arguments.data), "--steps", str(arguments.steps)]
        command = [sys.executable, __file__, *options, "--set", name, "--side"]
        sides = [
            Side("ours", [*command, "ours", str(dropout)]),
            Side("theirs", [*command, kind, str(dropout)], KEPT_LARGE if kind == "tuned" else {}),
        ]
        turns = by_turns(sides, rounds=arguments.rounds)
        own, other = turns["ours"], turns["theirs"]
        settings = {
            "dropout": dropout,
            "steps_a_turn": arguments.steps,
            "precision": {"ours": precision(), "theirs": precision() if kind == "tuned" else "float32"},
            "real_tokens_a_step": {
                "ours": own[-1].units / arguments.steps,
                "theirs": other[-1].units / arguments.steps,
            },
            "padding_share": {"ours": own[-1].said["padding"], "theirs": other[-1].said["padding"]},
        }
        rows.append(row("finetune-4x256", "real tokens/s", own, named, other, **settings))
        write_rows("finetune", rows, PACKAGES)
    print(table(read_rows("finetune")))


def ours(pairs: list[tuple[str, str]], dropout: float, arguments: argparse.Namespace) -> None:
    """Fine-tune as `trivium finetune` does."""
    from trivium.cli.environment import set_up_process

    set_up_process()
    from pretrain import with_dropout

    from trivium.core.config import parse
    from trivium.data.labelled import ClassifyExample
    from trivium.data.shards import PreparedData
    from trivium.model.config import ModelConfig, with_vocabulary
    from trivium.model.preset_families import bert
    from trivium.tasks.build import learned_task, usual_head
    from trivium.tasks.config import finetune_config
    from trivium.tasks.fit import begin_fit, fit_steps, make_fitting
    from trivium.tasks.start import random_start

    tokenizer = PreparedData.open(arguments.data / "data").tokenizer
    plain = with_vocabulary(bert(LAYERS, WIDTH), VOCABULARY).model_dump(mode="json", exclude_none=True)
    start = random_start(parse(ModelConfig, with_dropout(plain, dropout), "model"), tokenizer, row_length=MOST_TOKENS)
    examples = [ClassifyExample(text, label, None) for text, label in pairs]
    lengths = [min(len(ids) + 2, MOST_TOKENS) for ids in map(tokenizer.encode, (text for text, _ in pairs))]
    # As many places a step as the peer has texts of the mean length.
    rows = round(BATCH * sum(lengths) / len(lengths) / MOST_TOKENS)
    asked = [f"rows={rows}", f"row_length={MOST_TOKENS}", "epochs=100", f"dropout={dropout}", "optimiser.lr=1e-4"]
    config = finetune_config("classify", asked)
    task = learned_task("classify", examples, usual_head("classify", start.config), config.settings)
    reading = start.reading(task.readout)
    train, valid = task.encode(examples, reading), task.encode(examples[:8], reading)
    fitting = make_fitting(start, task, train, valid, config)
    trained, done = begin_fit(fitting, None)
    turns = Turns(arguments.steps)
    for report, _ in fit_steps(fitting, trained, done):
        turns.tick(report.tokens, padding=1.0 - fitting.rows.share_of_real_tokens)


def trainer(pairs: list[tuple[str, str]], dropout: float, kind: str, arguments: argparse.Namespace) -> None:
    """Fine-tune as transformers' run_classification does."""
    from datasets import Dataset
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        DataCollatorWithPadding,
        PreTrainedTokenizerFast,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    tuned = kind == "tuned"
    file = arguments.data / "data" / "tokenizer.json"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(file), pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    numbers = {label: number for number, label in enumerate(sorted({label for _, label in pairs}))}
    ids = tokenizer([text for text, _ in pairs], truncation=True, max_length=MOST_TOKENS)["input_ids"]
    rows = Dataset.from_dict({"input_ids": ids, "labels": [numbers[label] for _, label in pairs]})
    collate = DataCollatorWithPadding(tokenizer)
    counted = {"real": 0, "all": 0}

    def counting(examples: list[dict[str, Any]]) -> Any:
        batch = collate(examples)
        counted["real"] += sum(len(example["input_ids"]) for example in examples)
        counted["all"] += batch["input_ids"].numel()
        return batch

    class ByTurns(TrainerCallback):  # type: ignore[misc]
        """Counts the tokens of the step, and waits where the turn is over."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.turns, self.before = Turns(arguments.steps), counted["real"]

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            now = counted["real"]
            self.turns.tick(now - self.before, padding=1.0 - counted["real"] / counted["all"])
            self.before = now

    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=WIDTH // 64,
        intermediate_size=4 * WIDTH,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=len(numbers),
    )
    attention = "eager" if tuned and precision() == "bfloat16" else "sdpa"
    network = BertForSequenceClassification._from_config(config, attn_implementation=attention)
    asked = TrainingArguments(
        output_dir=str(arguments.data / "trainer"),
        per_device_train_batch_size=BATCH,
        max_steps=1_000_000,
        learning_rate=1e-4,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        logging_steps=1_000_000,
        bf16=tuned and precision() == "bfloat16",
        use_cpu=True,
        **({} if kind == "trainer" else {"train_sampling_strategy": "group_by_length"}),
    )
    Trainer(model=network, args=asked, train_dataset=rows, data_collator=counting, callbacks=[ByTurns()]).train()


def texts(folder: Path, each: Labelled) -> list[tuple[str, str]]:
    """Return some texts of a set, drawn once and for all, and their classes."""
    with tarfile.open(folder / each.archive) as packed:
        member = packed.extractfile(each.member)
        if member is None:
            raise SystemExit(f"{each.archive} has no {each.member}")
        lines = csv.reader(io.TextIOWrapper(member, encoding="utf-8"), delimiter="\t", quoting=csv.QUOTE_NONE)
        pairs = [(line[each.text], line[each.label]) for line in lines if len(line) == 2]
    if pairs[0][1] == "label":
        del pairs[0]
    Random(0).shuffle(pairs)
    return pairs[:TEXTS]


if __name__ == "__main__":
    main()
