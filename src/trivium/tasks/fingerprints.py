"""What a fine-tuning run reads, as SHA-256: a run that goes on must read the same."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from trivium.core.errors import ConfigError, DataError
from trivium.core.files import sha256
from trivium.model.folder import unique_tensors
from trivium.tasks.base import Example
from trivium.tasks.config import Fingerprints
from trivium.tasks.start import Start

Source = Path | Sequence[Example]
_WORDS = {
    "train": "training file",
    "valid": "validation file",
    "test": "test file",
    "tokenizer": "tokenizer",
    "start": "model to begin with",
}


def fingerprints(start: Start, train: Source, valid: Source, test: Source | None) -> Fingerprints:
    """Return the fingerprints of what a run reads; raise DataError when a file is not there."""
    return Fingerprints(
        train=_of_source(train),
        valid=_of_source(valid),
        test=None if test is None else _of_source(test),
        tokenizer=hashlib.sha256(start.tokenizer.to_bytes()).hexdigest(),
        start=_of_start(start),
    )


def require_unchanged(now: Fingerprints, before: Fingerprints, names: Mapping[str, str | None]) -> None:
    """Raise ConfigError naming the first thing read that is not what the run began with.

    Files come first: a tokenizer may be made of the training texts, and a model's vocabulary is its tokenizer's.

    Args:
        now, before: fingerprints of what is given, and of what the run began with.
        names: of what is given, by the setting that holds it; None = it has none.
    """
    for field, words in _WORDS.items():
        new, old = getattr(now, field), getattr(before, field)
        if new != old:
            name = names.get("start_from" if field == "start" else field)
            is_now = f"{name or 'it'} has the SHA-256 {new}" if new else "it is not given"
            raise ConfigError(f"--resume: the {words} has changed: {is_now}, the run began with {old or 'none'}.")


def _of_source(source: Source) -> str:
    if isinstance(source, Path):
        if source.is_dir():
            files = sorted(file for file in source.rglob("*") if file.is_file())
            named = "".join(f"{file.relative_to(source).as_posix()} {sha256(file)}\n" for file in files)
            return hashlib.sha256(named.encode()).hexdigest()
        if not source.is_file():
            raise DataError(f"{source}: no such file.")
        return sha256(source)
    # Where they stand is no part of them: a file may be moved.
    lines = (json.dumps({**example._asdict(), "where": ""}, sort_keys=True) + "\n" for example in source)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _of_start(start: Start) -> str:
    """Return the fingerprint of an architecture, and of its weights unless they are drawn anew for every seed."""
    found = hashlib.sha256(start.config.model_dump_json().encode())
    for name, tensor in sorted({} if start.network is None else unique_tensors(start.network).items()):
        found.update(name.encode())
        found.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
