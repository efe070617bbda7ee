"""trivium doctor: what this machine has."""

import typer

from trivium.cli.options import Json


def command(as_json: Json = False) -> None:
    """Say what is installed, what the machine can do, and what is missing."""
    import json

    from trivium.cli.environment import tune_allocator

    allocator = tune_allocator()
    found = {**_versions(), **_machine(), "allocator": "glibc, kept large" if allocator else "system's own"}
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    for name, value in found.items():
        typer.echo(f"{name:<16}{value}")


def _versions() -> dict[str, str]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("trivium", "torch", "numpy", "tokenizers", "safetensors", "pydantic", "typer", "rich", "regex"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing: pip install trivium"
    for package, baseline in (("scikit-learn", "TF-IDF baseline"), ("python-crfsuite", "baseline of a CRF")):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = f"not installed (only for the {baseline}: pip install 'trivium[baselines]')"
    return found


def _machine() -> dict[str, str]:
    import os
    import platform
    import shutil

    import torch

    from trivium.train.measure import bfloat16_is_native

    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": "in hardware" if bfloat16_is_native() else "emulated: float32 is used",
        "accelerator": accelerator,
        "compiler": compiler or "none (only torch.compile would need one)",
        "free disk": f"{shutil.disk_usage('.').free / 1e9:,.0f} GB here",
    }
