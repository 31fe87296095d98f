"""What training minimises: the loss of log-probabilities against one-hot targets, and its gradient by the logits.

Both losses are the mean over a batch, as Keras's are. Left to others: how the logits came about (`layers`).
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor

LossName = Literal["cross-entropy", "mse"]


class Loss(Protocol):
    """Log-probabilities and one-hot targets are both [rows, classes]."""

    def gradient(self, log_probs: Tensor, targets: Tensor, batch_rows: int, out: Tensor) -> Tensor:
        """Gradient by the logits of the mean loss of a batch of `batch_rows`, of which these may be a share.

        Written to `out` [rows, classes].
        """
        ...

    def total(self, log_probs: Tensor, targets: Tensor) -> float:
        """Sum (not mean) of the loss over the rows, so that batches of different size add up."""
        ...


class CrossEntropy:
    """-log p(right class), from logits."""

    def gradient(self, log_probs: Tensor, targets: Tensor, batch_rows: int, out: Tensor) -> Tensor:
        torch.exp(log_probs, out=out)
        return out.sub_(targets).mul_(1.0 / batch_rows)

    def total(self, log_probs: Tensor, targets: Tensor) -> float:
        return -float((log_probs * targets).sum(dtype=torch.float64))


class MeanSquaredError:
    """Mean over the classes of (p - target)², where p is the softmax of the logits, so that p stays a probability."""

    def gradient(self, log_probs: Tensor, targets: Tensor, batch_rows: int, out: Tensor) -> Tensor:
        probs = log_probs.exp()
        by_probs = (probs - targets) * (2.0 / (batch_rows * log_probs.shape[1]))
        inner = (by_probs * probs).sum(1, keepdim=True)
        return torch.mul(probs, by_probs - inner, out=out)

    def total(self, log_probs: Tensor, targets: Tensor) -> float:
        return float((log_probs.exp() - targets).square().mean(1).sum(dtype=torch.float64))


def make_loss(name: LossName) -> Loss:
    """The loss of that name."""
    return CrossEntropy() if name == "cross-entropy" else MeanSquaredError()
