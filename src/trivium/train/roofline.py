"""How near a run comes to what the machine can do: operations counted, a peak measured, seconds by their purpose."""

import json
import os
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from hashlib import sha256
from itertools import count
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from trivium.core.files import write_json
from trivium.train.loop import StepReport
from trivium.train.optimiser_config import Precision

SECONDS = "seconds_"  # before the name of a phase, in a line of the log
_COUNTED = 4  # steps
_TOO_NEAR = 0.9  # of a peak: elementwise work alone keeps a step below
_BUDGET_SECONDS, _SIZE_CPU, _SIZE_GPU = 0.5, 1024, 8192


class Roofline(NamedTuple):
    """How fast some steps were.

    Args:
        flops_per_second: floating-point operations of this rank's matrix products; a multiply-add is 2, and what is
            computed again for the gradient counts again.
        peak_share: of the machine's measured peak.
        seconds_by_phase: means a step, by the loop's `PHASES`.
    """

    flops_per_second: float
    peak_share: float
    seconds_by_phase: dict[str, float]

    def line(self) -> dict[str, float]:
        """Return the numbers as a line of the log has them."""
        phases = {f"{SECONDS}{name}": seconds for name, seconds in self.seconds_by_phase.items()}
        return {"flops_per_second": self.flops_per_second, "peak_share": self.peak_share, **phases}


class Meter:
    """Watches a loop's steps: counts what some of them compute, and adds up how long all of them take.

    Args:
        peak: returns what the machine can do, FLOP/s, given what was reached, see `matmul_peak`.
        anew: whether the step of this number, from 0, may cost another number of operations than those before it.
    """

    def __init__(self, peak: Callable[[float], float], *, anew: Callable[[int], bool] = lambda step: False) -> None:
        self._peak = peak
        self._anew = anew
        self._seconds: Counter[str] = Counter()
        self._flops, self._steps = 0.0, 0

    def over(self, reports: Iterator[StepReport], *, start: int) -> Iterator[StepReport]:
        """Yield the reports of a loop, which works while it is asked for the next, from step `start` on.

        The operations are the mean of a few counted steps: the parts of a mixture have not always as many rows.
        """
        counted: list[int] = []
        for step in count(start):
            if self._anew(step):
                counted = []
            if len(counted) < _COUNTED:
                with FlopCounter() as counter:
                    report = next(reports, None)
                counted.append(counter.flops)
            else:
                report = next(reports, None)
            if report is None:
                return
            self._seconds.update(report.seconds_by_phase)
            self._flops += mean(counted)
            self._steps += 1
            yield report

    def read(self) -> Roofline:
        """Return how fast the steps since the last reading were; there must be one."""
        rate = self._flops / max(sum(self._seconds.values()), 1e-9)
        phases = {name: seconds / self._steps for name, seconds in self._seconds.items()}
        self._seconds, self._flops, self._steps = Counter(), 0.0, 0
        return Roofline(rate, rate / self._peak(rate), phases)


def _count(counter: "FlopCounter", func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
    result = func(*args, **(kwargs or {}))
    formula = _FORMULAS.get(func._overloadpacket)
    if formula is not None:
        counter.flops += formula(*args, **(kwargs or {}), out_val=result)
    return result


# Else PyTorch imports its compiler when the mode is first used, 1.7 seconds, to keep it from compiling what compiles
# nothing here; where this attribute has another name one day, those seconds are lost and nothing else.
_count.__dynamo_disable = _count  # type: ignore[attr-defined]


class FlopCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations of matrix products in what is computed, the backward pass included."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    __torch_dispatch__ = _count


def _cpu_attention(query: Tensor, key: Tensor, value: Tensor, *rest: Any, out_val: Any = None, **others: Any) -> int:
    flops: int = sdpa_flop_count(query.shape, key.shape, value.shape)  # type: ignore[no-untyped-call]
    return flops


def _cpu_attention_backward(
    slope: Tensor, query: Tensor, key: Tensor, value: Tensor, *rest: Any, out_val: Any = None, **others: Any
) -> int:
    shapes = (slope.shape, query.shape, key.shape, value.shape)
    flops: int = sdpa_backward_flop_count(*shapes)  # type: ignore[no-untyped-call]
    return flops


_FORMULAS: Mapping[Any, Callable[..., int]] = {
    **flop_registry,
    torch.ops.aten.addmm_: flop_registry[torch.ops.aten.addmm],  # added in place: PyTorch's counter passes over it
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _cpu_attention_backward,
}


def matmul_peak(precision: Precision, device: torch.device, *, above: float = 0.0) -> float:
    """Return how many floating-point operations a second this machine makes in a product of large square matrices.

    It is measured once a machine, number of threads, version of PyTorch and type, and kept in the user's cache
    (`$XDG_CACHE_HOME` or `~/.cache`, `trivium/peaks.json`). A busy machine shows less than it can, never more: where a
    run comes too near to what is known, it is measured again, and the best that was ever seen is kept.

    Args:
        precision: the type of the matrices.
        device: that multiplies.
        above: a rate that was reached; it is measured again unless the known peak is well above.
    """
    named = ", ".join((_processor(device), str(torch.get_num_threads()), torch.__version__, precision))
    path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trivium" / "peaks.json"
    kept = _kept(path)
    if named not in kept or above > _TOO_NEAR * kept[named]:
        kept[named] = max(measured_peak(precision, device), kept.get(named, 0.0))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, kept)
        except OSError:
            pass  # a home that cannot be written to: it is measured again next time
    return kept[named]


def measured_peak(precision: Precision, device: torch.device) -> float:
    """Return the best of the products that half a second has time for, FLOP/s."""
    gpu = device.type != "cpu"
    size = _SIZE_GPU if gpu else _SIZE_CPU
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    matrix = torch.ones(size, size, dtype=dtype, device=device)
    result, best = torch.empty_like(matrix), float("inf")
    begun = perf_counter()
    while best == float("inf") or perf_counter() - begun < _BUDGET_SECONDS:
        before = perf_counter()
        torch.mm(matrix, matrix, out=result)
        if gpu:
            torch.cuda.synchronize()
        best = min(best, perf_counter() - before)
    return 2.0 * size**3 / best


def _kept(path: Path) -> dict[str, float]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): float(peak) for name, peak in found.items() if float(peak) > 0.0}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


@cache
def _processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    try:
        lines = info.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    # Several kinds of one maker may go by one name: what they can do tells them apart.
    named = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "flags", "Features"))]
    if not named:
        return platform.processor() or platform.machine()
    return f"{named[0]} {sha256(' '.join(named[:2]).encode()).hexdigest()[:8]}"
