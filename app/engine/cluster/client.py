"""`RayEngine`: the service's side of a cluster of engines.

One thread runs an event loop with a task for each request. A task sends its request to a replica through Serve's
handle and follows the stream; when the replica is lost, it sends the request again, with the tokens that have come:
the next replica goes on from there, and nobody can tell from the bytes. A second thread looks after the connection.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import replace

from ray.exceptions import ActorDiedError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from app.engine import client as errors
from app.engine.client import (
    EngineClosedError,
    EngineCrashedError,
    EngineError,
    EngineLimits,
    EngineStatus,
    State,
)
from app.engine.client import EngineUnavailableError as Unavailable
from app.engine.cluster import deployment
from app.engine.cluster.board import BOARD
from app.engine.cluster.messages import APPLICATION, DEPLOYMENT, Progress, Replica
from app.engine.messages import StepStats
from app.engine.observer import EngineObserver
from app.engine.requests import DEADLINE_GRACE_S, SHUTTING_DOWN, Request, RequestBook

log = logging.getLogger(__name__)

ELSEWHERE = ("EngineBusyError", "EngineUnavailableError", "EngineClosedError")
"""Failures of a replica that say nothing against the request."""

LOOK_S = 1.0
"""How often the connection is looked at."""

AWAY_S = 60.0
"""After so long without word from those who watch over the replicas nobody knows whether there are any."""

TICK_S = 0.2
"""How often deadlines and replicas are looked at."""

AGAIN_S = 0.2
"""How long a request that a replica did not finish waits before it asks again."""

RECENT = 25
"""So many ticks back the replicas may still count requests of this service that have ended since."""

MOST_LOSSES = 6
"""After so many replicas that were lost with it a request is failed, even if each has brought it further."""


class RayEngine(RequestBook):
    """Replicas of the engine on a Ray cluster: found once they are there, and again after they were away."""

    def __init__(
        self,
        address: str,
        fingerprint: str,
        limits: EngineLimits | None = None,
        observer: EngineObserver | None = None,
    ) -> None:
        """`fingerprint` is that of the model whose tokens are sent: replicas with another are not asked."""
        super().__init__(limits, observer)
        self._reason = "the cluster is being looked for"
        self._address = address
        self._fingerprint = fingerprint
        self._replicas: dict[str, Replica] = {}
        self._lost: set[str] = set()
        self._own: deque[int] = deque(maxlen=RECENT)
        self._trouble = self._reason
        self._handle: DeploymentHandle | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._loop = asyncio.new_event_loop()
        self._up = asyncio.Event()
        self._probe = asyncio.Lock()
        self._streams = threading.Thread(target=self._run, name="engine-cluster", daemon=True)
        self._streams.start()
        threading.Thread(target=self._watch, name="engine-cluster-watch", daemon=True).start()

    # -- for the service -------------------------------------------------------------------------------------

    @property
    def _slots(self) -> int:
        """Those of all replicas, but for what other services' requests hold."""
        held = sum(replica.stats.running for replica in self._replicas.values())
        others = max(0, held - max(self._own, default=0))
        return max(0, sum(replica.ready.max_sequences for replica in self._replicas.values()) - others)

    def _send(self, request: Request) -> None:
        self._loop.call_soon_threadsafe(self._begin, request)

    def _stop(self, request_id: int) -> None:
        self._loop.call_soon_threadsafe(self._abandon, request_id)

    def status(self) -> EngineStatus:
        """Of the whole cluster, but `running` and `waiting`, which are this service's own requests."""
        with self._lock:
            running = sum(request.admitted is not None for request in self._requests.values())
            replicas = list(self._replicas.values())
            stats = [replica.stats for replica in replicas]
            slots = sum(replica.ready.max_sequences for replica in replicas)
            return EngineStatus(
                state=self._state,
                reason=self._reason,
                ready=self._ready and replace(self._ready, max_sequences=slots),
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
                replicas=len(replicas),
            )

    def close(self) -> None:
        """End every open stream and leave the replicas alone. Blocks for a few seconds at most."""
        with self._changed:
            if self._state == "closed":
                return
            self._set_state("closed", "the service is shutting down")
            self._fail_all(EngineClosedError(SHUTTING_DOWN))
        self._streams.join(timeout=5)

    # -- the connection --------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Look for the cluster, and whether it is still there, for as long as this engine lives."""
        heard = time.monotonic()
        while self._state != "closed":
            try:
                deployment.connect(self._address)
                found = deployment.status()
                heard = time.monotonic()
                if found.state == "NOT DEPLOYED":
                    self._let_go()
                    trouble = "the cluster has no engine: python -m app.engine.cluster deploy"
                else:
                    if self._handle is None:
                        self._open()
                    trouble = "" if found.running else f"no replica of the engine is running ({found.sentence})"
            except Exception as error:
                # Whatever Ray raises when it is away, it is asked again: there is nobody else to tell.
                trouble = str(error).strip().partition("\n")[0] or type(error).__name__
                if isinstance(error, ActorDiedError) or time.monotonic() - heard > AWAY_S:
                    self._let_go()
                    deployment.disconnect()
            self._trouble = trouble
            with self._changed:
                self._changed.wait_for(lambda: self._state == "closed", LOOK_S)

    def _open(self) -> None:
        """Have Serve route requests in the loop's own thread: tokens would take twice as long from one to another."""

        async def opened() -> DeploymentHandle:
            handle: DeploymentHandle = DeploymentHandle(DEPLOYMENT, APPLICATION)
            handle._init(_run_router_in_separate_loop=False)
            # Through gRPC: an item costs a fifth of what it does through the object store.
            pickle = {"request_serialization": "pickle", "response_serialization": "pickle"}
            return handle.options(stream=True, _by_reference=False, **pickle)

        self._handle = asyncio.run_coroutine_threadsafe(opened(), self._loop).result(timeout=30)

    def _let_go(self) -> None:
        """Forget the replicas, of which nobody tells any more."""
        self._handle = None
        BOARD.replicas = ()

    # -- the loop's thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._tick())
        # All that Serve has still to say is that its loop has ended.
        logging.getLogger("ray.serve").setLevel(logging.CRITICAL)

    async def _tick(self) -> None:
        while self._state != "closed":
            with self._changed:
                self._own.append(sum(request.admitted is not None for request in self._requests.values()))
                self._note(BOARD.replicas if self._handle is not None else ())
                self._expire()
            await asyncio.sleep(TICK_S)
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _note(self, known: tuple[Replica, ...]) -> None:
        """Take in which replicas there are."""
        if self._state == "closed":
            return
        found = {replica.name: replica for replica in known if replica.fingerprint == self._fingerprint}
        for name, replica in found.items():
            before = self._replicas.get(name)
            self._restarts += max(0, replica.restarts - (before.restarts if before else 0))
            if replica.stats.sequences and (before is None or before.stats != replica.stats):
                self._observer.on_step(replica.stats)
        self._replicas = found
        trouble = self._trouble
        if not trouble and not found:
            trouble = (
                "the cluster serves another model than this service: give both the same TROIKA_MODEL, and deploy again"
                if known
                else "no replica of the engine is running"
            )
        if found and (self._state != "ready" or self._ready is None):
            self._ready = next(iter(found.values())).ready
        # Replicas that serve go on doing so while the part of the cluster that watches over them is away for a while.
        if found:
            self._become("ready", "")
        else:
            self._become("restarting" if self._ready else "loading", trouble)

    def _become(self, state: State, reason: str) -> None:
        if (state, reason) == (self._state, self._reason):
            return
        if self._state == "ready":
            self._down_since = time.monotonic()
        if state == "ready":
            log.info("the cluster is ready: %d replicas", len(self._replicas))
            self._up.set()
        else:
            log.warning("the cluster is not ready: %s", reason)
            self._up.clear()
        self._set_state(state, reason)

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
                self._fail(request_id, Unavailable(why))
                self._abandon(request_id)

    def _begin(self, request: Request) -> None:
        request_id = request.stream.request_id
        task = self._tasks[request_id] = self._loop.create_task(self._serve(request))
        task.add_done_callback(lambda task: self._done(request_id, task))

    def _done(self, request_id: int, task: asyncio.Task[None]) -> None:
        self._tasks.pop(request_id, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("request %d failed", request_id, exc_info=error)
            with self._lock:
                self._fail_if_open(request_id, EngineError("The request failed on its way to the cluster."))

    def _abandon(self, request_id: int) -> None:
        if (task := self._tasks.get(request_id)) is not None:
            task.cancel()

    # -- one request -----------------------------------------------------------------------------------------

    async def _serve(self, request: Request) -> None:
        """Have a request computed: at one replica, and at another when that is lost."""
        request_id = request.stream.request_id
        losses = 0
        while request_id in self._requests:
            await self._up.wait()
            try:
                with self._lock:
                    self._check_fits(request.submit.prompt, request.submit.params)
                await self._try(request)
            except EngineError as error:
                with self._lock:
                    self._fail_if_open(request_id, error)
            except _LostError as error:
                losses += error.died
                log.warning("request %d lost its replica, and goes on at another: %s", request_id, error)
                with self._lock:
                    self._blame(request, error, losses)
            if request_id in self._requests:
                await asyncio.sleep(AGAIN_S)

    async def _try(self, request: Request) -> None:
        """Follow a request at one replica until it ends or is given back; raises `EngineError` or `_LostError`.

        One that was being computed when a replica was lost may be what that replica died of. Until it has brought a
        token it is the only one of its kind under way, so that another death can be laid at its door.
        """
        if self._handle is None:
            return
        replica = ""
        async with AsyncExitStack() as probing:
            if request.crashes:
                await probing.enter_async_context(self._probe)
            response = None
            try:
                response = self._handle.generate.remote(request.resubmit(), self._fingerprint)
                while True:
                    # In the queue for a replica there may be no word for long; from then on heartbeats come.
                    async with asyncio.timeout(self.limits.stall_timeout_s if replica else None):
                        progress: Progress = await anext(response)
                    replica = replica or progress.replica
                    with self._lock:
                        over = self._book(request, progress)
                    if over:
                        return
                    if progress.tokens:
                        await probing.aclose()
            except EngineError:
                raise
            except StopAsyncIteration:
                raise _LostError(replica, "it ended the stream", died=False) from None
            except RayServeException as error:
                raise _LostError(replica, str(error), died=False) from error
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise  # nobody wants it any more
                raise _LostError(replica, "it cancelled the request", died=False) from None
            except Exception as error:
                # Of the many things that Ray and gRPC raise none is the request's own: those come as `failure`. Nor are
                # they of a replica that was dead before: then Serve has looked for another. It died, perhaps of this.
                raise _LostError(replica, str(error) or type(error).__name__, died=True) from error
            finally:
                if response is not None:
                    response.cancel()

    def _book(self, request: Request, progress: Progress) -> bool:
        """Take in what a replica tells of a request; returns whether it has done with it. Raises its `EngineError`."""
        now = time.monotonic()
        request_id = request.stream.request_id
        if request_id not in self._requests:
            return True
        if progress.reused is not None:
            self._admit(request, now, progress.reused)
        for token in progress.tokens:
            self._add(request, token, now)
            request.crashes = 0
        if progress.finish_reason is not None:
            self._end(request_id, progress.finish_reason)
            return True
        if progress.failure is None:
            return False
        name, message = progress.failure
        if name in ELSEWHERE:
            request.admitted = None
        elif name == "EngineTimeoutError":
            self._end(request_id, "timeout")
        else:
            kind: type[EngineError] = getattr(errors, name, EngineError)
            raise kind(message)
        return True

    def _blame(self, request: Request, lost: _LostError, losses: int) -> None:
        """Note that a replica was lost with a request, and fail the request if that was the second without a token."""
        request.admitted = None
        if not lost.died:
            return
        if lost.replica and lost.replica not in self._lost:
            self._lost.add(lost.replica)
            self._restarts += 1
        request.crashes += 1
        if request.crashes >= 2 or losses >= MOST_LOSSES:
            number = "Two" if request.crashes >= 2 else f"{losses}"
            why = f"{number} replicas were lost while they computed this request, so it was given up."
            self._fail_if_open(request.stream.request_id, EngineCrashedError(why))

    def _fail_if_open(self, request_id: int, error: EngineError) -> None:
        if request_id in self._requests:
            self._fail(request_id, error)


class _LostError(Exception):
    """A replica, its node or the way there is gone; with `died` it may have been the request's doing.

    `replica` is its name, if it had said anything.
    """

    def __init__(self, replica: str, why: str, *, died: bool) -> None:
        super().__init__(f"{replica or 'no word of it'}: {why.strip().partition(chr(10))[0]}")
        self.replica = replica
        self.died = died
