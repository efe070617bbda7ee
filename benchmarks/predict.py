"""How fast a fine-tuned classifier answers sentences, beside transformers, onnxruntime and CTranslate2 on its export.

    python benchmarks/predict.py --texts FOLDER [--rounds 5] [--sentences 1024] [--only PEER]... [--again]

A BERT of 4 layers of 256 hidden units and 8,192 tokens with a class of two (random weights: what is said does not
matter, how fast does), exported by `trivium export`, answers the same sentences, cut from en_mix_10m.dev.txt.xz of
FOLDER, from text to probabilities, in order. Sides that are `sorted` read 32 sentences of like lengths at once. All
must give the same probabilities (int8, bfloat16: nearly). A turn is all sentences once.
"""

import argparse
import lzma
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from turns import Side, Turns, by_turns, has_bfloat16, read_rows, row, table, write_rows

PACKAGES = ("transformers", "onnxruntime", "ctranslate2", "numpy")
LAYERS, WIDTH, MOST_TOKENS, BATCH = 4, 256, 128, 32
PEERS = {
    "pipeline, 1 at a time": "pipeline-1",
    "pipeline, 32 at a time": "pipeline-32",
    "transformers sorted": "sorted",
    "transformers sorted, bfloat16": "sorted-bf16",
    "onnxruntime sorted": "onnx",
    "onnxruntime sorted, int8": "onnx-int8",
    "CTranslate2": "ctranslate2",
    "CTranslate2, int8": "ctranslate2-int8",
}
BESIDE_NARROWER = (  # float32: also beside our narrower types
    "pipeline, 1 at a time",
    "pipeline, 32 at a time",
    "onnxruntime sorted",
    "CTranslate2",
)
# (texts) -> the probability of the second class of each
Answer = Callable[[Sequence[str]], Sequence[float]]


def main() -> None:
    """Measure what is not there yet, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("runs/benchmarks"), help="where the prepared text is kept")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sentences", type=int, default=1024)
    parser.add_argument("--only", action="append", default=[], choices=PEERS, help="peer to measure; all without it")
    parser.add_argument("--again", action="store_true", help="measure also what is there")
    parser.add_argument("--side", help="be this side")
    arguments = parser.parse_args()
    if arguments.side:
        be(arguments)
        return
    from pretrain import prepared

    prepared(arguments.texts, arguments.data)
    make_models(arguments.data)
    there = set() if arguments.again else {each["peer"] for each in read_rows("predict")}
    peers = [peer for peer in arguments.only or PEERS if peer not in there and ("bfl" not in peer or has_bfloat16())]
    if peers:
        options = ["--texts", str(arguments.texts), "--data", str(arguments.data)]
        options += ["--sentences", str(arguments.sentences)]

        def side(name: str) -> Side:
            return Side(name, [sys.executable, __file__, *options, "--side", name])

        kinds = {peer: PEERS[peer] for peer in peers}
        own = sorted({mine for peer in peers for mine in own_sides(peer)} | {"ours"})
        turns = by_turns([side(kind) for kind in (*own, *kinds.values())], rounds=arguments.rounds)
        first = turns[own[0]][0].said
        rows = []
        for peer, kind in kinds.items():
            theirs = turns[kind]
            apart = abs(theirs[0].said["mean"] - first["mean"])
            if apart > (0.05 if "int8" in peer or "bfloat16" in peer else 1e-4):
                raise SystemExit(f"{peer} says something else: mean probability off by {apart:.2g}")
            settings = {"sentences": arguments.sentences, "tokens": first["tokens"], "difference_of_means": apart}
            for mine in own_sides(peer):
                work = "classify-4x256" + mine.removeprefix("ours")
                rows.append(row(work, "sentences/s", turns[mine], peer, theirs, **settings))
        write_rows("predict", rows, PACKAGES)
    print(table(read_rows("predict")))


def own_sides(peer: str) -> list[str]:
    """Return which of our sides a peer is compared with: that of its type; of float32, also narrower ones.

    Where the processor multiplies bfloat16 it is our faster type for reading: beside int8 it stands too.
    """
    if "int8" in peer:
        return ["ours-int8", "ours-bf16"] if has_bfloat16() else ["ours-int8"]
    if "bfloat16" in peer:
        return ["ours-bf16"]
    narrower = ["ours-bf16", "ours-int8"] if has_bfloat16() else ["ours-int8"]
    return ["ours", *narrower] if peer in BESIDE_NARROWER else ["ours"]


def be(arguments: argparse.Namespace) -> None:
    """Be one side, until there is no more to do."""
    texts = sentences(arguments.texts, arguments.data, arguments.sentences)
    answer = SIDES[arguments.side](arguments.data)
    tokens = sum(lengths(texts, arguments.data))
    turns = Turns(1)
    while True:
        chances = list(answer(texts))
        if len(chances) != len(texts):
            raise SystemExit(f"{len(chances)} answers to {len(texts)} sentences")
        turns.tick(len(texts), mean=sum(chances) / len(chances), tokens=tokens)


def ours(precision: Literal["float32", "bfloat16", "int8"]) -> Callable[[Path], Answer]:
    """Answer as `trivium predict` does."""

    def opened(folder: Path) -> Answer:
        from trivium.cli.environment import set_up_process

        set_up_process()
        from trivium.tasks.folder import load_tuned, tuned_in
        from trivium.tasks.predict import predict_texts

        tuned = tuned_in(load_tuned(folder / "classifier"), precision)
        return lambda texts: [answer["probabilities"]["second"] for answer in predict_texts(tuned, texts)]

    return opened


def pipeline(batch: int) -> Callable[[Path], Answer]:
    """Answer by transformers' pipeline, so many at a time."""

    def opened(folder: Path) -> Answer:
        from transformers import pipeline as made

        answer = made("text-classification", model=str(folder / "exported"), batch_size=batch, top_k=None)

        def chances(texts: Sequence[str]) -> list[float]:
            return [
                next(each["score"] for each in found if each["label"] == "second")
                for found in answer(list(texts), truncation=True, max_length=MOST_TOKENS)
            ]

        return chances

    return opened


def padded(folder: Path, logits: Callable[[dict[str, Any]], Any]) -> Answer:
    """Answer sentences of like lengths at once, padded to the longest of them; `logits` of a padded batch."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "exported")
    return by_length(folder, lambda ids: logits(tokenizer.pad({"input_ids": ids}, return_tensors="np")))


def by_length(folder: Path, logits: Callable[[list[list[int]]], Any]) -> Answer:
    """Answer sentences of like lengths at once; `logits` of the ids of some."""
    import numpy as np
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "exported")

    def chances(texts: Sequence[str]) -> Any:
        ids = tokenizer(list(texts), truncation=True, max_length=MOST_TOKENS)["input_ids"]
        order = np.argsort([len(each) for each in ids], kind="stable")
        found = np.zeros(len(texts))
        for start in range(0, len(order), BATCH):
            some = order[start : start + BATCH]
            scores = logits([ids[number] for number in some])
            found[some] = 1.0 / (1.0 + np.exp(scores[:, 0] - scores[:, 1]))
        return found

    return chances


def transformers_sorted(type_name: str) -> Callable[[Path], Answer]:
    """Answer by transformers' model."""

    def opened(folder: Path) -> Answer:
        import torch
        from transformers import AutoModelForSequenceClassification

        asked = {"dtype": getattr(torch, type_name)}
        network = AutoModelForSequenceClassification.from_pretrained(folder / "exported", **asked).eval()

        def logits(batch: dict[str, Any]) -> Any:
            tensors = {name: torch.from_numpy(values) for name, values in batch.items()}
            with torch.inference_mode():
                return network(**tensors).logits.double().numpy()

        return padded(folder, logits)

    return opened


def onnx(file: str) -> Callable[[Path], Answer]:
    """Answer by onnxruntime."""

    def opened(folder: Path) -> Answer:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(folder / file), providers=["CPUExecutionProvider"])
        names = {each.name for each in session.get_inputs()}

        def logits(batch: dict[str, Any]) -> Any:
            given = {name: values.astype("int64") for name, values in batch.items() if name in names}
            return session.run(None, given)[0].astype("float64")

        return padded(folder, logits)

    return opened


def ctranslate2(compute_type: str) -> Callable[[Path], Answer]:
    """Answer by CTranslate2's encoder, which has the pooler, and the last layer in numpy."""

    def opened(folder: Path) -> Answer:
        import ctranslate2 as library
        import numpy as np
        from safetensors.numpy import load_file

        encoder = library.Encoder(str(folder / "ctranslate2"), device="cpu", compute_type=compute_type)
        tensors = load_file(folder / "exported" / "model.safetensors")
        weight, bias = tensors["classifier.weight"], tensors["classifier.bias"]

        def logits(ids: list[list[int]]) -> Any:
            return np.array(encoder.forward_batch(ids).pooler_output).astype("float64") @ weight.T + bias

        return by_length(folder, logits)

    return opened


SIDES: dict[str, Callable[[Path], Answer]] = {
    "ours": ours("float32"),
    "ours-bf16": ours("bfloat16"),
    "ours-int8": ours("int8"),
    "pipeline-1": pipeline(1),
    "pipeline-32": pipeline(32),
    "sorted": transformers_sorted("float32"),
    "sorted-bf16": transformers_sorted("bfloat16"),
    "onnx": onnx("classifier.onnx"),
    "onnx-int8": onnx("classifier-int8.onnx"),
    "ctranslate2": ctranslate2("float32"),
    "ctranslate2-int8": ctranslate2("int8"),
}


def make_models(folder: Path) -> None:
    """Make what each side opens, where it is not there yet: ours, its export, and that in the peers' formats."""
    if not (folder / "exported").is_dir():
        make_ours(folder)
    if not (folder / "classifier-int8.onnx").is_file():
        make_onnx(folder)
    if not (folder / "ctranslate2").is_dir():
        make_ctranslate2(folder)


def make_ours(folder: Path) -> None:
    """Make a classifier of random weights, and export it."""
    from trivium.core.random import Key
    from trivium.data.labelled import ClassifyExample
    from trivium.data.shards import PreparedData
    from trivium.model.config import with_vocabulary
    from trivium.model.preset_families import bert
    from trivium.tasks.build import build_model, learned_task, usual_head
    from trivium.tasks.config import finetune_config
    from trivium.tasks.export.huggingface import export_huggingface
    from trivium.tasks.folder import TunedModel, save_tuned
    from trivium.tasks.reader import begin_reader
    from trivium.tasks.start import random_start

    data = PreparedData.open(folder / "data")
    architecture = with_vocabulary(bert(LAYERS, WIDTH), data.tokenizer.vocabulary_size)
    start = random_start(architecture, data.tokenizer, row_length=MOST_TOKENS)
    config = finetune_config("classify")
    examples = [ClassifyExample("a text", "first", None), ClassifyExample("another", "second", None)]
    task = learned_task("classify", examples, usual_head("classify", start.config), config.settings)
    reader = begin_reader(start, config, task.readout, Key(0))
    model = build_model(task, reader.config, reader.part, dropout=0.0, key=Key(1)).eval()
    (folder / "classifier").mkdir(exist_ok=True)
    save_tuned(folder / "classifier", TunedModel(model, reader.config, task, start.reading(task.readout)))
    export_huggingface(folder / "classifier", folder / "exported")


def make_onnx(folder: Path) -> None:
    """Export the exported network to ONNX, in float32 and with int8 weights."""
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from transformers import AutoModelForSequenceClassification

    network = AutoModelForSequenceClassification.from_pretrained(folder / "exported", attn_implementation="eager")
    names = ("input_ids", "attention_mask")
    given = tuple(torch.ones(2, 8, dtype=torch.int64) for _ in names)
    torch.onnx.export(
        network.eval(),
        given,
        str(folder / "classifier.onnx"),
        input_names=list(names),
        output_names=["logits"],
        dynamic_axes={name: {0: "rows", 1: "length"} for name in names},
        dynamo=False,
    )
    quantize_dynamic(folder / "classifier.onnx", folder / "classifier-int8.onnx", weight_type=QuantType.QInt8)


def make_ctranslate2(folder: Path) -> None:
    """Convert the exported network for CTranslate2."""
    import json
    import shutil
    import tempfile

    from ctranslate2.converters import TransformersConverter

    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "exported"
        shutil.copytree(folder / "exported", copy)
        # Its loader asks for a key that transformers no longer writes, and takes the encoder alone.
        config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
        config |= {"position_embedding_type": "absolute", "architectures": ["BertModel"]}
        (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
        TransformersConverter(str(copy)).convert(str(Path(temporary) / "converted"))
        # Its reader asks for a token for what is unknown, of which a byte-level vocabulary has none.
        written = Path(temporary) / "converted" / "config.json"
        settings = json.loads(written.read_text(encoding="utf-8"))
        named = {name: "[PAD]" if value is None else value for name, value in settings.items()}
        written.write_text(json.dumps(named), encoding="utf-8")
        shutil.copytree(Path(temporary) / "converted", folder / "ctranslate2")


def sentences(texts: Path, folder: Path, count: int) -> list[str]:
    """Return the first sentences of the held-out text that a row has room for, every other of them left out."""
    with lzma.open(texts / "en_mix_10m.dev.txt.xz", "rt", encoding="utf-8") as file:
        found = [sentence for line in file for sentence in re.split(r"(?<=[.!?])\s+", line.strip()) if sentence]
    kept: list[str] = []
    for sentence, size in zip(found, lengths(found, folder), strict=True):
        if size <= MOST_TOKENS - 2:
            kept.append(sentence)
    return kept[: 2 * count : 2]


def lengths(texts: Sequence[str], folder: Path) -> Iterator[int]:
    """Yield the number of tokens of each text."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "data" / "tokenizer.json"))
    for start in range(0, len(texts), 1000):
        yield from (len(each.ids) for each in tokenizer.encode_batch_fast(list(texts[start : start + 1000])))


if __name__ == "__main__":
    main()
