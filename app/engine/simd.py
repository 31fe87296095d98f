"""What the hand-laid kernels share: a few words of LLVM's language, for loops over registers.

numba turns a small array of sums into memory traffic; written as LLVM vectors the sums stay in registers. The kernels
are compiled by numba like any other, need no compiler on the machine, and are only used where the processor has the
registers.
"""

from __future__ import annotations

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils

LANES, REGISTERS = 16, 4
BLOCK = LANES * REGISTERS
"""Outputs that a tile computes side by side: four registers of 16 numbers."""

EXACT = {"nnan", "ninf", "nsz"}
"""What numba's compiler may assume: nothing that lets it change the order of sums or fuse operations.

It would do so differently in a process that compiles a kernel and in one that loads it from numba's cache (seen: log-
probabilities apart by one bit), and a sequence that goes on in another process must not notice.
"""

PARALLEL_ROWS = 4
"""From so many rows on, sharing them out among the threads gains more than it costs."""

INT16, INT32, INT64 = (ir.IntType(bits) for bits in (16, 32, 64))
INTS, FLOATS = ir.VectorType(INT32, LANES), ir.VectorType(ir.FloatType(), LANES)


def has(feature: str) -> bool:
    """Whether this processor has an instruction set, in LLVM's words (`avx512f`, `avx512vnni`)."""
    return bool(llvm.get_host_cpu_features().get(feature, False))


class Emitter:
    """Writes vector code through an LLVM builder. Addresses are 64-bit integers."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder

    def at(self, address: ir.Value, step: ir.Value | int, stride: ir.Value | int) -> ir.Value:
        """address + step * stride, in bytes."""
        step, stride = (ir.Constant(INT64, n) if isinstance(n, int) else n for n in (step, stride))
        return self.builder.add(address, self.builder.mul(step, stride))

    def load(self, address: ir.Value, kind: ir.Type) -> ir.Value:
        value = self.builder.load(self.builder.inttoptr(address, kind.as_pointer()))
        value.align = 4
        return value

    def store(self, value: ir.Value, address: ir.Value) -> None:
        self.builder.store(value, self.builder.inttoptr(address, value.type.as_pointer())).align = 4

    def spread(self, value: ir.Value, kind: ir.VectorType) -> ir.Value:
        """One number in every lane."""
        empty = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(empty, value, ir.Constant(INT32, 0))
        places = ir.Constant(ir.VectorType(INT32, kind.count), [0] * kind.count)
        return self.builder.shuffle_vector(first, empty, places)

    def load_spread(self, address: ir.Value, kind: ir.VectorType) -> ir.Value:
        """The number at `address` in every lane."""
        return self.spread(self.load(address, kind.element), kind)

    def sum(self, vector: ir.Value) -> ir.Value:
        """The sum of the lanes: halves are added to each other until one number is left."""
        empty = ir.Constant(FLOATS, ir.Undefined)
        width = LANES
        while width > 1:
            width //= 2
            order = [lane + width if lane < width else lane for lane in range(LANES)]
            half = self.builder.shuffle_vector(vector, empty, ir.Constant(INTS, order))
            vector = self.builder.fadd(vector, half)
        return self.builder.extract_element(vector, ir.Constant(INT32, 0))

    def fetch(self, address: ir.Value) -> None:
        """Ask for the cache line at `address` before it is needed."""
        byte = ir.IntType(8).as_pointer()
        call = self._function("llvm.prefetch.p0", ir.VoidType(), [byte, INT32, INT32, INT32])
        read, near, data = (ir.Constant(INT32, n) for n in (0, 3, 1))
        self.builder.call(call, [self.builder.inttoptr(address, byte), read, near, data])

    def call(self, name: str, *vectors: ir.Value, result: ir.Type | None = None) -> ir.Value:
        """An LLVM intrinsic whose arguments are of one kind, and its result, if none other is named, too."""
        kind = vectors[0].type
        return self.builder.call(self._function(name, result or kind, [kind] * len(vectors)), list(vectors))

    def _function(self, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
        return cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(result, arguments), name)
