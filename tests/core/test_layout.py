"""Who sees whom, against the definition written out place by place."""

import numpy as np
import pytest
import torch

from trivium.core.batch import reading
from trivium.core.layout import Kind, TokenLayout, positions_of, visible


def by_definition(query: TokenLayout, key: TokenLayout, window: int | None) -> torch.Tensor:
    rows, length = query.document_BL.shape
    mask = torch.zeros(rows, length, key.document_BL.shape[1], dtype=torch.bool)
    for b in range(rows):
        for l in range(length):  # noqa: E741
            for m in range(mask.shape[2]):
                distance = abs(int(query.position_BL[b, l]) - int(key.position_BL[b, m]))
                mask[b, l, m] = (
                    query.document_BL[b, l] == key.document_BL[b, m]
                    and key.rank_BL[b, m] <= query.rank_BL[b, l]
                    and (window is None or distance < window)
                )
    return mask


def random_layout(kind: Kind, seed: int) -> TokenLayout:
    rng = np.random.default_rng(seed)
    document_BL = np.sort(rng.integers(0, 4, (2, 13)), axis=1).astype(np.int32)
    document_BL[1, 10:] = -1
    document, position = torch.from_numpy(document_BL), torch.from_numpy(positions_of(document_BL))
    match kind:
        case "all":
            return TokenLayout.bidirectional(document, position)
        case "past":
            return TokenLayout.causal(document, position)
        case _:
            # A prefix of 3 is seen by all of its document; what follows sees what precedes it.
            return TokenLayout(document, position, torch.where(position < 3, 0, position), "ranked")


@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("kind", ["all", "past", "ranked"])
def test_the_mask_is_the_definition(kind: Kind, window: int | None) -> None:
    for seed in range(5):
        layout = random_layout(kind, seed)
        mask = visible(layout, layout, window)
        assert torch.equal(mask, by_definition(layout, layout, window))
        assert mask.any(-1).all()  # no place sees nothing


def test_a_writing_stack_sees_the_whole_document_of_the_reading_one() -> None:
    query, key = random_layout("past", 0), random_layout("all", 1)
    same = query.document_BL[:, :, None] == key.document_BL[:, None, :]
    assert torch.equal(visible(query, key), same)


def test_positions_begin_anew_in_every_document() -> None:
    document_BL = np.array([[0, 0, 0, 1, 2, 2, -1, -1], [0, 1, 2, 3, 3, 3, 3, 3]], dtype=np.int32)
    assert positions_of(document_BL).tolist() == [[0, 1, 2, 0, 0, 1, 0, 1], [0, 0, 0, 0, 1, 2, 3, 4]]
    assert positions_of(document_BL).dtype == np.int32


def test_a_batch_that_is_only_read_has_no_labels() -> None:
    layout = random_layout("all", 0)
    batch = reading(torch.ones(2, 13, dtype=torch.int64), layout)
    assert batch.labels_BN.shape == batch.places_BN.shape == batch.weights_BN.shape == (2, 0)
    assert batch.num_tokens == 2 * 13 - 3
    assert batch.rows(1, 2).num_tokens == 10
