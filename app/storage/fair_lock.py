"""A lock that is given to whoever has waited longest."""

from __future__ import annotations

import threading
from collections import deque


class FairLock:
    """Between many threads, `threading.Lock` goes to those that happen to ask when it is free; some wait for ever."""

    def __init__(self) -> None:
        self._state = threading.Lock()
        self._is_held = False
        self._waiting: deque[threading.Event] = deque()

    def acquire(self, timeout: float) -> bool:
        """Returns whether it was got in so many seconds."""
        with self._state:
            if not self._is_held:
                self._is_held = True
                return True
            turn = threading.Event()
            self._waiting.append(turn)
        if turn.wait(timeout):
            return True
        with self._state:
            if turn.is_set():  # just now
                return True
            self._waiting.remove(turn)
            return False

    def release(self) -> None:
        """Hand it on; it is not free in between."""
        with self._state:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._is_held = False
