"""Prepared data and models in a few lines, for eyes or as JSON; and how a run's model is opened."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from trivium.data.normal import Normal
    from trivium.data.shards import PreparedData
    from trivium.model.config import ModelConfig
    from trivium.model.history import Made
    from trivium.tasks.speak import Speaker


def open_speaker(run: Path) -> "Speaker":
    """Open the pretrained model of a run or a Hugging Face folder; raise CheckpointError when it holds none."""
    from trivium.cli.locate import model_folder
    from trivium.core.errors import CheckpointError
    from trivium.hub.open import is_foreign, open_pretrained
    from trivium.tasks.speak import Speaker

    folder = model_folder(run)
    if not (is_foreign(folder) or any((folder / name).is_file() for name in ("model.toml", "config.toml"))):
        raise CheckpointError(f"{run}: no run, and no Hugging Face folder: no config.json there with a `model_type`.")
    if (folder / "task.toml").is_file():
        raise CheckpointError(f"{run}: a fine-tuned run answers to `trivium predict`; expected a pretrained one.")
    return Speaker.of(open_pretrained(folder, speaks=True))


def show_data(folder: Path, data: "PreparedData", normal: "Normal", *, as_json: bool) -> None:
    """Print what prepared data holds and what was dropped."""
    import numpy as np

    manifest = data.manifest
    quantiles = np.quantile(data.split("train").lengths_S, (0.05, 0.5, 0.95)).astype(int).tolist()
    if as_json:
        described = {**manifest.model_dump(mode="json"), "length_quantiles": quantiles, "normal": normal._asdict()}
        typer.echo(json.dumps(described, ensure_ascii=False))
        return
    asked = manifest.vocabulary_requested or 0
    fewer = f" (of {asked:,} asked: the text holds no more)" if asked > manifest.vocabulary_size else ""
    typer.echo(f"{folder}: {manifest.tokenizer.kind} tokenizer of {manifest.vocabulary_size:,} tokens{fewer}")
    for name, split in manifest.splits.items():
        ratio = split.bytes / max(split.tokens, 1)
        typer.echo(
            f"  {name:<11}{split.documents:>10,} documents {split.tokens:>13,} tokens {split.bytes:>14,} bytes"
            f"  {ratio:.2f} bytes a token"
        )
    typer.echo(
        f"  lengths    5 % under {quantiles[0]:,}, half under {quantiles[1]:,}, 95 % under {quantiles[2]:,} tokens"
    )
    ledger = manifest.ledger
    typer.echo(
        f"  in         {ledger.documents_in:,} documents, {ledger.bytes_in:,} bytes"
        f" = kept {ledger.kept_documents:,}, {ledger.kept_bytes:,}"
    )
    for reason, dropped in ledger.dropped.items():
        typer.echo(f"             + {reason}: {dropped.documents:,} documents, {dropped.bytes:,} bytes")
    typer.echo(f"  normal     {normal} nats a token on the validation split")


def show_model(
    name: str,
    config: "ModelConfig",
    *,
    sizes: Mapping[str, int] | None = None,
    remark: str = "",
    history: "Sequence[Made]" = (),
    as_json: bool,
) -> None:
    """Print parameters and FLOPs by part.

    Args:
        name: what is shown.
        config: its architecture.
        sizes: numbers in each of its tensors, where it has no head over the vocabulary.
        remark: said beside the name.
        history: how its weights came to be.
        as_json: for programs.
    """
    import torch

    from trivium.model.build import choose_kernel
    from trivium.model.count import count_parts, count_without_vocabulary
    from trivium.model.history import said_chain
    from trivium.model.presets import PUBLISHED

    counts = count_parts(config) if sizes is None else count_without_vocabulary(config, sizes)
    kernels = {device: choose_kernel(config, torch.device(device)) for device in ("cpu", "cuda")}
    published = PUBLISHED.get(name)
    if as_json:
        described = {"name": name, "config": config.model_dump(mode="json"), "kernels": kernels}
        known: dict[str, object] = {} if published is None else {"published": published._asdict()}
        if history:
            known["history"] = [step.model_dump(mode="json", exclude_none=True) for step in history]
        typer.echo(json.dumps(described | known | {"parts": [count._asdict() for count in counts]}))
        return
    family = config.family.kind.replace("_", "-")
    typer.echo(
        f"{name}: {family}, hidden {config.hidden_size}, vocabulary {config.vocabulary_size:,}, "
        f"up to {config.max_length:,} tokens{remark}"
    )
    typer.echo(f"  {'part':<36}{'parameters':>14}{'forward GFLOP':>16}")
    for count in counts:
        typer.echo(f"  {count.part:<36}{count.parameters:>14,}{count.forward_flops / 1e9:>16.3f}")
    if published is not None:
        typer.echo(f"  {'published':<36}{published.millions:>12,.4g} M  ({published.source})")
    typer.echo(f"  FLOPs of one row of {config.max_length:,} tokens, every place predicted.")
    typer.echo("  attention by " + ", ".join(f"`{kernel}` on {device}" for device, kernel in kernels.items()))
    for line in said_chain(history):
        typer.echo(f"  {line}")


def show_presets(*, as_json: bool) -> None:
    """Print every preset with its parameters, and what its paper says."""
    from trivium.model.build import build_network
    from trivium.model.count import num_parameters
    from trivium.model.presets import PRESETS, PUBLISHED, preset

    rows = []
    for name in PRESETS:
        config, published = preset(name), PUBLISHED.get(name)
        rows.append(
            {
                "name": name,
                "family": config.family.kind,
                "parameters": num_parameters(build_network(config, device="meta")),
                "published_millions": None if published is None else published.millions,
                "source": None if published is None else published.source,
            }
        )
    if as_json:
        typer.echo(json.dumps(rows))
        return
    typer.echo(f"{'preset':<18}{'family':<18}{'parameters':>14}{'published':>12}")
    for row in rows:
        said = "" if row["source"] is None else f"{row['published_millions']:>10,.4g} M  {row['source']}"
        family = str(row["family"]).replace("_", "-")
        typer.echo(f"{row['name']:<18}{family:<18}{row['parameters']:>14,}{said}")


def show_objectives(out: Path | None, *, as_json: bool) -> None:
    """Print what every objective hides, predicts and sees; draw them all into a folder if there is one to make."""
    from trivium.core.files import new_folder, refuse_existing, write_text
    from trivium.evaluate.objective_facts import FACTS, settings_of

    drawn = 0
    if out is not None:
        from trivium.evaluate.objective_examples import EXAMPLES, example_picture

        refuse_existing(out)
        with new_folder(out) as folder:
            for name in EXAMPLES:
                write_text(folder / f"{name}.svg", example_picture(name))
        drawn = len(EXAMPLES)
    if as_json:
        typer.echo(json.dumps([{**facts._asdict(), "settings": settings_of(facts.kind)} for facts in FACTS]))
        return
    for facts in FACTS:
        settings = ", ".join(f"{name} = {value}" for name, value in settings_of(facts.kind).items())
        typer.echo(
            f"{facts.kind:<12}{facts.families}. Hides {facts.hides}. Predicts {facts.predicts}. Sees {facts.sees}. "
            f"({facts.paper}) Settings: {settings or 'none'}"
        )
    if out is not None:
        typer.echo(f"{drawn} pictures in {out}")


_CALIBRATION = ("ece", "brier", "nll")


def show_scores(title: str, metrics: dict[str, float], results: Mapping[str, Any]) -> None:
    """Print a model's scores, a line a metric with the baselines beside it, the one that it was chosen by first.

    Args:
        title: what was scored on what.
        metrics: the scores.
        results: of the run, with its baselines and intervals.
    """
    baselines: Mapping[str, Mapping[str, float | str]] = results["baselines"]
    intervals = results.get("intervals", {})
    names = sorted(metrics, key=lambda name: (name in _CALIBRATION, name != results.get("chosen_by")))
    numbers, wide = [f"[{number}]" for number in range(1, len(baselines) + 1)], max(36, len(title) + 2)
    typer.echo(f"{title:<{wide}}{'the model':>12}" + "".join(f"{number:>10}" for number in numbers))
    for name in names:
        cells = [values.get(name) for values in baselines.values()]
        beside = "".join(f"{cell:>10.4f}" if isinstance(cell, float) else " " * 10 for cell in cells)
        typer.echo(f"  {name:<{wide - 2}}{metrics[name]:>12.4f}{beside}".rstrip())
    for number, (baseline, values) in zip(numbers, baselines.items(), strict=True):
        remarks = [value for value in values.values() if isinstance(value, str)]
        typer.echo(f"  {number} {': '.join([baseline, *remarks])}")
    for name, (low, high) in intervals.items():
        typer.echo(f"  95 % interval of the model's {name}: {low:.4f} to {high:.4f}")


def interval_text(interval: Sequence[float] | None) -> str:
    """Return an interval as it stands behind a score; nothing where there is none."""
    return "" if interval is None else f"  (95 %: {interval[0]:.4f} to {interval[1]:.4f})"
