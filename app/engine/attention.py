"""Attention of new tokens over the KV cache.

`attend_rows` (numba, CPU) walks each query over exactly its own past, in one fixed order: the same bits in prefill,
decode and any company. It takes heads of any size; `attention_kernel` has the fast one for GPT-2's. `attend_torch` runs
on any device in torch's own operators; it is what CUDA uses.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from llvmlite import ir
from numba import config, njit, prange, types
from numba.extending import intrinsic

from app.engine.simd import EXACT

if config.THREADING_LAYER == "default":  # type: ignore[attr-defined]
    # The layer that needs no library, for whoever has not prepared `openmp`. It serves one caller at a time.
    config.THREADING_LAYER = "workqueue"  # type: ignore[attr-defined]


@intrinsic
def _float_from_bits(typing_context, bits):  # type: ignore[no-untyped-def]
    """The float32 whose bit pattern is the given int32."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


@njit(inline="always", fastmath=EXACT)
def fast_exp(x):  # type: ignore[no-untyped-def]
    """exp of a float32 <= 0, to about 2 ulp.

    A polynomial that the compiler can vectorise, which the call into the C library is not: 2^n * 2^f with |f| <= 1/2
    (Cephes' expf coefficients).
    """
    x = max(x, np.float32(-87.0))
    n = np.floor(x * np.float32(1.4426950408889634) + np.float32(0.5))
    r = x - n * np.float32(0.693359375)
    r = r - n * np.float32(-2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + np.float32(1.0)
    return p * _float_from_bits(np.int32((np.int32(n) + np.int32(127)) << np.int32(23)))  # type: ignore[call-arg]


@njit(fastmath=EXACT)
def ordered_sum(values):  # type: ignore[no-untyped-def]
    """The sum as a float64, in eight strands: an order that is fast and always the same."""
    a = b = c = d = e = f = g = h = 0.0
    whole = len(values) // 8 * 8
    for i in range(0, whole, 8):
        a += values[i]
        b += values[i + 1]
        c += values[i + 2]
        d += values[i + 3]
        e += values[i + 4]
        f += values[i + 5]
        g += values[i + 6]
        h += values[i + 7]
    for i in range(whole, len(values)):
        a += values[i]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@njit(parallel=True, fastmath=EXACT, cache=True, nogil=True)
def attend_rows(qkv, keys, values, slots, positions, scale, out):  # type: ignore[no-untyped-def]
    """Store the rows' keys and values, then attend each row to positions 0 .. its own of its slot.

    qkv [rows, 3 * heads * dim] float32; keys, values [slots, heads, positions, dim] float32, written in place;
    slots, positions [rows] int64; out [rows, heads * dim] float32.
    """
    rows = qkv.shape[0]
    heads, dim = keys.shape[1], keys.shape[3]
    width = heads * dim
    for item in prange(rows * heads):
        r, h = item // heads, item % heads
        slot, position = slots[r], positions[r]
        for d in range(dim):
            keys[slot, h, position, d] = qkv[r, width + h * dim + d]
            values[slot, h, position, d] = qkv[r, 2 * width + h * dim + d]
    for item in prange(rows * heads):
        r, h = item // heads, item % heads
        slot, n = slots[r], positions[r] + 1
        query = qkv[r, h * dim : (h + 1) * dim]
        past_keys, past_values = keys[slot, h], values[slot, h]
        scores = np.empty(n, np.float32)
        top = np.float32(-3.4e38)
        for t in range(n):
            dot = np.float32(0.0)
            for d in range(dim):
                dot += query[d] * past_keys[t, d]
            dot *= scale
            scores[t] = dot
            top = max(top, dot)
        for t in range(n):
            scores[t] = fast_exp(scores[t] - top)
        total = np.float32(ordered_sum(scores))
        result = out[r, h * dim : (h + 1) * dim]
        for d in range(dim):
            result[d] = np.float32(0.0)
        for t in range(n):
            weight = scores[t]
            for d in range(dim):
                result[d] += weight * past_values[t, d]
        for d in range(dim):
            result[d] /= total


def attend_torch(
    qkv: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    slots: torch.Tensor,
    positions: torch.Tensor,
    scale: float,
    out: torch.Tensor,
) -> None:
    """As `attend_rows`, in torch operators of static shape, so that CUDA graphs can record it.

    Every row reads its whole slot under a mask: wasteful in memory traffic, but free of synchronisation.
    """
    rows = qkv.shape[0]
    heads, span, dim = keys.shape[1:]
    query, key, value = qkv.view(rows, 3, heads, dim).unbind(1)
    keys[slots, :, positions] = key.to(keys.dtype)
    values[slots, :, positions] = value.to(values.dtype)
    past = torch.arange(span, device=qkv.device)[None] <= positions[:, None]
    # Rows at a time, so that the gathered keys and values of a long prefill stay bounded.
    step = max(1, (1 << 28) // (2 * heads * span * dim))
    for i in range(0, rows, step):
        part = slice(i, i + step)
        attended = torch.nn.functional.scaled_dot_product_attention(
            query[part, :, None].to(keys.dtype),
            keys[slots[part]],
            values[slots[part]],
            attn_mask=past[part, None, None],
            scale=scale,
        )
        out[part] = attended.reshape(-1, heads * dim).to(out.dtype)


def attention_scale(head_dim: int, layer: int, scale_weights: bool, by_inverse_layer: bool) -> float:
    """The factor on the scores that a config's attention options ask for."""
    scale = 1 / math.sqrt(head_dim) if scale_weights else 1.0
    return scale / (layer + 1) if by_inverse_layer else scale
