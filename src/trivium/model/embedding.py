"""From token ids to the first hidden states."""

from torch import Tensor, nn

from trivium.core.batch import Batch


class Embedding(nn.Module):
    """Token vectors, plus position and segment vectors where the model has them, normed and dropped out.

    `tokens` may be shared with another stack and with the head.
    """

    def __init__(
        self,
        *,
        tokens: nn.Embedding,
        positions: nn.Module | None,
        segments: nn.Embedding | None,
        norm: nn.Module,
        dropout: nn.Module,
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.positions = positions
        self.segments = segments
        self.norm = norm
        self.dropout = dropout

    def forward(self, batch: Batch) -> Tensor:
        """Return the embedded tokens, hidden_BLD; segments are 0 where the batch names none."""
        hidden_BLD = self.tokens(batch.tokens_BL)
        if self.positions is not None:
            hidden_BLD = hidden_BLD + self.positions(batch.layout.position_BL).to(hidden_BLD.dtype)
        if self.segments is not None:
            if batch.segments_BL is None:
                hidden_BLD = hidden_BLD + self.segments.weight[0]
            else:
                hidden_BLD = hidden_BLD + self.segments(batch.segments_BL)
        return self.dropout(self.norm(hidden_BLD))
