"""`LocalEngine`: the engine as one child process, another when it dies, and open streams that go on there.

They go on from where they were: token n depends only on the prompt, the parameters and the tokens before it, so nobody
can tell from the bytes.
"""

from __future__ import annotations

import logging
import os
import queue
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from app.engine.client import (
    EngineClosedError,
    EngineCrashedError,
    EngineError,
    EngineLimits,
    EngineStatus,
    EngineUnavailableError,
)
from app.engine.messages import (
    Cancel,
    EngineConfig,
    Ready,
    Refused,
    SamplingParams,
    Scheduled,
    Shutdown,
    StepOutput,
    StepStats,
    Submit,
)
from app.engine.observer import EngineObserver
from app.engine.openmp import link_torch_openmp
from app.engine.requests import DEADLINE_GRACE_S, SHUTTING_DOWN, Request, RequestBook

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
"""Where the child finds the package `app`, wherever the service was started."""

TICK_S = 0.2
"""How often the supervisor looks at deadlines that the engine process is not there to keep."""
CANARY_ID = 0
"""The request by which an idle engine shows that it can compute. Nobody owns it, so it leaves nothing to reuse."""
CANARY = Submit(CANARY_ID, "", (0,), SamplingParams(max_new_tokens=1, temperature=0.0))


class LocalEngine(RequestBook):
    """An engine in a child process of this one.

    Three threads: one owns the child, from spawn to death and on to the next; per child one writes to its pipe, so
    that `submit` never blocks on a child that does not read.
    """

    def __init__(
        self,
        config: EngineConfig,
        limits: EngineLimits | None = None,
        on_refused: Callable[[str], None] | None = None,
        observer: EngineObserver | None = None,
    ) -> None:
        self.config = replace(config, folder=str(Path(config.folder).resolve()))
        super().__init__(limits, observer)
        self._on_refused = on_refused
        self._probing: int | None = None
        self._failed_starts = 0
        self._heard = time.monotonic()  # when the engine last said something, or had nothing to say
        self._canary_sent = False
        self._child: subprocess.Popen[bytes] | None = None
        self._outbox: queue.SimpleQueue[Submit | Cancel | Shutdown | None] = queue.SimpleQueue()
        self._libraries = tempfile.TemporaryDirectory(prefix="troika-", ignore_cleanup_errors=True)
        self._environment = link_torch_openmp(Path(self._libraries.name))
        self._supervisor = threading.Thread(target=self._supervise, name="engine-supervisor", daemon=True)
        self._supervisor.start()

    # -- for the service -------------------------------------------------------------------------------------

    def _send(self, request: Request) -> None:
        if self._state == "ready":
            self._outbox.put(request.resubmit())

    def _stop(self, request_id: int) -> None:
        if self._state == "ready":
            self._outbox.put(Cancel(request_id))

    def status(self) -> EngineStatus:
        with self._lock:
            running = sum(request.admitted is not None for request in self._requests.values())
            state, reason = self._state, self._reason
            silent_s = time.monotonic() - self._heard
            if state == "ready" and self._is_busy and silent_s > self.limits.stall_timeout_s / 2:
                state, reason = "stalled", f"the engine has had work for {silent_s:.0f} s, but says nothing"
            return EngineStatus(
                state=state,
                reason=reason,
                ready=self._ready,
                stats=self._stats,
                running=running,
                waiting=len(self._requests) - running,
                restarts=self._restarts,
                pid=self.pid,
                replicas=int(self.pid is not None),
            )

    @property
    def _is_busy(self) -> bool:
        return self._canary_sent or bool(self._requests)

    @property
    def pid(self) -> int | None:
        """The engine process, while there is one."""
        child = self._child
        return None if child is None or child.poll() is not None else child.pid

    def close(self) -> None:
        """End the engine process and every open stream. Blocks for a few seconds at most."""
        with self._changed:
            if self._state == "closed":
                return
            serving, child = self._state == "ready", self._child
            self._set_state("closed", "the service is shutting down")
            self._fail_all(EngineClosedError(SHUTTING_DOWN))
            if serving:
                self._outbox.put(Shutdown())
            elif child is not None:
                # It is loading, and would only hear of it when done.
                child.kill()
        self._supervisor.join(timeout=5)
        if self._supervisor.is_alive() and child is not None:
            child.kill()
            self._supervisor.join(timeout=5)
        self._libraries.cleanup()

    # -- the child -------------------------------------------------------------------------------------------

    def _supervise(self) -> None:
        backoff = self.limits.first_backoff_s
        while True:
            started = time.monotonic()
            try:
                end = _describe_exit(self._attend(*self._spawn()))
            except OSError as error:
                end = f"it could not be started: {error}"
            with self._changed:
                if self._state in ("closed", "refused"):
                    return
                self._restarts += 1
                if self._state == "ready":
                    self._down_since = time.monotonic()
                    self._failed_starts = 0
                else:
                    self._failed_starts += 1
                again = f", {self._failed_starts} times before it could serve" if self._failed_starts > 1 else ""
                self._set_state("restarting", f"the engine process ended unexpectedly ({end}{again})")
                self._stats = StepStats()
                self._blame()
                hopeless = self._ready is None and self._failed_starts >= self.limits.max_failed_starts
            if hopeless:
                self._refuse(
                    f"The engine process ended {self._failed_starts} times before it could serve, at last with {end}. "
                    "The log has its last words; without any, there may be too little memory for the model."
                )
                return
            log.error("the engine process ended unexpectedly (%s%s); starting another", end, again)
            # A child that lived for a while earns a fresh start; one that dies at once is given time.
            if time.monotonic() - started > 60:
                backoff = self.limits.first_backoff_s
            until = time.monotonic() + backoff
            backoff = min(2 * backoff, self.limits.longest_backoff_s)
            with self._changed:
                while self._state != "closed" and (left := until - time.monotonic()) > 0:
                    self._expire()
                    self._changed.wait(min(left, TICK_S))

    def _spawn(self) -> tuple[subprocess.Popen[bytes], Connection]:
        """Start a child; raises `OSError` when that fails or the engine is closed."""
        ours, theirs = socket.socketpair()
        with ours, theirs, self._lock:
            if self._state == "closed":
                raise OSError("the engine is closed")
            self._child = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-m", "app.engine.process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=os.environ | self._environment,
                cwd=ROOT,
            )
            threading.Thread(target=_log_output, args=(self._child,), name="engine-output", daemon=True).start()
            return self._child, Connection(ours.detach())

    def _attend(self, child: subprocess.Popen[bytes], connection: Connection) -> int:
        """Read a child's messages until it ends; returns its exit code."""
        writer: threading.Thread | None = None
        self._heard = answered = started = time.monotonic()
        self._canary_sent = False
        try:
            connection.send(self.config)
            while True:
                if not connection.poll(TICK_S):
                    now = time.monotonic()
                    with self._lock:
                        self._expire()
                        is_up = self._state == "ready"
                        if not self._is_busy:
                            self._heard = now
                            if is_up and now - answered >= self.limits.stall_timeout_s / 3:
                                self._canary_sent = True
                                self._outbox.put(CANARY)
                    if is_up and now - self._heard > self.limits.stall_timeout_s:
                        log.error("the engine has work but has said nothing for %.0f s: ending it", now - self._heard)
                        child.kill()
                    elif writer is None and now - started > self.limits.load_timeout_s:
                        log.error("the engine has been loading for %.0f s: ending it", now - started)
                        child.kill()
                    continue
                message = connection.recv()
                self._heard = answered = time.monotonic()
                if isinstance(message, StepOutput):
                    self._book(message)
                elif isinstance(message, Scheduled):
                    with self._lock:
                        self._probing = message.probing
                        for request_id, reused in zip(message.admitted, message.reused, strict=True):
                            if (request := self._requests.get(request_id)) is not None:
                                self._admit(request, answered, reused)
                elif isinstance(message, Ready):
                    writer = self._open(connection, message)
                elif isinstance(message, Refused):
                    self._refuse(message.message)
        except (EOFError, OSError):
            pass
        finally:
            if writer is not None:
                self._outbox.put(None)
                writer.join(timeout=5)
            connection.close()
        try:
            return child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()

    def _open(self, connection: Connection, ready: Ready) -> threading.Thread:
        """The child is up: give it every request there is that it can compute."""
        with self._changed:
            outbox: queue.SimpleQueue[Submit | Cancel | Shutdown | None] = queue.SimpleQueue()
            self._outbox = outbox
            self._ready = ready
            self._probing = None
            if self._state == "closed":
                outbox.put(Shutdown())
            else:
                self._set_state("ready", "")
                for request_id, request in list(self._requests.items()):
                    try:
                        self._check_fits(request.submit.prompt, request.submit.params)
                        outbox.put(request.resubmit())
                    except EngineError as error:
                        self._fail(request_id, error)
        log.info("the engine is ready: %s in %s, loaded in %.1f s", ready.device, ready.precision, ready.load_s)
        for note in ready.notes:
            log.warning("%s", note)
        thread = threading.Thread(target=_write, args=(connection, outbox), name="engine-writer", daemon=True)
        thread.start()
        return thread

    def _refuse(self, message: str) -> None:
        with self._changed:
            if self._state == "closed":
                return
            self._set_state("refused", message)
            self._fail_all(EngineUnavailableError(f"The engine is not running: {message}"))
        if self._on_refused is not None:
            self._on_refused(message)

    def _book(self, message: StepOutput) -> None:
        now = time.monotonic()
        with self._lock:
            self._stats = message.stats
            is_canary = [token.request_id for token in message.tokens] == [CANARY_ID]
            if message.stats.sequences and not is_canary:
                self._observer.on_step(message.stats)
            for token in message.tokens:
                if (request := self._requests.get(token.request_id)) is not None:
                    self._add(request, token, now)
            for finished in message.finished:
                if finished.request_id == CANARY_ID:
                    self._canary_sent = False
                self._end(finished.request_id, finished.reason)

    def _blame(self) -> None:
        """Note which requests were being computed when the child died, and fail those it was the second time for.

        A request that was in flight in one crash is computed alone at first on the next child (a probe). When the
        child dies at that, it was this one and no other.
        """
        suspects = [r for i, r in self._requests.items() if r.admitted is not None and self._probing in (None, i)]
        for request in suspects:
            request.crashes += 1
        for request in self._requests.values():
            request.admitted = None
        for request_id in [i for i, r in self._requests.items() if r.crashes >= 2]:
            self._fail(
                request_id,
                EngineCrashedError("The engine crashed twice while it computed this request, so it was given up."),
            )

    def _expire(self) -> None:
        """End what is late and what has waited too long for an engine, when there is none to do it."""
        now = time.monotonic()
        up = self._state == "ready"
        for request_id, request in list(self._requests.items()):
            if now >= request.deadline + (DEADLINE_GRACE_S if up else 0):
                self._end(request_id, "timeout")
                if up:
                    self._outbox.put(Cancel(request_id))
            elif not up and now - max(request.submitted, self._down_since) >= self.limits.restart_timeout_s:
                why = f"The engine did not come up in time: {self._reason}. Try again later."
                self._fail(request_id, EngineUnavailableError(why))


def _write(connection: Connection, outbox: queue.SimpleQueue[Submit | Cancel | Shutdown | None]) -> None:
    while (message := outbox.get()) is not None:
        try:
            connection.send(message)
        except OSError:
            return


PAUSE_S = 0.1
"""What the engine process writes without such a pause is one entry of the log: a traceback comes line by line."""


def _log_output(child: subprocess.Popen[bytes]) -> None:
    """Log what a child writes: its last words if it crashes, warnings of libraries. The end of the file ends it."""
    output = child.stdout
    if output is None:
        return
    with output, selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        written = b""
        while True:
            if not selector.select(PAUSE_S if written else None) or len(written) > 1 << 16:
                _log_words(written)
                written = b""
            elif part := os.read(output.fileno(), 1 << 16):
                written += part
            else:
                break
        _log_words(written)


def _log_words(written: bytes) -> None:
    if words := written.decode(errors="replace").strip():
        log.warning("the engine process says: %s", words)


def _describe_exit(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
