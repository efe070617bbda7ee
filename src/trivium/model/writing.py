"""A network in the middle of writing: what is written, and the cache of what it has read, a step at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trivium.core.batch import Batch, reading
from trivium.core.layout import TokenLayout
from trivium.model.cache import Cache
from trivium.model.choose import Written
from trivium.model.heads import Network

# (document_BL, position_BL) -> how prompts are read
Read = Callable[[Tensor, Tensor], TokenLayout]


@dataclass
class Writing:
    """Rows of text that grow by a token a step. `begin` makes it.

    Args:
        network: what writes.
        written: the texts; the tensor of tokens is written in place.
        last_BD: the hidden states that the next tokens are predicted from.
        next: the batch of the last step's tokens, of which the next step's is made.
        looked_at: the encoder's hidden states and layout; None = there is no encoder.
        cache: of everything but the tokens that come next.
    """

    network: Network
    written: Written
    last_BD: Tensor
    next: Batch
    looked_at: tuple[Tensor, TokenLayout] | None
    cache: Cache

    def logits(self) -> Tensor:
        """Return logits_BV of the next tokens."""
        return self.network.head(self.last_BD)

    def write(self, token_B: Tensor) -> None:
        """Write a token in each row, which is not read yet."""
        text_BL, length_B, new = self.written
        text_BL.scatter_(1, length_B[:, None], token_B[:, None])
        self.written = Written(text_BL, length_B + 1, new + 1)

    def read(self) -> None:
        """Read what was last written."""
        text_BL, length_B, _ = self.written
        place_B1 = (length_B - 1)[:, None]
        position_B1 = place_B1.int()
        layout = replace(self.next.layout, position_BL=position_B1, rank_BL=position_B1)
        batch = replace(self.next, tokens_BL=text_BL.gather(1, place_B1), layout=layout)
        self.last_BD = self.network.write(batch, self.looked_at, self.cache)[:, 0]

    def spread(self, copies: int) -> None:
        """Go on with so many copies of each row, side by side."""

        def spread(tensor: Tensor) -> Tensor:
            return tensor.repeat_interleave(copies, dim=0)

        text_BL, length_B, new = self.written
        self.written = Written(spread(text_BL), spread(length_B), new)
        self.last_BD, self.next = spread(self.last_BD), self.next.map(spread)
        if self.looked_at is not None:
            hidden_BMD, layout = self.looked_at
            self.looked_at = spread(hidden_BMD), layout.map(spread)
        self.cache.spread(copies)

    def select(self, rows_B: Tensor) -> None:
        """Let each row go on from the text of the named row, which must be a copy of the same row before `spread`."""
        self.written = self.written._replace(text_BL=self.written.text_BL.index_select(0, rows_B))
        self.cache.select(rows_B)


def begin(
    network: Network,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    source: Batch | None = None,
    read: Read = TokenLayout.causal,
) -> Writing:
    """Read the prompts, of any lengths, and what the encoder reads; see `generate`."""
    rows, longest = len(prompts), max(len(prompt) for prompt in prompts)
    device = network.writer.embedding.tokens.weight.device
    cache = network.writer.new_cache(rows=rows, max_length=longest + max_new_tokens)
    text_BL = torch.full((rows, longest + max_new_tokens), -1, dtype=torch.int64, device=device)
    for row, prompt in enumerate(prompts):
        text_BL[row, : len(prompt)] = torch.tensor(prompt, device=device)
    tokens_BL = text_BL[:, :longest].clamp(min=0)
    document_BL = text_BL[:, :longest].clamp(max=0).int()
    position_BL = torch.arange(longest, dtype=torch.int32, device=device).expand(rows, longest)
    length_B = torch.tensor([len(prompt) for prompt in prompts], device=device)
    batch = reading(tokens_BL, read(document_BL, position_BL))
    looked_at = network.encode(replace(batch, source=None if source is None else source.to(device)))
    hidden_BLD = network.write(batch, looked_at, cache)
    one_B1 = torch.zeros(rows, 1, dtype=torch.int32, device=device)
    return Writing(
        network=network,
        written=Written(text_BL, length_B, 0),
        last_BD=hidden_BLD[torch.arange(rows, device=device), length_B - 1],
        next=reading(one_B1.long(), TokenLayout.causal(one_B1, one_B1)),
        looked_at=looked_at,
        cache=cache,
    )
