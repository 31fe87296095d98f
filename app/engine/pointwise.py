"""What stands between the linear layers: residual sums with layer norms, and the activation.

On the CPU numba kernels instead of torch's operators: they write into what is there rather than into new memory, and
one row costs a call instead of three. A row is computed by itself and in one fixed order, whatever the others are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit, prange

from app.engine.attention import fast_exp, ordered_sum
from app.engine.simd import EXACT, PARALLEL_ROWS

Norm = tuple[torch.Tensor, torch.Tensor]
"""A layer norm's weight and bias, [n] each."""


def norm(x: torch.Tensor, parameters: Norm, epsilon: float) -> torch.Tensor:
    """The layer norm of the rows of x [rows, n] float32."""
    if x.device.type != "cpu":
        return F.layer_norm(x, x.shape[-1:], *parameters, epsilon)
    out = torch.empty_like(x)
    weight, bias = parameters
    kernel = _norm_row if len(x) < PARALLEL_ROWS else _norm_rows
    kernel(x.numpy(), weight.numpy(), bias.numpy(), epsilon, out.numpy())
    return out


def add_and_norm(x: torch.Tensor, more: torch.Tensor, parameters: Norm, epsilon: float) -> torch.Tensor:
    """x += more, [rows, n] float32 both, and the layer norm of that."""
    if x.device.type != "cpu":
        return norm(x.add_(more), parameters, epsilon)
    out = torch.empty_like(x)
    weight, bias = parameters
    kernel = _add_and_norm_row if len(x) < PARALLEL_ROWS else _add_and_norm_rows
    kernel(x.numpy(), more.numpy(), weight.numpy(), bias.numpy(), epsilon, out.numpy())
    return out


def activate(name: str, x: torch.Tensor) -> torch.Tensor:
    """The activation function by its name in transformers; x [rows, n] float32 may be overwritten."""
    match name:
        case "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast":
            if x.device.type != "cpu":
                return F.gelu(x, approximate="tanh")
            (_gelu_row if len(x) < PARALLEL_ROWS else _gelu_rows)(x.numpy())
            return x
        case "gelu":
            return F.gelu(x)
        case "relu":
            return F.relu(x)
        case "tanh":
            return torch.tanh(x)
        case _:
            return F.silu(x)


# -- kernels -------------------------------------------------------------------------------------------------

# No flag that lets the compiler round differently: one row goes through the serial kernels, which start sooner, and
# several through the parallel ones, and the bits must not tell.
_FLAGS: dict[str, Any] = {"fastmath": EXACT, "cache": True, "nogil": True}


@njit(inline="always", **_FLAGS)
def _normalise(row, weight, bias, epsilon, out):  # type: ignore[no-untyped-def]
    mean = np.float32(ordered_sum(row) / len(row))
    for i in range(len(row)):
        out[i] = (row[i] - mean) * (row[i] - mean)
    factor = np.float32(1.0 / np.sqrt(ordered_sum(out) / len(row) + epsilon))
    for i in range(len(row)):
        out[i] = (row[i] - mean) * factor * weight[i] + bias[i]


def _norm(x, weight, bias, epsilon, out):  # type: ignore[no-untyped-def]
    for r in prange(x.shape[0]):
        _normalise(x[r], weight, bias, epsilon, out[r])


def _add_and_norm(x, more, weight, bias, epsilon, out):  # type: ignore[no-untyped-def]
    for r in prange(x.shape[0]):
        for i in range(x.shape[1]):
            x[r, i] += more[r, i]
        _normalise(x[r], weight, bias, epsilon, out[r])


def _gelu(x):  # type: ignore[no-untyped-def]
    """x / (1 + exp(-2 u)) in place, where u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    for r in prange(x.shape[0]):
        for i in range(x.shape[1]):
            value = x[r, i]
            u2 = np.float32(1.5957691216057308) * (value + np.float32(0.044715) * value * value * value)
            e = fast_exp(-abs(u2))
            x[r, i] = value * (np.float32(1.0) if u2 > 0 else e) / (np.float32(1.0) + e)


_norm_row, _norm_rows = njit(**_FLAGS)(_norm), njit(parallel=True, **_FLAGS)(_norm)
_add_and_norm_row, _add_and_norm_rows = njit(**_FLAGS)(_add_and_norm), njit(parallel=True, **_FLAGS)(_add_and_norm)
_gelu_row, _gelu_rows = njit(**_FLAGS)(_gelu), njit(parallel=True, **_FLAGS)(_gelu)
