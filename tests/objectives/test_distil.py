"""Distillation: the divergence is Hinton's, the teacher learns nothing, is named by its hash, and can be matched."""

from pathlib import Path

import pytest
import torch

from support import SPECIAL, VOCABULARY, lively, made_up_text, random_rows, shrink, without_dropout
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.data.packing import RowReader
from trivium.model.folder import save_model
from trivium.model.initialise import initialise
from trivium.model.narrow import narrower
from trivium.model.presets import preset
from trivium.objectives.build import DistilConfig, build_objective
from trivium.objectives.causal import CausalConfig
from trivium.objectives.distil import Distil, Student, divergence, teacher_hash
from trivium.objectives.masked import MaskedConfig


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    config = without_dropout(shrink(preset("encoder-tiny")))
    folder = tmp_path / "run" / "model"
    folder.mkdir(parents=True)
    save_model(folder, lively(config, seed=4), config, b"{}")
    return tmp_path / "run"


def objective(teacher: Path, **settings: object) -> Distil:
    built = build_objective(
        DistilConfig.model_validate({"teacher": str(teacher), "objective": MaskedConfig(), **settings}), VOCABULARY
    )
    assert isinstance(built, Distil)
    return built


def test_the_divergence_is_that_of_softened_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(6, 11, generator=generator, dtype=torch.float64) * 3 for _ in range(2))
    found = divergence(ours, theirs, 2.0)
    for n in range(6):
        p, q = (torch.exp(part[n] / 2.0) / torch.exp(part[n] / 2.0).sum() for part in (theirs, ours))
        expected = 4.0 * float((p * (p / q).log()).sum())
        assert float(found[n]) == pytest.approx(expected, rel=1e-9)
    assert float(divergence(ours, ours, 2.0).abs().max()) < 1e-12


def test_the_terms_are_the_objectives_and_the_teachers(teacher: Path) -> None:
    learned = objective(teacher)
    config = without_dropout(narrower(shrink(preset("encoder-tiny")), 0.5))
    student = learned.network(config)
    assert isinstance(student, Student)
    initialise(student, config, Key(0))
    batch = learned.make(random_rows([[20, 29], [49]], 48), Key(0))
    terms = {term.name: term for term in learned.loss(student, batch, Key(0))}
    assert {name: term.weight for name, term in terms.items()} == {"masked": 2.0, "teacher": 5.0, "hidden": 1.0}
    assert learned.counts(batch) == dict.fromkeys(terms, float(batch.weights_BN.sum()))
    theirs = learned.teacher.network(torch.zeros(0))
    used = batch.weights_BN.flatten() > 0
    offsets = torch.arange(2)[:, None] * 48
    places = (batch.places_BN + offsets).flatten()[used]
    ours_ND, theirs_ND = student.network(batch).flatten(0, 1)[places], theirs(batch).flatten(0, 1)[places]
    nats = divergence(student.network.head(ours_ND), theirs.head(theirs_ND), 2.0).sum()
    apart = (1.0 - torch.nn.functional.cosine_similarity(student.project(ours_ND), theirs_ND)).sum()
    assert float(terms["teacher"].sum.detach()) == pytest.approx(float(nats.detach()), rel=1e-4)
    assert float(terms["hidden"].sum.detach()) == pytest.approx(float(apart.detach()), rel=1e-4)
    torch.stack([term.sum for term in terms.values()]).sum().backward()
    assert all(parameter.grad is not None for parameter in student.project.parameters())
    assert all(parameter.grad is None for parameter in theirs.parameters())
    assert learned.exported(student) is student.network


def test_a_student_equal_to_its_teacher_has_nothing_to_learn_from_it(teacher: Path) -> None:
    learned = objective(teacher)
    config = without_dropout(shrink(preset("encoder-tiny")))
    student = learned.network(config)
    assert isinstance(student, Student)
    student.network.load_state_dict(lively(config, seed=4).state_dict())
    reader = RowReader(made_up_text(20), row_length=48, key=Key(0), pad=SPECIAL.pad)
    _, taught, hidden = learned.loss(student, learned.make(reader.rows(0, 4), Key(0)), Key(0))
    assert abs(float(taught.sum.detach())) < 1e-4
    assert abs(float(hidden.sum.detach())) < 1e-4


def test_other_weights_than_the_run_began_with_are_refused(teacher: Path) -> None:
    objective(teacher, teacher_sha256=teacher_hash(teacher))
    with pytest.raises(ConfigError, match="not those the run began with"):
        objective(teacher, teacher_sha256="0" * 64)
    with pytest.raises(ConfigError, match=r"found no weights\.safetensors"):
        teacher_hash(teacher / "nowhere")


def test_a_teacher_of_another_family_is_refused(teacher: Path) -> None:
    with pytest.raises(ConfigError, match="expected decoder, found encoder"):
        objective(teacher, objective=CausalConfig()).network(shrink(preset("decoder-tiny")))


def test_terms_of_weight_zero_are_not_computed(teacher: Path) -> None:
    learned = objective(teacher, hidden=0.0)
    student = learned.network(narrower(shrink(preset("encoder-tiny")), 0.5))
    assert isinstance(student, Student)
    assert not list(student.project.parameters())
    batch = learned.make(random_rows([[49]], 48), Key(0))
    assert learned.counts(batch).keys() == {"masked", "teacher"}
