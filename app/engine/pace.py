"""When to come back: measured from how long places were held lately. Pure arithmetic, in seconds."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable


class Pace:
    """How fast places become free. It is told of each end, and asked when all places are taken.

    `held` is how long those who have a place now have had it: the measure until somebody has given one back.
    """

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=64)
        self._promised = -math.inf

    def ended(self, held_s: float) -> None:
        self._recent.append(held_s)

    def until_free(self, places: int, held: Iterable[float]) -> int:
        """Whole seconds until one of `places` becomes free, 1 at least."""
        return max(1, math.ceil(self._interval(places, held)))

    def until_turn(self, now: float, places: int, queued: int, held: Iterable[float]) -> int:
        """The same for one of many: whoever asks is given a later turn than those who asked before.

        So they do not all come back to the same place. Nobody is told a later time than that by which all who have a
        place, or are `queued` for one, will be done. `now` is of a clock that never goes back.
        """
        interval = self._interval(places, held)
        longest = interval * (places + queued)
        turn = min(max(self._promised, now) + interval, now + longest)
        self._promised = turn
        return max(1, math.ceil(turn - now))

    def _interval(self, places: int, held: Iterable[float]) -> float:
        """Mean seconds from one end to the next."""
        lifetimes = self._recent or list(held)
        mean = sum(lifetimes) / len(lifetimes) if lifetimes else 0.0
        return mean / max(1, places)
