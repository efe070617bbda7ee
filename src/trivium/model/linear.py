"""The linear layer of every network here."""

from torch import Tensor, nn
from torch.nn import functional


class Linear(nn.Linear):
    """PyTorch's linear layer, of zeros until `initialise` draws its weights or a file gives them.

    PyTorch's own draws as it is built, for nothing. Neither here nor where a saved model is opened may a network pass
    over the meta device: what draws or allocates there imports a compiler, 0.6 of the 2.6 seconds of a command.
    """

    def reset_parameters(self) -> None:
        """Set weights and bias to zero."""
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def part(self, states: Tensor, outputs: slice) -> Tensor:
        """Return some of the outputs, which alone are computed."""
        return functional.linear(states, self.weight[outputs], None if self.bias is None else self.bias[outputs])
