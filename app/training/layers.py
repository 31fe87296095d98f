"""The layers of a dense network, with the forward and backward pass of each written out.

A layer describes itself (`Flatten`, `Dense`, `Dropout`: Keras's names, initialisers and layouts). A *pass* is a
layer bound to a fixed share of a batch: it owns its buffers, so that a training step allocates nothing.
Left to others: the order of layers and the loop (`model`), the loss (`losses`), the update (`optimizers`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from app.training.shares import Share

Activation = Literal["relu"]


class Pass(Protocol):
    """A layer's computation for a share of a batch: all of it, unless several workers divide it."""

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """`x` [rows, inputs] to [rows, outputs]; the result is overwritten by the next call."""
        ...

    def backward(self, grad: Tensor) -> Tensor | None:
        """Gradient of the loss by the output (overwritten here) to that by the input; None for the first layer."""
        ...


class Layer(Protocol):
    """What `Sequential` needs of a layer."""

    name: str

    def build(self, inputs: int) -> int:
        """Fix the number of inputs per example; returns the number of outputs."""
        ...

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of what is learnt, in the order in which it is stored."""
        ...

    def bind(self, values: dict[str, Tensor], gradients: dict[str, Tensor]) -> None:
        """Take views of the model's flat storage, shaped as `parameter_shapes` says."""
        ...

    def initialize(self, generator: torch.Generator) -> None:
        """Set fresh values in the bound parameters."""
        ...

    def make_pass(self, share: Share, first: bool) -> Pass | None:
        """Buffers for a share of a batch; `first` layers need no gradient by their input. None: nothing to compute."""
        ...


@dataclass
class Flatten:
    """28×28 to 784. The batches already come as rows, so nothing is computed."""

    name: str = "flatten"

    def build(self, inputs: int) -> int:
        return inputs

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        return {}

    def bind(self, values: dict[str, Tensor], gradients: dict[str, Tensor]) -> None:
        """Nothing is learnt."""

    def initialize(self, generator: torch.Generator) -> None:
        """Nothing is learnt."""

    def make_pass(self, share: Share, first: bool) -> Pass | None:
        return None


@dataclass
class Dropout:
    """Sets a fraction `rate` of the inputs to zero while training and scales the others by 1/(1 - rate).

    The rate is rounded to a multiple of 1/65536: one random 64-bit word then decides for four inputs, which makes
    drawing the mask six times as fast as `Tensor.bernoulli_`.
    """

    rate: float
    name: str = "dropout"
    units: int = field(default=0, init=False)
    keep: int = field(default=0, init=False)  # of 65536

    def build(self, inputs: int) -> int:
        self.units = inputs
        self.keep = max(1, round((1.0 - self.rate) * 65536))
        return inputs

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        return {}

    def bind(self, values: dict[str, Tensor], gradients: dict[str, Tensor]) -> None:
        """Nothing is learnt."""

    def initialize(self, generator: torch.Generator) -> None:
        self.bits = np.random.SFC64(int(torch.randint(2**62, (), generator=generator)))

    def make_pass(self, share: Share, first: bool) -> Pass | None:
        return DropoutPass(self, share) if self.keep < 65536 else None


class DropoutPass:
    """`Dropout` for a share of a batch. The random words are drawn for the whole batch, of which each worker uses its
    own: so a run drops the same units however many workers divide it.
    """

    def __init__(self, layer: Dropout, share: Share) -> None:
        self._layer = layer
        self._scale = np.float32(65536 / layer.keep)
        self._kept = np.empty(share.rows * layer.units, dtype=np.bool_)
        self._words = math.ceil(share.whole * layer.units / 4)
        self._used = slice(share.start * layer.units, share.stop * layer.units)
        self._mask = torch.empty(share.rows, layer.units)  # 0 or 1/(1 - rate)
        self._flat_mask = self._mask.numpy().reshape(-1)
        self._out = torch.empty(share.rows, layer.units)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        if not training:
            return x
        bits = self._layer.bits.random_raw(self._words).view(np.uint16)[self._used]
        np.less(bits, self._layer.keep, out=self._kept)
        np.multiply(self._kept, self._scale, out=self._flat_mask)
        return torch.mul(x, self._mask, out=self._out)

    def backward(self, grad: Tensor) -> Tensor:
        return grad.mul_(self._mask)


@dataclass
class Dense:
    """`activation(x @ kernel + bias)`: kernel [inputs, units] from Glorot's uniform distribution, bias zero."""

    units: int
    activation: Activation | None = None
    name: str = "dense"
    inputs: int = field(default=0, init=False)

    def build(self, inputs: int) -> int:
        self.inputs = inputs
        return self.units

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"kernel": (self.inputs, self.units), "bias": (self.units,)}

    def bind(self, values: dict[str, Tensor], gradients: dict[str, Tensor]) -> None:
        self.kernel, self.bias = values["kernel"], values["bias"]
        self.kernel_grad, self.bias_grad = gradients["kernel"], gradients["bias"]

    def initialize(self, generator: torch.Generator) -> None:
        limit = math.sqrt(6.0 / (self.inputs + self.units))
        self.kernel.uniform_(-limit, limit, generator=generator)
        self.bias.zero_()

    def make_pass(self, share: Share, first: bool) -> Pass | None:
        return DensePass(self, share.rows, first)


class DensePass:
    """`Dense` for a fixed number of rows."""

    def __init__(self, layer: Dense, rows: int, first: bool) -> None:
        self._layer = layer
        self._relu = layer.activation == "relu"
        self._kernel_t = layer.kernel.t()
        self._out = torch.empty(rows, layer.units)
        self._input_grad = None if first else torch.empty(rows, layer.inputs)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        self._x = x
        torch.addmm(self._layer.bias, x, self._layer.kernel, out=self._out)
        return self._out.relu_() if self._relu else self._out

    def backward(self, grad: Tensor) -> Tensor | None:
        layer = self._layer
        if self._relu:  # the slope is 0 where the output is 0, else 1
            torch.ops.aten.threshold_backward.grad_input(grad, self._out, 0, grad_input=grad)
        torch.mm(self._x.t(), grad, out=layer.kernel_grad)
        torch.sum(grad, 0, out=layer.bias_grad)
        if self._input_grad is None:
            return None
        return torch.mm(grad, self._kernel_t, out=self._input_grad)
