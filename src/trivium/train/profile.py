"""What the steps of a run spend their time on, operation by operation: a trace to look at, and the largest costs."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from trivium.core.files import write_json
from trivium.core.progress import Progress
from trivium.train.loop import StepReport

TRACE, COSTS = "trace.json.gz", "costs.json"
_WARM_STEPS, _STEPS, _LARGEST = 5, 5, 10


class Cost(NamedTuple):
    """One kind of operation, on all of whose calls so much time was spent, what it calls left out."""

    operation: str
    seconds_a_step: float
    share: float  # of all operations' time
    calls_a_step: float


def profiled(reports: Iterator[StepReport], folder: Path, progress: Progress) -> Iterator[StepReport]:
    """Yield a loop's reports; a few steps, when it is warm, are recorded, written to `folder` and told of.

    Args:
        reports: of the loop, which works while it is asked for the next.
        folder: gets `trace.json.gz` (for https://ui.perfetto.dev or chrome://tracing) and `costs.json`.
        progress: told the largest costs.
    """
    yield from islice(reports, _WARM_STEPS)
    steps = 0
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    with profile(activities=activities) as found:
        for report in islice(reports, _STEPS):
            steps += 1
            yield report  # what its consumer does is recorded too: it must see each step before the next changes it
    if steps:
        folder.mkdir(parents=True, exist_ok=True)
        found.export_chrome_trace(str(folder / TRACE))
        costs = largest_costs(found, steps=steps)
        write_json(folder / COSTS, [cost._asdict() for cost in costs])
        for line in _told(costs, folder):
            progress.line(line)
    else:
        progress.line(f"--profile: nothing was recorded, which takes {_WARM_STEPS + 1} steps at least.")
    yield from reports


def largest_costs(found: profile, *, steps: int) -> list[Cost]:
    """Return the operations that most time is spent on, the largest first."""
    averages = found.key_averages()
    on_device = any(each.self_device_time_total > 0 for each in averages)
    times = {
        each.key: (each.self_device_time_total if on_device else each.self_cpu_time_total, each.count)
        for each in averages
    }
    total = max(sum(microseconds for microseconds, _ in times.values()), 1e-9)
    ordered = sorted(times.items(), key=lambda item: item[1][0], reverse=True)[:_LARGEST]
    return [
        Cost(name, microseconds / 1e6 / steps, microseconds / total, calls / steps)
        for name, (microseconds, calls) in ordered
    ]


def _told(costs: list[Cost], folder: Path) -> Iterator[str]:
    yield f"the largest costs of a step ({folder / TRACE} is the whole trace, for https://ui.perfetto.dev):"
    for cost in costs:
        name = cost.operation[:44]
        yield f"  {name:<44} {1000 * cost.seconds_a_step:9.2f} ms {cost.share:6.1%} {cost.calls_a_step:7.0f} calls"
