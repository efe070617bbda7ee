"""How fast text is written with a key/value cache, beside transformers with the same weights.

    python benchmarks/generate.py [--rounds 7] [--new-tokens 64] [--prompt-length 32] [--threads 2]

A GPT-2 of 6 layers of 384 hidden units and 8192 tokens with random weights, float32, greedy, is exported and opened by
transformers; both continue the same prompts by turns, and must say the same. Medians of the rounds. The peak is reading
all weights once a step at the memory's speed, which is measured in between: a sum over a tensor larger than all caches.
"""

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

RESULTS = Path(__file__).parent / "results" / "generate.json"
LAYERS, HEADS, HEAD_SIZE, VOCABULARY_SIZE = 6, 6, 64, 8192
ROWS = (1, 8)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--prompt-length", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = both(Path(folder))
    rows = [measure(ours, theirs, rows, arguments) for rows in ROWS]
    RESULTS.parent.mkdir(exist_ok=True)
    result = {"machine": platform.processor() or platform.machine(), "versions": versions(), "rows": rows}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{'work':20} {'ours':>8} {'theirs':>8} {'ratio':>6} {'peak':>6}   tokens/s")
    for row in rows:
        print(f"{row['work']:20} {row['ours']:8.1f} {row['theirs']:8.1f} {row['ratio']:6.2f} {row['peak_share']:6.1%}")


def both(folder: Path) -> tuple[Any, Any]:
    """Return our network, and transformers' with the same weights."""
    from transformers import AutoModelForCausalLM

    from trivium.core.random import Key
    from trivium.hub.folder import SpecialIds, write_folder
    from trivium.model.build import build_network
    from trivium.model.folder import unique_tensors
    from trivium.model.initialise import initialise
    from trivium.model.presets import preset

    config = preset("gpt2")
    stack = config.family.stack
    block = stack.pattern[0]
    heads = {"num_heads": HEADS, "num_key_value_heads": HEADS, "head_size": HEAD_SIZE}
    size = HEADS * HEAD_SIZE
    block = block.model_copy(
        update={
            "attention": block.attention.model_copy(update=heads),
            "feed_forward": block.feed_forward.model_copy(update={"size": 4 * size}),
        }
    )
    stack = stack.model_copy(update={"num_layers": LAYERS, "pattern": (block,)})
    family = config.family.model_copy(update={"stack": stack})
    config = config.model_copy(update={"hidden_size": size, "vocabulary_size": VOCABULARY_SIZE, "family": family})
    network = build_network(config)
    initialise(network, config, Key(0))
    ids = SpecialIds(pad=0, bos=1, eos=(2,), decoder_start=0)
    write_folder(folder, config, unique_tensors(network), ids=ids, model_type="gpt2")
    return network.eval(), AutoModelForCausalLM.from_pretrained(folder).eval()


def measure(ours: Any, theirs: Any, rows: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the result for so many rows at once."""
    import torch

    from trivium.model.decoding import Decoding
    from trivium.model.generate import decode
    from trivium.model.packed import packed

    generator = torch.Generator().manual_seed(rows)
    new, length = arguments.new_tokens, arguments.prompt_length
    prompts_BL = torch.randint(4, VOCABULARY_SIZE, (rows, length), generator=generator)
    mask_BL = torch.ones_like(prompts_BL)
    theirs.generation_config.eos_token_id = None
    asked = {"attention_mask": mask_BL, "max_new_tokens": new, "do_sample": False, "pad_token_id": 0}

    writer = packed(ours, rows=rows)

    def write_ours() -> list[list[int]]:
        found = decode(writer, prompts_BL.tolist(), Decoding(max_new_tokens=new), stop=frozenset())
        return [best.tokens for [best] in found]

    def write_theirs() -> list[list[int]]:
        return theirs.generate(prompts_BL, **asked)[:, length:].tolist()

    if write_ours() != write_theirs():
        raise SystemExit("the two say different things")
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}
    bandwidth = []
    for number in range(arguments.rounds):
        works = [("ours", write_ours), ("theirs", write_theirs)]
        for name, work in works if number % 2 == 0 else works[::-1]:
            times[name].append(timed(work))
        bandwidth.append(bytes_a_second())
    seconds = {name: median(wall for wall, _ in found) for name, found in times.items()}
    weights = sum(parameter.numel() * parameter.element_size() for parameter in ours.parameters())
    return {
        "work": f"generate-{LAYERS}x{HEADS * HEAD_SIZE}-b{rows}",
        "peer": "transformers `generate`",
        "unit": "tokens/s",
        "ours": rows * new / seconds["ours"],
        "theirs": rows * new / seconds["theirs"],
        "ratio": seconds["theirs"] / seconds["ours"],
        "peak_share": weights * new / seconds["ours"] / median(bandwidth),
        "settings": {
            "rounds": arguments.rounds,
            "new_tokens": new,
            "prompt_length": length,
            "threads": arguments.threads,
            "load": os.getloadavg()[0],
            "gigabytes_a_second": median(bandwidth) / 1e9,
            "processor_milliseconds_a_step": {
                name: 1000 * median(spent for _, spent in found) / new for name, found in times.items()
            },
            "spread_seconds": {
                name: [min(wall for wall, _ in found), max(wall for wall, _ in found)] for name, found in times.items()
            },
        },
    }


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds on the clock and of the processor."""
    begun, spent = perf_counter(), process_time()
    work()
    return perf_counter() - begun, process_time() - spent


def bytes_a_second() -> float:
    """Return how fast memory is read."""
    import torch

    numbers = torch.ones(64 * 2**20)
    begun = perf_counter()
    numbers.sum()
    return numbers.numel() * numbers.element_size() / (perf_counter() - begun)


def versions() -> dict[str, str]:
    """Return the versions that matter."""
    import torch
    import transformers

    import trivium

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "trivium": trivium.__version__,
    }


if __name__ == "__main__":
    main()
