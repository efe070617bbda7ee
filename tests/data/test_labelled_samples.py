"""The examples that are written are read, each by the reader that the README beside them names."""

import re
import shlex
from pathlib import Path

import pytest
from labelled_support import anywhere

import trivium.data.labelled as labelled
from trivium.core.errors import ConfigError
from trivium.data.labelled.samples import write_examples
from trivium.tasks.build import build_task
from trivium.tasks.config import finetune_config

ROW = re.compile(r"^\| (\S+) \| .* \| `(--.*)` \| (`.*`) \|$", re.MULTILINE)


def rows_of(readme):
    """Return file and call of each row of the README's table."""
    rows = ROW.findall(readme.read_text(encoding="utf-8"))
    return [(name, call.replace("\\|", "|")) for name, _, calls in rows for call in re.findall(r"`(.*?)`", calls)]


def test_every_sample_is_read_as_its_readme_says(tmp_path):
    readme, *files = write_examples(tmp_path / "examples")
    rows = rows_of(readme)
    assert {name.rstrip("/") for name, _ in rows} == {file.name for file in files}
    readers = {call.partition("(")[0] for _, call in rows}
    assert readers == {name for name in labelled.__all__ if name.startswith("read_")}
    for name, call in rows:
        found = eval(call, vars(labelled) | {"path": readme.parent / name.rstrip("/")})
        examples = found if isinstance(found, list) else found.examples
        assert len(examples) >= 2, name
        assert isinstance(found, list) or found.problems == []
        assert re.search(r"[一-鿿]", str(examples)), name
        assert re.search(r"[a-z]{3}", str(examples)), name


def test_every_sample_is_read_with_the_options_that_its_readme_gives(tmp_path):
    readme, *files = write_examples(tmp_path / "examples")
    rows = ROW.findall(readme.read_text(encoding="utf-8"))
    assert len(rows) == len(files)
    for name, options, _ in rows:
        asked = shlex.split(options.replace("\\|", "|"))
        assert asked[0] == "--task" and set(asked[2::2]) <= {"--set"}, name
        config = finetune_config(asked[1], asked[3::2])
        task = build_task(asked[1], settings=config.settings)
        found = task.read(readme.parent / name.rstrip("/"), min_classes=1)
        assert found.examples and not found.problems, name
        task.learned(found.examples)


def test_the_forms_of_spans_say_the_same(tmp_path):
    write_examples(tmp_path / "e")
    names = ["spans.jsonl", "doccano.jsonl", "doccano-entities.jsonl", "label-studio.json", "cluener.jsonl"]
    first, *others = [anywhere(labelled.read_spans(tmp_path / "e" / name).examples) for name in names]
    assert sum(len(example.spans) for example in first) == 8
    assert others == [first] * 4


def test_a_folder_that_is_there_is_refused(tmp_path):
    (tmp_path / "e").mkdir()
    write_examples(tmp_path / "e")  # an empty one is not
    before = sorted(path.name for path in tmp_path.rglob("*"))
    for there in (tmp_path / "e", tmp_path / "e" / "README.md", Path("/")):
        with pytest.raises(ConfigError, match="already exists"):
            write_examples(there)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
