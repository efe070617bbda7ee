"""One model of several checkpoints of a run: the plain average of their weights."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from trivium.core.config import parse, read_toml, write_toml
from trivium.core.errors import CheckpointError, ConfigError
from trivium.core.files import new_folder, refuse_existing, verify_checksums, write_json, write_text
from trivium.core.random import Key
from trivium.data.packing import RowReader
from trivium.data.shards import PreparedData
from trivium.data.tokenizer import Tokenizer
from trivium.model.count import num_parameters
from trivium.model.folder import TOKENIZER, load_tensors, read_tensors, save_model
from trivium.model.history import Made, read_history, write_history
from trivium.objectives.base import Objective
from trivium.objectives.build import build_objective
from trivium.train.checkpoint import WEIGHTS, checkpoints, step_of
from trivium.train.config import RunConfig
from trivium.train.material import vocabulary_of
from trivium.train.run import CONFIG, MODEL, RESULTS, as_trained
from trivium.train.validate import held_out_loss


class AveragedRun(NamedTuple):
    """What was averaged."""

    steps: tuple[int, ...]
    parameters: int
    loss: float | None  # held out, nats; None = not measured


def average_run(run: Path, out: Path, *, last: int, data: PreparedData | None = None) -> AveragedRun:
    """Average the last checkpoints of a finished run into a folder that is used as a run is.

    It holds `model/`, the run's settings, and which steps were averaged. A run keeps `train.checkpoints_kept` of its
    last checkpoints, and the best.

    Args:
        run: pretrained.
        out: the folder to make.
        last: how many checkpoints.
        data: what the run was trained on, to measure the held-out loss as the run did; None = it is not measured.

    Raises:
        CheckpointError: the run is not finished, has fewer checkpoints, or one of them is damaged.
        ConfigError: `out` is there already, or the data is not the run's.
    """
    refuse_existing(out)
    if not (run / CONFIG).is_file() or not (run / MODEL / TOKENIZER).is_file():
        raise CheckpointError(f"{run}: expected a finished pretraining run, found no {CONFIG} and {MODEL}/ in it.")
    if "objective" not in read_toml(run / CONFIG):
        raise CheckpointError(f"{run}: a fine-tuned run; expected a pretraining run.")
    config = parse(RunConfig, read_toml(run / CONFIG), str(run / CONFIG))
    if data is not None and data.fingerprint != config.data.fingerprint:
        raise ConfigError(f"--data: {run} was trained on {config.data.fingerprint}, and this is {data.fingerprint}.")
    found = checkpoints(run)
    if len(found) < last:
        raise CheckpointError(
            f"{run}: {len(found)} checkpoints are kept, fewer than {last}; "
            "take fewer, or train with a higher `train.checkpoints_kept`."
        )
    chosen = found[-last:]
    tokenizer = (run / MODEL / TOKENIZER).read_bytes()
    reads = Tokenizer.from_bytes(tokenizer)
    objective = build_objective(config.objective, vocabulary_of(config.model, reads, data))
    network = objective.network(config.model)
    load_tensors(network, mean_weights(chosen), str(run))
    kept = objective.exported(network)
    loss = None if data is None else _held_out_loss(config, objective, network, data)
    averaged = AveragedRun(tuple(step_of(path) for path in chosen), num_parameters(kept), loss)
    with new_folder(out) as folder:
        (folder / MODEL).mkdir()
        save_model(folder / MODEL, kept, as_trained(config.model, objective), tokenizer)
        before = read_history(run / MODEL, str(run))
        history = write_history(folder / MODEL, before, Made(verb="average"))
        write_text(folder / CONFIG, write_toml(config))
        results: dict[str, Any] = {"task": config.objective.kind} | ({} if loss is None else {"valid": {"loss": loss}})
        results |= {"seed": config.seed, "parameters": averaged.parameters}
        averages = {"average_of": {"run": str(run), "steps": list(averaged.steps)}, "history": history}
        write_json(folder / RESULTS, results | averages)
    return averaged


def _held_out_loss(config: RunConfig, objective: Objective, network: nn.Module, data: PreparedData) -> float:
    pad = data.tokenizer.special.pad
    reader = RowReader(data.split("validation"), row_length=config.data.row_length, key=None, pad=pad)
    return held_out_loss(
        network,
        objective,
        reader,
        rows=config.train.validate_rows,
        rows_per_batch=config.train.rows,
        key=Key(config.seed).child("validate"),
    ).loss


def mean_weights(folders: list[Path]) -> dict[str, Tensor]:
    """Return the mean of the checkpoints' weights by name, summed in float64; one checkpoint is read at a time.

    Raises:
        CheckpointError: one is damaged, or they are of different models.
    """
    sums: dict[str, Tensor] = {}
    for folder in folders:
        verify_checksums(folder)
        tensors = read_tensors(folder / WEIGHTS)
        if sums and {n: t.shape for n, t in sums.items()} != {n: t.shape for n, t in tensors.items()}:
            raise CheckpointError(f"{folder}: weights of another model than {folders[0]}.")
        for name, tensor in tensors.items():
            sums[name] = sums[name] + tensor if name in sums else tensor.to(torch.float64)
    return {name: (tensor / len(folders)).float() for name, tensor in sums.items()}
