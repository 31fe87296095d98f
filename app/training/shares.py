"""How the workers of a data-parallel run divide a batch: each computes a run of its rows. No torch."""

from __future__ import annotations

from typing import NamedTuple


class Share(NamedTuple):
    """The rows from `start` to before `stop` of a batch of `whole` rows. There may be none."""

    start: int
    stop: int
    whole: int

    @property
    def rows(self) -> int:
        """How many they are."""
        return self.stop - self.start


def share_of(whole: int, rank: int = 0, workers: int = 1) -> Share:
    """What the worker `rank` (from 0) of so many computes of a batch; the shares differ by a row at most."""
    return Share(whole * rank // workers, whole * (rank + 1) // workers, whole)
