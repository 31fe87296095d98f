"""Feeds uint8 images to the network: shuffled, gathered, scaled to [0, 1] and, if asked, augmented.

Images stay uint8 in memory (47 MB for MNIST's training set, a quarter of float32). They are gathered and scaled in
chunks small enough to stay in the cache, so that an epoch costs one random walk over the uint8 rows. One of several
workers gathers its share of each batch alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from app.training.shares import Share, share_of

CHUNK_ROWS = 1024


@dataclass(frozen=True)
class _Layout:
    """Which rows of a chunk are this worker's: by batch, and all together as indices [n] int64."""

    shares: list[Share]
    sizes: list[int]
    mine: Tensor


class Batches:
    """Images [n, height, width] uint8 and one-hot targets [n, classes] float32, batch after batch.

    Of each batch it gives what is the share of the worker `rank` of so many.
    """

    def __init__(
        self,
        images: Tensor,
        targets: Tensor,
        batch_size: int,
        augment: bool = False,
        rank: int = 0,
        workers: int = 1,
    ) -> None:
        self.rows = images.shape[0]
        self.steps = math.ceil(self.rows / batch_size)
        self._side = images.shape[1:]
        self._images = images.reshape(self.rows, -1)
        self._targets = targets
        self._batch_size = batch_size
        self._augment = augment
        self._rank, self._workers = rank, workers
        self._chunk = min(max(1, CHUNK_ROWS // batch_size) * batch_size, self.rows)
        self._layouts: dict[int, _Layout] = {}
        room = len(self._layout(self._chunk).mine)
        self._bytes = torch.empty(room, self._images.shape[1], dtype=torch.uint8)
        self._floats = torch.empty(room, self._images.shape[1])

    def epoch(self, order: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Share]]:
        """Batches (x [rows, pixels] float32, targets [rows, classes], share) in the order given ([n] int64).

        `x` is overwritten when the next chunk is gathered: use a batch before taking the next one.
        """
        for chunk in order.split(self._chunk):
            layout = self._layout(len(chunk))
            rows = chunk[layout.mine]
            gathered, floats = self._bytes[: len(rows)], self._floats[: len(rows)]
            torch.index_select(self._images, 0, rows, out=gathered)
            floats.copy_(gathered).div_(255.0)
            if self._augment:
                # Drawn for all the chunk, so that every worker's generator moves on alike.
                noise = torch.rand(6, len(chunk), generator=generator)[:, layout.mine]
                floats = distort(floats.view(-1, 1, *self._side), noise).flatten(1)
            targets = self._targets.index_select(0, rows)
            yield from zip(floats.split(layout.sizes), targets.split(layout.sizes), layout.shares, strict=True)

    def _layout(self, rows: int) -> _Layout:
        if rows not in self._layouts:
            starts = range(0, rows, self._batch_size)
            shares = [share_of(min(self._batch_size, rows - start), self._rank, self._workers) for start in starts]
            mine = [
                torch.arange(start + share.start, start + share.stop)
                for start, share in zip(starts, shares, strict=True)
            ]
            self._layouts[rows] = _Layout(shares, [share.rows for share in shares], torch.cat(mine))
        return self._layouts[rows]


def distort(images: Tensor, noise: Tensor) -> Tensor:
    """Images [n, 1, h, w], turned by up to 12°, sheared, scaled by up to 12 % and moved by up to 1/14 of a side.

    By how much says `noise` [6, n], from 0 to 1.
    """
    angle, shear, dx, dy, sx, sy = noise * 2 - 1
    angle = angle * math.radians(12)
    sx, sy, shear = 1 + 0.12 * sx, 1 + 0.12 * sy, 0.15 * shear
    cos, sin = angle.cos(), angle.sin()
    # Rows of the inverse map, in coordinates from -1 to 1: 2 of 28 pixels are 1/7.
    rows = [torch.stack([cos * sx, shear - sin, dx / 7], 1), torch.stack([sin, cos * sy, dy / 7], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
