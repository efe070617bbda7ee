"""A batch cut into rows: all its parts are cut alike, and each part knows which rows it is."""

from dataclasses import replace

import torch

from support import packed_batch


def test_rows_take_their_noise_and_their_numbers_with_them() -> None:
    batch = packed_batch("encoder_decoder")
    assert batch.source is not None
    noise_BLD, source_noise_BLD = torch.randn(3, 24, 4), torch.randn(3, 30, 4)
    batch = replace(batch, noise_BLD=noise_BLD, source=replace(batch.source, noise_BLD=source_noise_BLD))
    assert batch.first_row == 0
    part = batch.rows(1, 3)
    assert part.source is not None and part.noise_BLD is not None and part.source.noise_BLD is not None
    assert torch.equal(part.noise_BLD, noise_BLD[1:]) and torch.equal(part.source.noise_BLD, source_noise_BLD[1:])
    assert part.first_row == 1 and part.rows(1, 2).first_row == 2
    assert part.to(torch.device("cpu")).first_row == 1
