"""Feeds uint8 images to the network: shuffled, gathered, scaled to [0, 1] and, if asked, augmented.

Images stay uint8 in memory (47 MB for MNIST's training set, a quarter of float32). They are gathered and scaled in
chunks small enough to stay in the cache, so that an epoch costs one random walk over the uint8 rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK_ROWS = 1024


class Batches:
    """Images [n, height, width] uint8 and one-hot targets [n, classes] float32, batch after batch."""

    def __init__(self, images: Tensor, targets: Tensor, batch_size: int, augment: bool = False) -> None:
        self.rows = images.shape[0]
        self.steps = math.ceil(self.rows / batch_size)
        self._side = images.shape[1:]
        self._images = images.reshape(self.rows, -1)
        self._targets = targets
        self._batch_size = batch_size
        self._augment = augment
        chunk = min(max(1, CHUNK_ROWS // batch_size) * batch_size, self.rows)
        self._bytes = torch.empty(chunk, self._images.shape[1], dtype=torch.uint8)
        self._floats = torch.empty(chunk, self._images.shape[1])

    def epoch(self, order: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches (x [rows, pixels] float32, targets [rows, classes]) in the order given ([n] int64).

        `x` is overwritten when the next chunk is gathered: use a batch before taking the next one.
        """
        targets = iter(self._targets.index_select(0, order).split(self._batch_size))
        for rows in order.split(self._bytes.shape[0]):
            gathered, floats = self._bytes[: len(rows)], self._floats[: len(rows)]
            torch.index_select(self._images, 0, rows, out=gathered)
            floats.copy_(gathered).div_(255.0)
            if self._augment:
                floats = distort(floats.view(-1, 1, *self._side), generator).flatten(1)
            for x in floats.split(self._batch_size):
                yield x, next(targets)


def distort(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images [n, 1, h, w], turned by up to 12°, sheared, scaled by up to 12 % and moved by up to 1/14 of a side."""
    n = images.shape[0]
    angle, shear, dx, dy, sx, sy = torch.rand(6, n, generator=generator).mul_(2).sub_(1)
    angle = angle * math.radians(12)
    sx, sy, shear = 1 + 0.12 * sx, 1 + 0.12 * sy, 0.15 * shear
    cos, sin = angle.cos(), angle.sin()
    # Rows of the inverse map, in coordinates from -1 to 1: 2 of 28 pixels are 1/7.
    rows = [torch.stack([cos * sx, shear - sin, dx / 7], 1), torch.stack([sin, cos * sy, dy / 7], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
