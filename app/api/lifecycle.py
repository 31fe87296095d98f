"""How the service comes to its end: nothing new is taken in, what runs may finish, what does not is told and stored."""

from __future__ import annotations

import logging
import threading
import time

from apiflask import APIFlask
from flask import request

from app.api.errors import DrainingError
from app.chat.memory import Memory
from app.engine.client import EngineClient
from app.idempotency.replies import KeptReplies
from app.jobs.runner import TrainingJobs

log = logging.getLogger(__name__)

OPEN_BLUEPRINTS = frozenset({"health", "metrics"})
"""What is still answered: how the service is, for those who wait for its end."""

LAST_WORDS_S = 8.0
"""How long streams that were cut off get to say so and to store their turns; the database may take 5 s."""


class Lifecycle:
    """Counts the requests under way, and ends the service."""

    def __init__(self, engine: EngineClient, memory: Memory, jobs: TrainingJobs, replies: KeptReplies) -> None:
        self._engine = engine
        self._memory = memory
        self._jobs = jobs
        self._replies = replies
        self._changed = threading.Condition()
        self._closing = threading.Lock()
        self._running = 0
        self._draining = False

    @property
    def running(self) -> int:
        """Requests whose answer has not been sent to its end."""
        return self._running

    @property
    def is_draining(self) -> bool:
        return self._draining

    def enter(self) -> None:
        with self._changed:
            self._running += 1

    def leave(self) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def drain(self, grace_s: float) -> None:
        """Refuse what is new, and wait until nothing runs any more, for at most `grace_s`."""
        with self._changed:
            self._draining = True
            log.info("shutting down: %d requests get %g s to finish", self._running, grace_s)
        # A training run is no reply that would be over in a moment, and those who follow it would use up the grace.
        self._jobs.close()
        self._wait(grace_s)

    def close(self) -> None:
        """End what runs: streams with an error event, their turns stored as far as they were sent, jobs as interrupted.

        Blocks for some seconds at most. What comes later is refused.
        """
        with self._closing:
            with self._changed:
                self._draining = True
                if self._running:
                    log.warning("shutting down: %d requests are cut off", self._running)
            self._engine.close()
            self._jobs.close()
            self._replies.close()
            self._wait(LAST_WORDS_S)
            self._memory.close()

    def _wait(self, seconds: float) -> None:
        """For the end of all requests, and of the replies that go on without one."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._changed.wait_for(lambda: not self._running, seconds)
        self._replies.drain(deadline - time.monotonic())


def init_app(app: APIFlask, lifecycle: Lifecycle) -> None:
    app.extensions["lifecycle"] = lifecycle

    @app.before_request
    def refuse() -> None:
        if lifecycle.is_draining and request.blueprint not in OPEN_BLUEPRINTS:
            raise DrainingError
