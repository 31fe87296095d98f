"""The hand-laid kernels give the bits of the public ones, and step aside where the processor lacks what they need."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from app.engine import float32_kernel, int8_avx2_kernel, int8_kernel
from app.engine.linear import Int8Linear, LinearFactory, PackedLinear, TorchInt8Linear, cancelling, row_buckets
from app.engine.simd import has

SHAPES = [(64, 64), (100, 192), (768, 512), (50, 1024)]
needs_avx512 = pytest.mark.skipif(not has("avx512f"), reason="this processor has no AVX-512")
INT8_KERNELS = [
    pytest.param(kernel, marks=pytest.mark.skipif(not has(feature), reason=f"this processor has no {feature}"))
    for kernel, feature in ((int8_kernel, "avx512vnni"), (int8_avx2_kernel, "avx2"))
]


def layer_of(outputs: int, inputs: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(outputs)
    return torch.randn(outputs, inputs, generator=generator), torch.randn(outputs, generator=generator)


@pytest.mark.parametrize("kernel", INT8_KERNELS)
@pytest.mark.parametrize(("outputs", "inputs"), SHAPES)
def test_int8_kernels_give_the_bits_of_torch_at_every_row_count(kernel: ModuleType, outputs: int, inputs: int) -> None:
    weight, bias = layer_of(outputs, inputs)
    ours, torchs = Int8Linear(weight, bias, kernel), TorchInt8Linear(weight, bias)
    for rows in (*range(1, 20), 64):
        x = torch.randn(rows, inputs, generator=torch.Generator().manual_seed(rows)) * 3
        assert torch.equal(ours(x), torchs(x)), rows


@pytest.mark.parametrize("kernel", INT8_KERNELS)
def test_int8_kernels_hold_the_largest_sums(kernel: ModuleType) -> None:
    weight = torch.full((64, 3072), -1.0)
    x = torch.tensor([[1.0], [-1.0]]).expand(2, 3072).contiguous()
    y = Int8Linear(weight, None, kernel)(x)
    assert y[0] == pytest.approx([-3072.0] * 64, rel=1e-5)
    assert y[1] == pytest.approx([3072.0] * 64, rel=1e-5)


@needs_avx512
@pytest.mark.parametrize(("outputs", "inputs", "pieces"), [(64, 64, 1), (100, 768, 1), (768, 768, 1), (96, 1024, 2)])
def test_float32_kernel_gives_the_bits_of_onednn(outputs: int, inputs: int, pieces: int) -> None:
    weight, bias = layer_of(outputs, inputs)
    probe, row = cancelling(outputs, inputs, pieces)
    stretch = PackedLinear(probe, None, torch.float32, pieces).find_stretch(probe, row)
    assert stretch, "oneDNN's layout or order has changed: float32_kernel is not used any more"
    few, onednn = (PackedLinear(weight, bias, torch.float32, pieces, n) for n in (stretch, 0))
    for rows in range(1, float32_kernel.MAX_ROWS + 1):
        x = torch.randn(rows, inputs, generator=torch.Generator().manual_seed(rows))
        alone = torch.cat([onednn(x[r : r + 1]) for r in range(rows)])
        assert torch.equal(few(x), alone), rows


def test_float32_kernel_is_not_used_for_another_layout() -> None:
    probe, row = cancelling(64, 1024, 1)
    packed = torch.ops.mkldnn._reorder_linear_weight(probe, None)
    assert float32_kernel.find(probe.roll(1, dims=0), packed, row) == 0


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_without_the_instructions_the_public_kernels_serve(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, bias = layer_of(96, 128)
    buckets = row_buckets(8)
    x = torch.randn(1, 128, generator=torch.Generator().manual_seed(0))
    with_them = LinearFactory(torch.device("cpu"), precision, buckets).make(weight, bias)(x)
    for kernel in (int8_kernel, int8_avx2_kernel, float32_kernel):
        monkeypatch.setattr(kernel, "has", lambda feature: False)
    factory = LinearFactory(torch.device("cpu"), precision, buckets)
    layer = factory.make(weight, bias)
    assert torch.equal(layer(x), with_them)
    assert factory.invariant
    assert not isinstance(layer, Int8Linear)
