"""Threads that are there while they are needed.

Those of `concurrent.futures` never end. Each keeps what it has touched of its stack, and up to 236 KiB of freed blocks
that glibc holds back for it alone: after a rush, hundreds of them would keep for good what the rush took.
"""

from __future__ import annotations

import ctypes
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

log = logging.getLogger(__name__)

IDLE_S = 10.0
"""How long a thread waits for more to do."""

QUIET_S = 1.0
"""Memory is given back when no thread has ended for so long, so that once does for many."""

Task = Callable[[], None]
Inbox = queue.SimpleQueue[Task | None]


class ThreadPool:
    """At most `size` threads, begun as there is work for them; one that has had none for `idle_s` seconds ends.

    Of several that wait, the last to have begun to goes on: so those that are not needed come to their end. `submit`
    and `shutdown` are those of `concurrent.futures.Executor`.
    """

    def __init__(self, size: int, idle_s: float = IDLE_S) -> None:
        self._size = size
        self._idle_s = idle_s
        self._lock = threading.RLock()  # a signal may bring `shutdown` in the middle of `submit`
        self._threads: set[threading.Thread] = set()
        self._idle: list[Inbox] = []
        self._backlog: deque[Task] = deque()
        self._is_closed = False
        self._last_end: float | None = None

    def __len__(self) -> int:
        """How many threads there are."""
        return len(self._threads)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def task() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        with self._lock:
            if self._is_closed:
                raise RuntimeError("this pool of threads is closed")
            if self._idle:
                self._idle.pop().put(task)
            elif len(self._threads) >= self._size or not self._begin(task):
                self._backlog.append(task)
        return future

    def _begin(self, task: Task) -> bool:
        """Begin a thread with this to do; False if the system allows no more than there are."""
        inbox: Inbox = queue.SimpleQueue()
        inbox.put(task)
        thread = threading.Thread(target=self._serve, args=[inbox], name="http")
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:
            self._threads.remove(thread)
            if not self._threads:
                raise
            log.warning("the system allows no more than %d threads", len(self._threads))
            return False
        return True

    def _serve(self, inbox: Inbox) -> None:
        while (task := self._next(inbox)) is not None:
            task()
            del task  # and all that it holds, before the next one comes
        with self._lock:
            self._threads.remove(threading.current_thread())
            self._last_end = time.monotonic()

    def _next(self, inbox: Inbox) -> Task | None:
        with self._lock:
            if inbox.empty():
                if self._backlog:
                    return self._backlog.popleft()
                if self._is_closed:
                    return None
                self._idle.append(inbox)
        try:
            return inbox.get(timeout=self._idle_s)
        except queue.Empty:
            with self._lock:
                if inbox in self._idle:
                    self._idle.remove(inbox)
                    return None
            return inbox.get()  # it has come just now

    def tidy(self) -> None:
        """Give the system back what threads that have ended left free; to be called about once a second.

        By itself glibc gives back only what lies at the end of an arena, where something is nearly always in use.
        """
        if self._last_end is not None and time.monotonic() > self._last_end + QUIET_S:
            self._last_end = None
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
            if trim is not None:
                trim(0)

    def shutdown(self, wait: bool = True) -> None:
        """Take nothing more; what was taken is done."""
        with self._lock:
            self._is_closed = True
            for inbox in self._idle:
                inbox.put(None)
            self._idle.clear()
            threads = list(self._threads)
        if wait:
            for thread in threads:
                thread.join()
