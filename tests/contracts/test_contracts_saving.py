"""A saved model comes back bit for bit, or not at all."""

from pathlib import Path

import pytest
import torch

from support import equal, family_of, lively, logits_of, packed_batch, parameters_of, shrink, tiny
from trivium.core.errors import CheckpointError
from trivium.core.files import write_checksums
from trivium.model.folder import CONFIG, TOKENIZER, WEIGHTS, load_model, load_tensors, save_model
from trivium.model.presets import PRESETS, preset


def saved(folder: Path) -> Path:
    folder.mkdir()
    config = tiny("decoder")
    save_model(folder, lively(config), config, b"a tokenizer")
    return folder


@pytest.mark.parametrize("name", PRESETS)
def test_save_and_load_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    config = shrink(preset(name))
    network = lively(config)
    save_model(tmp_path, network, config, "[UNK] ünïcode".encode())
    loaded = load_model(tmp_path)
    assert loaded.config == config
    assert loaded.tokenizer == "[UNK] ünïcode".encode()
    assert not loaded.network.training
    assert equal(parameters_of(network), parameters_of(loaded.network))
    batch = packed_batch(family_of(config))
    with torch.inference_mode():
        assert torch.equal(logits_of(network, batch), logits_of(loaded.network, batch))


@pytest.mark.parametrize("name", PRESETS)
def test_shared_weights_are_still_shared_after_loading(name: str, tmp_path: Path) -> None:
    config = shrink(preset(name))
    save_model(tmp_path, lively(config), config, b"")
    loaded = load_model(tmp_path).network
    tied = loaded.head.projection.weight is loaded.writer.embedding.tokens.weight
    assert tied == config.head.tied
    assert loaded.reader.embedding.tokens.weight is loaded.writer.embedding.tokens.weight


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = saved(tmp_path / "first"), saved(tmp_path / "second")
    names = sorted(file.name for file in first.iterdir())
    assert {WEIGHTS, CONFIG, TOKENIZER} < set(names)
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes()


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, TOKENIZER, "checksums.json"])
def test_a_truncated_file_is_an_error_of_one_line(name: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    content = (folder / name).read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 2):
        (folder / name).write_bytes(content[:length])
        with pytest.raises(CheckpointError) as caught:
            load_model(folder)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, TOKENIZER, "checksums.json"])
def test_a_flipped_bit_is_an_error(name: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    content = bytearray((folder / name).read_bytes())
    flipped = 0
    for place in range(0, len(content) - 1, max(1, len(content) // 23)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        (folder / name).write_bytes(damaged)
        with pytest.raises(CheckpointError):
            load_model(folder)
        flipped += 1
    assert flipped >= 5


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, TOKENIZER, "checksums.json"])
def test_a_missing_file_is_an_error(name: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=r"missing|not a model folder"):
        load_model(folder)


@pytest.mark.parametrize("content", ["[]", "3", '"text"', '{"weights.safetensors": 3}', "{}"])
def test_checksums_of_another_form_are_an_error(content: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    (folder / "checksums.json").write_text(content)
    with pytest.raises(CheckpointError):
        load_model(folder)


def test_a_weight_file_that_is_no_safetensors_is_an_error_though_its_checksum_is_right(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    (folder / WEIGHTS).write_bytes(b"not weights at all")
    write_checksums(folder)
    with pytest.raises(CheckpointError, match="safetensors"):
        load_model(folder)


def test_weights_of_another_model_are_refused_and_nothing_is_changed() -> None:
    network = lively(tiny("decoder"))
    before = parameters_of(network)
    complete = parameters_of(lively(tiny("decoder"), seed=1))
    name = "stack.blocks.1.feed_forward.branch.down.weight"
    wrong = {
        "missing": {key: value for key, value in complete.items() if key != name},
        "unexpected": complete | {"stack.extra": torch.zeros(1)},
        "should be of shape": complete | {name: torch.zeros(1, 48)},
    }
    for message, tensors in wrong.items():
        with pytest.raises(CheckpointError, match=message):
            load_tensors(network, tensors, "here")
        assert equal(before, parameters_of(network))


def test_an_absent_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a model folder"):
        load_model(tmp_path / "nothing")
