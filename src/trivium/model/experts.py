"""A mixture of experts: each token is transformed by the few feed-forward layers that a router chooses for it."""

import torch
from torch import Tensor, nn

from trivium.model.linear import Linear
from trivium.model.view import View


class MixtureOfExperts(nn.Module):
    """Every token goes to its `top_k` experts, however many others do: none is dropped, none is padded.

    After Shazeer et al. (2017) and Gale et al. (2023). The router works in float32: rounded scores would send tokens
    elsewhere in bfloat16 than in float32.

    Args:
        hidden_size: D.
        experts: feed-forward layers from D to D.
        top_k: experts a token.
        normalise: the chosen experts' weights add up to 1, else they are the router's probabilities.
        balance_weight: of the load-balancing loss.
    """

    def __init__(
        self, *, hidden_size: int, experts: nn.ModuleList, top_k: int, normalise: bool, balance_weight: float
    ) -> None:
        super().__init__()
        self.router = Linear(hidden_size, len(experts), bias=False)
        self.experts = experts
        self.top_k = top_k
        self.normalise = normalise
        self.balance_weight = balance_weight

    def forward(self, hidden_BLD: Tensor, view: View) -> Tensor:
        """Return the transformed hidden states, of the same shape; leave the load balance in the view's tally."""
        wide = torch.float64 if hidden_BLD.dtype == torch.float64 else torch.float32
        share_BLE = nn.functional.linear(hidden_BLD.to(wide), self.router.weight.to(wide)).softmax(-1)
        weight_BLT, expert_BLT = share_BLE.topk(self.top_k, dim=-1)
        if self.normalise:
            weight_BLT = weight_BLT / weight_BLT.sum(-1, keepdim=True)
        if view.tally is not None:
            view.tally.balance.append(self.balance_weight * _balance(share_BLE, expert_BLT, view.used_BL))
        mixed_ND = self._mix(hidden_BLD.flatten(0, 1), weight_BLT.flatten(0, 1), expert_BLT.flatten(0, 1))
        return mixed_ND.view_as(hidden_BLD)

    def _mix(self, hidden_ND: Tensor, weight_NT: Tensor, expert_NT: Tensor) -> Tensor:
        """Sort the pairs of token and expert by expert, transform each expert's tokens at once, add up by token."""
        order = expert_NT.flatten().argsort(stable=True)
        token = order // self.top_k
        parts = torch.split(hidden_ND[token], self._loads(expert_NT))
        done = torch.cat([expert(part) for expert, part in zip(self.experts, parts, strict=True)])
        weighted = done * weight_NT.flatten()[order, None].to(done.dtype)
        return torch.zeros_like(hidden_ND).index_add(0, token, weighted)

    def _loads(self, expert_NT: Tensor) -> list[int]:
        count = len(self.experts)
        if expert_NT.is_meta:
            # Counting on the meta device knows no loads: work that adds up does not depend on how it is shared out.
            even, rest = divmod(expert_NT.numel(), count)
            return [even + (number < rest) for number in range(count)]
        loads: list[int] = torch.bincount(expert_NT.flatten(), minlength=count).tolist()
        return loads


def _balance(share_BLE: Tensor, expert_BLT: Tensor, used_BL: Tensor) -> Tensor:
    """Return each row's load-balancing loss_B (Fedus et al. 2022, equation 4): 1 when all experts are used alike.

    Differs from the paper: it is taken over each row and not over the batch, so that cutting a step into micro-batches
    or ranks changes nothing. Of the top k, each counts 1 / k.
    """
    used_BL1 = used_BL[..., None].to(share_BLE.dtype)
    num_used_B1 = used_BL1.sum(1).clamp(min=1)
    chosen_BLE = torch.zeros_like(share_BLE).scatter(-1, expert_BLT, 1.0 / expert_BLT.shape[-1])
    load_BE = (chosen_BLE * used_BL1).sum(1) / num_used_B1
    mean_share_BE = (share_BLE * used_BL1).sum(1) / num_used_B1
    return share_BLE.shape[-1] * (load_BE * mean_share_BE).sum(-1)
