"""How fast text is written with a key/value cache, beside transformers and CTranslate2 with the same weights.

    python benchmarks/generate.py --texts FOLDER [--rounds 7] [--new-tokens 64] [--prompt-length 32] [--again]

A GPT-2 of 6 layers of 384 hidden units and 8,192 tokens with random weights continues the same prompts greedily, one
and eight at a time, each side in a process of its own: ours as `trivium generate` does (eight as the library does),
transformers' `generate` and CTranslate2 (float32, int8) on the export. All must write the same tokens (int8: it is said
how many of them are the same). A turn is all new tokens of all prompts.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from pretrain import prepared
from turns import Side, Turns, by_turns, has_bfloat16, read_rows, row, table, write_rows

PACKAGES = ("transformers", "ctranslate2")
LAYERS, WIDTH = 6, 384
ROWS = (1, 8)
PEERS = {
    "transformers `generate`": "transformers",
    "transformers `generate`, bfloat16": "transformers-bf16",
    "CTranslate2": "ctranslate2",
    "CTranslate2, int8": "ctranslate2-int8",
}
# (prompts, new tokens) -> the new tokens of each prompt
Write = Callable[[Sequence[Sequence[int]], int], Sequence[Sequence[int]]]


def main() -> None:
    """Measure what is not there yet, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("runs/benchmarks"), help="where the prepared text is kept")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--prompt-length", type=int, default=32)
    parser.add_argument("--again", action="store_true", help="measure also what is there")
    parser.add_argument("--side", nargs=2, metavar=("KIND", "ROWS"), help="be this side")
    arguments = parser.parse_args()
    if arguments.side:
        be(arguments.side[0], int(arguments.side[1]), arguments)
        return
    prepared(arguments.texts, arguments.data)
    make_models(arguments.data)
    for rows in ROWS:
        work = f"generate-{LAYERS}x{WIDTH}-b{rows}"
        there = {
            each["peer"] for each in read_rows("generate") if each["work"].startswith(work) and not arguments.again
        }
        asked = {peer: kind for peer, kind in PEERS.items() if "bfloat16" not in peer or has_bfloat16()}
        peers = {peer: kind for peer, kind in asked.items() if peer not in there}
        if peers:
            write_rows("generate", measured(work, rows, peers, arguments), PACKAGES)
    print(table(read_rows("generate")))


def measured(work: str, rows: int, peers: dict[str, str], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of one work."""
    sizes = ["--new-tokens", str(arguments.new_tokens), "--prompt-length", str(arguments.prompt_length)]
    options = ["--texts", str(arguments.texts), "--data", str(arguments.data), *sizes]
    own = list(dict.fromkeys(["ours", *(mine for peer in peers for mine in own_sides(peer))]))
    command = [sys.executable, __file__, *options, "--side"]
    sides = [Side(kind, [*command, kind, str(rows)]) for kind in (*own, *peers.values())]
    turns = by_turns(sides, rounds=arguments.rounds)
    found = []
    for peer, kind in peers.items():
        alike = turns[kind][0].said["as_ours"]
        if alike < 1.0 and "int8" not in peer and "bfloat16" not in peer:
            raise SystemExit(f"{peer} writes other tokens: {alike:.0%} are the same")
        settings = {"new_tokens": arguments.new_tokens, "prompt_length": arguments.prompt_length, "same_tokens": alike}
        for mine in own_sides(peer):
            named = work + mine.removeprefix("ours")
            found.append(row(named, "tokens/s", turns[mine], peer, turns[kind], **settings))
    return found


def own_sides(peer: str) -> list[str]:
    """Return which of our sides a peer is compared with: that of its type; of float32, also narrower ones."""
    if "int8" in peer:
        return ["ours-int8"]
    if "bfloat16" in peer:
        return ["ours-bf16"]
    return ["ours", "ours-bf16", "ours-int8"] if has_bfloat16() else ["ours", "ours-int8"]


def be(kind: str, rows: int, arguments: argparse.Namespace) -> None:
    """Be one side, until there is no more to do; ours leaves its tokens for the others to compare with."""
    import numpy as np

    rng = np.random.default_rng(rows)
    prompts = rng.integers(300, 8000, (rows, arguments.prompt_length)).tolist()
    write, kept = SIDES[kind](arguments.data, rows), arguments.data / f"written-{rows}.json"
    turns = Turns(1)
    while True:
        tokens = [list(each) for each in write(prompts, arguments.new_tokens)]
        if kind == "ours":
            kept.write_text(json.dumps(tokens), encoding="utf-8")
        known = json.loads(kept.read_text(encoding="utf-8"))
        pairs = [pair for mine, theirs in zip(tokens, known, strict=True) for pair in zip(mine, theirs, strict=True)]
        turns.tick(rows * arguments.new_tokens, as_ours=sum(one == other for one, other in pairs) / len(pairs))


def ours(precision: Literal["float32", "bfloat16", "int8"]) -> Callable[[Path, int], Write]:
    """Write as `trivium generate` does; it never stops by itself."""

    def opened(folder: Path, rows: int) -> Write:
        from trivium.cli.environment import set_up_process

        set_up_process()
        from trivium.model.decoding import Decoding
        from trivium.model.folder import load_model
        from trivium.model.generate import decode
        from trivium.model.packed import packed
        from trivium.model.precision import computing_in

        network = load_model(folder / "writer").network.eval()
        network = packed(computing_in(network, precision), rows=rows)

        def write(prompts: Sequence[Sequence[int]], new: int) -> list[list[int]]:
            return [best.tokens for [best] in decode(network, prompts, Decoding(max_new_tokens=new), stop=frozenset())]

        return write

    return opened


def transformers(type_name: str) -> Callable[[Path, int], Write]:
    """Write as transformers' `generate` does."""

    def opened(folder: Path, rows: int) -> Write:
        import torch
        from transformers import AutoModelForCausalLM

        asked_type = {"dtype": getattr(torch, type_name)}
        network = AutoModelForCausalLM.from_pretrained(folder / "exported-writer", **asked_type).eval()
        network.generation_config.eos_token_id = None

        def write(prompts: Sequence[Sequence[int]], new: int) -> list[list[int]]:
            prompts_BL = torch.tensor(prompts)
            asked = {"attention_mask": torch.ones_like(prompts_BL), "do_sample": False, "pad_token_id": 0}
            made = network.generate(prompts_BL, max_new_tokens=new, **asked)
            return made[:, prompts_BL.shape[1] :].tolist()

        return write

    return opened


def ctranslate2(compute_type: str) -> Callable[[Path, int], Write]:
    """Write as CTranslate2 does."""

    def opened(folder: Path, rows: int) -> Write:
        import ctranslate2 as library
        from tokenizers import Tokenizer

        writer = library.Generator(str(folder / "ctranslate2-writer"), device="cpu", compute_type=compute_type)
        tokenizer = Tokenizer.from_file(str(folder / "data" / "tokenizer.json"))

        def write(prompts: Sequence[Sequence[int]], new: int) -> list[list[int]]:
            named = [[tokenizer.id_to_token(number) for number in prompt] for prompt in prompts]
            made = writer.generate_batch(
                named,
                max_length=new,
                min_length=new,
                sampling_topk=1,
                include_prompt_in_result=False,
                end_token=[],
            )
            return [list(each.sequences_ids[0]) for each in made]

        return write

    return opened


SIDES: dict[str, Callable[[Path, int], Write]] = {
    "ours": ours("float32"),
    "ours-bf16": ours("bfloat16"),
    "ours-int8": ours("int8"),
    "transformers": transformers("float32"),
    "transformers-bf16": transformers("bfloat16"),
    "ctranslate2": ctranslate2("float32"),
    "ctranslate2-int8": ctranslate2("int8"),
}


def make_models(folder: Path) -> None:
    """Make what each side opens, where it is not there yet: ours, its export, and that converted."""
    import torch
    from ctranslate2.converters import TransformersConverter

    from trivium.core.random import Key
    from trivium.data.shards import PreparedData
    from trivium.hub.folder import SpecialIds, write_folder
    from trivium.hub.tokenizers import write_tokenizer
    from trivium.model.build import build_network
    from trivium.model.config import with_vocabulary
    from trivium.model.folder import save_model, unique_tensors
    from trivium.model.initialise import initialise
    from trivium.model.preset_families import gpt2

    if (folder / "ctranslate2-writer").is_dir():
        return
    tokenizer = PreparedData.open(folder / "data").tokenizer
    config = with_vocabulary(gpt2(LAYERS, WIDTH), tokenizer.vocabulary_size)
    network = build_network(config)
    initialise(network, config, Key(0))
    with torch.no_grad():
        for parameter in network.parameters():
            # Large, so that it does not say one word again and again: equal tokens must mean something.
            parameter.mul_(4.0 if parameter.ndim == 2 else 1.0)
    special = tokenizer.special
    ids = SpecialIds(pad=special.pad, bos=special.bos, eos=(special.eos,), decoder_start=None)
    for name in ("writer", "exported-writer"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    save_model(folder / "writer", network, config, tokenizer.to_bytes())
    write_folder(folder / "exported-writer", config, unique_tensors(network), ids=ids, model_type="gpt2")
    write_tokenizer(tokenizer, folder / "exported-writer", max_length=config.max_length, for_prompts=True)
    with tempfile.TemporaryDirectory() as temporary:
        TransformersConverter(str(folder / "exported-writer")).convert(str(Path(temporary) / "converted"))
        # Its reader asks for a token for what is unknown, of which a byte-level vocabulary has none.
        written = Path(temporary) / "converted" / "config.json"
        settings = json.loads(written.read_text(encoding="utf-8"))
        written.write_text(json.dumps(settings | {"unk_token": "[PAD]"}), encoding="utf-8")
        shutil.copytree(Path(temporary) / "converted", folder / "ctranslate2-writer")


if __name__ == "__main__":
    main()
