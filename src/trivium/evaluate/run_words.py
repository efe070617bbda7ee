"""Settings of a run in words; whatever is absent or unknown is left out, so that any run can be shown."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from trivium.evaluate.formatting import compact_text, is_number, number_text, percent_text, seconds_text
from trivium.evaluate.run_files import RunFiles, table
from trivium.train.roofline import SECONDS

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
_UNITS = {"words": "hidden words", "spans": "hidden runs of words", "ngrams": "hidden runs of words"}
_STACKS = {"stack": "layers", "encoder": "layers that read", "decoder": "layers that write"}


def article(noun: str) -> str:
    """Return the noun with its indefinite article, at the beginning of a sentence."""
    return f"{'An' if noun[:1] in 'aeio' else 'A'} {noun}"


def objective_words(config: Mapping[str, Any]) -> str:
    """Return in words what a pretraining run predicts."""
    objective = table(config, "objective")
    match objective.get("kind"):
        case "masked":
            return _masked(objective)
        case "causal":
            return "the next token"
        case "prefix":
            return "the next token after a prefix that is read both ways"
        case "fill_in":
            return f"the next token, where the middle{_share(objective, 'rate', ' of {} of the texts')} stands last"
        case "permuted":
            return f"the last tokens of a random order{_share(objective, 'rate', ' ({} of the text)')}"
        case "spans":
            what = "the ends of texts" if objective.get("placement") == "end" else "hidden spans"
            return what + _share(objective, "rate", " ({} of the text)")
        case "denoise":
            return f"whole texts that were spoilt{_share(objective, 'rate', ' ({} taken out)')}"
        case "sentences":
            follow = objective.get("question") == "next"
            asked = "the second of two texts follows the first" if follow else "two texts stand in their order"
            return f"{_masked(table(objective, 'masked'))}, and whether {asked}"
        case "replaced":
            share = _share(table(objective, "masked"), "rate", " ({} of the text)")
            return f"which tokens a generator has put in{share}"
        case "contrastive":
            return "which of several texts is the same, read again"
        case "mixed":
            return _mixed(objective)
        case "ul2":
            return "hidden spans, short, long, or the end of the text (UL2)"
        case "distil":
            return f"{objective_words(objective)}, and what a teacher says of them"
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


def _masked(objective: Mapping[str, Any]) -> str:
    what = _UNITS.get(str(table(objective, "unit").get("kind")), "hidden tokens")
    shifted = ", each from the place before it" if objective.get("predicted_from") == "before" else ""
    return what + _share(objective, "rate", " ({} of the text)") + shifted


def _mixed(objective: Mapping[str, Any]) -> str:
    """Return what the parts predict, with their shares where all are known."""
    listed = objective.get("parts")
    parts = [part for part in listed if isinstance(part, Mapping)] if isinstance(listed, list | tuple) else []
    if not parts:
        return "several objectives"
    shares = [part.get("share", 1.0) for part in parts]
    plain = [share for share in shares if is_number(share)]
    total = sum(plain) if len(plain) == len(parts) else 0.0
    said = [
        objective_words(part) + (f" in {percent_text(share / total)} of the rows" if total > 0.0 else "")
        for part, share in zip(parts, shares, strict=True)
    ]
    return f"{', '.join(said[:-1])} and {said[-1]}" if len(said) > 1 else said[0]


def _share(objective: Mapping[str, Any], name: str, sentence: str) -> str:
    """Return a share, or the two that it goes from and to, in its sentence; nothing when it is unknown."""
    value = objective.get(name)
    if is_number(value):
        return sentence.format(percent_text(value))
    ramp = table(objective, name)
    start, stop = ramp.get("start"), ramp.get("stop")
    if is_number(start) and is_number(stop):
        return sentence.format(
            f"{percent_text(start)} falling to {percent_text(stop)}"
            if stop < start
            else f"{percent_text(start)} rising to {percent_text(stop)}"
        )
    return ""


def _feed_forward(part: Mapping[str, Any]) -> str | None:
    if not is_number(part.get("size")):
        return None
    gated = "gated, " if part.get("kind") == "gated" else ""
    return f"{gated}{number_text(part['size'])}, {part.get('activation', '')}".rstrip(", ")


def _number(value: object, unit: str = "") -> str | None:
    return f"{number_text(value) if value == int(value) else f'{value:g}'}{unit}" if is_number(value) else None


def speed_words(log: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return how the machine was used, as the training lines say: the share of its peak, what a step's time was for."""
    lines = [line for line in log if is_number(line.get("peak_share"))]
    lines = lines[1:] or lines  # the first steps warm up
    if not lines:
        return {}
    share, rate = (mean(line[key] for line in lines) for key in ("peak_share", "flops_per_second"))
    phases = [key for key in lines[-1] if key.startswith(SECONDS) and all(is_number(line.get(key)) for line in lines)]
    seconds = {key.removeprefix(SECONDS): mean(line[key] for line in lines) for key in phases}
    total = max(sum(seconds.values()), 1e-9)
    parts = ", ".join(f"{name} {part / total:.0%}" for name, part in seconds.items() if part >= 0.005 * total)
    return {
        "matrix products": f"{rate / 1e9:,.0f} GFLOP/s, {share:.0%} of the machine's measured peak",
        "a step": f"{seconds_text(total)}: {parts}",
    }
