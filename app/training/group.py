"""The workers of a data-parallel run as each of them sees the others: one sum of gradients a step, over gloo.

What torch's DistributedDataParallel does for autograd, done for the hand-written backward pass: all gradients lie in
one vector, so they are one bucket. The sum is the same bits for every worker, and so are then the weights.
Left to others: whose rows are whose (`shares`), the processes (`workers`, `worker`).
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from app.training.shares import Share

Bytes = NDArray[np.uint8]


class GroupError(Exception):
    """A worker can't be reached any more."""


class Group:
    """`size` workers of one run on this machine; this process is number `rank`, from 0.

    Waits until all are there. They find each other by a file that all of them name, which can be removed then, and
    speak over loopback only. Raises GroupError, here and in all that follows, if one is gone.
    """

    def __init__(self, rank: int, size: int, meeting_place: Path) -> None:
        self.rank, self.size = rank, size
        self._vector = torch.empty(0)
        os.environ["GLOO_SOCKET_IFNAME"] = _loopback()
        try:
            dist.init_process_group("gloo", init_method=meeting_place.as_uri(), rank=rank, world_size=size)
            dist.barrier()  # all have read the file
        except RuntimeError as error:
            raise GroupError(str(error)) from error

    def exchange(self, gradients: Tensor, log_probs: Tensor, share: Share) -> None:
        """Sum the gradients [n] of all workers, and gather their log p [rows of the batch, classes], both in place.

        Of `log_probs` each worker brings the rows that are its share.
        """
        count = len(gradients)
        if len(self._vector) < count + log_probs.numel():
            self._vector = torch.empty(count + log_probs.numel())
        vector = self._vector[: count + log_probs.numel()]
        gathered = vector[count:].view_as(log_probs)
        vector[:count] = gradients
        gathered.zero_()
        gathered[share.start : share.stop] = log_probs[share.start : share.stop]
        try:
            dist.all_reduce(vector)
        except RuntimeError as error:
            raise GroupError(str(error)) from error
        gradients.copy_(vector[:count])
        log_probs.copy_(gathered)

    def hand_out(self, images: Bytes, labels: Bytes) -> None:
        """Give the other workers, which `take` it, what is learnt from: images [n, height, width], labels [n]."""
        self._broadcast(torch.tensor(images.shape))
        self._broadcast(torch.from_numpy(np.ascontiguousarray(images)))
        self._broadcast(torch.from_numpy(np.ascontiguousarray(labels)))

    def take(self) -> tuple[Bytes, Bytes]:
        """What worker 0 hands out."""
        shape = self._broadcast(torch.empty(3, dtype=torch.int64))
        images = self._broadcast(torch.empty(*shape.tolist(), dtype=torch.uint8))
        labels = self._broadcast(torch.empty(int(shape[0]), dtype=torch.uint8))
        return images.numpy(), labels.numpy()

    def close(self) -> None:
        """Leave the others."""
        dist.destroy_process_group()

    def _broadcast(self, tensor: Tensor) -> Tensor:
        try:
            dist.broadcast(tensor, src=0)
        except RuntimeError as error:
            raise GroupError(str(error)) from error
        return tensor


def _loopback() -> str:
    """The name of the interface that no other machine reaches: lo, or lo0."""
    return next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
