"""Files and folders are whole or not there."""

import json
import threading
from pathlib import Path

import pytest

from trivium.core.errors import CheckpointError, ConfigError
from trivium.core.files import (
    CHECKSUMS,
    alone,
    is_held,
    new_folder,
    refuse_existing,
    sha256,
    verify_checksums,
    write_checksums,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    with new_folder(tmp_path / "deep" / "out") as folder:
        (folder / "file").write_text("text")
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_text("more")
        assert not (tmp_path / "deep" / "out").exists()
    assert names(tmp_path / "deep") == ["out"]
    assert (tmp_path / "deep" / "out" / "sub" / "file").read_text() == "more"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_a_folder_that_fails_leaves_nothing_behind(error: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(error), new_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("text")
        raise error
    assert names(tmp_path) == []


def test_a_folder_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    with pytest.raises(RuntimeError), new_folder(tmp_path / "out") as folder:
        (folder / "new").write_text("new")
        raise RuntimeError
    assert names(tmp_path / "out") == ["old"]
    assert names(tmp_path) == ["out"]


def test_a_folder_replaces_the_old_one_and_what_a_killed_run_left(tmp_path: Path) -> None:
    for leftover in ("out", ".out.partial", ".out.old"):
        (tmp_path / leftover).mkdir()
        (tmp_path / leftover / "old").write_text("old")
    with new_folder(tmp_path / "out") as folder:
        (folder / "new").write_text("new")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["new"]


def test_text_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_text(path, "ünï\n")
    assert path.read_bytes() == "ünï\n".encode()

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "other")
    assert path.read_bytes() == "ünï\n".encode()
    assert names(tmp_path) == ["file"]


def test_json_comes_back(tmp_path: Path) -> None:
    value = {"b": [1, 0.1 + 0.2, None], "a": "漢"}
    write_json(tmp_path / "file.json", value)
    assert json.loads((tmp_path / "file.json").read_text(encoding="utf-8")) == value


def test_checksums_are_those_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    write_checksums(tmp_path)
    verify_checksums(tmp_path)
    assert list(json.loads((tmp_path / CHECKSUMS).read_text())) == ["a"]
    (tmp_path / "a").write_bytes(b"abd")
    with pytest.raises(CheckpointError, match="not what was written"):
        verify_checksums(tmp_path)
    (tmp_path / "a").unlink()
    with pytest.raises(CheckpointError, match="missing"):
        verify_checksums(tmp_path)


def test_an_output_that_is_there_is_refused_unless_it_is_empty(tmp_path: Path) -> None:
    refuse_existing(tmp_path / "none")
    refuse_existing(tmp_path)
    (tmp_path / "file").write_text("text")
    with pytest.raises(ConfigError, match="already exists"):
        refuse_existing(tmp_path)
    with pytest.raises(ConfigError, match="found a file"):
        refuse_existing(tmp_path / "file")


def test_one_process_is_alone_and_who_asks_does_not_keep_it_out(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("")
    assert is_held(file) is False
    with alone(file):
        assert is_held(file) is True
        with pytest.raises(ConfigError, match=r"another process is at work in this folder\.$"), alone(file):
            pass
    fcntl = pytest.importorskip("fcntl")
    asking = file.open("rb")
    fcntl.flock(asking, fcntl.LOCK_SH)
    assert is_held(file) is False  # two that ask do not see each other
    later = threading.Timer(0.03, asking.close)
    later.start()
    with alone(file):
        assert is_held(file) is True
    later.join()
