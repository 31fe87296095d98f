"""Products of int8 rows and int8 weights on processors with AVX2, where `int8_kernel` lacks its instruction.

`torch._int_mm` has no vector code for these processors. Here weights are widened to 16 bits as they are read, and
`vpmaddwd` multiplies sixteen of them by their inputs and adds the products in pairs, in 32 bits, exactly. They are laid
out once as it wants them: 32 outputs side by side, two inputs of each together, one cache line.

MEASURED on one busy core of an AMD EPYC with AVX2, a layer of 768 inputs and 3072 outputs: with 1 row 46 times as fast
as `torch._int_mm` and 5 times as fast as float32, with 16 rows 130 and 4 times, with 512 rows 34 and 1.3 times.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from app.engine.int8_kernel import quantise
from app.engine.simd import EXACT, INT16, INT32, INT64, Emitter, has

LANES, REGISTERS = 8, 4
WIDTH = LANES * REGISTERS
"""Outputs that a tile computes side by side."""
INTS, FLOATS = ir.VectorType(INT32, LANES), ir.VectorType(ir.FloatType(), LANES)
SHORTS, BYTES = ir.VectorType(INT16, 2 * LANES), ir.VectorType(ir.IntType(8), 2 * LANES)


def is_supported(inputs: int) -> bool:
    """Whether this processor has the instruction, and a layer with so many inputs can use it."""
    return has("avx2") and inputs % 2 == 0


def pack(quantised: NDArray[np.int8]) -> NDArray[np.int8]:
    """[outputs, inputs] int8 → [blocks, inputs / 2, 32, 2]."""
    outputs, inputs = quantised.shape
    whole = np.zeros((-(-outputs // WIDTH) * WIDTH, inputs), np.int8)
    whole[:outputs] = quantised
    return np.ascontiguousarray(whole.reshape(-1, WIDTH, inputs // 2, 2).transpose(0, 2, 1, 3))


def _tile(rows: int):  # type: ignore[no-untyped-def]
    """The code for `rows` rows and one block of outputs.

    Its arguments are addresses and strides in bytes: the weight's block, inputs / 2, the quantised rows (16 bits a
    number) and their stride, their scales, the block's scales and biases, the result and its stride.
    """

    @intrinsic
    def tile(context, weight, pairs, x, x_stride, row_scales, scales, biases, y, y_stride):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            weight, pairs, x, x_stride, row_scales, scales, biases, y, y_stride = args
            emit = Emitter(builder)
            places = [(r, j) for r in range(rows) for j in range(REGISTERS)]
            zero = ir.Constant(INTS, [0] * LANES)
            totals = {place: cgutils.alloca_once_value(builder, zero) for place in places}
            with cgutils.for_range(builder, pairs, intp=INT64) as loop:
                here = emit.at(weight, loop.index, 2 * WIDTH)
                inputs = [
                    builder.bitcast(emit.load_spread(emit.at(emit.at(x, r, x_stride), loop.index, 4), INTS), SHORTS)
                    for r in range(rows)
                ]
                for j in range(REGISTERS):
                    weights = builder.sext(emit.load(emit.at(here, j, 2 * LANES), BYTES), SHORTS)
                    for r in range(rows):
                        product = emit.call("llvm.x86.avx2.pmadd.wd", weights, inputs[r], result=INTS)
                        builder.store(builder.add(builder.load(totals[r, j]), product), totals[r, j])
            for r, j in places:
                row_scale = emit.load_spread(emit.at(row_scales, r, 4), FLOATS)
                scale = builder.fmul(row_scale, emit.load(emit.at(scales, j, 4 * LANES), FLOATS))
                value = builder.fmul(builder.sitofp(builder.load(totals[r, j]), FLOATS), scale)
                value = builder.fadd(value, emit.load(emit.at(biases, j, 4 * LANES), FLOATS))
                emit.store(value, emit.at(emit.at(y, r, y_stride), j, 4 * LANES))
            return context.get_dummy_value()

        return types.void(*[types.intp] * 9), codegen

    return tile


# Two rows fill the registers: 8 sums, 2 inputs, the weight and the products.
_tile_1, _tile_2 = _tile(1), _tile(2)


@njit(parallel=True, nogil=True, cache=True, fastmath=EXACT)
def multiply(x, weight, scales, biases, y):  # type: ignore[no-untyped-def]
    """y = x W^T + b. x [rows, inputs] float32, `weight` from `pack`, scales and biases [blocks * 32] float32,
    y [rows, outputs] float32, all contiguous.
    """
    rows, inputs = x.shape
    outputs = y.shape[1]
    edge = np.empty((rows, WIDTH), np.float32)  # the last block, where it is wider than what is left of y
    quantised = np.empty((rows, inputs), np.int16)  # numbers of 8 bits, as wide as the multiplication takes them
    scale = np.empty(rows, np.float32)
    if rows < 4:  # sharing so little work out among threads costs more than it gains
        for r in range(rows):
            scale[r], _ = quantise(x[r], quantised[r])
    else:
        for r in prange(rows):
            scale[r], _ = quantise(x[r], quantised[r])
    pairs = inputs // 2
    for block in prange(weight.shape[0]):
        left_over = outputs - block * WIDTH
        target, stride = y.ctypes.data + block * 4 * WIDTH, 4 * outputs
        if left_over < WIDTH:
            target, stride = edge.ctypes.data, 4 * WIDTH
        w = weight.ctypes.data + block * pairs * 2 * WIDTH
        s, b = scales.ctypes.data + block * 4 * WIDTH, biases.ctypes.data + block * 4 * WIDTH
        for r in range(0, rows, 2):
            xr = quantised.ctypes.data + r * 2 * inputs
            sr, yr = scale.ctypes.data + 4 * r, target + r * stride
            if r + 1 < rows:
                _tile_2(w, pairs, xr, 2 * inputs, sr, s, b, yr, stride)
            else:
                _tile_1(w, pairs, xr, 2 * inputs, sr, s, b, yr, stride)
        if left_over < WIDTH:
            y[:, block * WIDTH :] = edge[:, :left_over]
