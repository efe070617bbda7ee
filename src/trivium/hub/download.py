"""Models fetched from Hugging Face, only when asked for by `hf://owner/name`, and without any code."""

import re
from pathlib import Path
from typing import NamedTuple

from trivium.core.errors import HubError, MissingExtra
from trivium.hub.files import one_line
from trivium.hub.weights import PICKLE_INDEX, SAFETENSORS, SAFETENSORS_INDEX

_PREFIX = "hf://"
_FORM = "expected `hf://owner/name` or `hf://owner/name@revision`"
_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)
_REVISION = re.compile(r"[\w./+-]+", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CONFIG = "config.json"
_PATTERNS = [
    _CONFIG,
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "*.model",
]
_PICKLE_PATTERNS = ["pytorch_model*.bin", PICKLE_INDEX]
# A repository's folders hold other forms of the same weights (onnx/, original/): gigabytes that nobody reads.
_FOLDERS = ["*/*"]


class HubName(NamedTuple):
    """A model at Hugging Face: `owner/name`, and the branch, tag or commit where one is asked for."""

    name: str
    revision: str | None


def is_hub_name(text: str) -> bool:
    """Return whether the argument asks for a model at Hugging Face (as text: a Path loses one of the slashes)."""
    return text.startswith(_PREFIX)


def parse_hub_name(text: str) -> HubName:
    """Take `hf://owner/name[@revision]` apart; raise HubError when it is not of that form."""
    name, at, revision = text.removeprefix(_PREFIX).partition("@")
    if not is_hub_name(text) or not _NAME.fullmatch(name) or (at and not _REVISION.fullmatch(revision)):
        raise HubError(f"{text}: {_FORM}.")
    return HubName(name, revision or None)


def fetch_model(name: str, *, revision: str | None = None) -> Path:
    """Download a model's configuration, tokenizer and weights into Hugging Face's cache; return its folder there.

    What is in the cache is not downloaded again. PyTorch's pickles are fetched only where there are no safetensors.

    Args:
        name: `owner/name`.
        revision: A branch, tag or commit; None is the main branch.

    Raises:
        HubError: no such model or revision, one that is not for everybody or of another kind; or the network fails.
        MissingExtra: huggingface_hub is not installed.
    """
    if not _NAME.fullmatch(name):
        raise HubError(f"{name}: expected `owner/name`.")
    folder = _download(name, revision, _PATTERNS)
    if not (folder / _CONFIG).is_file():
        raise HubError(f"{_asked(name, revision)}: expected a model of transformers, found no {_CONFIG} in it.")
    if not (folder / SAFETENSORS).exists() and not (folder / SAFETENSORS_INDEX).exists():
        # Of the same commit, even if the branch has moved on in between.
        commit = folder.name if _COMMIT.fullmatch(folder.name) else revision
        folder = _download(name, commit, _PICKLE_PATTERNS)
    return folder


def _download(name: str, revision: str | None, patterns: list[str]) -> Path:
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError:
        raise MissingExtra("huggingface_hub", "hub", f"{_PREFIX}{name}") from None
    asked = _asked(name, revision)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns, ignore_patterns=_FOLDERS))
    except errors.GatedRepoError:
        reason = "it is only for those who accepted its terms: do so on its page, then log in with `hf auth login`"
    except errors.RepositoryNotFoundError:
        reason = "no such model, or a private one: check the name, or log in with `hf auth login`"
    except errors.RevisionNotFoundError:
        reason = "the model has no such revision"
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        reason = "Hugging Face cannot be reached, and the model is not in the cache: check the network"
    except Exception as error:  # noqa: BLE001 - the transports below raise errors of their own kinds
        reason = f"cannot be downloaded: {one_line(error)}"
    raise HubError(f"{asked}: {reason}.")


def _asked(name: str, revision: str | None) -> str:
    return f"{_PREFIX}{name}" + (f"@{revision}" if revision else "")
