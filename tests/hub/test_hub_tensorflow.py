"""TensorFlow's checkpoints are read as they were written, or refused; the writer here is checked against TensorFlow."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_writer import (
    entry,
    header,
    message_field,
    number_field,
    rows_of,
    slow_crc32c,
    table,
    write_bundle,
)
from torch import Tensor

from trivium.core.errors import HubError
from trivium.hub.crc32c import masked_crc32c
from trivium.hub.tensorflow import bert_from_tensorflow, read_bert_config, read_tensorflow

SIZES = {
    "vocab_size": 23,
    "hidden_size": 12,
    "num_hidden_layers": 11,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "max_position_embeddings": 9,
    "type_vocab_size": 2,
}


def some_tensors(seed: int = 3) -> dict[str, Tensor]:
    """Every type, and shapes from none to three sizes."""
    generator = torch.Generator().manual_seed(seed)
    whole = torch.randint(-(2**60), 2**60, (2, 3), generator=generator)
    return {
        "bert/embeddings/word_embeddings": torch.randn(70, 5, generator=generator),
        "bert/embeddings/word_embeddings/adam_m": torch.randn(70, 5, generator=generator),
        "global_step": torch.tensor(123456789012),
        "half": torch.randn(3, generator=generator).half(),
        "brain": torch.randn(2, 1, 3, generator=generator).bfloat16(),
        "int32": whole.to(torch.int32),
        "int64": whole,
        "none": torch.zeros(0, 4),
        "ünï": torch.tensor(-0.0),
    }


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype
        and first[name].shape == second[name].shape
        and torch.equal(first[name], second[name])
        for name in first
    )


def refused(prefix: Path, *words: str) -> None:
    """Reading fails with one line that has the words in it."""
    with pytest.raises(HubError) as caught:
        read_tensorflow(prefix)
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(prefix), *words):
        assert word in message


def write_rows(prefix: Path, rows: list[tuple[bytes, bytes]], content: bytes = b"", **options: int) -> None:
    prefix.with_name(f"{prefix.name}.index").write_bytes(table(rows, **options))
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(content)


# Checksums -----------------------------------------------------------------------------------------------------------


def unmasked(data: bytes) -> int:
    rotated = (masked_crc32c(np.frombuffer(data, np.uint8)) - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
    ],
)
def test_checksums_are_those_of_rfc_3720(data: bytes, crc: int) -> None:
    assert unmasked(data) == slow_crc32c(data) == crc


@pytest.mark.parametrize("size", [0, 1, 3, 255, 256, 257, 511, 512, 1023, 1025, 4099, 65537, 200_003])
def test_long_checksums_are_those_of_a_byte_at_a_time(size: int) -> None:
    data = np.random.default_rng(size).bytes(size + 1)
    assert unmasked(data[1:]) == slow_crc32c(data[1:])


# Reading -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_shards", [1, 3])
@pytest.mark.parametrize("rows_a_block", [1, 2, 1000])
def test_what_was_written_is_read(num_shards: int, rows_a_block: int, tmp_path: Path) -> None:
    tensors = some_tensors()
    write_bundle(tmp_path / "model.ckpt", tensors, num_shards=num_shards, rows_a_block=rows_a_block)
    for prefix in (tmp_path / "model.ckpt", tmp_path / "model.ckpt.index", tmp_path):
        assert same(read_tensorflow(prefix), tensors)


def test_names_that_begin_alike_are_read(tmp_path: Path) -> None:
    """More rows than a restart interval has, with names cut by what they share."""
    tensors = {f"bert/encoder/layer_{number}/{'x' * (number % 7)}": torch.tensor([number]) for number in range(100)}
    write_bundle(tmp_path / "model.ckpt", tensors, rows_a_block=40)
    assert same(read_tensorflow(tmp_path), tensors)


def test_a_checkpoint_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    refused(tmp_path / "model.ckpt", "model.ckpt.index: missing file")
    refused(tmp_path, "expected one TensorFlow checkpoint (*.index), found none")
    (tmp_path / "old.ckpt").write_bytes(b"")
    refused(tmp_path / "old.ckpt", "expected NAME of NAME.index", "found a file")
    (tmp_path / "a.index").mkdir()
    refused(tmp_path / "a", "expected a file, found a folder")
    write_bundle(tmp_path / "b", some_tensors())
    refused(tmp_path, "found a.index, b.index")
    (tmp_path / "b.data-00000-of-00001").unlink()
    refused(tmp_path / "b", "b.data-00000-of-00001: missing file")


def test_an_index_cut_short_anywhere_is_an_error(tmp_path: Path) -> None:
    prefix = tmp_path / "model.ckpt"
    write_bundle(prefix, some_tensors(), rows_a_block=4)
    assert same(read_tensorflow(prefix), some_tensors())
    index = tmp_path / "model.ckpt.index"
    content = index.read_bytes()
    for length in range(len(content)):
        index.write_bytes(content[:length])
        refused(prefix, "expected the index of a TensorFlow checkpoint")
    assert len(content) > 300


def test_a_flipped_bit_is_an_error_or_of_no_matter(tmp_path: Path) -> None:
    prefix, tensors = tmp_path / "model.ckpt", some_tensors()
    write_bundle(prefix, tensors, rows_a_block=4)
    data = tmp_path / "model.ckpt.data-00000-of-00001"
    for file, least in ((tmp_path / "model.ckpt.index", 0.8), (data, 1.0)):
        content, found = file.read_bytes(), 0
        places = np.random.default_rng(1).integers(0, len(content) * 8, 300)
        for place in places.tolist():
            flipped = bytearray(content)
            flipped[place // 8] ^= 1 << place % 8
            file.write_bytes(flipped)
            try:
                # The empty meta index and the footer's filling are read by nobody.
                assert same(read_tensorflow(prefix), tensors)
            except HubError as error:
                assert "\n" not in str(error)
                found += 1
        file.write_bytes(content)
        assert same(read_tensorflow(prefix), tensors)
        assert found >= least * len(places)


def test_any_bytes_under_right_checksums_are_read_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    rows, shards = rows_of(some_tensors())
    write_rows(tmp_path / "m", rows, shards[0])
    assert same(read_tensorflow(tmp_path / "m"), some_tensors())
    found = 0
    for _ in range(400):
        changed = list(rows)
        place = int(rng.integers(len(rows)))
        key, value = changed[place]
        mutated = bytearray(value)
        for _ in range(int(rng.integers(1, 4))):
            mutated[int(rng.integers(len(mutated)))] = int(rng.integers(256))
        changed[place] = (key, bytes(mutated[: int(rng.integers(1, len(mutated) + 8))]))
        write_rows(tmp_path / "m", changed, shards[0])
        try:
            read_tensorflow(tmp_path / "m")
        except HubError as error:
            assert "\n" not in str(error)
            found += 1
    assert found > 250


def test_data_cut_short_or_changed_is_an_error(tmp_path: Path) -> None:
    prefix = tmp_path / "m"
    write_bundle(prefix, {"a": torch.arange(10.0), "b": torch.arange(20.0)})
    data = tmp_path / "m.data-00000-of-00001"
    content = data.read_bytes()
    for length, name in ((0, "a"), (39, "a"), (40, "b"), (119, "b")):
        data.write_bytes(content[:length])
        refused(prefix, f"data-00000-of-00001: cut short: `{name}`")
    data.write_bytes(content[:60] + b"x" + content[61:])
    refused(prefix, "data-00000-of-00001: damaged: `b` is not what was written")


def test_what_is_not_read_is_refused_by_name(tmp_path: Path) -> None:
    prefix, good, content = tmp_path / "m", entry(1, (2, 1), 0, 0, bytes(8)), bytes(8)
    slices = message_field(7, b"")
    cases: list[tuple[list[tuple[bytes, bytes]], str]] = [
        ([header()], "found a checkpoint without any"),
        ([(b"a", good)], "it has no header"),
        ([header(0), (b"a", good)], "there are 0 shards"),
        ([(b"", number_field(1, 1) + number_field(2, 1)), (b"a", good)], "big-endian"),
        ([header(), (b"a", entry(1, (2, 2), 0, 0, content))], "`a` of shape (2, 2) does not fit its 8 bytes"),
        ([header(), (b"a", entry(1, (-2 % 2**64, 1), 0, 0, content))], "`a` has a negative size"),
        (
            [header(), (b"a", entry(2, (1,), 0, 0, content))],
            "`a` should be float32, float16, bfloat16, int32 or int64, ",
        ),
        ([header(), (b"a", entry(7, (1,), 0, 0, content))], "found string"),
        ([header(), (b"a", entry(99, (1,), 0, 0, content))], "found type 99"),
        ([header(), (b"a", entry(1, (2,), 3, 0, content))], "`a` is in shard 3 of 1"),
        ([header(), (b"a", good + slices)], "`a` is saved in slices"),
        ([header(), (b"\0\x01a", good)], "in slices"),
        ([header(), (b"_CHECKPOINTABLE_OBJECT_GRAPH", good)], "TensorFlow 2"),
        ([header(), (b"b", good), (b"a", good)], "out of order"),
        ([header(), (b"a", good), (b"a", good)], "out of order"),
        ([header(), (b"\xfe", good)], "not UTF-8"),
    ]
    for rows, words in cases:
        write_rows(prefix, rows, content)
        refused(prefix, words)
    write_rows(prefix, [header(), (b"a", good)], content, kind=1)
    refused(prefix, "it is compressed (type 1), which is not read")
    write_rows(prefix, [header(), (b"a", good)], content)
    assert same(read_tensorflow(prefix), {"a": torch.zeros(2, 1)})


# BERT ----------------------------------------------------------------------------------------------------------------


def original_name(name: str) -> str:
    """TensorFlow's name by the rules of transformers' former script, convert_bert_pytorch_checkpoint_to_original_tf."""
    special = {
        "cls.predictions.bias": "cls/predictions/output_bias",
        "cls.seq_relationship.weight": "cls/seq_relationship/output_weights",
        "cls.seq_relationship.bias": "cls/seq_relationship/output_bias",
    }
    if name in special:
        return special[name]
    for old, new in (
        ("layer.", "layer_"),
        ("word_embeddings.weight", "word_embeddings"),
        ("position_embeddings.weight", "position_embeddings"),
        ("token_type_embeddings.weight", "token_type_embeddings"),
        (".", "/"),
        ("LayerNorm/weight", "LayerNorm/gamma"),
        ("LayerNorm/bias", "LayerNorm/beta"),
        ("weight", "kernel"),
    ):
        name = name.replace(old, new)
    return name


def huggingface_weights() -> dict[str, Tensor]:
    """A small random BERT of transformers: each weight once."""
    from transformers import BertConfig, BertForPreTraining

    generator = torch.Generator().manual_seed(31)
    state = BertForPreTraining(BertConfig(**SIZES)).state_dict()
    return {
        name: torch.randn(tensor.shape, generator=generator)
        for name, tensor in state.items()
        if not name.startswith("cls.predictions.decoder.")
    }


def original_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    original = {}
    for name, tensor in weights.items():
        other = original_name(name)
        original[other] = tensor.T.contiguous() if other.endswith("/kernel") else tensor
    return original


def test_bert_gets_the_names_of_hugging_face(tmp_path: Path) -> None:
    weights = huggingface_weights()
    original = original_weights(weights)
    slots = {
        f"{name}/{slot}": torch.zeros_like(tensor) for name, tensor in original.items() for slot in ("adam_m", "adam_v")
    }
    write_bundle(tmp_path / "bert_model.ckpt", {**original, **slots, "global_step": torch.tensor(7)})
    assert same(bert_from_tensorflow(read_tensorflow(tmp_path)), weights)
    assert len(weights) > 180


@pytest.mark.parametrize(
    "name",
    [
        "output_weights",
        "bert/encoder/layer_0/attention/self/query/gamma",
        "bert/encoder/layer_00/attention/self/query/kernel",
        "bert/encoder/layer_0/attention/output/LayerNorm/kernel",
        "bert/encoder/layer_x/output/dense/bias",
        "bert/embeddings/word_embeddings/kernel",
        "bert/pooler/dense",
        "electra/embeddings/word_embeddings",
        "",
    ],
)
def test_a_name_that_bert_has_not_is_an_error(name: str) -> None:
    with pytest.raises(HubError, match=f"^`{name}`: expected the variables of google-research/bert"):
        bert_from_tensorflow({"global_step": torch.tensor(1), name: torch.zeros(2, 2)})


def test_a_kernel_that_is_no_matrix_is_an_error() -> None:
    with pytest.raises(HubError, match=r"`bert/pooler/dense/kernel`: expected a matrix, found the shape \(4,\)"):
        bert_from_tensorflow({"bert/pooler/dense/kernel": torch.zeros(4)})


def test_a_configuration_of_bert_is_read(tmp_path: Path) -> None:
    from transformers import BertConfig

    given = {
        **SIZES,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "directionality": "bidi",
    }
    (tmp_path / "bert_config.json").write_text(json.dumps(given))
    config = read_bert_config(tmp_path)
    assert config == {**given, "model_type": "bert", "architectures": ["BertForPreTraining"], "layer_norm_eps": 1e-12}
    read = BertConfig.from_dict(config)
    assert {name: getattr(read, name) for name in SIZES} == SIZES


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "expected a JSON object"),
        (b"[1]", "expected a JSON object, found list"),
        (b"\xff\xfe{}", "expected JSON in UTF-8"),
        (b"{}", "expected a positive whole number for `vocab_size`, found None"),
        (json.dumps({**SIZES, "hidden_size": 0}).encode(), "for `hidden_size`, found 0"),
        (json.dumps({**SIZES, "hidden_size": True}).encode(), "for `hidden_size`, found True"),
        (json.dumps({**SIZES, "type_vocab_size": "2"}).encode(), "for `type_vocab_size`, found '2'"),
    ],
)
def test_a_wrong_configuration_is_an_error(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "bert_config.json").write_bytes(content)
    with pytest.raises(HubError) as caught:
        read_bert_config(tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_configuration_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="missing file"):
        read_bert_config(tmp_path)


# TensorFlow itself ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_tensorflow_writes_what_is_read_and_what_is_written_here(tmp_path: Path) -> None:
    tensorflow = pytest.importorskip("tensorflow", reason="TensorFlow is not installed: it is the judge of this test")
    v1 = tensorflow.compat.v1
    tensors = {**original_weights(huggingface_weights()), **some_tensors()}
    del tensors["ünï"]  # TensorFlow's own names are ASCII
    graph = tensorflow.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        for name, tensor in tensors.items():
            is_brain = tensor.dtype == torch.bfloat16
            array = tensor.float().numpy().astype(tensorflow.bfloat16.as_numpy_dtype) if is_brain else tensor.numpy()
            v1.get_variable(name, initializer=array)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(tmp_path / "theirs"), write_meta_graph=False)
    assert same(read_tensorflow(tmp_path / "theirs"), tensors)

    write_bundle(tmp_path / "ours", tensors)
    for ending in ("index", "data-00000-of-00001"):
        assert (tmp_path / f"ours.{ending}").read_bytes() == (tmp_path / f"theirs.{ending}").read_bytes()
    write_bundle(tmp_path / "cut", tensors, num_shards=3, rows_a_block=5)
    reader = tensorflow.train.load_checkpoint(str(tmp_path / "cut"))
    assert set(reader.get_variable_to_shape_map()) == set(tensors)
    for name, tensor in tensors.items():
        assert np.array_equal(np.asarray(reader.get_tensor(name), dtype=np.float64), tensor.double().numpy())
