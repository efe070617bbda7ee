"""The fast path learns as the plain one: attention by its definition, every place of every layer, whole logits."""

import pytest
import torch
from torch import Tensor

from training import run_config, trial
from trivium.model import stack
from trivium.model.build import network as building
from trivium.model.heads import LanguageHead
from trivium.objectives.build import ObjectiveConfig
from trivium.objectives.permuted import PermutedConfig
from trivium.objectives.sentences import SentencesConfig

FIRST = 20


def plain_nats(head: LanguageHead, hidden_ND: Tensor, labels_N: Tensor, weights_N: Tensor) -> Tensor:
    """The sum that the head gives, with the logits of all places there."""
    nats_N = torch.nn.functional.cross_entropy(head(hidden_ND).float(), labels_N, reduction="none")
    return torch.dot(nats_N, weights_N)


@pytest.mark.parametrize(
    ("name", "objective"),
    [
        ("encoder-tiny", None),
        ("bert-tiny", None),
        ("decoder-tiny", None),
        ("gpt2", None),
        ("seq2seq-tiny", None),
        ("t5-small", None),
        ("encoder-tiny", PermutedConfig()),
        ("encoder-tiny", SentencesConfig()),
    ],
)
def test_the_first_losses_are_those_of_the_plain_path(
    name: str, objective: ObjectiveConfig | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run_config(name, objective=objective)
    fast = trial(config).losses(0, FIRST)
    monkeypatch.setattr(building, "choose_kernel", lambda config, device: "reference")
    monkeypatch.setattr(stack, "_NARROW", 10**9)
    monkeypatch.setattr(LanguageHead, "summed_nats", plain_nats)
    plain = trial(config).losses(0, FIRST)
    assert len(fast) == len(plain) == FIRST
    assert fast == pytest.approx(plain, abs=1e-5, rel=1e-5)
    assert fast[-1] < fast[0]
