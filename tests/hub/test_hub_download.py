"""What is fetched from Hugging Face, and what is said when it cannot be; the network is never touched."""

import builtins
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import huggingface_hub
import pytest
from huggingface_hub import errors

from trivium.core.errors import HubError, MissingExtra
from trivium.hub.download import HubName, fetch_model, is_hub_name, parse_hub_name

COMMIT = "0123456789abcdef0123456789abcdef01234567"
COMMON = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
]
UNWANTED = [
    "README.md",
    "modeling_custom.py",
    "tf_model.h5",
    "flax_model.msgpack",
    "onnx/model.onnx",
    "onnx/config.json",
    "original/consolidated.safetensors",
    "training_args.bin",
    "optimizer.pt",
]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], list[dict[str, Any]]]:
    """Stand in for Hugging Face with a repository of the given files; return the calls that come."""

    def start(files: list[str]) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []

        def snapshot_download(name: str, **options: Any) -> str:
            calls.append({"name": name, **options})
            folder = tmp_path / "snapshots" / COMMIT
            for file in files:
                wanted = any(fnmatch(file, pattern) for pattern in options["allow_patterns"])
                if wanted and not any(fnmatch(file, pattern) for pattern in options["ignore_patterns"]):
                    (folder / file).parent.mkdir(parents=True, exist_ok=True)
                    (folder / file).touch()
            return str(folder)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        return calls

    return start


def fetched(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    "weights",
    [["model.safetensors"], ["model.safetensors.index.json", "model-00001-of-00002.safetensors"]],
)
def test_safetensors_are_fetched_and_nothing_else(weights: list[str], serve: Any) -> None:
    calls = serve([*COMMON, *weights, *UNWANTED, "pytorch_model.bin"])
    folder = fetch_model("owner/name", revision="v1")
    assert fetched(folder) == {*COMMON, *weights}
    assert [(call["name"], call["revision"]) for call in calls] == [("owner/name", "v1")]


@pytest.mark.parametrize(
    "weights",
    [["pytorch_model.bin"], ["pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin"]],
)
def test_pickles_are_fetched_where_there_are_no_safetensors(weights: list[str], serve: Any) -> None:
    calls = serve([*COMMON, *weights, *UNWANTED])
    folder = fetch_model("owner/name")
    assert fetched(folder) == {*COMMON, *weights}
    assert [call["revision"] for call in calls] == [None, COMMIT]


def test_safetensors_of_an_adapter_are_not_the_model(serve: Any) -> None:
    serve([*COMMON, "adapter_model.safetensors", "pytorch_model.bin"])
    assert "pytorch_model.bin" in fetched(fetch_model("owner/name"))


def test_what_is_no_model_of_transformers_is_an_error(serve: Any) -> None:
    serve(["model.safetensors"])
    with pytest.raises(HubError, match=r"^hf://owner/name: expected a model of transformers, found no config\.json"):
        fetch_model("owner/name")


def hub_error(kind: type[errors.HfHubHTTPError], status: int) -> Exception:
    return kind("first line\n\nsecond line", response=MagicMock(status_code=status, headers={}))


class TransportError(Exception):
    """Of the library below huggingface_hub, whose errors have no common base with others."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (hub_error(errors.RepositoryNotFoundError, 401), "no such model, or a private one"),
        (hub_error(errors.GatedRepoError, 403), "accepted its terms"),
        (hub_error(errors.RevisionNotFoundError, 404), "has no such revision"),
        (hub_error(errors.HfHubHTTPError, 500), "cannot be downloaded: first line second line"),
        (errors.LocalEntryNotFoundError("no\nnetwork"), "cannot be reached"),
        (errors.OfflineModeIsEnabled("offline"), "cannot be reached"),
        (errors.HFValidationError("too\nlong"), "cannot be downloaded: too long"),
        (TransportError("no proxy"), "cannot be downloaded: no proxy"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (TimeoutError(), "cannot be downloaded: TimeoutError"),
    ],
)
def test_what_fails_is_said_on_one_line(error: Exception, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(name: str, **options: Any) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(HubError) as caught:
        fetch_model("owner/name", revision="v1")
    message = str(caught.value)
    assert message.startswith("hf://owner/name@v1: ")
    assert words in message
    assert "\n" not in message


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **options: Any) -> Any:
        if name == "huggingface_hub":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtra, match=r"hf://owner/name needs `huggingface_hub`.*trivium\[hub\]"):
        fetch_model("owner/name")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hf://google-bert/bert-base-uncased", HubName("google-bert/bert-base-uncased", None)),
        ("hf://a_b/C.d-1@main", HubName("a_b/C.d-1", "main")),
        ("hf://a/b@refs/pr/1", HubName("a/b", "refs/pr/1")),
        (f"hf://a/b@{COMMIT}", HubName("a/b", COMMIT)),
    ],
)
def test_names_are_taken_apart(text: str, name: HubName) -> None:
    assert is_hub_name(text)
    assert parse_hub_name(text) == name


@pytest.mark.parametrize(
    "text",
    ["hf://", "hf://gpt2", "hf://a/b/c", "hf://a/b@", "hf://a/b@x y", "hf:///a/b", "hf://a/../b", "hf://a/b\n", "a/b"],
)
def test_other_names_are_an_error(text: str) -> None:
    with pytest.raises(HubError, match=r"expected `hf://owner/name` or `hf://owner/name@revision`"):
        parse_hub_name(text)


def test_only_the_prefix_asks_for_the_network() -> None:
    assert not any(is_hub_name(text) for text in ("a/b", "hf:/a/b", "./hf://a/b", "HF://a/b", "", "bert-base"))
    with pytest.raises(HubError, match="expected `owner/name`"):
        fetch_model("../b")
