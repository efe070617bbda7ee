"""How fast text becomes training data, beside `datasets.map` and `group_texts` as run_mlm has them.

    python benchmarks/prepare.py --texts FOLDER [--megabytes 20] [--rounds 3] [--again]

A turn reads the first megabytes of en_mix_10m.train.txt.xz of FOLDER as a text file of documents and writes them to
disk as ids of the same byte-level BPE of 8,192. Ours is `trivium prepare --tokenizer`: it also leaves duplicates out,
holds documents out, marks where words and sentences begin, and checks that all text comes back. The peer tokenises with
two processes and joins and cuts to rows of 128; a second row counts its tokenising alone.
"""

import argparse
import lzma
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pretrain import prepared
from turns import Side, Turns, by_turns, read_rows, row, table, write_rows

PACKAGES = ("transformers", "datasets", "tokenizers", "numpy")
PEERS = {"datasets.map, then group_texts": "grouped", "datasets.map": "mapped"}
ROW = 128


def main() -> None:
    """Measure what is not there yet, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("runs/benchmarks"), help="where the prepared text is kept")
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--again", action="store_true", help="measure also what is there")
    parser.add_argument("--side", help="be this side")
    arguments = parser.parse_args()
    text = arguments.data / f"first-{arguments.megabytes}.txt"
    if arguments.side:
        be(arguments.side, text, arguments.data / "data")
        return
    prepared(arguments.texts, arguments.data)
    make_text(arguments.texts, text, arguments.megabytes)
    there = set() if arguments.again else {each["peer"] for each in read_rows("prepare")}
    peers = {peer: kind for peer, kind in PEERS.items() if peer not in there}
    if peers:
        options = ["--texts", str(arguments.texts), "--data", str(arguments.data)]
        options += ["--megabytes", str(arguments.megabytes)]
        command = [sys.executable, __file__, *options, "--side"]
        sides = [Side(kind, [*command, kind]) for kind in ("ours", *peers.values())]
        turns = by_turns(sides, rounds=arguments.rounds)
        rows = []
        for peer, kind in peers.items():
            own, other = turns["ours"], turns[kind]
            settings = {
                "megabytes": arguments.megabytes,
                "tokens": {"ours": own[-1].said["tokens"], "theirs": other[-1].said["tokens"]},
                "bytes_a_token_on_disk": {"ours": own[-1].said["bytes"], "theirs": other[-1].said["bytes"]},
            }
            rows.append(row("prepare", "MB/s", own, peer, other, **settings))
        write_rows("prepare", rows, PACKAGES)
    print(table(read_rows("prepare")))


def be(side: str, text: Path, data: Path) -> None:
    """Be one side, until there is no more to do."""
    turns, size, said = Turns(1), text.stat().st_size / 1e6, dict[str, float]()
    while True:
        with tempfile.TemporaryDirectory(dir=text.parent) as folder:
            out = Path(folder) / "out"
            made = ours(text, data, out) if side == "ours" else peers(text, data, out, grouped=side == "grouped")
            if not said:  # in the turn that warms up, for counting takes the peer's library its time
                tokens = made()
                kept = sum(path.stat().st_size for path in out.rglob("*") if path.suffix not in (".json", ".toml"))
                said = {"tokens": tokens, "bytes": kept / tokens}
            turns.tick(size, **said)


def ours(text: Path, data: Path, out: Path) -> Callable[[], int]:
    """Prepare as `trivium prepare` does; return what counts the tokens."""
    from trivium.cli.environment import set_up_process

    set_up_process()
    from trivium.data.prepare import PrepareOptions, prepare

    made = prepare([text], out, PrepareOptions(tokenizer=str(data), validation_share=0.05))
    return lambda: made.split("train").num_tokens + made.split("validation").num_tokens


def peers(text: Path, data: Path, out: Path, *, grouped: bool) -> Callable[[], int]:
    """Tokenise and group as run_mlm does, without its cache; return what counts the tokens."""
    from datasets import Dataset, disable_caching, disable_progress_bars
    from transformers import PreTrainedTokenizerFast

    disable_caching()
    disable_progress_bars()
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(data / "tokenizer.json"), pad_token="[PAD]")
    documents = [each for each in text.read_text(encoding="utf-8").split("\n\n") if each]

    def tokenised(examples: dict[str, list[str]]) -> Any:
        return tokenizer(examples["text"], return_special_tokens_mask=True)

    def joined(examples: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        together = {name: [value for each in values for value in each] for name, values in examples.items()}
        total = len(together["input_ids"]) // ROW * ROW
        return {name: [v[start : start + ROW] for start in range(0, total, ROW)] for name, v in together.items()}

    rows = Dataset.from_dict({"text": documents}).map(tokenised, batched=True, num_proc=2, remove_columns=["text"])
    if grouped:
        rows = rows.map(joined, batched=True, num_proc=2)
    rows.save_to_disk(str(out))
    return lambda: sum(map(len, rows["input_ids"]))


def make_text(texts: Path, file: Path, megabytes: int) -> None:
    """Write the first documents of the text, a blank line between them."""
    if file.is_file():
        return
    with lzma.open(texts / "en_mix_10m.train.txt.xz", "rt", encoding="utf-8") as lines:
        part, size = [], 0
        for line in lines:
            part.append(line.rstrip("\n"))
            size += len(line.encode()) + 1
            if size >= megabytes * 10**6:
                break
    temporary = file.with_suffix(".part")
    temporary.write_text("\n\n".join(part) + "\n", encoding="utf-8")
    shutil.move(temporary, file)


if __name__ == "__main__":
    main()
