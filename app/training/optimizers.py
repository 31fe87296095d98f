"""How a gradient changes the weights: Adam and SGD over one flat vector of parameters.

The model keeps all parameters in one vector, so a step is a single call of torch's fused kernel. The kernels are
called directly because `torch.optim.Adam.step` spends as long again on bookkeeping as on this small update; a test
holds them equal to `torch.optim`.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Optimizer(Protocol):
    """Updates a vector in place from a vector of gradients of the same length."""

    def build(self, parameters: Tensor, gradients: Tensor) -> None:
        """Take the two vectors and start from a fresh state."""
        ...

    def step(self) -> None:
        """Apply the gradients that lie in the vector now."""
        ...


class Adam:
    """Adam with Keras's defaults (epsilon 1e-7)."""

    def __init__(
        self, learning_rate: float = 1e-3, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7
    ) -> None:
        self.learning_rate, self.beta_1, self.beta_2, self.epsilon = learning_rate, beta_1, beta_2, epsilon

    def build(self, parameters: Tensor, gradients: Tensor) -> None:
        self._parameters, self._gradients = [parameters], [gradients]
        self._mean, self._square = [torch.zeros_like(parameters)], [torch.zeros_like(parameters)]
        self._steps = [torch.zeros(())]

    def step(self) -> None:
        self._steps[0].add_(1)
        torch._fused_adam_(
            self._parameters,
            self._gradients,
            self._mean,
            self._square,
            [],
            self._steps,
            lr=self.learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            weight_decay=0.0,
            eps=self.epsilon,
            amsgrad=False,
            maximize=False,
        )


class SGD:
    """Gradient descent, with momentum if it is above 0."""

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.0) -> None:
        self.learning_rate, self.momentum = learning_rate, momentum

    def build(self, parameters: Tensor, gradients: Tensor) -> None:
        self._parameters, self._gradients = [parameters], [gradients]
        self._velocity = [torch.zeros_like(parameters)] if self.momentum else []
        self._first = True

    def step(self) -> None:
        torch._fused_sgd_(
            self._parameters,
            self._gradients,
            self._velocity,
            weight_decay=0.0,
            momentum=self.momentum,
            lr=self.learning_rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=self._first,
        )
        self._first = False
