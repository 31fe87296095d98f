"""Decode steps on CUDA as recorded graphs: one launch a step instead of some hundred.

Not verified: no GPU was at hand when this was written. Everything it calls is the forward pass that the CPU tests
check; what is new is only the recording.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Compute = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A graph with the memory that it reads and writes: inputs [3, rows] int64, logits [rows, vocabulary]."""

    graph: torch.cuda.CUDAGraph
    inputs: torch.Tensor
    logits: torch.Tensor


class DecodeGraphs:
    """One graph for each bucket of rows; a batch is padded to the next one with rows of the padding slot."""

    def __init__(self, compute: Compute, device: torch.device, buckets: list[int], padding_slot: int) -> None:
        self._device = device
        self._padding_slot = padding_slot
        self._recorded: dict[int, _Recorded] = {}
        # The largest first: the smaller ones then find room in its memory.
        for rows in sorted(buckets, reverse=True):
            self._recorded[rows] = self._record(compute, rows)

    def _record(self, compute: Compute, rows: int) -> _Recorded:
        inputs = torch.zeros((3, rows), dtype=torch.int64, device=self._device)
        inputs[2] = self._padding_slot
        # Libraries set themselves up in their first calls, which a recording must not contain.
        stream = torch.cuda.Stream(self._device)
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            for _ in range(2):
                compute(*inputs)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        pool = next((recorded.graph.pool() for recorded in self._recorded.values()), None)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            logits = compute(*inputs)
        return _Recorded(graph, inputs, logits)

    def run(self, token_ids: NDArray[np.int64], positions: NDArray[np.int64], slots: NDArray[np.int64]) -> torch.Tensor:
        """The logits of one new token for each row, [n, vocabulary] on the device; valid until the next run."""
        n = len(token_ids)
        rows = min(bucket for bucket in self._recorded if bucket >= n)
        inputs = np.zeros((3, rows), dtype=np.int64)
        inputs[2] = self._padding_slot
        inputs[:, :n] = token_ids, positions, slots
        recorded = self._recorded[rows]
        recorded.inputs.copy_(torch.from_numpy(inputs))
        recorded.graph.replay()
        return recorded.logits[:n]
