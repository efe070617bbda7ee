"""Fully sharded training (FSDP2, Zhao et al. 2023): each rank keeps a part of every parameter and of its state."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from trivium.core.errors import CheckpointError, ConfigError
from trivium.model.folder import unique_tensors
from trivium.model.stack import Stack
from trivium.objectives.build import MixedConfig, Ul2Config
from trivium.objectives.regularisers.config import FgmConfig, SmartConfig
from trivium.train.config import RunConfig
from trivium.train.distributed import Ranks
from trivium.train.optimiser_config import AdamWConfig, LionConfig, Precision
from trivium.train.precision import TrainedWeights, Whole


class ShardedWeights(TrainedWeights):
    """Weights of which each rank has a part in float32; a block's are gathered, rounded, when it is computed.

    Args:
        network: its parameters become parts, in place.
        precision: the type that is computed in; gradients are added up in float32.
        ranks: of the run, at least 2.
    """

    def __init__(self, network: nn.Module, precision: Precision, ranks: Ranks) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        mesh = init_device_mesh(next(network.parameters()).device.type, (ranks.count,))
        narrow = torch.bfloat16 if precision == "bfloat16" else None
        policy = MixedPrecisionPolicy(param_dtype=narrow, reduce_dtype=torch.float32, cast_forward_inputs=False)
        whole = Whole(network)
        for module in network.modules():
            if isinstance(module, Stack):
                for block in module.blocks:
                    fully_shard(block, mesh=mesh, mp_policy=policy)
        # In parts again after every pass, one without a gradient too: between steps all that is there are parts.
        fully_shard(whole, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
        self.master, self.compute, self._count = network, whole, ranks.count
        self._pairs = []

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of one micro-batch to those of the parts."""
        # FSDP takes the mean over ranks, and what is wanted is the sum.
        (loss * self._count).backward()  # type: ignore[no-untyped-call]

    def add_up_gradients(self, parameters: Sequence[Tensor], ranks: Ranks) -> None:
        """Do nothing: FSDP has added them up in the backward pass."""

    def clip_gradients(self, parameters: Sequence[Tensor], ranks: Ranks, *, max_norm: float) -> float:
        """Make gradients longer than `max_norm` as short as it and return their norm, that of all parts."""
        norm = nn.utils.clip_grad_norm_(parameters, max_norm)
        return float(_whole(norm))

    def exact(self) -> nn.Module:
        """Return what is computed with."""
        return self.compute


def is_sharding(config: RunConfig, ranks: Ranks) -> bool:
    """Return whether each rank keeps but a part of the weights."""
    return ranks.count > 1 and config.train.parallel == "fsdp"


def require_shardable(config: RunConfig) -> None:
    """Raise ConfigError for what needs a parameter or the weights as a whole."""
    problems = {
        "optimiser.kind": not isinstance(config.optimiser, LionConfig)
        and not (
            isinstance(config.optimiser, AdamWConfig)
            and not (config.optimiser.cautious or config.optimiser.cautious_decay)
        ),
        "averaging": config.averaging is not None,
        "mixout": bool(config.mixout),
        # A gradient within the loss ends the pass in which the parts are together.
        "regularisers": any(isinstance(each, FgmConfig | SmartConfig) for each in config.regularisers),
    }
    if isinstance(config.objective, MixedConfig | Ul2Config):
        # Which blocks a rank puts together, and how often, follows from whose its rows are.
        raise ConfigError(
            f"`train.parallel` fsdp needs ranks that compute alike, and the rows of `objective.kind` "
            f"{config.objective.kind} are not all of one part; use ddp, or a single objective."
        )
    for name, found in problems.items():
        if found:
            raise ConfigError(
                f"`train.parallel` fsdp keeps parts of parameters, and `{name}` needs them whole; use ddp, "
                "or adamw or lion without averaging, mixout, fgm and smart."
            )


def is_sharded(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether each rank has but a part of these."""
    return any(hasattr(tensor, "full_tensor") for tensor in tensors.values())


def gathered(network: nn.Module, like: nn.Module) -> nn.Module:
    """Return `like` with the weights of a sharded network; all ranks must call this."""
    targets = unique_tensors(like)
    for name, tensor in unique_tensors(network).items():
        targets[name].copy_(_whole(tensor))
    return like


def _whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor that is in parts; all ranks must call this."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def save_parts(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Write a file of safetensors for each rank; all ranks must call this.

    Raises:
        OSError: one of them could not write, for want of space for one.
        CheckpointError: they could not for another reason.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    folder.mkdir(parents=True, exist_ok=True)
    try:
        save(dict(tensors), storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))
    except CheckpointException as error:  # of no kind that anybody catches
        first = next(iter(error.failures.values()))[0]
        raise first if isinstance(first, OSError) else CheckpointError(f"{folder}: {first}") from None


def read_parts(folder: Path, targets: Mapping[str, Tensor]) -> None:
    """Read what `save_parts` wrote into tensors, whole or in parts, on any number of ranks.

    Raises:
        CheckpointError: they are of another model.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = HuggingFaceStorageReader(str(folder))
    saved = reader.read_metadata().state_dict_metadata
    if saved.keys() != targets.keys():
        other = sorted(saved.keys() ^ targets.keys())[:3]
        raise CheckpointError(f"{folder}: weights of another model (not in both: {', '.join(other)}).")
    try:
        with warnings.catch_warnings():  # that it reads in one process, which is what is wanted
            warnings.simplefilter("ignore", UserWarning)
            load(dict(targets), storage_reader=reader, no_dist=not distributed.is_initialized())
    except (CheckpointException, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder}: cannot be read: {error}") from None


def put(target: Tensor, whole: Tensor) -> None:
    """Copy a whole tensor into one that is in parts."""
    from torch.distributed.tensor import distribute_tensor

    target.copy_(distribute_tensor(whole, target.device_mesh, target.placements))  # type: ignore[attr-defined]


def state_of(parameter: Tensor, whole: Tensor) -> Tensor:
    """Return the state of a parameter in parts; numbers that belong to it as a whole are on every rank."""
    if not whole.ndim:
        return whole.clone()
    state = torch.zeros_like(parameter)
    put(state, whole)
    return state


def optimiser_parts(folder: Path, network: nn.Module) -> dict[str, Tensor]:
    """Read an optimiser's state that `save_parts` wrote, each tensor whole or in parts as its parameter is.

    Raises:
        CheckpointError: it is of another model.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    parameters = dict(network.named_parameters())
    saved = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    targets: dict[str, Tensor] = {}
    for key, value in saved.items():
        name, size = key.partition("|")[0], getattr(value, "size", None)
        if name not in parameters or size not in (torch.Size(), parameters[name].shape):
            raise CheckpointError(f"{folder}: optimiser state `{key}` is of another model.")
        targets[key] = torch.zeros_like(parameters[name]) if size else torch.zeros(())
    read_parts(folder, targets)
    return {key: target.detach() for key, target in targets.items()}
