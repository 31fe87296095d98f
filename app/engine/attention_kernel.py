"""Attention over the KV cache for heads of 64 numbers, the size of all of GPT-2's.

What `attention.attend_rows` does, row by row and in one fixed order, with the query and the sums in registers. The
cache may be float32 or bfloat16, which is widened on the way and halves what has to be read; `gpt2.cache_dtype` has the
measured gain.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from app.engine.attention import fast_exp, ordered_sum
from app.engine.simd import EXACT, FLOATS, INT16, INT64, INTS, LANES, REGISTERS, Emitter, has

HEAD_DIM = LANES * REGISTERS


def is_supported(head_dim: int) -> bool:
    """With narrower registers than AVX-512's the compiler cuts each in two; without `fma` it would be too slow."""
    return head_dim == HEAD_DIM and has("fma")


def _row(emit: Emitter, address: ir.Value, narrow: bool) -> list[ir.Value]:
    """The 64 numbers at an address, as four float32 registers."""
    if not narrow:
        return [emit.load(emit.at(address, j, 64), FLOATS) for j in range(REGISTERS)]
    short, registers = ir.VectorType(INT16, LANES), []
    for j in range(REGISTERS):
        bits = emit.builder.zext(emit.load(emit.at(address, j, 32), short), INTS)
        bits = emit.builder.shl(bits, ir.Constant(INTS, [16] * LANES))
        registers.append(emit.builder.bitcast(bits, FLOATS))
    return registers


def _keep(narrow: bool):  # type: ignore[no-untyped-def]
    """Code that copies 64 float32 numbers from an address to another, rounded to bfloat16 if `narrow`."""

    @intrinsic
    def keep(context, source, target):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            source, target = args
            emit = Emitter(builder)
            every = [ir.Constant(INTS, [n] * LANES) for n in (16, 1, 0x7FFF)]
            for j, register in enumerate(_row(emit, source, False)):
                if narrow:  # to the nearest, halves to even
                    bits = builder.bitcast(register, INTS)
                    odd = builder.and_(builder.lshr(bits, every[0]), every[1])
                    bits = builder.lshr(builder.add(bits, builder.add(odd, every[2])), every[0])
                    emit.store(builder.trunc(bits, ir.VectorType(INT16, LANES)), emit.at(target, j, 32))
                else:
                    emit.store(register, emit.at(target, j, 64))
            return context.get_dummy_value()

        return types.void(types.intp, types.intp), codegen

    return keep


def _dots(narrow: bool):  # type: ignore[no-untyped-def]
    """Code for scores[t] = scale * (query · keys[t]), t < n; the arguments but n and scale are addresses."""

    @intrinsic
    def dots(context, query, keys, n, scale, scores):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            query, keys, n, scale, scores = args
            emit = Emitter(builder)
            wanted = _row(emit, query, False)
            with cgutils.for_range(builder, n, intp=INT64) as loop:
                key = _row(emit, emit.at(keys, loop.index, HEAD_DIM * (2 if narrow else 4)), narrow)
                total = builder.fmul(wanted[0], key[0])
                for j in range(1, REGISTERS):
                    total = emit.call("llvm.fma.v16f32", wanted[j], key[j], total)
                emit.store(builder.fmul(emit.sum(total), scale), emit.at(scores, loop.index, 4))
            return context.get_dummy_value()

        return types.void(types.intp, types.intp, types.intp, types.float32, types.intp), codegen

    return dots


def _mix(narrow: bool):  # type: ignore[no-untyped-def]
    """Code for result = factor * sum of weights[t] * values[t], t < n; the arguments but n and factor are addresses."""

    @intrinsic
    def mix(context, weights, values, n, factor, result):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            weights, values, n, factor, result = args
            emit = Emitter(builder)
            zero = ir.Constant(FLOATS, [0.0] * LANES)
            sums = [cgutils.alloca_once_value(builder, zero) for _ in range(REGISTERS)]
            with cgutils.for_range(builder, n, intp=INT64) as loop:
                value = _row(emit, emit.at(values, loop.index, HEAD_DIM * (2 if narrow else 4)), narrow)
                weight = emit.load_spread(emit.at(weights, loop.index, 4), FLOATS)
                for j in range(REGISTERS):
                    total = emit.call("llvm.fma.v16f32", weight, value[j], builder.load(sums[j]))
                    builder.store(total, sums[j])
            for j in range(REGISTERS):
                total = builder.fmul(builder.load(sums[j]), emit.spread(factor, FLOATS))
                emit.store(total, emit.at(result, j, 64))
            return context.get_dummy_value()

        return types.void(types.intp, types.intp, types.intp, types.float32, types.intp), codegen

    return mix


_keep_32, _keep_16 = _keep(False), _keep(True)
_dots_32, _dots_16 = _dots(False), _dots(True)
_mix_32, _mix_16 = _mix(False), _mix(True)


@njit(inline="always", fastmath=EXACT)
def _softmax(scores):  # type: ignore[no-untyped-def]
    """Scores to weights in place, up to a factor, which is returned."""
    top = np.float32(-3.4e38)
    for t in range(scores.shape[0]):
        top = max(top, scores[t])
    for t in range(scores.shape[0]):
        scores[t] = fast_exp(scores[t] - top)
    return np.float32(1.0 / ordered_sum(scores))


@njit(fastmath=EXACT)
def _attend(query, keys, values, n, scale, narrow, scores, result):  # type: ignore[no-untyped-def]
    """One row and head; `scores` [n] is room to work in, the others are addresses.

    A function of its own because an array lives until its last use by name: in the loop below it would be freed while
    its address is still read.
    """
    if narrow:
        _dots_16(query, keys, n, scale, scores.ctypes.data)
        _mix_16(scores.ctypes.data, values, n, _softmax(scores), result)
    else:
        _dots_32(query, keys, n, scale, scores.ctypes.data)
        _mix_32(scores.ctypes.data, values, n, _softmax(scores), result)


@njit(parallel=True, fastmath=EXACT, cache=True, nogil=True)
def attend_rows(qkv, keys, values, slots, positions, scale, out):  # type: ignore[no-untyped-def]
    """As `attention.attend_rows`, but that keys and values [slots, heads, positions, 64] are float32 or the bits of
    bfloat16 as uint16.
    """
    rows, heads, span = qkv.shape[0], keys.shape[1], keys.shape[2]
    width, narrow = heads * 64, keys.itemsize == 2
    stride = 64 * keys.itemsize
    for item in prange(rows * heads):
        r, h = item // heads, item % heads
        place = ((slots[r] * heads + h) * span + positions[r]) * stride
        new = qkv.ctypes.data + 4 * (r * 3 * width + h * 64)
        if narrow:
            _keep_16(new + 4 * width, keys.ctypes.data + place)
            _keep_16(new + 8 * width, values.ctypes.data + place)
        else:
            _keep_32(new + 4 * width, keys.ctypes.data + place)
            _keep_32(new + 8 * width, values.ctypes.data + place)
    for item in prange(rows * heads):
        r, h = item // heads, item % heads
        n = positions[r] + 1
        past = (slots[r] * heads + h) * span * stride
        query = qkv.ctypes.data + 4 * (r * 3 * width + h * 64)
        result = out.ctypes.data + 4 * (r * width + h * 64)
        scores = np.empty(n, np.float32)
        _attend(query, keys.ctypes.data + past, values.ctypes.data + past, n, scale, narrow, scores, result)
