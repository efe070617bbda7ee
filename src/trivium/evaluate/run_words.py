"""Settings of a run in words; whatever is absent or unknown is left out, so that any run can be shown."""

from collections.abc import Mapping
from typing import Any

from trivium.evaluate.formatting import compact_text, is_number, number_text, percent_text, seconds_text
from trivium.evaluate.run_files import RunFiles, table

_POSITIONS = {
    "rotary": "rotary",
    "learned": "learned",
    "sinusoidal": "sines and cosines",
    "alibi": "ALiBi",
    "relative_buckets": "relative, in buckets",
    "none": "none",
}
_NORMS = {"layer_norm": "LayerNorm", "rms_norm": "RMSNorm"}
_PLACEMENTS = {"pre": "before each branch", "post": "after each sum", "sandwich": "before and after each branch"}
_STACKS = {"stack": "layers", "encoder": "layers that read", "decoder": "layers that write"}


def article(noun: str) -> str:
    """Return the noun with its indefinite article, at the beginning of a sentence."""
    return f"{'An' if noun[:1] in 'aeio' else 'A'} {noun}"


def objective_words(config: Mapping[str, Any]) -> str:
    """Return in words what a pretraining run predicts."""
    objective = table(config, "objective")
    rate = objective.get("rate")
    match objective.get("kind"):
        case "masked":
            return "hidden tokens" + (f" ({percent_text(rate)} of the text)" if is_number(rate) else "")
        case "causal":
            return "the next token"
        case "spans":
            return "hidden spans" + (f" ({percent_text(rate)} of the text)" if is_number(rate) else "")
        case kind:
            return str(kind or "an unknown objective")


def architecture_words(model: Mapping[str, Any]) -> dict[str, object]:
    """Return what a network is made of, by part."""
    family = table(model, "family")
    words: dict[str, object] = {}
    if not family:
        return words
    words["hidden size"] = _number(model.get("hidden_size"))
    words["vocabulary"] = _number(model.get("vocabulary_size"), " tokens")
    words["longest document"] = _number(model.get("max_length"), " tokens")
    stacks = {name: table(family, name) for name in _STACKS if table(family, name)}
    for name, stack in stacks.items():
        words[_STACKS[name]] = _number(stack.get("num_layers"))
    first = next(iter(stacks.values()), {})
    pattern = first.get("pattern") or [{}]
    block = pattern[0] if isinstance(pattern[0], Mapping) else {}
    words["attention"] = _number(table(block, "attention").get("num_heads"), " heads")
    words["feed-forward"] = _feed_forward(table(block, "feed_forward"))
    norm = _NORMS.get(str(table(block, "norm").get("kind")))
    placement = _PLACEMENTS.get(str(block.get("placement")))
    words["norm"] = f"{norm} {placement}" if norm and placement else norm
    words["positions"] = _POSITIONS.get(str(table(first, "position").get("kind")))
    return words


def run_words(files: RunFiles) -> dict[str, object]:
    """Return how a run was made: steps, rows, learning rate, seed, and what its results say of the making."""
    config, results = files.config, files.results or {}
    train = table(config, "train") or config
    optimiser, schedule = table(config, "optimiser"), table(config, "schedule")
    rows, length = train.get("rows"), table(config, "data").get("row_length", config.get("row_length"))
    rate = optimiser.get("lr")
    words: dict[str, object] = {
        "task": files.task,
        "begins with": config.get("start_from") or results.get("from") or "random weights",
        "training text": config.get("train") if isinstance(config.get("train"), str) else None,
        "steps": _number(train.get("steps") or train.get("max_steps")),
        "epochs": _number(train.get("epochs")),
        "rows a step": _number(rows, f" of {length} tokens" if is_number(length) else ""),
        "learning rate": f"{rate:g}, {schedule.get('kind', 'constant')} schedule" if is_number(rate) else None,
        "weight decay": _number(optimiser.get("weight_decay")),
        "computed in": train.get("precision"),
        "seed": _number(config.get("seed", results.get("seed"))),
        "parameters": compact_text(results["parameters"]) if is_number(results.get("parameters")) else None,
        "coverage": percent_text(results["coverage"]) if is_number(results.get("coverage")) else None,
        "time": seconds_text(results["seconds"]) if is_number(results.get("seconds")) else None,
    }
    return {name: value for name, value in words.items() if value is not None}


def _feed_forward(part: Mapping[str, Any]) -> str | None:
    if not is_number(part.get("size")):
        return None
    gated = "gated, " if part.get("kind") == "gated" else ""
    return f"{gated}{number_text(part['size'])}, {part.get('activation', '')}".rstrip(", ")


def _number(value: object, unit: str = "") -> str | None:
    return f"{number_text(value) if value == int(value) else f'{value:g}'}{unit}" if is_number(value) else None
