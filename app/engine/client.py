"""The service's side of the engine: submit a prompt, iterate over its tokens.

`EngineClient` is the seam: what is above it does not know whether the engine is a child process (`local`), a cluster
(`cluster.client`) or something else. Here is what they all have: errors, streams and limits.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from app.engine.messages import Ready, SamplingParams, StepStats, Token

State = Literal["loading", "ready", "stalled", "restarting", "refused", "closed"]
STATES: tuple[State, ...] = get_args(State)


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
    """A snapshot for health checks and metrics. `ready` is what the engine told of itself when it came up.

    With several `replicas` of the engine, what is counted is the sum.
    """

    state: State
    reason: str
    ready: Ready | None
    stats: StepStats
    running: int
    waiting: int
    restarts: int
    pid: int | None
    replicas: int


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
