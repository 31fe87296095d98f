"""The service's side of the engine: submit a prompt, iterate over its tokens.

`EngineClient` is the seam: what is above it does not know whether the engine is a child process, a cluster or
something else. `LocalEngine` runs it as one child process, starts another when it dies, and lets the open streams
go on there from where they were: token n depends only on the prompt, the parameters and the tokens before it, so
nobody can tell from the bytes.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import queue
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, Protocol, get_args

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
    Token,
)
from app.engine.observer import EngineObserver, NoObserver, RequestSummary
from app.engine.openmp import link_torch_openmp
from app.engine.pace import Pace

log = logging.getLogger(__name__)

State = Literal["loading", "ready", "stalled", "restarting", "refused", "closed"]
STATES: tuple[State, ...] = get_args(State)

ROOT = Path(__file__).parents[2]
"""Where the child finds the package `app`, wherever the service was started."""


class EngineError(Exception):
    """The engine did not finish a request. The message may be shown to whoever made it."""


class EngineUnavailableError(EngineError):
    """The engine is down and did not come back in time, or is closed."""


class EngineClosedError(EngineUnavailableError):
    """The service shuts down."""


class EngineCrashedError(EngineError):
    """The request was being computed in two crashes, so it is not tried a third time."""


class EngineTimeoutError(EngineError):
    """The request's deadline passed."""


class EngineBusyError(EngineError):
    """The waiting room is full; `retry_after_s` is when to come back."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OwnerBusyError(EngineBusyError):
    """Who asks has as many requests under way as one may."""


class PromptTooLongError(EngineError):
    """Prompt and reply can never fit the model's positions."""


class UnknownTokenError(EngineError):
    """The prompt, a bias or a ban names a token that the model does not have."""


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """A snapshot for health checks and metrics. `ready` is what the engine told of itself when it came up."""

    state: State
    reason: str
    ready: Ready | None
    stats: StepStats
    running: int
    waiting: int
    restarts: int
    pid: int | None


class TokenStream:
    """The tokens of one request as they come; iterate, then read `finish_reason`.

    Iteration ends after the last token, or raises `EngineError`. `get` is for those who have something else to do
    meanwhile, such as a heartbeat.
    """

    def __init__(
        self,
        request_id: int,
        prompt: tuple[int, ...],
        cancel: Callable[[int, str], None],
        ahead: Callable[[int], int | None],
        give_up_at: float,
    ) -> None:
        """`cancel` and `ahead` are the client's; after `give_up_at` (monotonic) no token is handed out any more."""
        self.request_id = request_id
        self.prompt = prompt
        self.finish_reason: str | None = None
        self.prompt_tokens_reused = 0
        self.queue_s: float | None = None
        self._cancel = cancel
        self._ahead = ahead
        self._give_up_at = give_up_at
        self._listener: Callable[[], None] | None = None
        self._events: queue.SimpleQueue[Token | str | EngineError] = queue.SimpleQueue()

    def get(self, timeout: float | None = None) -> Token | None:
        """The next token, or None after the last; raises `queue.Empty` when none comes in `timeout` seconds."""
        if self.finish_reason is not None:
            return None
        event = self._events.get(timeout=timeout)
        if isinstance(event, Token):
            if time.monotonic() > self._give_up_at:
                # All that is left is here, but whoever takes it is too slow: that must not hold a thread for ever.
                self.finish_reason = "error"
                self.cancel("timeout")
                raise EngineTimeoutError("The reply could not be handed over before its deadline.")
            return event
        if isinstance(event, EngineError):
            self.finish_reason = "error"
            raise event
        self.finish_reason = event
        return None

    def __iter__(self) -> Iterator[Token]:
        while (token := self.get()) is not None:
            yield token

    def notify(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each event from now on, for those who wait for several streams at once.

        It is called from the thread that brings the event, and must not block.
        """
        self._listener = listener

    @property
    def ahead(self) -> int | None:
        """How many requests are before this one in the queue; None when it isn't waiting there."""
        return self._ahead(self.request_id)

    def cancel(self, reason: str = "cancelled") -> None:
        """Stop the request, wherever it is; its stream ends with the reason. Safe at any time."""
        self._cancel(self.request_id, reason)

    def put(self, event: Token | str | EngineError) -> None:
        """For the engine client: a token, the reason of the end, or the error that is the end."""
        self._events.put(event)
        if self._listener is not None:
            self._listener()


class EngineClient(Protocol):
    """What the service may ask of an engine."""

    def submit(
        self,
        prompt: Sequence[int],
        params: SamplingParams,
        *,
        owner: str = "",
        deadline_s: float | None = None,
    ) -> TokenStream:
        """Queue a prompt; raises `EngineBusyError`, `EngineUnavailableError`, `PromptTooLongError` or
        `UnknownTokenError`. While the model is being loaded the last two come from the stream instead.

        `owner` is whose prefixes may be reused for it; without one it shares nothing.
        """

    def cancel(self, request_id: int, reason: str = "cancelled") -> None: ...

    def status(self) -> EngineStatus: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class _Request:
    """What is needed to go on with a request on another engine. Times are those of `time.monotonic`."""

    stream: TokenStream
    submit: Submit
    submitted: float
    output: list[int] = field(default_factory=list)
    admitted: float | None = None
    first_token: float | None = None
    last_token: float | None = None
    crashes: int = 0

    @property
    def deadline(self) -> float:
        return math.inf if self.submit.deadline_s is None else self.submitted + self.submit.deadline_s

    def resubmit(self) -> Submit:
        left = None if self.submit.deadline_s is None else max(0.0, self.deadline - time.monotonic())
        return replace(self.submit, output=tuple(self.output), suspect=self.crashes > 0, deadline_s=left)

    def summary(self, reason: str) -> RequestSummary:
        return RequestSummary(
            reason,
            prompt_tokens=len(self.submit.prompt),
            output_tokens=len(self.output),
            admitted_s=self.stream.queue_s,
            first_token_s=None if self.first_token is None else self.first_token - self.submitted,
            total_s=time.monotonic() - self.submitted,
        )


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """How much may wait, and for how long.

    `max_per_owner` is how many requests of one owner may run and wait together, 0 being any number.
    `restart_timeout_s` is how long streams wait for an engine that is being started. An engine that has work but says
    nothing for `stall_timeout_s`, or is not loaded after `load_timeout_s`, is replaced; one without work is given a
    token to compute every third of the former, so that it is known to be able to. After `max_failed_starts` that
    failed from the first on, no other is tried.
    """

    max_waiting: int = 128
    max_queued_tokens: int = 65_536
    max_per_owner: int = 0
    restart_timeout_s: float = 60.0
    stall_timeout_s: float = 30.0
    load_timeout_s: float = 900.0
    max_failed_starts: int = 5
    first_backoff_s: float = 0.1
    longest_backoff_s: float = 30.0


SHUTTING_DOWN = "The service is shutting down."
TICK_S = 0.2
"""How often the supervisor looks at deadlines that the engine process is not there to keep."""
CANARY_ID = 0
"""The request by which an idle engine shows that it can compute. Nobody owns it, so it leaves nothing to reuse."""
CANARY = Submit(CANARY_ID, "", (0,), SamplingParams(max_new_tokens=1, temperature=0.0))
DEADLINE_GRACE_S = 2.0
"""The engine process ends late requests itself; the client only when that does not happen."""


class LocalEngine:
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
        self.limits = limits or EngineLimits()
        self._on_refused = on_refused
        self._observer = observer or NoObserver()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._ids = itertools.count(1)
        self._requests: dict[int, _Request] = {}
        self._state: State = "loading"
        self._reason = "the model is being loaded"
        self._ready: Ready | None = None
        self._stats = StepStats()
        self._probing: int | None = None
        self._restarts = 0
        self._failed_starts = 0
        self._heard = time.monotonic()  # when the engine last said something, or had nothing to say
        self._canary_sent = False
        self._down_since = time.monotonic()
        self._pace = Pace()
        self._child: subprocess.Popen[bytes] | None = None
        self._outbox: queue.SimpleQueue[Submit | Cancel | Shutdown | None] = queue.SimpleQueue()
        self._libraries = tempfile.TemporaryDirectory(prefix="troika-", ignore_cleanup_errors=True)
        self._environment = link_torch_openmp(Path(self._libraries.name))
        self._supervisor = threading.Thread(target=self._supervise, name="engine-supervisor", daemon=True)
        self._supervisor.start()

    # -- for the service -------------------------------------------------------------------------------------

    def submit(
        self,
        prompt: Sequence[int],
        params: SamplingParams,
        *,
        owner: str = "",
        deadline_s: float | None = None,
    ) -> TokenStream:
        ids = tuple(prompt)
        with self._lock:
            if self._state == "closed":
                raise EngineClosedError(SHUTTING_DOWN)
            if self._state == "refused":
                raise EngineUnavailableError(f"The engine is not running: {self._reason.rstrip('.')}.")
            self._check_fits(ids, params)
            self._check_room(len(ids), owner)
            request_id = next(self._ids)
            now = time.monotonic()
            give_up_at = math.inf if deadline_s is None else now + deadline_s + DEADLINE_GRACE_S
            stream = TokenStream(request_id, ids, self.cancel, self._count_ahead, give_up_at)
            message = Submit(request_id, owner, ids, params, deadline_s)
            self._requests[request_id] = _Request(stream, message, now)
            if self._state == "ready":
                self._outbox.put(message)
        return stream

    def cancel(self, request_id: int, reason: str = "cancelled") -> None:
        with self._lock:
            if request_id not in self._requests:
                return
            # The stream ends here and now: the engine may be slow to answer, or be dying without having read this.
            self._end(request_id, reason)
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
            )

    @property
    def _is_busy(self) -> bool:
        return self._canary_sent or bool(self._requests)

    @property
    def pid(self) -> int | None:
        """The engine process, while there is one."""
        child = self._child
        return None if child is None or child.poll() is not None else child.pid

    def wait_until_ready(self, timeout: float | None = None) -> bool:
        """Block until the engine serves or never will; returns whether it serves."""
        with self._changed:
            self._changed.wait_for(lambda: self._state in ("ready", "refused", "closed"), timeout)
            return self._state == "ready"

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

    # -- admission -------------------------------------------------------------------------------------------

    def _check_fits(self, prompt: tuple[int, ...], params: SamplingParams) -> None:
        if not prompt:
            raise PromptTooLongError("The prompt has no tokens; the model needs at least one.")
        if self._ready is None:
            return  # `_open` looks again.
        limit = self._ready.max_positions
        if len(prompt) + params.max_new_tokens > limit:
            raise PromptTooLongError(
                f"The prompt has {len(prompt)} tokens and the reply may take {params.max_new_tokens}, but the model "
                f"has only {limit} positions for both."
            )
        named = (*prompt, *(token_id for token_id, _ in params.logit_bias), *params.banned_token_ids)
        lowest, highest = min(named), max(named)
        if lowest < 0 or highest >= self._ready.vocab_size:
            raise UnknownTokenError(
                f"There is no token {lowest if lowest < 0 else highest}: the model's go from 0 to "
                f"{self._ready.vocab_size - 1}."
            )

    def _check_room(self, tokens: int, owner: str) -> None:
        requests = self._requests.values()
        waiting = [r for r in requests if r.admitted is None]
        slots = self._ready.max_sequences if self._ready else 0
        # Requests on their way to a free slot do not wait.
        free = max(0, slots - (len(requests) - len(waiting)))
        queued = sum(len(r.submit.prompt) for r in waiting)
        now = time.monotonic()
        held = [now - r.admitted for r in requests if r.admitted is not None] or [now - self._down_since]
        own = [r for r in requests if r.submit.owner == owner]
        if owner and 0 < self.limits.max_per_owner <= len(own):
            running = sum(r.admitted is not None for r in own)
            raise OwnerBusyError(
                f"Too many requests at once: {len(own)} of yours are running or waiting.",
                self._pace.until_free(running, held),
            )
        if len(waiting) >= self.limits.max_waiting + free:
            problem = f"{len(waiting)} requests are waiting"
        elif waiting and queued + tokens > self.limits.max_queued_tokens:
            problem = f"{queued} prompt tokens are waiting"
        else:
            return
        raise EngineBusyError(
            f"The queue is full: {problem}.", self._pace.until_turn(now, slots or 1, len(waiting), held)
        )

    def _count_ahead(self, request_id: int) -> int | None:
        with self._lock:
            request = self._requests.get(request_id)
            if request is None or request.admitted is not None:
                return None
            return sum(r.admitted is None for i, r in self._requests.items() if i < request_id)

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

    def _admit(self, request: _Request, now: float, reused: int) -> None:
        request.admitted = now
        # What a resumed sequence reuses, and when it is admitted again, is no part of its prompt's story.
        if not request.output:
            request.stream.prompt_tokens_reused = reused
        if request.stream.queue_s is None:
            request.stream.queue_s = now - request.submitted
            self._observer.on_admission(len(request.submit.prompt), reused, request.stream.queue_s)

    def _book(self, message: StepOutput) -> None:
        now = time.monotonic()
        with self._lock:
            self._stats = message.stats
            is_canary = [token.request_id for token in message.tokens] == [CANARY_ID]
            if message.stats.sequences and not is_canary:
                self._observer.on_step(message.stats)
            for token in message.tokens:
                request = self._requests.get(token.request_id)
                if request is not None:
                    request.output.append(token.token_id)
                    request.stream.put(token)
                    self._observer.on_token(
                        now - (request.last_token or request.submitted), first=not request.last_token
                    )
                    request.last_token = now
                    request.first_token = request.first_token or now
            for finished in message.finished:
                if finished.request_id == CANARY_ID:
                    self._canary_sent = False
                self._end(finished.request_id, finished.reason)

    def _end(self, request_id: int, reason: str) -> None:
        request = self._requests.pop(request_id, None)
        if request is not None:
            if request.admitted is not None:
                self._pace.ended(time.monotonic() - request.admitted)
            late = EngineTimeoutError("The request took longer than its deadline.")
            request.stream.put(late if reason == "timeout" else reason)
            self._observer.on_end(request.summary(reason))

    def _fail(self, request_id: int, error: EngineError) -> None:
        request = self._requests.pop(request_id)
        request.stream.put(error)
        self._observer.on_end(request.summary("error"))

    def _fail_all(self, error: EngineError) -> None:
        for request_id in list(self._requests):
            self._fail(request_id, error)

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

    def _set_state(self, state: State, reason: str) -> None:
        self._state, self._reason = state, reason
        self._changed.notify_all()


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
