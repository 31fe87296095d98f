"""Keys and values of every position of every slot, for all layers."""

from __future__ import annotations

import math
import mmap
from typing import Any

import torch
from numpy.typing import NDArray

from app.engine.checkpoint import GPT2Config
from app.engine.slots import SlotCopy


class KVCache:
    """Two tensors a layer, [slots + 1, heads, positions, head_dim]; a slot's positions of one head lie together.

    The extra last slot takes the rows that pad a batch to its bucket. The memory is reserved, but the operating
    system only provides what has been written: a slot costs what its longest sequence so far needed.
    """

    def __init__(self, config: GPT2Config, slots: int, device: torch.device, dtype: torch.dtype) -> None:
        shape = (slots + 1, config.n_head, config.n_positions, config.head_dim)
        self.keys = [_zeros(shape, device, dtype) for _ in range(config.n_layer)]
        self.values = [_zeros(shape, device, dtype) for _ in range(config.n_layer)]
        self.padding_slot = slots
        self.arrays: list[tuple[NDArray[Any], NDArray[Any]]] = []
        """The same memory for the CPU's kernels; bfloat16, which numpy lacks, as its bits in uint16."""
        if device.type == "cpu":
            self.arrays = [(_array(k), _array(v)) for k, v in zip(self.keys, self.values, strict=True)]

    def copy(self, order: SlotCopy) -> None:
        """Copy the leading positions of one slot to another."""
        for tensor in (*self.keys, *self.values):
            tensor[order.target, :, : order.length] = tensor[order.source, :, : order.length]


def bytes_per_slot(config: GPT2Config, dtype: torch.dtype) -> int:
    """Memory that one full slot takes."""
    return 2 * config.n_layer * config.n_positions * config.n_embd * dtype.itemsize


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _zeros(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Zeros, because masked positions still enter the products of `attend_torch` and stray bits could be NaN.

    On the CPU they are pages fresh from the kernel, which cost nothing until they are written: torch.zeros would write
    them all, and numpy.zeros asks for huge pages, which turn the first positions of each head into the whole slot
    (MEASURED: 4.6 GB for 64 sequences of 96 tokens of GPT-2 124M).
    """
    if device.type == "cpu":
        pages = mmap.mmap(-1, math.prod(shape) * dtype.itemsize)
        return torch.frombuffer(pages, dtype=dtype).view(shape)
    return torch.zeros(shape, device=device, dtype=dtype)
