"""Random choices as a pure function of what they are for: a seed and a path of names and numbers."""

import hashlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Key:
    """Names one random choice. Equal keys give equal choices on every machine, in any order of asking."""

    seed: int
    path: tuple[str | int, ...] = ()

    def child(self, *parts: str | int) -> "Key":
        """Return the key of a choice within this one."""
        return Key(self.seed, self.path + parts)

    def integer(self) -> int:
        """Return this key as an integer in [0, 2**63), fit for `torch.manual_seed`."""
        return self._digest() >> 65

    def numpy(self) -> np.random.Generator:
        """Return a counter-based generator (Philox) that only this key gives."""
        return np.random.Generator(np.random.Philox(key=self._digest()))

    def _digest(self) -> int:
        # NumPy's numbers and strings are equal to Python's and print otherwise.
        path = tuple(str(part) if isinstance(part, str) else int(part) for part in self.path)
        text = repr((int(self.seed), path)).encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")
