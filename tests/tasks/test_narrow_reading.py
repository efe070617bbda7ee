"""Models that read in int8 or bfloat16 answer nearly as they do in float32, and leave the model as it was."""

import numpy as np
import pytest
import torch
from task_support import FAMILIES, classify_examples, label_examples, lively_model, reading
from torch import nn
from typer.testing import CliRunner

from trivium.cli.main import app
from trivium.model.precision import InferencePrecision, Int8Linear
from trivium.tasks.base import TaskModel
from trivium.tasks.build import learned_task
from trivium.tasks.class_answers import class_answers
from trivium.tasks.folder import TunedModel, tuned_in
from trivium.tasks.read_batches import read_batches


def tuned_model(family: str, task_name: str) -> tuple[TunedModel, list[object]]:
    examples = (label_examples if task_name == "label" else classify_examples)(60, seed=3)
    task = learned_task(task_name, examples)
    model = lively_model(family, task)
    return TunedModel(model, None, task, reading(family)), [*examples]  # type: ignore[arg-type]


def probabilities(tuned: TunedModel, examples: list[object]) -> np.ndarray:
    encoded = tuned.task.encode(examples, tuned.reading)
    answered = class_answers(tuned.model, encoded, num_classes=len(tuned.task.labels))
    return np.exp(np.concatenate([answer.outputs_AC for answer in answered]))


def test_a_layer_in_int8_is_near_the_product_and_rounds_each_row_by_its_own_scale() -> None:
    torch.manual_seed(0)
    weight, bias, states = torch.randn(24, 40), torch.randn(24), torch.randn(3, 50, 40)
    weight[3] *= 1000.0  # its scale would leave nothing of the others
    with torch.inference_mode():
        exact = nn.functional.linear(states, weight, bias)
        found = Int8Linear(weight=weight, bias=bias)(states)
        bare = Int8Linear(weight=weight, bias=None)(states)
    assert found.shape == exact.shape and found.dtype == torch.float32
    error_O = (found - exact).abs().mean((0, 1)) / exact.abs().mean((0, 1))
    assert 0.0 < float(error_O.max()) < 0.03
    torch.testing.assert_close(bare, found - bias, atol=1e-4, rtol=1e-4)


def test_in_int8_what_is_beside_a_row_changes_it_a_little_and_the_help_says_so() -> None:
    tuned, examples = tuned_model("encoder", "classify")
    narrow = tuned_in(tuned, "int8")
    together = probabilities(narrow, examples)
    alone = np.concatenate([probabilities(narrow, [example]) for example in examples])
    assert 0.0 < np.abs(together - alone).max() < 0.05
    for verb in ("predict", "evaluate", "generate"):
        said = " ".join(CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "400"}).output.split())
        assert "in int8 also with what else is read at once" in said


@pytest.mark.parametrize("task_name", ["classify", "label"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_answers_are_nearly_the_same_and_the_model_stays_what_it_was(
    family: str, task_name: str, precision: InferencePrecision
) -> None:
    tuned, examples = tuned_model(family, task_name)
    before = {name: tensor.clone() for name, tensor in tuned.model.state_dict().items()}
    exact, narrow = probabilities(tuned, examples), tuned_in(tuned, precision)
    found = probabilities(narrow, examples)
    assert isinstance(narrow.model, TaskModel) and narrow.model is not tuned.model and not narrow.model.training
    assert 0.0 < float(np.abs(found - exact).mean()) < 0.1 * float(exact.std())
    assert np.mean(found.argmax(1) == exact.argmax(1)) > 0.9
    after = tuned.model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert np.array_equal(probabilities(tuned, examples), exact)


def test_every_matrix_of_what_reads_is_in_int8() -> None:
    tuned, _ = tuned_model("encoder", "classify")
    narrow = tuned_in(tuned, "int8").model
    assert isinstance(narrow, TaskModel)
    assert not [name for name, module in narrow.reader.named_modules() if isinstance(module, nn.Linear)]
    assert sum(isinstance(module, Int8Linear) for module in narrow.reader.modules()) >= 8


def test_float32_gives_the_same_answers_however_its_matrices_lie() -> None:
    tuned, examples = tuned_model("decoder", "label")
    mine, plain = (probabilities(which, examples) for which in (tuned_in(tuned, "float32"), tuned))
    np.testing.assert_allclose(mine, plain, atol=1e-5)


@pytest.mark.parametrize("places", [1, 70, 1024])
def test_batches_hold_every_piece_once_and_keep_to_their_places(places: int) -> None:
    tuned, examples = tuned_model("encoder", "label")
    pieces = tuned.task.encode(examples, tuned.reading).pieces
    seen: list[int] = []
    sizes: list[int] = []
    for chosen, (batch, example_BN, answer_BN) in read_batches(pieces, tuned.reading, places=places):
        rows, length = batch.tokens_BL.shape
        assert rows == len(chosen) and length == max(len(piece.tokens_L) for piece in chosen)
        assert rows * length <= places or rows == 1
        for piece, tokens_L, example_N, answer_N in zip(
            chosen, batch.tokens_BL.numpy(), example_BN, answer_BN, strict=True
        ):
            assert tokens_L[: len(piece.tokens_L)].tolist() == piece.tokens_L.tolist()
            assert example_N[: len(piece.places_N)].tolist() == [piece.example] * len(piece.places_N)
            assert answer_N[: len(piece.places_N)].tolist() == piece.answers_N.tolist()
            assert (example_N[len(piece.places_N) :] == -1).all()
            seen.append(id(piece))
        sizes.append(length)
    assert sorted(seen) == sorted(map(id, pieces))
    assert sizes == sorted(sizes, reverse=True)
