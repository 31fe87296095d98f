"""How often a caller may ask: Flask-Limiter over memory or Redis, its refusals and headers in this service's words."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

from apiflask import APIFlask
from flask import Response, request
from flask_limiter import ApplicationLimit, Limiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.api.auth import needs_key
from app.api.requests import caller
from config.settings import Settings

log = logging.getLogger(__name__)

REDIS_TIMEOUT_S = 1.0
"""How long a request waits for a Redis that hangs; the ones after it don't, until it is tried again."""


def init_app(app: APIFlask, settings: Settings) -> None:
    """Limit what needs a key where there are keys, for each key's name or address. Call it when that is known."""
    if not settings.rate_limit and not settings.training_rate_limit:
        return
    redis: dict[str, Any] = {
        "socket_connect_timeout": REDIS_TIMEOUT_S,
        "socket_timeout": REDIS_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
    }
    limiter = Limiter(
        caller,
        application_limits=[
            ApplicationLimit(settings.rate_limit, scope="requests", exempt_when=lambda: not _counts()),
            ApplicationLimit(
                settings.training_rate_limit, scope="training", exempt_when=lambda: not _begins_training()
            ),
        ],
        storage_uri=settings.redis_url or "memory://",
        storage_options=redis if settings.redis_url else {},
        # Each process counts for itself while Redis is away; the library logs that, and looks for it again.
        in_memory_fallback_enabled=True,
        key_prefix="troika",
    )
    app.after_request(lambda response: _add_headers(limiter, response))
    limiter.init_app(app)


def _counts() -> bool:
    return needs_key(request.endpoint, request.method)


def _begins_training() -> bool:
    return request.method == "POST" and request.path == "/train-demo"


def _add_headers(limiter: Limiter, response: Response) -> Response:
    """Tell the caller how much is left until when; with a refusal, when to come back."""
    limit = limiter.current_limit
    if limit is None:
        return response
    try:
        reset_at, remaining = limit.window
    except Exception as error:
        # Redis went away since this request was counted. The request is answered, only without these headers.
        log.warning("the rate limit's state can't be read: %s", error)
        return response
    response.headers["X-RateLimit-Limit"] = str(limit.limit.amount)
    response.headers["X-RateLimit-Remaining"] = str(remaining)
    response.headers["X-RateLimit-Reset"] = str(math.ceil(reset_at))
    if limit.breached:
        response.headers["Retry-After"] = str(max(1, math.ceil(reset_at - time.time())))
    return response
