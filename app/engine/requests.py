"""The requests of one engine client: which there are, whether another fits, and what became of each.

How they reach an engine and how tokens come back is left to the clients that build on it.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from app.engine.client import (
    EngineBusyError,
    EngineClosedError,
    EngineError,
    EngineLimits,
    EngineTimeoutError,
    EngineUnavailableError,
    OwnerBusyError,
    PromptTooLongError,
    State,
    TokenStream,
    UnknownTokenError,
)
from app.engine.messages import Ready, SamplingParams, StepStats, Submit, Token
from app.engine.observer import EngineObserver, NoObserver, RequestSummary
from app.engine.pace import Pace

SHUTTING_DOWN = "The service is shutting down."
DEADLINE_GRACE_S = 2.0
"""The engine process ends late requests itself; the client only when that does not happen."""


@dataclass(slots=True)
class Request:
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


class RequestBook:
    """What the clients have in common. Methods that begin with _ are called with `_lock` held."""

    def __init__(self, limits: EngineLimits | None, observer: EngineObserver | None) -> None:
        self.limits = limits or EngineLimits()
        self._observer = observer or NoObserver()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._ids = itertools.count(1)
        self._requests: dict[int, Request] = {}
        self._state: State = "loading"
        self._reason = "the model is being loaded"
        self._ready: Ready | None = None
        self._stats = StepStats()
        self._restarts = 0
        self._down_since = time.monotonic()
        self._pace = Pace()

    def _send(self, request: Request) -> None:
        """Bring a new request on its way."""
        raise NotImplementedError

    def _stop(self, request_id: int) -> None:
        """Have a request that has ended here end wherever it is computed."""
        raise NotImplementedError

    @property
    def _slots(self) -> int:
        """Sequences that can be computed at once, as far as is known."""
        return self._ready.max_sequences if self._ready else 0

    def submit(
        self,
        prompt: Sequence[int],
        params: SamplingParams,
        *,
        owner: str = "",
        deadline_s: float | None = None,
        output: Sequence[int] = (),
        suspect: bool = False,
    ) -> TokenStream:
        """As in `EngineClient`. With `output` the stream goes on after those tokens of an earlier one; `suspect` tells
        that this request was being computed when an engine was lost.
        """
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
            stream = TokenStream(request_id, ids, self.cancel, self.count_ahead, give_up_at)
            message = Submit(request_id, owner, ids, params, deadline_s)
            request = Request(stream, message, now, list(output), crashes=int(suspect))
            self._requests[request_id] = request
            self._send(request)
        return stream

    def cancel(self, request_id: int, reason: str = "cancelled") -> None:
        with self._lock:
            if request_id not in self._requests:
                return
            # The stream ends here and now: the engine may be slow to answer, or be dying without having read this.
            self._end(request_id, reason)
            self._stop(request_id)

    def wait_until_ready(self, timeout: float | None = None) -> bool:
        """Block until the engine serves or never will; returns whether it serves."""
        with self._changed:
            self._changed.wait_for(lambda: self._state in ("ready", "refused", "closed"), timeout)
            return self._state == "ready"

    def _check_fits(self, prompt: tuple[int, ...], params: SamplingParams) -> None:
        if not prompt:
            raise PromptTooLongError("The prompt has no tokens; the model needs at least one.")
        if self._ready is None:
            return  # looked at again when the model is loaded
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
        slots = self._slots
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

    def count_ahead(self, request_id: int) -> int | None:
        with self._lock:
            request = self._requests.get(request_id)
            if request is None or request.admitted is not None:
                return None
            return sum(r.admitted is None for i, r in self._requests.items() if i < request_id)

    def _admit(self, request: Request, now: float, reused: int) -> None:
        request.admitted = now
        # What a resumed sequence reuses, and when it is admitted again, is no part of its prompt's story.
        if not request.output:
            request.stream.prompt_tokens_reused = reused
        if request.stream.queue_s is None:
            request.stream.queue_s = now - request.submitted
            self._observer.on_admission(len(request.submit.prompt), reused, request.stream.queue_s)

    def _add(self, request: Request, token: Token, now: float) -> None:
        """Hand out a token."""
        request.output.append(token.token_id)
        request.stream.put(token)
        self._observer.on_token(now - (request.last_token or request.submitted), first=not request.last_token)
        request.last_token = now
        request.first_token = request.first_token or now

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

    def _set_state(self, state: State, reason: str) -> None:
        self._state, self._reason = state, reason
        self._changed.notify_all()
