"""Feed-forward layers: what each place does by itself."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from trivium.model.linear import Linear
from trivium.model.view import View

ActivationFunction = Callable[[Tensor], Tensor]


def gelu_tanh(states: Tensor) -> Tensor:
    """GELU by a hyperbolic tangent, as GPT-2 has it (Hendrycks & Gimpel 2016)."""
    return functional.gelu(states, approximate="tanh")


def relu_squared(states: Tensor) -> Tensor:
    """The square of ReLU (So et al. 2021, Primer, section 3)."""
    return functional.relu(states).square()


class PlainFeedForward(nn.Module):
    """`down(dropout(activation(up(x))))` (Vaswani et al. 2017, section 3.3)."""

    def __init__(
        self, *, hidden_size: int, size: int, activation: ActivationFunction, bias: bool, dropout: nn.Module
    ) -> None:
        super().__init__()
        self.up = Linear(hidden_size, size, bias=bias)
        self.activation = activation
        self.dropout = dropout
        self.down = Linear(size, hidden_size, bias=bias)

    def forward(self, hidden_BLD: Tensor, view: View | None = None) -> Tensor:
        """Return the transformed hidden states, of the same shape; nothing depends on the view."""
        return self.down(self.dropout(self.activation(self.up(hidden_BLD))))


class GatedFeedForward(nn.Module):
    """`down(dropout(activation(gate(x)) * up(x)))`, gate and up in one product (Shazeer 2020)."""

    def __init__(
        self, *, hidden_size: int, size: int, activation: ActivationFunction, bias: bool, dropout: nn.Module
    ) -> None:
        super().__init__()
        self.gate_up = Linear(hidden_size, 2 * size, bias=bias)
        self.activation = activation
        self.dropout = dropout
        self.down = Linear(size, hidden_size, bias=bias)

    def forward(self, hidden_BLD: Tensor, view: View | None = None) -> Tensor:
        """Return the transformed hidden states, of the same shape; nothing depends on the view."""
        gate_BLF, up_BLF = self.gate_up(hidden_BLD).chunk(2, dim=-1)
        return self.down(self.dropout(self.activation(gate_BLF) * up_BLF))
