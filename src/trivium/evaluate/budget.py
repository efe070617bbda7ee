"""A time budget by phase: planned beforehand, and what is left is shared out anew when a phase took longer."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import NamedTuple


class Phase(NamedTuple):
    """How long a phase was to take and took, in seconds."""

    name: str
    planned_seconds: float
    seconds: float


class Budget:
    """Hands out seconds to phases.

    Args:
        shares: the phases in order, with weights; together they fill `seconds`.
        seconds: the whole budget, counted from now.
    """

    def __init__(self, shares: Mapping[str, float], seconds: float) -> None:
        self._seconds = seconds
        self._began = perf_counter()
        scale = seconds / sum(shares.values())
        self.planned = {name: share * scale for name, share in shares.items()}
        self.spent: list[Phase] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[float]:
        """Yield the seconds that this phase may take: its plan, or less when earlier ones overran."""
        done = {phase.name for phase in self.spent}
        waiting = sum(planned for other, planned in self.planned.items() if other not in done)
        left = max(self._seconds - (perf_counter() - self._began), 0.0)
        begun = perf_counter()
        yield self.planned[name] * min(1.0, left / max(waiting, 1e-9))
        self.spent.append(Phase(name, self.planned[name], perf_counter() - begun))

    @property
    def overrun(self) -> float:
        """By what share of the budget the phases so far overran it; negative while there is time left."""
        return (perf_counter() - self._began) / self._seconds - 1.0
