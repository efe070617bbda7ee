"""Everything that a step of a task touches is on the run's device."""

from pathlib import Path

import pytest
import torch
from task_support import start

from one_device import META, OneDevice
from trivium.core.random import Key
from trivium.data.labelled.samples import write_examples
from trivium.tasks.build import build_task, learned_task
from trivium.tasks.config import finetune_config
from trivium.tasks.finetune import settled
from trivium.tasks.fit import make_fitting

TASKS = {
    "classify": "classify.csv",
    "multi_label": "multi-label.csv",
    "regress": "regression.tsv",
    "label": "label.jsonl",
    "spans": "spans.jsonl",
    "nested": "nested.jsonl",
    "relate": "relations.jsonl",
    "answer": "answers-squad.json",
    "embed": "similar.jsonl",
    "write": "pairs.jsonl",
}


@pytest.mark.parametrize("family", ["encoder", "decoder", "encoder_decoder"])
@pytest.mark.parametrize("name", TASKS)
def test_a_step_of_every_task_is_on_one_device(name: str, family: str, examples: Path) -> None:
    if (name, family) == ("write", "encoder"):
        pytest.skip("an encoder does not write")
    asked = {"spans": ["settings.chain=trained"], "multi_label": ["settings.columns.separator=|"]}
    begin, config = start(family), finetune_config(name, asked.get(name, []))
    config = settled(config, begin)
    found, _ = build_task(name, settings=config.settings).read(examples / TASKS[name], min_classes=1)
    task = learned_task(name, found, config.readout, config.settings)
    encoded = task.encode(found, begin.for_rows(config.row_length or 64).reading(task.readout))
    fitting = make_fitting(begin, task, encoded, encoded, config)
    network = fitting.model.to(META)
    with OneDevice():
        terms = fitting.learned.loss(network, fitting.rows.batch(0).to(META), Key(0))
        torch.stack([term.weight * term.sum for term in terms]).sum().backward()


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("device") / "examples"
    write_examples(folder)
    return folder
