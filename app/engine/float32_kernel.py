"""Float32 rows times a weight that oneDNN has packed, at the speed of memory and with oneDNN's own bits.

oneDNN's product of one to four rows reads memory at two thirds of its speed, and up to 64 it leaves some of the
arithmetic unused. This one reads the very same packed copy of the weight, so it costs no memory, and adds up in the
same order, so that rows may go through either: `find` only answers where both hold on this processor.

MEASURED on two cores of an Intel Xeon with AVX-512, GPT-2 124M's layers out of the cache: 1 row at 35 to 40 GB/s
against oneDNN's 22 to 29, 4 rows at 28 to 34 against 22 to 28. On two of an AMD EPYC (Zen 4), all of its layers: 1 row
24 ms against 31, 8 rows 26 against 32, 16 rows 29 against 36, 24 rows 38 against 43, 64 rows 85 against 89.
"""

from __future__ import annotations

import ctypes

import numpy as np
import torch
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from app.engine.simd import BLOCK, FLOATS, INT64, LANES, REGISTERS, Emitter, has

MAX_ROWS = 64
"""With more it gains nothing."""
AHEAD = 1024, 4096
"""Bytes of the weight that are asked for in advance, with one row and with several."""


def read_packed(packed: torch.Tensor) -> NDArray[np.float32]:
    """The memory of a weight packed by oneDNN, as it lies there; valid as long as `packed` is."""
    size = torch.ops.mkldnn._nbytes(packed) // 4
    address = ctypes.cast(torch.ops.mkldnn.data_ptr(packed), ctypes.POINTER(ctypes.c_float))
    return np.ctypeslib.as_array(address, (size,))


def find(weight: torch.Tensor, packed: torch.Tensor, row: torch.Tensor) -> int:
    """How many inputs oneDNN sums at a stretch; 0 where its layout or its order is not known here.

    `weight` [outputs, inputs] as it is and packed, and a `row` [1, inputs] for which any other order gives other bits.
    """
    outputs, inputs = weight.shape
    blocks = -(-outputs // BLOCK)
    if not has("avx512f") or torch.ops.mkldnn._nbytes(packed) != 4 * blocks * inputs * BLOCK:
        return 0
    memory = read_packed(packed)
    laid = memory.reshape(blocks, inputs, BLOCK).transpose(0, 2, 1).reshape(-1, inputs)[:outputs]
    if not np.array_equal(laid, weight.numpy()):
        return 0
    expected = torch.ops.mkldnn._linear_pointwise(row, packed, None, "none", [], "").numpy()
    nothing, y = np.zeros(blocks * BLOCK, np.float32), np.empty((1, outputs), np.float32)
    for stretch in (inputs, 512, 384, 256, 192, 128, 64, 1024, 2048):
        multiply(row.numpy(), 0, memory, stretch, nothing, False, y)
        if np.array_equal(y, expected):
            return stretch
    return 0


def _tile(rows: int, ahead: int):  # type: ignore[no-untyped-def]
    """The code for `rows` rows and one block of outputs.

    Its arguments are addresses and strides in bytes: the weight's block, the number of inputs, how many are summed at a
    stretch, the rows and their stride, what is added in the end and its stride, the result and its stride.
    """

    @intrinsic
    def tile(context, weight, inputs, stretch, x, x_stride, addend, addend_stride, y, y_stride):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            weight, inputs, stretch, x, x_stride, addend, addend_stride, y, y_stride = args
            emit = Emitter(builder)
            places = [(r, j) for r in range(rows) for j in range(REGISTERS)]
            zero = ir.Constant(FLOATS, [0.0] * LANES)
            totals = {place: cgutils.alloca_once_value(builder, zero) for place in places}
            sums = {place: cgutils.alloca_once(builder, FLOATS) for place in places}
            with cgutils.for_range_slice(builder, ir.Constant(INT64, 0), inputs, stretch, intp=INT64) as (first, _):
                for place in places:
                    builder.store(zero, sums[place])
                left = builder.sub(inputs, first)
                count = builder.select(builder.icmp_signed("<", left, stretch), left, stretch)
                with cgutils.for_range(builder, count, intp=INT64) as loop:
                    k = builder.add(first, loop.index)
                    here = emit.at(weight, k, 4 * BLOCK)
                    for j in range(REGISTERS):
                        emit.fetch(emit.at(here, 1, ahead + 64 * j))
                    weights = [emit.load(emit.at(here, j, 64), FLOATS) for j in range(REGISTERS)]
                    for r in range(rows):
                        factor = emit.load_spread(emit.at(emit.at(x, r, x_stride), k, 4), FLOATS)
                        for j in range(REGISTERS):
                            total = emit.call("llvm.fma.v16f32", factor, weights[j], builder.load(sums[r, j]))
                            builder.store(total, sums[r, j])
                for place in places:
                    total = builder.fadd(builder.load(totals[place]), builder.load(sums[place]))
                    builder.store(total, totals[place])
            for r, j in places:
                last = emit.load(emit.at(emit.at(addend, r, addend_stride), j, 64), FLOATS)
                value = builder.fadd(builder.load(totals[r, j]), last)
                emit.store(value, emit.at(emit.at(y, r, y_stride), j, 64))
            return context.get_dummy_value()

        return types.void(*[types.intp] * 9), codegen

    return tile


# Six rows fill the registers: 24 sums, 4 weights.
_tile_1, _tile_2, _tile_3, _tile_4, _tile_5, _tile_6 = (_tile(rows, AHEAD[rows > 1]) for rows in range(1, 7))


@njit(parallel=True, nogil=True, cache=True)
def multiply(x, first, memory, stretch, bias, chained, y):  # type: ignore[no-untyped-def]
    """y = x[:, first : first + inputs] W^T + bias, or, if `chained`, y += x[:, first : first + inputs] W^T.

    x [rows, any], `memory` from `read_packed`, bias [blocks * 64], y [rows, outputs]; all float32 and contiguous.
    """
    rows, outputs = y.shape
    blocks = len(bias) // BLOCK
    inputs = memory.size // len(bias)
    x_stride = 4 * x.shape[1]
    edge = np.zeros((rows, BLOCK), np.float32)  # the last block, where it is wider than what is left of y
    for block in prange(blocks):
        left_over = outputs - block * BLOCK
        target, stride = y.ctypes.data + block * 256, 4 * outputs
        if left_over < BLOCK:
            target, stride = edge.ctypes.data, 4 * BLOCK
            if chained:
                edge[:, :left_over] = y[:, block * BLOCK :]
        addend, addend_stride = bias.ctypes.data + block * 256, 0
        if chained:
            addend, addend_stride = target, stride
        w = memory.ctypes.data + block * inputs * 256
        r = 0
        while r < rows:
            xr, ar, yr = x.ctypes.data + 4 * first + r * x_stride, addend + r * addend_stride, target + r * stride
            left = rows - r
            if left == 1:
                _tile_1(w, inputs, stretch, xr, x_stride, ar, addend_stride, yr, stride)
                r += 1
            elif left == 2:
                _tile_2(w, inputs, stretch, xr, x_stride, ar, addend_stride, yr, stride)
                r += 2
            elif left == 3:
                _tile_3(w, inputs, stretch, xr, x_stride, ar, addend_stride, yr, stride)
                r += 3
            elif left == 4 or left == 8:  # 4 + 4 rather than 6 + 2
                _tile_4(w, inputs, stretch, xr, x_stride, ar, addend_stride, yr, stride)
                r += 4
            elif left == 5 or left == 10:
                _tile_5(w, inputs, stretch, xr, x_stride, ar, addend_stride, yr, stride)
                r += 5
            else:
                _tile_6(w, inputs, stretch, xr, x_stride, ar, addend_stride, yr, stride)
                r += 6
        if left_over < BLOCK:
            y[:, block * BLOCK :] = edge[:, :left_over]
