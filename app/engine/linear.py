"""Linear layers: one class a precision, each giving a row the same bits whatever the other rows are.

Speed and exactness both hang on the kernel. `F.linear` in float32 is slow on AMD with few rows and changes a
row's bits with the batch (MEASURED: 29 ms for one row through all of GPT-2 124M, against 16 packed). oneDNN's
packed kernels are fast, and invariant for some shapes. So `LinearFactory` tries each shape once at load, at just
the row counts that the engine will use (`row_buckets`), and cuts the inputs into pieces until the bits hold.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit, prange
from numpy.typing import NDArray

from app.engine import float32_kernel, int8_avx2_kernel, int8_kernel
from app.engine.model_source import first_line
from app.engine.simd import BLOCK, EXACT, PARALLEL_ROWS


def row_buckets(limit: int) -> list[int]:
    """The row counts that batches are padded to: 1, 2, 3, 4, 6, 8, 12, 16, 24 … up to `limit`.

    Few, so that every kernel that will ever run has run at load: none is compiled while people wait, and none
    is untested for invariance.
    """
    buckets = [1]
    step = 2
    while step < limit:
        buckets += [step, step * 3 // 2]
        step *= 2
    return sorted({b for b in buckets if b < limit} | {limit})


class Linear(Protocol):
    """y = x W^T + b for x [rows, inputs] float32, y [rows, outputs] float32, rows one of the buckets."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor: ...


class DenseLinear:
    """torch's public kernel: for devices other than the CPU, and where the packed one is missing."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> None:
        self._weight = weight.to(dtype)
        self._bias = None if bias is None else bias.to(dtype)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.to(self._weight.dtype), self._weight, self._bias).float()


class PackedLinear:
    """oneDNN with the weight laid out for it once, its inputs cut into `pieces` that are summed in order.

    Where `float32_kernel` knows this layout (`stretch` is not 0), it takes the rows that oneDNN is slower with.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype, pieces: int, stretch: int = 0
    ) -> None:
        self._dtype = dtype
        self._bias = None if bias is None else bias.to(dtype)
        self._pieces = [
            torch.ops.mkldnn._reorder_linear_weight(piece.to(dtype).contiguous(), None)
            for piece in weight.chunk(pieces, dim=1)
        ]
        self._outputs = weight.shape[0]
        self.read_few_rows(bias, stretch)

    def find_stretch(self, weight: torch.Tensor, row: torch.Tensor) -> int:
        """The `stretch` for which `float32_kernel` gives this layer's bits, 0 if there is none."""
        if self._dtype != torch.float32:
            return 0
        length = weight.shape[1] // len(self._pieces)
        return float32_kernel.find(weight[:, :length].contiguous(), self._pieces[0], row[:, :length].contiguous())

    def read_few_rows(self, bias: torch.Tensor | None, stretch: int) -> None:
        """Have `float32_kernel` take up to `MAX_ROWS` rows from now on, or, if `stretch` is 0, not."""
        self._stretch = stretch
        if stretch:
            self._memory = [float32_kernel.read_packed(piece) for piece in self._pieces]
            self._padded_bias = padded(bias, self._outputs)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self._stretch and x.shape[0] <= float32_kernel.MAX_ROWS:
            return self._few(x)
        x = x.to(self._dtype)
        linear = torch.ops.mkldnn._linear_pointwise
        if len(self._pieces) == 1:
            return linear(x, self._pieces[0], self._bias, "none", [], "").float()
        parts = x.chunk(len(self._pieces), dim=1)
        y = linear(parts[0], self._pieces[0], self._bias, "none", [], "").float()
        for part, piece in zip(parts[1:], self._pieces[1:], strict=True):
            y += linear(part, piece, None, "none", [], "")
        return y

    def _few(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.empty(x.shape[0], self._outputs)
        step = x.shape[1] // len(self._pieces)
        for i, memory in enumerate(self._memory):
            float32_kernel.multiply(x.numpy(), i * step, memory, self._stretch, self._padded_bias, i > 0, y.numpy())
        return y


class Int8Linear:
    """Weights int8 with a scale an output, activations int8 with a scale a row, the products exact integers.

    Invariant by construction: sums of integers do not depend on their order. This is a kernel around its layout:
    `int8_kernel` or `int8_avx2_kernel`.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, kernel: ModuleType) -> None:
        quantised, scale = quantise_weight(weight)
        self._multiply = kernel.multiply
        self._weight = kernel.pack(quantised.numpy())
        self._outputs = weight.shape[0]
        self._scales, self._biases = padded(scale, self._outputs), padded(bias, self._outputs)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.empty(x.shape[0], self._outputs)
        self._multiply(x.numpy(), self._weight, self._scales, self._biases, y.numpy())
        return y


class TorchInt8Linear:
    """The same through `torch._int_mm`, bit for bit, on any processor; two numba kernels replace nine operators."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        quantised, scale = quantise_weight(weight)
        self._weight = quantised.t()
        self._scale = scale.numpy()
        self._outputs = weight.shape[0]
        self._bias = np.zeros(self._outputs, np.float32) if bias is None else bias.numpy()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.shape[0]
        quantised = torch.empty(x.shape, dtype=torch.int8)
        scales = np.empty(rows, np.float32)
        quantise = _quantise_row if rows < PARALLEL_ROWS else _quantise_rows
        quantise(x.numpy(), quantised.numpy(), scales)
        product = torch._int_mm(quantised, self._weight)
        y = torch.empty((rows, self._outputs))
        dequantise = _dequantise_row if rows < PARALLEL_ROWS else _dequantise_rows
        dequantise(product.numpy(), scales, self._scale, self._bias, y.numpy())
        return y


def quantise_weight(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """int8 [outputs, inputs] and the scale of each output that undoes it."""
    scale = (weight.abs().amax(dim=1) / 127).clamp_min(1e-12)
    return (weight / scale[:, None]).round().to(torch.int8).contiguous(), scale


def padded(values: torch.Tensor | None, outputs: int) -> NDArray[np.float32]:
    """One number an output, zeros if there are none, and zeros up to whole blocks."""
    filled = np.zeros(-(-outputs // BLOCK) * BLOCK, np.float32)
    if values is not None:
        filled[:outputs] = values.numpy()
    return filled


def _quantise(x, quantised, scales):  # type: ignore[no-untyped-def]
    """x [rows, n] float32 → int8 in -127 .. 127 and the scale that undoes it, one a row."""
    for r in prange(x.shape[0]):
        scales[r], _ = int8_kernel.quantise(x[r], quantised[r])


def _dequantise(product, row_scale, column_scale, bias, y):  # type: ignore[no-untyped-def]
    """y = product * row_scale * column_scale + bias; product [rows, n] int32, y [rows, n] float32."""
    for r in prange(product.shape[0]):
        scale = row_scale[r]
        for i in range(product.shape[1]):
            y[r, i] = np.float32(product[r, i]) * (scale * column_scale[i]) + bias[i]


# No flag that lets the compiler round differently: one row goes through the serial kernels, which start sooner, and
# several through the parallel ones, and the bits must not tell.
_FLAGS: dict[str, Any] = {"fastmath": EXACT, "cache": True, "nogil": True}
_quantise_row, _quantise_rows = njit(**_FLAGS)(_quantise), njit(parallel=True, **_FLAGS)(_quantise)
_dequantise_row, _dequantise_rows = njit(**_FLAGS)(_dequantise), njit(parallel=True, **_FLAGS)(_dequantise)


class LinearFactory:
    """Makes the linear layers of one model on one device, choosing per shape the first kernel that is invariant.

    `notes` says, once each, what fell short of the best; `invariant` is False when some layer's bits may depend
    on the batch. `kernels` names the kernel of each shape, written inputs→outputs.
    """

    def __init__(self, device: torch.device, precision: str, buckets: list[int]) -> None:
        self._device = device
        self._precision = precision
        self._dtype = torch.float32 if precision == "float32" else torch.bfloat16
        self._buckets = buckets
        self._choice: dict[tuple[int, int, int], Callable[[torch.Tensor, torch.Tensor | None], Linear]] = {}
        self.notes: list[str] = []
        self.kernels: dict[str, str] = {}
        self.invariant = device.type == "cpu"

    def make(self, weight: torch.Tensor, bias: torch.Tensor | None, max_rows: int | None = None) -> Linear:
        """The layer for weight [outputs, inputs] and bias [outputs]; `max_rows` where it sees fewer than a batch."""
        if self._device.type != "cpu":
            moved = None if bias is None else bias.to(self._device)
            self.kernels[f"{weight.shape[1]}→{weight.shape[0]}"] = f"F.linear {self._dtype}".replace("torch.", "")
            return DenseLinear(weight.to(self._device), moved, self._dtype)
        buckets = self._buckets if max_rows is None else row_buckets(max_rows)
        key = (*weight.shape, buckets[-1])
        if key not in self._choice:
            self._choice[key] = self._choose(weight, bias, buckets)
        return self._choice[key](weight, bias)

    def _choose(
        self, weight: torch.Tensor, bias: torch.Tensor | None, buckets: list[int]
    ) -> Callable[[torch.Tensor, torch.Tensor | None], Linear]:
        outputs, inputs = weight.shape
        shape, dtype = f"{inputs}→{outputs}", self._dtype
        try:
            if self._precision == "int8":
                make, self.kernels[shape] = _int8(inputs)
                is_invariant(make(weight, bias), torch.randn(1, inputs), buckets)
                return make
            for pieces in _piece_counts(inputs):
                probe, row = cancelling(outputs, inputs, pieces)
                nothing = None if bias is None else bias * 0
                layer = PackedLinear(probe, nothing, dtype, pieces)
                # Without the kernel for few rows if need be: it may be the one that differs.
                for stretch in sorted({layer.find_stretch(probe, row), 0}, reverse=True):
                    layer.read_few_rows(nothing, stretch)
                    if is_invariant(layer, row, buckets):
                        cut = f" in {pieces} pieces" if pieces > 1 else ""
                        few = f", own for up to {float32_kernel.MAX_ROWS} rows" if stretch else ""
                        self.kernels[shape] = f"oneDNN packed {self._precision}{cut}{few}"
                        return partial(PackedLinear, dtype=dtype, pieces=pieces, stretch=stretch)
            self._note(
                f"No packed kernel gives {outputs}x{inputs} layers the same bits in every batch on this processor: "
                "replies may differ with the load in their last bits."
            )
        except (AttributeError, RuntimeError, NotImplementedError) as error:
            kernel = "torch._int_mm" if self._precision == "int8" else "torch.ops.mkldnn._linear_pointwise"
            if self._precision == "int8":
                dtype = torch.float32
            self._note(
                f"{kernel} does not work here ({first_line(error)}): using F.linear, which is slower, and "
                "whose replies may differ with the load in their last bits."
            )
        self.invariant = False
        self.kernels[shape] = f"F.linear {dtype}".replace("torch.", "")
        return lambda w, b: DenseLinear(w, b, dtype)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _int8(inputs: int) -> tuple[Callable[[torch.Tensor, torch.Tensor | None], Linear], str]:
    """What makes int8 layers with so many inputs on this processor, the fastest that it can run, and its name."""
    if int8_kernel.is_supported(inputs):
        return partial(Int8Linear, kernel=int8_kernel), "own int8 (AVX-512 VNNI)"
    if int8_avx2_kernel.is_supported(inputs):
        return partial(Int8Linear, kernel=int8_avx2_kernel), "own int8 (AVX2)"
    return TorchInt8Linear, "torch._int_mm int8"


def _piece_counts(inputs: int) -> list[int]:
    """Into how many pieces to try cutting the inputs: MEASURED, 768 inputs hold and 3072 do not."""
    return [n for n in (1, 2, 3, 4, 6, 8, 12, 16) if inputs % n == 0 and (n == 1 or inputs // n >= 64)]


def cancelling(outputs: int, inputs: int, pieces: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight [outputs, inputs] and a row [1, inputs] whose products cancel each other out within every piece.

    What a kernel gives for them is nothing but rounding, and so shows in every bit the order of its sums. With
    ordinary numbers a change of order hides behind the rounding of the result to bfloat16 in all but one of some
    thousand outputs.
    """
    generator = torch.Generator().manual_seed(0)
    length = inputs // pieces
    weight, row = (torch.randn(n, length // 2, generator=generator) for n in (outputs, 1))
    rest, order = length % 2, torch.randperm(length, generator=generator)
    weight = F.pad(torch.cat([weight, -weight], dim=1), (0, rest))[:, order]
    row = F.pad(torch.cat([row, row], dim=1), (0, rest))[:, order]
    return weight.repeat(1, pieces), row.repeat(1, pieces)


def is_invariant(layer: Linear, row: torch.Tensor, buckets: list[int]) -> bool:
    """Whether `row` [1, inputs] gets the same bits at every bucket, in all sorts of places, beside any neighbours."""
    alone = layer(row)
    generator = torch.Generator().manual_seed(0)
    others = torch.randn(buckets[-1], row.shape[1], generator=generator) * 3
    holds = True
    for rows in buckets[1:]:
        x = others[:rows].clone()
        places = [*range(0, rows, 2), rows - 1]
        x[places] = row
        # No early return: this run also makes oneDNN build the kernels of all buckets.
        holds &= bool((layer(x)[places] == alone).all())
    return holds
