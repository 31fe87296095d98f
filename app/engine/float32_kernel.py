"""A few float32 rows times a weight that oneDNN has packed, at the speed of memory and with oneDNN's own bits.

oneDNN's product of one to four rows reads memory at two thirds of its speed. This one reads the very same packed copy
of the weight, so it costs no memory, and adds up in the same order, so that rows may go through either: `find` only
answers where both hold on this processor.

MEASURED on two cores of an Intel Xeon with AVX-512, GPT-2 124M's layers out of the cache: 1 row at 35 to 40 GB/s
against oneDNN's 22 to 29, 4 rows at 28 to 34 against 22 to 28.
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

MAX_ROWS = 4
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
    nothing, y = np.zeros((1, blocks * BLOCK), np.float32), np.empty((1, blocks * BLOCK), np.float32)
    for stretch in (inputs, 512, 384, 256, 192, 128, 64, 1024, 2048):
        multiply(row.numpy(), 0, memory, stretch, nothing, y)
        if np.array_equal(y[:, :outputs], expected):
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


_tile_1, _tile_2, _tile_3, _tile_4 = (_tile(rows, AHEAD[rows > 1]) for rows in range(1, MAX_ROWS + 1))


@njit(parallel=True, nogil=True, cache=True)
def multiply(x, first, memory, stretch, addend, y):  # type: ignore[no-untyped-def]
    """y = x[:, first : first + inputs] W^T + addend, for at most 4 rows.

    x [rows, any], `memory` from `read_packed`, addend [1, outputs] or [rows, outputs] (it may be y), y [rows, outputs],
    outputs a multiple of 64; all float32 and contiguous.
    """
    rows, outputs = y.shape
    inputs = memory.size // outputs
    x_stride, y_stride = 4 * x.shape[1], 4 * outputs
    addend_stride = y_stride if addend.shape[0] > 1 else 0
    for block in prange(outputs // 64):
        w = memory.ctypes.data + block * inputs * 256
        xr, ar, yr = x.ctypes.data + 4 * first, addend.ctypes.data + block * 256, y.ctypes.data + block * 256
        if rows == 1:
            _tile_1(w, inputs, stretch, xr, x_stride, ar, addend_stride, yr, y_stride)
        elif rows == 2:
            _tile_2(w, inputs, stretch, xr, x_stride, ar, addend_stride, yr, y_stride)
        elif rows == 3:
            _tile_3(w, inputs, stretch, xr, x_stride, ar, addend_stride, yr, y_stride)
        else:
            _tile_4(w, inputs, stretch, xr, x_stride, ar, addend_stride, yr, y_stride)
