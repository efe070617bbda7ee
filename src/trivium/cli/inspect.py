"""trivium inspect: what a run, a preset or a prepared data set is, and what each objective does."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trivium.cli.options import Json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


def command(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN|PRESET|DATA",
            help="A run, data or Hugging Face folder, a preset's name, `presets` for all, or `objectives` for what "
            "can be learned.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Of `objectives`: folder to make, with a picture of each.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show parameters and FLOPs by part; documents, tokens, lengths and what was dropped; or every objective."""
    from trivium.cli.describe import show_data, show_model
    from trivium.core.errors import ConfigError, nearest

    path = Path(what)
    if what == "objectives":
        from trivium.cli.describe import show_objectives

        show_objectives(out, as_json=as_json)
        return
    if out is not None:
        raise ConfigError(f"--out {out}: only `trivium inspect objectives` draws pictures; found {what}.")
    if what == "presets":
        from trivium.cli.describe import show_presets

        show_presets(as_json=as_json)
        return
    if (path / "manifest.json").is_file():
        from trivium.data.normal import normal_losses
        from trivium.data.shards import PreparedData

        data = PreparedData.open(path)
        data.verify()
        show_data(path, data, normal_losses(path, data), as_json=as_json)
        return
    from trivium.model.presets import PRESETS, preset

    if what in PRESETS and path.is_dir():
        raise ConfigError(f"`{what}` is a preset and a folder here; say ./{what} for the folder, or rename it.")
    if what in PRESETS:
        show_model(what, preset(what), as_json=as_json)
        return
    if (path.is_dir() or what.startswith("hf:")) and _show_folder(what, as_json=as_json):
        return
    if path.exists():
        raise ConfigError(f"{what}: expected a run with a finished model/, or prepared data; found neither in it.")
    raise ConfigError(f"{what}: no such folder, and no preset of that name.{nearest(what, list(PRESETS))}")


def _show_folder(what: str, *, as_json: bool) -> bool:
    """Show the model of a run, a model folder or a Hugging Face folder; return whether there was one."""
    from trivium.cli.describe import show_model
    from trivium.cli.locate import model_folder
    from trivium.core.config import parse, read_toml
    from trivium.hub.open import history_of, is_foreign, read_foreign
    from trivium.model.config import ModelConfig
    from trivium.model.folder import WEIGHTS, read_tensors

    folder = model_folder(what)
    if (folder / "model.toml").is_file():
        saved = folder / "model.toml"
        config = parse(ModelConfig, read_toml(saved), str(saved))
        sizes = _sizes(read_tensors(folder / WEIGHTS)) if (folder / "task.toml").is_file() else None
        show_model(what, config, sizes=sizes, history=history_of(folder, what), as_json=as_json)
        return True
    if is_foreign(folder):
        found = read_foreign(folder)
        sizes = None if found.head == "language" else _sizes(found.tensors)
        labels = f" ({', '.join(found.labels)})" if found.labels else ""
        remark = f"; `{found.family}`, head: {found.head}{labels}"
        show_model(what, found.config, sizes=sizes, remark=remark, as_json=as_json)
        return True
    return False


def _sizes(tensors: "Mapping[str, Tensor]") -> dict[str, int]:
    return {name: tensor.numel() for name, tensor in tensors.items()}
