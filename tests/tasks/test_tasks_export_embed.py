"""What embeds texts and is exported gives the same vectors in transformers, and in ours."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from embed_support import pairs
from safetensors.torch import load_file
from task_support import CHINESE, ENGLISH, tokenizer

from support import shrink
from trivium.core.errors import CheckpointError, ConfigError, HubError
from trivium.core.files import new_folder
from trivium.hub.sentence_folder import read_after_reading
from trivium.model.config import ReadoutConfig, TransformConfig, with_vocabulary
from trivium.model.presets import preset
from trivium.tasks.build import learned_task, usual_head
from trivium.tasks.config import finetune_config
from trivium.tasks.embed.embedder import embed_texts, open_embedder
from trivium.tasks.export.huggingface import export_huggingface
from trivium.tasks.fit import fit
from trivium.tasks.folder import save_tuned
from trivium.tasks.start import random_start

TEXTS = [ENGLISH[:24], CHINESE[:12], "ba ke lo", "mi"]


def tuned_folder(name: str, folder: Path, readout: ReadoutConfig | None = None, **settings: int) -> Path:
    """Fine-tune random weights for a few steps, and save the result."""
    config = with_vocabulary(shrink(preset(name)), tokenizer().vocabulary_size)
    examples = pairs(40, seed=1)
    task = learned_task("embed", examples, readout or usual_head("embed", config), settings)
    start = random_start(config, tokenizer(), row_length=48)
    encoded = task.encode(examples, start.reading(task.readout))
    given = ["max_steps=3", "optimiser.lr=0.02", "precision=float32"]
    tuned = fit(start, task, encoded, encoded, finetune_config("embed", given)).tuned
    with new_folder(folder) as empty:
        save_tuned(empty, tuned)
    return folder


@torch.inference_mode()
def with_transformers(folder: Path, text: str) -> np.ndarray:
    """Return a text's vector as the files of the folder say it is made, by transformers."""
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    hidden_LD = transformers.AutoModel.from_pretrained(folder).eval()(**tokens).last_hidden_state[0].double()
    options = json.loads((folder / "1_Pooling" / "config.json").read_text())
    [mode] = [key for key, value in options.items() if key.startswith("pooling_mode") and value]
    position_L = torch.arange(1.0, len(hidden_LD) + 1, dtype=torch.float64)
    vector_D = {
        "pooling_mode_mean_tokens": hidden_LD.mean(0),
        "pooling_mode_cls_token": hidden_LD[0],
        "pooling_mode_lasttoken": hidden_LD[-1],
        "pooling_mode_weightedmean_tokens": position_L @ hidden_LD / position_L.sum(),
    }[mode]
    if (folder / "2_Dense").is_dir():
        dense = {name: tensor.double() for name, tensor in load_file(folder / "2_Dense" / "model.safetensors").items()}
        vector_D = dense["linear.weight"] @ vector_D + dense["linear.bias"]
    modules = [module["path"] for module in json.loads((folder / "modules.json").read_text())]
    assert modules[-1].endswith("_Normalize") and all((folder / path).is_dir() for path in modules)
    return (vector_D / vector_D.norm()).numpy()


@pytest.mark.parametrize(
    ("name", "readout", "size"),
    [
        ("encoder-tiny", None, None),
        ("bert-tiny", ReadoutConfig(pooling="first"), None),
        ("decoder-tiny", None, 5),
        ("gpt2", ReadoutConfig(pooling="last"), None),
    ],
)
def test_an_exported_model_gives_the_vectors_that_it_gave(
    name: str, readout: ReadoutConfig | None, size: int | None, tmp_path: Path
) -> None:
    settings = {} if size is None else {"vector_size": size}
    folder = tuned_folder(name, tmp_path / "model", readout, **settings)
    export_huggingface(folder, tmp_path / "out")
    ours = np.stack(list(embed_texts(open_embedder(folder), TEXTS)))
    theirs = np.stack([with_transformers(tmp_path / "out", text) for text in TEXTS])
    again = np.stack(list(embed_texts(open_embedder(tmp_path / "out"), TEXTS)))
    assert ours.shape == (4, size or preset_size(name)) and np.abs(ours - ours[0]).max() > 1e-3
    np.testing.assert_allclose(theirs, ours, atol=1e-5)
    np.testing.assert_allclose(again, ours, atol=1e-6)
    with pytest.raises(ConfigError, match=r"--pooling .*was trained with"):
        open_embedder(tmp_path / "out", pooling="last" if name == "bert-tiny" else "first")


def preset_size(name: str) -> int:
    return shrink(preset(name)).hidden_size


def test_what_sentence_transformers_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="this model is an encoder-decoder"):
        export_huggingface(tuned_folder("t5-small", tmp_path / "t5"), tmp_path / "out")
    deep = ReadoutConfig(transform=TransformConfig(activation="tanh"))
    with pytest.raises(HubError, match=r"`readout.transform`"):
        export_huggingface(tuned_folder("encoder-tiny", tmp_path / "deep", deep, vector_size=4), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(CheckpointError):
        open_embedder(tmp_path)


POOLING = {"pooling_mode_mean_tokens": True, "word_embedding_dimension": 4}


@pytest.mark.parametrize(
    ("modules", "pooling", "message"),
    [
        ([("Transformer", ""), ("WordWeights", "1_WordWeights")], POOLING, r"module `WordWeights` is not read"),
        (
            [("Transformer", ""), ("Pooling", "1_Pooling")],
            {"pooling_mode_max_tokens": True},
            r"expected one pooling of",
        ),
        (
            [("Pooling", "1_Pooling")],
            POOLING | {"pooling_mode_max_tokens": True},
            r"expected one pooling of .*found pooling_mode_mean_tokens, pooling_mode_max_tokens",
        ),
        ([("Pooling", "1_Pooling"), ("Dense", "1_Pooling")], POOLING, r"activation none is not read"),
        ("{", POOLING, r"expected a JSON list of modules"),
    ],
)
def test_a_folder_that_is_not_read_is_refused(
    modules: list[tuple[str, str]] | str, pooling: dict[str, object], message: str, tmp_path: Path
) -> None:
    if isinstance(modules, list):
        modules = json.dumps([{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in modules])
    (tmp_path / "modules.json").write_text(modules)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    with pytest.raises(HubError, match=message) as caught:
        read_after_reading(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_says_nothing_has_the_usual_pooling_and_newer_files_name_theirs(tmp_path: Path) -> None:
    assert read_after_reading(tmp_path) is None
    (tmp_path / "modules.json").write_text('[{"type": "a.b.Pooling", "path": "1_Pooling"}]')
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode": "lasttoken"}')
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 77}')
    after = read_after_reading(tmp_path)
    assert after is not None and (after.pooling, after.max_length, after.projection) == ("last", 77, {})
