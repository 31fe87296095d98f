"""`RayEngine`: the service's side of a cluster of engines.

One thread runs an event loop with a task for each request. A task sends its request to a replica through Serve's
handle and follows the stream; when the replica is lost, it sends the request again, with the tokens that have come:
the next replica goes on from there, and nobody can tell from the bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, RayServeException

from app.engine import client as errors
from app.engine.client import (
    EngineBusyError,
    EngineClosedError,
    EngineCrashedError,
    EngineError,
    EngineLimits,
    EngineStatus,
    EngineUnavailableError,
)
from app.engine.cluster.deployment import connect, status
from app.engine.cluster.messages import APPLICATION, ClusterConfig, Progress, Replica
from app.engine.messages import StepStats
from app.engine.observer import EngineObserver
from app.engine.requests import DEADLINE_GRACE_S, SHUTTING_DOWN, Request, RequestBook

log = logging.getLogger(__name__)

LOST = (RayError, RayServeException, ConnectionError, TimeoutError)
"""What tells that a replica, its node or the way there is gone."""

ELSEWHERE = ("EngineBusyError", "EngineUnavailableError", "EngineClosedError")
"""Failures of a replica that say nothing against the request."""

LOOK_S = 0.5
"""How often deadlines and replicas are looked at."""

AGAIN_S = 0.2
"""How long a request that a replica could not take waits before it asks again."""


class RayEngine(RequestBook):
    """Replicas of the engine on a Ray cluster. It connects in its own thread, and again when the cluster was away."""

    def __init__(
        self,
        address: str,
        config: ClusterConfig,
        fingerprint: str,
        limits: EngineLimits | None = None,
        on_refused: Callable[[str], None] | None = None,
        observer: EngineObserver | None = None,
    ) -> None:
        """`fingerprint` is that of the model whose tokens are sent: replicas with another are refused."""
        super().__init__(limits, observer)
        self._address = address
        self._fingerprint = fingerprint
        self._on_refused = on_refused
        self._max_ongoing = config.max_ongoing
        self._replicas = 0
        self._step_stats: dict[str, StepStats] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._handle: Any = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="engine-cluster", daemon=True)
        self._thread.start()

    # -- for the service -------------------------------------------------------------------------------------

    @property
    def _slots(self) -> int:
        return self._replicas * (self._ready.max_sequences if self._ready else 0)

    def _send(self, request: Request) -> None:
        if self._state == "ready":
            self._loop.call_soon_threadsafe(self._begin, request)

    def _stop(self, request_id: int) -> None:
        self._loop.call_soon_threadsafe(self._abandon, request_id)

    def status(self) -> EngineStatus:
        with self._lock:
            running = sum(request.admitted is not None for request in self._requests.values())
            stats = list(self._step_stats.values())
            return EngineStatus(
                state=self._state,
                reason=self._reason,
                ready=self._ready,
                stats=StepStats(
                    running=sum(s.running for s in stats),
                    waiting=sum(s.waiting for s in stats),
                    slots_held=sum(s.slots_held for s in stats),
                    cached_tokens=sum(s.cached_tokens for s in stats),
                ),
                running=running,
                waiting=len(self._requests) - running,
                restarts=self._restarts,
                pid=None,
            )

    def close(self) -> None:
        """End every open stream and leave the cluster, which goes on. Blocks for a few seconds at most."""
        with self._changed:
            if self._state == "closed":
                return
            self._set_state("closed", "the service is shutting down")
            self._fail_all(EngineClosedError(SHUTTING_DOWN))
        self._loop.call_soon_threadsafe(lambda: None)
        self._thread.join(timeout=5)

    # -- the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._watch())
        self._loop.close()

    async def _watch(self) -> None:
        """Look at the cluster again and again; end when the engine is closed."""
        while self._state not in ("closed", "refused"):
            try:
                found = await self._loop.run_in_executor(None, self._look)
                if found and self._handle is None:
                    self._handle = serve.get_app_handle(APPLICATION).options(_by_reference=False)
                    await self._meet()
                with self._changed:
                    self._note(found)
            except Exception as error:
                # Whatever Ray raises when it is away, it is asked again: there is nobody else to tell.
                with self._changed:
                    self._replicas = 0
                    if self._state not in ("closed", "refused"):
                        self._down(f"the cluster cannot be reached: {error}".splitlines()[0])
            with self._changed:
                self._expire()
            await asyncio.sleep(LOOK_S)
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _look(self) -> int:
        connect(self._address)
        return status().running

    async def _meet(self) -> None:
        """Ask a replica what it serves."""
        try:
            replica: Replica = await asyncio.wait_for(self._handle.describe.remote(), self.limits.restart_timeout_s)
        except BaseException:
            self._handle = None
            raise
        with self._changed:
            self._ready = replica.ready
        if replica.fingerprint != self._fingerprint:
            self._refuse(
                "The cluster serves another model than this service: give both the same TROIKA_MODEL, and deploy again."
            )

    def _note(self, found: int) -> None:
        self._restarts += max(0, self._replicas - found)
        self._replicas = found
        if self._state in ("closed", "refused"):
            return
        if not found:
            self._down("no replica of the engine is running")
        elif self._state != "ready" and self._handle is not None:
            self._set_state("ready", "")
            log.info("the cluster is ready: %d replicas", found)
            for request in list(self._requests.values()):
                if request.stream.request_id not in self._tasks:
                    self._begin(request)

    def _down(self, reason: str) -> None:
        if self._state == "ready":
            self._down_since = time.monotonic()
            log.error("%s", reason)
        self._set_state("restarting" if self._ready else "loading", reason)

    def _refuse(self, message: str) -> None:
        with self._changed:
            if self._state == "closed":
                return
            self._set_state("refused", message)
            self._fail_all(EngineUnavailableError(f"The engine is not running: {message}"))
        if self._on_refused is not None:
            self._on_refused(message)

    def _expire(self) -> None:
        """End what is late, and what has waited too long while there was no replica."""
        now = time.monotonic()
        up = self._state == "ready"
        for request_id, request in list(self._requests.items()):
            if now >= request.deadline + (DEADLINE_GRACE_S if up else 0):
                self._end(request_id, "timeout")
                self._abandon(request_id)
            elif not up and now - max(request.submitted, self._down_since) >= self.limits.restart_timeout_s:
                why = f"The engine did not come up in time: {self._reason}. Try again later."
                self._fail(request_id, EngineUnavailableError(why))
                self._abandon(request_id)

    def _begin(self, request: Request) -> None:
        request_id = request.stream.request_id
        if request_id not in self._tasks:
            task = self._tasks[request_id] = self._loop.create_task(self._serve(request))
            task.add_done_callback(lambda _: self._tasks.pop(request_id, None))

    def _abandon(self, request_id: int) -> None:
        if (task := self._tasks.get(request_id)) is not None:
            task.cancel()

    # -- one request -----------------------------------------------------------------------------------------

    async def _serve(self, request: Request) -> None:
        """Have a request computed: at one replica, and at another when that is lost."""
        request_id = request.stream.request_id
        while request_id in self._requests:
            try:
                with self._lock:
                    self._check_fits(request.submit.prompt, request.submit.params)
                async with contextlib.aclosing(self._follow(request)) as news:
                    async for progress in news:
                        with self._lock:
                            self._book(request, progress)
                        if progress.failure and progress.failure[0] in ELSEWHERE:
                            break
                with self._lock:
                    request.admitted = None
                await asyncio.sleep(AGAIN_S)
            except BackPressureError:
                with self._lock:
                    wait = self._pace.until_turn(time.monotonic(), self._slots or 1, len(self._requests), [])
                    self._fail_if_open(request_id, EngineBusyError("The queue of the cluster is full.", wait))
            except EngineError as error:
                with self._lock:
                    self._fail_if_open(request_id, error)
            except LOST as error:
                log.warning("a replica was lost, and a stream goes on elsewhere: %s", str(error).partition("\n")[0])
                with self._lock:
                    self._blame(request)
                await asyncio.sleep(AGAIN_S)

    async def _follow(self, request: Request) -> AsyncGenerator[Progress, None]:
        """What a replica tells of a request; raises `TimeoutError` when it falls silent."""
        response = self._handle.options(stream=True).generate.remote(request.resubmit())
        try:
            # In the queue for a replica there may be no word for long; from then on heartbeats come.
            progress = await anext(response)
            while True:
                yield progress
                progress = await asyncio.wait_for(anext(response), self.limits.stall_timeout_s)
        except StopAsyncIteration:
            return
        finally:
            response.cancel()

    def _book(self, request: Request, progress: Progress) -> None:
        now = time.monotonic()
        request_id = request.stream.request_id
        if request_id not in self._requests:
            return
        self._step_stats[progress.replica] = progress.stats
        if progress.reused is not None:
            self._admit(request, now, progress.reused)
        for token in progress.tokens:
            self._add(request, token, now)
        if progress.finish_reason is not None:
            self._end(request_id, progress.finish_reason)
        elif progress.failure is not None and progress.failure[0] not in ELSEWHERE:
            name, message = progress.failure
            if name == "EngineTimeoutError":
                self._end(request_id, "timeout")
            else:
                kind: type[EngineError] = getattr(errors, name, EngineError)
                self._fail(request_id, kind(message))

    def _blame(self, request: Request) -> None:
        """Note that a request was being computed when its replica was lost, and fail it if that was the second time.

        After the first time it is computed alone at first, at the next replica.
        """
        if request.admitted is not None:
            request.crashes += 1
            request.admitted = None
        if request.crashes >= 2:
            why = "Two replicas were lost while they computed this request, so it was given up."
            self._fail_if_open(request.stream.request_id, EngineCrashedError(why))

    def _fail_if_open(self, request_id: int, error: EngineError) -> None:
        if request_id in self._requests:
            self._fail(request_id, error)
