"""What is told of each request when its answer has been sent: one line in the log, and the metrics."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import structlog

from app.api.errors import from_exception
from app.api.lifecycle import Lifecycle
from app.api.metrics import Metrics
from app.chat.reply import Reply

log: structlog.stdlib.BoundLogger = structlog.get_logger("troika.requests")

Outcome = Literal["done", "client_gone", "error"]


def make_request_id() -> str:
    return f"req-{secrets.token_hex(12)}"


@dataclass(slots=True)
class RequestRecord:
    """One request. Views give it the replies that they begin.

    `route` is the route's template: paths hold the ids of conversations, which are nobody else's to know.
    """

    id: str
    method: str = "other"
    route: str = "unmatched"
    started: float = field(default_factory=time.monotonic)
    status: int = 0
    error: str | None = None
    key_name: str = ""
    replies: Sequence[Reply] = ()

    @property
    def outcome(self) -> Outcome:
        if self.error is not None:
            return "error"
        left = any(reply.finish_reason in (None, "cancelled") for reply in self.replies)
        return "client_gone" if left else "done"

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def error_body(self, error: Exception) -> dict[str, Any]:
        """The last event of a stream that fails."""
        found = from_exception(error)
        self.error = found.code
        return found.body(self.id)

    def fields(self) -> dict[str, Any]:
        """Its line in the log. Times are in milliseconds from the request's arrival."""
        fields: dict[str, Any] = {
            "request_id": self.id,
            "key": self.key_name or None,
            "method": self.method,
            "route": self.route,
            "status": self.status,
            "outcome": self.outcome,
            "error": self.error,
        }
        if self.replies:
            prompts = {id(reply.prompt): reply for reply in self.replies}.values()
            waits = [reply.queue_s for reply in self.replies if reply.queue_s is not None]
            begun = [reply.timing.first_token_s for reply in self.replies if reply.tokens]
            fields |= {
                "finish_reason": ",".join(sorted({reply.finish_reason or "cancelled" for reply in self.replies})),
                "prompt_tokens": sum(reply.prompt.prompt_tokens for reply in prompts),
                "cached_tokens": sum(reply.prompt_tokens_reused for reply in prompts),
                "completion_tokens": sum(len(reply.tokens) for reply in self.replies),
                "queue_ms": _ms(min(waits, default=None)),
                "first_token_ms": _ms(min(begun, default=None)),
            }
        fields["total_ms"] = _ms(self.seconds)
        return {name: value for name, value in fields.items() if value is not None}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 1)


class RequestLog:
    """Begins and ends the records. `decode` puts tokens together to text for the log; None keeps text out of it."""

    def __init__(self, metrics: Metrics, lifecycle: Lifecycle, decode: Callable[[Sequence[int]], str] | None) -> None:
        self._metrics = metrics
        self._lifecycle = lifecycle
        self._decode = decode

    def begin(self, record: RequestRecord) -> None:
        # For what else is logged in this thread until the answer has been sent.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=record.id)
        self._lifecycle.enter()

    def end(self, record: RequestRecord) -> None:
        self._metrics.on_answer(record.method, record.route, record.status, record.seconds, record.error)
        said = {}
        if self._decode is not None and record.replies:
            said = {
                "prompt": [self._decode(reply.prompt.ids) for reply in record.replies],
                "reply": [reply.text for reply in record.replies],
            }
        tell = log.warning if record.status >= 500 else log.info
        tell("request", **record.fields(), **said)
        structlog.contextvars.clear_contextvars()
        self._lifecycle.leave()
