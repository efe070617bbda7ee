"""Muon and NorMuon: momentum made orthogonal, matrix by matrix; vectors and tables by AdamW."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from trivium.train.optimisers.adamw import adamw_update
from trivium.train.optimisers.base import Group, Optimiser, decay

# Largest slope at 0 with all singular values ending near 1 (Jordan et al. 2024).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
# Numbers in one stack of matrices. Stacking small ones makes them 1.5 to 3 times as fast; a stack that does not fit the
# cache is slower than its matrices one by one (384 x 1024: 1.5 times).
_MAX_STACK = 2**20


class Muon(Optimiser):
    """A group with `orthogonal` True holds matrices: `lr`, `weight_decay`, `momentum`, `nesterov`, `iterations`,
    `dtype` of the iteration, `cautious_decay`, `row_beta` (None = rows are left as they are), and `parts`, by the
    parameters' ids, how many rows each part of a fused matrix has. Any other group is `adamw_update`'s.
    """

    def update(self, group: Group, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Update some parameters of one group in place."""
        if not group["orthogonal"]:
            adamw_update(self, group, parameters, gradients)
            return
        lr, momentum = group["lr"], group["momentum"]
        means = self.kept(parameters, "momentum_buffer")
        torch._foreach_lerp_(means, gradients, 1.0 - momentum)
        directions = torch._foreach_lerp(gradients, means, momentum) if group["nesterov"] else means
        parts = [group["parts"].get(id(parameter), (parameter.shape[0],)) for parameter in parameters]
        updates = orthogonal_parts(directions, parts, iterations=group["iterations"], dtype=group["dtype"])
        for parameter, update, rows in zip(parameters, updates, parts, strict=True):
            if group["row_beta"] is not None:
                self._even_rows(parameter, update, group["row_beta"])
            for part in torch.split(update, list(rows)):
                _rescale(part, normed=group["row_beta"] is not None)
        decay(parameters, updates, lr * group["weight_decay"], cautious=group["cautious_decay"])
        torch._foreach_add_(parameters, updates, alpha=-lr)

    def _even_rows(self, parameter: Tensor, update: Tensor, beta: float) -> None:
        """Divide each row by the root of a running mean of its squares (Li et al. 2025, algorithm 1)."""
        rows = self.kept_as(parameter, "row_square", (parameter.shape[0], 1))
        rows.lerp_(update.square().mean(-1, keepdim=True), 1.0 - beta)
        update.div_(rows.sqrt().add_(1e-8))


def _rescale(part: Tensor, *, normed: bool) -> None:
    """Make an update about as large as AdamW's, whose root mean square is about 0.2.

    An orthogonal matrix has the root mean square 1 / sqrt(max(rows, columns)) (Liu et al. 2025, equation 4); one whose
    rows were evened out is measured (Li et al. 2025, algorithm 1).
    """
    if normed:
        part.mul_(0.2 * part.numel() ** 0.5 / float(part.norm().clamp(min=1e-12)))
    else:
        part.mul_(0.2 * max(part.shape) ** 0.5)


def orthogonal_parts(
    matrices: Sequence[Tensor], parts: Sequence[Sequence[int]], *, iterations: int, dtype: torch.dtype
) -> list[Tensor]:
    """Return matrices whose parts are each as orthogonal as the iteration makes them, in the matrices' own type.

    Args:
        matrices: two-dimensional.
        parts: rows of each part of each matrix; they add up to its rows.
        iterations: of `orthogonalised`.
        dtype: to compute in.
    """
    results = [torch.empty_like(matrix) for matrix in matrices]
    waiting: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
    for matrix, result, rows in zip(matrices, results, parts, strict=True):
        for part, target in zip(torch.split(matrix, list(rows)), torch.split(result, list(rows)), strict=True):
            tall = part.shape[0] > part.shape[1]
            pair = (part.mT, target.mT) if tall else (part, target)
            waiting[pair[0].shape[0], pair[0].shape[1]].append(pair)
    for shape, pairs in waiting.items():
        size = max(1, _MAX_STACK // (shape[0] * shape[1]))
        for begin in range(0, len(pairs), size):
            some = pairs[begin : begin + size]
            made = orthogonalised(torch.stack([part.to(dtype) for part, _ in some]), iterations=iterations)
            for (_, target), value in zip(some, made.unbind(), strict=True):
                target.copy_(value)
    return results


def orthogonalised(stack: Tensor, *, iterations: int) -> Tensor:
    """Return each matrix U S V^T of a stack, no taller than wide, as about U V^T: its singular values near 1.

    Newton-Schulz iteration with a quintic polynomial (Jordan et al. 2024).
    """
    a, b, c = _COEFFICIENTS
    stack = stack / torch.linalg.matrix_norm(stack, keepdim=True).clamp(min=1e-7)
    for _ in range(iterations):
        gram = stack @ stack.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        stack = torch.baddbmm(stack, polynomial, stack, beta=a)
    return stack
