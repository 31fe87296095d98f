"""Muon (Jordan et al., 2024): momentum whose update is made orthogonal before it is applied.

Differs from `torch.optim.Muon` in two things that matter on a CPU: it works in the precision that the processor is
fast in, where torch's always takes bfloat16 (here a step took 14 s on a processor that only emulates that), and
matrices of one shape go through the iteration together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic in the singular values that takes all of them near to 1 in five rounds (Jordan, 2024)."""


def orthogonal(matrices: Tensor) -> Tensor:
    """`[count, rows, columns]`, each with its singular values brought near to 1 (about 0.7 to 1.2)."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """For matrices. `lr` is as for Adam: the update of a matrix has a root mean square of 0.2 times it."""

    def __init__(
        self,
        matrices: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step with Nesterov's momentum; a closure isn't supported.

        Raises:
            ValueError: with a closure.
        """
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike[matrix.shape].append((matrix, self._ahead(matrix, matrix.grad, group["momentum"])))
            for (rows, columns), pairs in alike.items():
                matrices, gradients = zip(*pairs, strict=True)
                scale = group["lr"] * 0.2 * max(rows, columns) ** 0.5
                for matrix, direction in zip(matrices, orthogonal(torch.stack(gradients)), strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"])
                    matrix.add_(direction.to(matrix.dtype), alpha=-scale)

    def _ahead(self, matrix: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        """The gradient as Nesterov's momentum sees it, in the working precision."""
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        mean = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(mean, momentum).to(self._dtype)
