"""A linear chain over the labels of neighbouring words: how likely each comes after each other."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class LabelChain(nn.Module):
    """A linear-chain conditional random field (Lafferty et al. 2001) over logits that a network gives.

    A sequence y of labels scores first[y_1] + sum of logits_t[y_t] + sum of after[y_t-1, y_t] + last[y_T].

    Args:
        num_labels: C.
    """

    def __init__(self, *, num_labels: int) -> None:
        super().__init__()
        # Not drawn: 0 is the chain that says nothing, and what training begins with.
        self.after_CC = nn.Parameter(torch.zeros(num_labels, num_labels))
        self.first_C = nn.Parameter(torch.zeros(num_labels))
        self.last_C = nn.Parameter(torch.zeros(num_labels))

    def nats(self, logits_BNC: Tensor, labels_BN: Tensor, goes_on_BN: Tensor, used_BN: Tensor) -> Tensor:
        """Return minus the logarithm of the probability of the labels, summed over all sequences.

        Args:
            logits_BNC: of the places of each row, float32 or better; sequences lie one after another.
            labels_BN: int64, the right labels.
            goes_on_BN: bool, whether a place goes on the sequence of the place before it.
            used_BN: bool; places that are not used come after all those that are.
        """
        after_CC, first_C, last_C = (each.to(logits_BNC.dtype) for each in (self.after_CC, self.first_C, self.last_C))
        ends_BN = used_BN & ~functional.pad(goes_on_BN[:, 1:] & used_BN[:, 1:], (0, 1))
        chosen_BN = logits_BNC.gather(-1, labels_BN[..., None]).squeeze(-1)
        right_BN = chosen_BN + torch.where(
            goes_on_BN, after_CC[labels_BN.roll(1, dims=1), labels_BN], first_C[labels_BN]
        )
        right_BN = right_BN + torch.where(ends_BN, last_C[labels_BN], torch.zeros_like(right_BN))
        total = logits_BNC.new_zeros(())
        forward_BC = torch.zeros_like(logits_BNC[:, 0])
        for place in range(logits_BNC.shape[1]):
            on_BC = (forward_BC[:, :, None] + after_CC).logsumexp(1)
            begun_BC = torch.where(goes_on_BN[:, place, None], on_BC, first_C)
            forward_BC = begun_BC + logits_BNC[:, place]
            ended_B = (forward_BC + last_C).logsumexp(-1)
            total = total + torch.where(ends_BN[:, place], ended_B, torch.zeros_like(ended_B)).sum()
        return total - torch.where(used_BN, right_BN, torch.zeros_like(right_BN)).sum()
