"""Weights come in and go out as transformers has them; whatever else a file holds is refused on one line."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save
from torch import Tensor

from trivium.core.errors import HubError
from trivium.hub.weights import read_weights, write_weights

SAFE, SAFE_INDEX = "model.safetensors", "model.safetensors.index.json"
BIN, BIN_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def some_tensors(seed: int = 11) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "b.weight": torch.randn(7, 3, generator=generator),
        "a.half": torch.randn(5, generator=generator).half(),
        "a.brain": torch.randn(2, 2, generator=generator).bfloat16(),
        "position_ids": torch.arange(6).expand(1, -1),
        "flag": torch.tensor(True),
        "none": torch.zeros(0, 3),
    }


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and torch.equal(first[name], second[name]) for name in first
    )


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if "config" not in file.name}


def refused(folder: Path, *words: str) -> None:
    """Reading fails with one line that has the words in it."""
    with pytest.raises(HubError) as caught:
        read_weights(folder)
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(folder), *words):
        assert word in message


def write_index(folder: Path, weight_map: Any, name: str = SAFE_INDEX) -> None:
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def write_shards(folder: Path) -> None:
    """`a` and `b` in two shards with their index."""
    for name, shard in zip(("a", "b"), SHARDS, strict=True):
        (folder / shard).write_bytes(save({name: torch.ones(2)}))
    write_index(folder, {"a": SHARDS[0], "b": SHARDS[1]})


# In and out ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shard_bytes", [10**9, 60, 1])
def test_what_was_written_is_read(shard_bytes: int, tmp_path: Path) -> None:
    write_weights(tmp_path, some_tensors(), shard_bytes=shard_bytes)
    assert same(read_weights(tmp_path), some_tensors())
    assert (tmp_path / SAFE_INDEX).exists() == (shard_bytes < 10**9)


def test_what_is_not_contiguous_is_written(tmp_path: Path) -> None:
    whole = torch.randn(6, 4, generator=torch.Generator().manual_seed(2), requires_grad=True)
    parts = {"turned": whole.T, "second": whole[2:], "every_other": whole[:, ::2]}
    write_weights(tmp_path, {"turned": parts["turned"], "every_other": parts["every_other"]})
    read = read_weights(tmp_path)
    assert torch.equal(read["turned"], whole.T)
    assert torch.equal(read["every_other"], whole[:, ::2])
    assert not read["turned"].requires_grad


def test_no_tensors_are_written_and_read(tmp_path: Path) -> None:
    write_weights(tmp_path, {})
    assert read_weights(tmp_path) == {}


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5", "half"])
@pytest.mark.parametrize("shard_bytes", [10**9, 3000, 900])
def test_the_bytes_are_those_of_save_pretrained(family: str, shard_bytes: int, tmp_path: Path) -> None:
    from transformers import (
        BertConfig,
        BertForPreTraining,
        GPT2Config,
        GPT2LMHeadModel,
        T5Config,
        T5ForConditionalGeneration,
    )

    match family:
        case "bert":
            sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
            model: Any = BertForPreTraining(BertConfig(vocab_size=50, max_position_embeddings=12, **sizes))
        case "t5":
            sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
            model = T5ForConditionalGeneration(T5Config(vocab_size=50, **sizes))
        case _:
            ends = {"bos_token_id": 1, "eos_token_id": 1}
            model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=12, **ends))
    model = model.half() if family == "half" else model
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    model.save_pretrained(theirs, max_shard_size=shard_bytes)
    read = read_weights(theirs)
    state = model.state_dict()
    assert len(read) > 20
    assert all(torch.equal(read[name], state[name]) for name in read)
    ours.mkdir()
    write_weights(ours, {name: state[name] for name in state if name in read}, shard_bytes=shard_bytes)
    assert files_of(ours) == files_of(theirs)
    assert (len(files_of(ours)) > 1) == (shard_bytes < 10**9)


@pytest.mark.parametrize("seed", range(20))
def test_shards_are_cut_as_huggingface_hub_cuts_them(seed: int, tmp_path: Path) -> None:
    """Sizes from 4 to 16 bytes under a limit of 12: some are just it, some more than it."""
    sizes = torch.randint(1, 5, (9,), generator=torch.Generator().manual_seed(seed)).tolist()
    tensors = {f"weight{number}": torch.ones(size) for number, size in enumerate(sizes)}
    split = split_torch_state_dict_into_shards(tensors, max_shard_size=12, filename_pattern="model{suffix}.safetensors")
    write_weights(tmp_path, tensors, shard_bytes=12)
    index = json.loads((tmp_path / SAFE_INDEX).read_text())
    assert index["weight_map"] == split.tensor_to_filename
    assert index["metadata"] == {"total_parameters": sum(sizes), **split.metadata}


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_of_tensors_are_read(zipped: bool, tmp_path: Path) -> None:
    weights = some_tensors()
    with_parameter = {**weights, "parameter": torch.nn.Parameter(torch.ones(3))}
    torch.save(with_parameter, tmp_path / BIN, _use_new_zipfile_serialization=zipped)
    read = read_weights(tmp_path)
    assert same(read, {**weights, "parameter": torch.ones(3)})
    assert type(read["parameter"]) is Tensor


def test_sharded_pickles_are_read(tmp_path: Path) -> None:
    for name, zipped in (("a", True), ("b", False)):
        torch.save({name: torch.ones(2)}, tmp_path / f"{name}.bin", _use_new_zipfile_serialization=zipped)
    write_index(tmp_path, {"a": "a.bin", "b": "b.bin"}, BIN_INDEX)
    assert same(read_weights(tmp_path), {"a": torch.ones(2), "b": torch.ones(2)})


def test_safetensors_come_first(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / BIN)
    write_shards(tmp_path)
    assert same(read_weights(tmp_path), {"a": torch.ones(2), "b": torch.ones(2)})
    (tmp_path / SAFE).write_bytes(save({"c": torch.ones(1)}))
    assert same(read_weights(tmp_path), {"c": torch.ones(1)})


def test_links_out_of_the_folder_are_followed(tmp_path: Path) -> None:
    """Hugging Face's cache is made of them."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "blobs" / "0").write_bytes(save({"a": torch.ones(2)}))
    (tmp_path / "snapshot" / "x.safetensors").symlink_to("../blobs/0")
    write_index(tmp_path / "snapshot", {"a": "x.safetensors"})
    assert same(read_weights(tmp_path / "snapshot"), {"a": torch.ones(2)})
    (tmp_path / "snapshot" / SAFE).symlink_to("../blobs/1")
    refused(tmp_path / "snapshot", "missing file", "a link to nothing")


# What is not there ---------------------------------------------------------------------------------------------------


def test_a_folder_without_weights_is_an_error(tmp_path: Path) -> None:
    refused(tmp_path, "no weights", SAFE, SAFE_INDEX, BIN, BIN_INDEX, "an empty folder")
    for name in ("config.json", "b", "c", "d", "e", "f"):
        (tmp_path / name).touch()
    refused(tmp_path, "found b, c, config.json, d, e, ...")
    refused(tmp_path / "none", "no such folder")
    refused(tmp_path / "b", "found a file")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tf_model.h5", "transformers 4"),
        ("flax_model.msgpack", "transformers 4"),
        ("llama.Q4_K_M.gguf", "llama.cpp"),
        ("rust_model.ot", "rust-bert"),
        ("bert_model.ckpt.index", "a TensorFlow checkpoint"),
    ],
)
def test_other_weights_are_named(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    (tmp_path / "config.json").touch()
    refused(tmp_path, f"found only {name}", words)


@pytest.mark.parametrize("name", [SAFE, SAFE_INDEX, BIN, BIN_INDEX])
def test_a_folder_in_place_of_a_file_is_an_error(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    refused(tmp_path, f"{name}: expected a file, found a folder")


# Damaged safetensors -------------------------------------------------------------------------------------------------


def test_safetensors_cut_short_anywhere_are_an_error(tmp_path: Path) -> None:
    write_weights(tmp_path, some_tensors())
    content = (tmp_path / SAFE).read_bytes()
    for length in range(len(content)):
        (tmp_path / SAFE).write_bytes(content[:length])
        refused(tmp_path, f"{SAFE}: expected safetensors")
    assert len(content) > 300


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 8 + b"{}",
        (2**40).to_bytes(8, "little") + b"{}",
        (10).to_bytes(8, "little") + b"not JSON!!",
        (2).to_bytes(8, "little") + b"[]",
        (2).to_bytes(8, "little") + b"\xff\xfe",
        b"<html>404 Not Found</html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
    ],
)
def test_a_damaged_header_is_an_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / SAFE).write_bytes(content)
    refused(tmp_path, f"{SAFE}: expected safetensors")


def test_any_change_of_the_header_is_read_or_refused(tmp_path: Path) -> None:
    write_weights(tmp_path, some_tensors())
    content = (tmp_path / SAFE).read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    generator, found = torch.Generator().manual_seed(17), 0
    for _ in range(500):
        changed = bytearray(content)
        place, value = (int(torch.randint(limit, (), generator=generator)) for limit in (header, 256))
        changed[place] = value
        (tmp_path / SAFE).write_bytes(changed)
        try:
            read_weights(tmp_path)
        except HubError as error:
            assert "\n" not in str(error)
            found += 1
    assert found > 250


@pytest.mark.parametrize("made_by", ["tf", "flax"])
def test_safetensors_of_other_frameworks_are_an_error(made_by: str, tmp_path: Path) -> None:
    (tmp_path / SAFE).write_bytes(save({"a": torch.ones(2)}, {"format": made_by}))
    refused(tmp_path, f"found those of {made_by}")


# Indexes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "expected a JSON object"),
        (b"{", "expected a JSON object"),
        (b"[" * 100_000, "expected a JSON object"),
        (b"[]", "expected a JSON object, found list"),
        (b"\xff{}", "expected JSON in UTF-8"),
        (b"{}", "expected `weight_map`"),
        (b'{"weight_map": {}}', "expected `weight_map`"),
        (b'{"weight_map": ["a"]}', "expected `weight_map`"),
        (b'{"weight_map": {"a": 1}}', "expected the name of a file for `a`, found 1"),
        (b'{"weight_map": {"a": ""}}', "expected the name of a file for `a`, found ''"),
        (b'{"weight_map": {"a": "x", "a": "y"}}', "the key `a` is there twice"),
    ],
)
@pytest.mark.parametrize("name", [SAFE_INDEX, BIN_INDEX])
def test_a_damaged_index_is_an_error(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path, name, words)


@pytest.mark.parametrize("leaves", ["../x", "/x", "a/../../x", "..", "C:\\x", "..\\x", "x\0"])
def test_a_shard_outside_the_folder_is_an_error(leaves: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "x").write_bytes(save({"a": torch.ones(2)}))
    write_index(folder, {"a": leaves})
    refused(folder, "expected a file inside the folder for `a`")


def test_an_index_that_does_not_fit_its_shards_is_an_error(tmp_path: Path) -> None:
    write_shards(tmp_path)
    assert same(read_weights(tmp_path), {"a": torch.ones(2), "b": torch.ones(2)})
    write_index(tmp_path, {"a": SHARDS[0], "b": SHARDS[1], "c": SHARDS[1]})
    refused(tmp_path, SAFE_INDEX, f"expected `c` in {SHARDS[1]}, but it is in none")
    write_index(tmp_path, {"a": SHARDS[1], "b": SHARDS[0]})
    refused(tmp_path, SAFE_INDEX, f"expected `a` in {SHARDS[1]}, but it is in {SHARDS[0]}")
    write_index(tmp_path, {"a": SHARDS[0], "b": SHARDS[1], "c": "none"})
    refused(tmp_path, "none: missing file", SAFE_INDEX)
    write_index(tmp_path, {"a": SHARDS[0], "b": SHARDS[1]})
    (tmp_path / SHARDS[1]).write_bytes(save({"a": torch.ones(2), "b": torch.ones(2)}))
    refused(tmp_path, SAFE_INDEX, f"`a` is in two shards: {SHARDS[0]} and {SHARDS[1]}")
    (tmp_path / SHARDS[1]).unlink()
    (tmp_path / SHARDS[1]).mkdir()
    refused(tmp_path, f"{SHARDS[1]}: expected a file, found a folder")


# Pickles -------------------------------------------------------------------------------------------------------------


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("indexed", [True, False])
def test_code_in_a_pickle_is_refused_and_not_run(zipped: bool, indexed: bool, tmp_path: Path) -> None:
    folder, made = tmp_path / "model", tmp_path / "made"
    folder.mkdir()
    name = "shard.bin" if indexed else BIN
    weights = {"a": torch.ones(2), "b": Malicious(made)}
    torch.save(weights, folder / name, _use_new_zipfile_serialization=zipped)
    if indexed:
        write_index(folder, {"a": name}, BIN_INDEX)
    refused(folder, f"{name}: expected nothing but tensors, found a call of `{os.mkdir.__module__}.mkdir`; refused")
    assert not made.exists()
    torch.load(folder / name, weights_only=False)
    assert made.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_plain_pickle_is_refused_and_not_run(protocol: int, tmp_path: Path) -> None:
    made = tmp_path / "made"
    (tmp_path / BIN).write_bytes(pickle.dumps({"b": Malicious(made)}, protocol))
    refused(tmp_path, BIN)
    assert not made.exists()


def test_tensors_in_a_protocol_that_is_not_read_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / BIN, pickle_protocol=4)
    refused(tmp_path, f"{BIN}: expected a PyTorch file of tensors (pickle protocol 2)")


def test_code_is_refused_whatever_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"b": Malicious(tmp_path / "made")}, tmp_path / BIN)
    refused(tmp_path, "refused")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\x03\x04" + b"x" * 50, b"\x80\x02.", b"version https://git-lfs.github.com/spec/v1\n"]
)
def test_what_is_no_pickle_is_an_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / BIN).write_bytes(content)
    refused(tmp_path, f"{BIN}: expected a PyTorch file of tensors")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_cut_short_is_an_error(zipped: bool, tmp_path: Path) -> None:
    torch.save(some_tensors(), tmp_path / BIN, _use_new_zipfile_serialization=zipped)
    content = (tmp_path / BIN).read_bytes()
    for length in range(0, len(content) - 1, 37):
        (tmp_path / BIN).write_bytes(content[:length])
        refused(tmp_path, f"{BIN}: expected")
    assert len(content) > 500


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([torch.ones(1)], "expected tensors by name, found list"),
        (torch.ones(1), "expected tensors by name, found Tensor"),
        ({"a": torch.ones(1), "step": 3}, "expected a tensor for `step`, found int"),
        ({"state_dict": {"a": torch.ones(1)}}, "expected a tensor for `state_dict`, found dict"),
        ({3: torch.ones(1)}, "found the key 3"),
        ({"a": torch.eye(3).to_sparse()}, "expected a plain tensor for `a`"),
        ({"a": torch.ones(1, device="meta")}, "expected a plain tensor for `a`"),
    ],
)
def test_a_pickle_of_other_values_is_an_error(value: Any, words: str, tmp_path: Path) -> None:
    torch.save(value, tmp_path / BIN)
    refused(tmp_path, BIN, words)
