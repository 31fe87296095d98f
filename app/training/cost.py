"""What a dense network costs: parameters, operations per example, and the time a training step should take.

Counting is exact: a multiply-add per weight, the bias being the sum's first term. The time is a model with three
measured constants (`Calibration`); `calibration` measures them, so this module needs no torch, no numpy and no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class LayerCost:
    """One dense layer, per example. A multiply-add is two FLOPs; activations and dropout are not counted."""

    inputs: int
    outputs: int
    parameters: int
    multiply_adds_forward: int
    forward_flops: int
    backward_flops: int


@dataclass(frozen=True)
class NetworkCost:
    """A stack of dense layers, per example."""

    widths: list[int]
    layers: list[LayerCost]

    @property
    def parameters(self) -> int:
        """N: weights and biases."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds_forward(self) -> int:
        """One per weight."""
        return sum(layer.multiply_adds_forward for layer in self.layers)

    @property
    def forward_flops(self) -> int:
        """Twice the multiply-adds."""
        return sum(layer.forward_flops for layer in self.layers)

    @property
    def backward_flops(self) -> int:
        """Gradients by weights and biases of every layer, and by the inputs of all but the first."""
        return sum(layer.backward_flops for layer in self.layers)

    @property
    def flops(self) -> int:
        """Forward and backward. With wide hidden layers this nears the rule of thumb, 6 N."""
        return self.forward_flops + self.backward_flops


def network_cost(widths: Sequence[int]) -> NetworkCost:
    """The cost of dense layers between these widths: [2, 10, 5, 1] has 91 parameters and 75 multiply-adds forward."""
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"a dense stack needs at least two widths, each at least 1, not {list(widths)}")
    layers = []
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        weights = inputs * outputs
        by_weights, by_bias = 2 * weights, outputs
        by_inputs = 2 * weights if index else 0  # nothing learns from the gradient by the pixels
        layers.append(
            LayerCost(inputs, outputs, weights + outputs, weights, 2 * weights, by_weights + by_bias + by_inputs)
        )
    return NetworkCost(list(widths), layers)


@dataclass(frozen=True)
class Calibration:
    """A machine's speed: step time = overhead + FLOPs / flops_per_s + parameters × seconds_per_parameter."""

    overhead_s: float  # per step: calls, dropout, gathering the batch
    flops_per_s: float
    seconds_per_parameter: float  # per step: the optimiser reads and writes every parameter

    def step_seconds(self, cost: NetworkCost, batch_size: int) -> float:
        """Predicted seconds per training step of `batch_size` examples."""
        work = cost.flops * batch_size / self.flops_per_s
        return self.overhead_s + work + cost.parameters * self.seconds_per_parameter
