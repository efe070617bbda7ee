"""Adafactor: second moments of matrices as the product of a row and a column (Shazeer & Stern 2018)."""

import torch
from torch import Tensor

from trivium.train.optimisers.base import Group, Optimiser, decay


class Adafactor(Optimiser):
    """A group has `lr`, `weight_decay`, `beta1`, `beta2_power`, `eps`, `clip`, `relative` and `min_scale`.

    Differs from the paper's algorithm 4 (and agrees with torch.optim): `eps` bounds the estimate from below and is not
    added to the squares; how the learning rate falls is the schedule's.
    """

    def update(self, group: Group, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Update some parameters of one group in place."""
        lr = group["lr"]
        for parameter, gradient, step in zip(parameters, gradients, self.count_step(parameters), strict=True):
            update = gradient * self._inverse_spread(parameter, gradient, group, 1.0 - step ** group["beta2_power"])
            update /= max(1.0, _root_mean_square(update) / group["clip"])
            if group["beta1"]:
                update = self.kept_as(parameter, "exp_avg", parameter.shape).lerp_(update, 1.0 - group["beta1"])
            scale = max(group["min_scale"], _root_mean_square(parameter)) if group["relative"] else 1.0
            decay([parameter], [update], lr * group["weight_decay"], cautious=False)
            parameter.sub_(update, alpha=lr * scale)

    def _inverse_spread(self, parameter: Tensor, gradient: Tensor, group: Group, beta2: float) -> Tensor:
        """Take the gradient's squares into the second moments; return what it is multiplied by."""
        eps = group["eps"]
        if parameter.ndim < 2:
            estimate = self.kept_as(parameter, "variance", parameter.shape)
            return estimate.lerp_(gradient.square(), 1.0 - beta2).clamp(min=eps).rsqrt_()
        *shared, num_rows, num_columns = parameter.shape
        rows = self.kept_as(parameter, "row_variance", (*shared, num_rows, 1))
        columns = self.kept_as(parameter, "column_variance", (*shared, 1, num_columns))
        squares = gradient.square()
        rows.lerp_(squares.mean(-1, keepdim=True), 1.0 - beta2)
        columns.lerp_(squares.mean(-2, keepdim=True), 1.0 - beta2)
        mean = rows.mean(-2, keepdim=True).clamp(min=eps)
        return torch.matmul(rows, columns).div_(mean).clamp_(min=eps).rsqrt_()


def _root_mean_square(tensor: Tensor) -> float:
    return float(tensor.norm()) / tensor.numel() ** 0.5
