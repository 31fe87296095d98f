"""How many requests are answered at once: each holds a thread until its answer has been sent, and some must be left.

The engine bounds what it computes and what waits for that. This bounds everything else too: streams of a training's
events, readers that take their time. Health and metrics are let in always.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from apiflask import APIFlask
from flask import request

from app.api.errors import OverloadedError, TooManyAtOnceError
from app.api.requests import caller
from app.engine.pace import Pace
from config.settings import Settings

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

ALWAYS = frozenset({"health", "metrics"})
"""The blueprints that tell how the service does: all the more when it does badly."""

LEAVE = "troika.leave"
"""Where a request keeps what to call when its answer has been sent."""


class Admission:
    """Counts who is inside; `most` in all, `most_each` of one caller."""

    def __init__(self, most: int, most_each: int) -> None:
        self._most = most
        self._most_each = most_each
        self._lock = threading.Lock()
        self._inside: dict[int, float] = {}
        self._callers: Counter[str] = Counter()
        self._pace = Pace()
        self._next = 0

    def enter(self, caller: str) -> Callable[[], None]:
        """Let a caller in; returns what to call, once, when it leaves. Raises what says why not, and until when."""
        now = time.monotonic()
        with self._lock:
            held = [now - since for since in self._inside.values()]
            if len(held) >= self._most:
                raise OverloadedError(self._pace.until_turn(now, self._most, 0, held))
            count = self._callers[caller]
            if count >= self._most_each:
                raise TooManyAtOnceError(count, self._pace.until_free(count, held))
            self._next += 1
            ticket = self._next
            self._inside[ticket] = now
            self._callers[caller] += 1
        return lambda: self._leave(ticket, caller)

    def _leave(self, ticket: int, caller: str) -> None:
        with self._lock:
            self._pace.ended(time.monotonic() - self._inside.pop(ticket))
            self._callers[caller] -= 1
            if not self._callers[caller]:
                del self._callers[caller]


def init_app(app: APIFlask, settings: Settings) -> None:
    """Count requests from when it is known who asks until their answers have been sent."""
    admission = Admission(settings.max_requests, settings.max_per_client)

    def enter() -> None:
        if request.blueprint not in ALWAYS:
            request.environ[LEAVE] = admission.enter(caller())

    app.before_request(enter)
    app.wsgi_app = _leaving(app.wsgi_app)  # type: ignore[assignment, method-assign]


class _Answer:
    """An answer with which a request leaves, once the server closes it: sent to the end, or given up."""

    def __init__(self, answer: Iterable[bytes], leave: Callable[[], None]) -> None:
        self._answer = answer
        self._leave = leave

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def close(self) -> None:
        try:
            if hasattr(self._answer, "close"):
                self._answer.close()
        finally:
            self._leave()


def _leaving(application: Application) -> Application:
    def run(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            answer = application(environ, start_response)
        except BaseException:
            if LEAVE in environ:
                environ[LEAVE]()
            raise
        return _Answer(answer, environ[LEAVE]) if LEAVE in environ else answer

    return run
