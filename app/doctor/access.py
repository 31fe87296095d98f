"""Who may use the service and how often: keys, rate limits and the Redis that counts for them. No torch."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.api.auth import ApiKeys
from app.doctor.finding import Finding, fail, ok, warn
from app.engine.model_source import first_line
from config.settings import Settings, SettingsError

REDIS_TIMEOUT_S = 2.0


def keys(settings: Settings) -> Finding:
    """Whether the keys can be read, and whether the service is open to a network without any."""
    try:
        present = bool(ApiKeys.from_settings(settings))
    except SettingsError as error:
        return fail("access", str(error), "correct it: the service does not start with this")
    if present:
        return ok("access", "only with an API key")
    if _is_loopback(settings.host):
        return ok("access", f"no API keys; only this machine reaches {settings.host}")
    return warn(
        "access",
        f"no API keys, and {settings.host} may be reached from elsewhere",
        "set TROIKA_API_KEYS (python -m app.api.auth makes them), or let nobody but a proxy reach it",
    )


def rate_limits(settings: Settings) -> Finding:
    """The limits, and whether the Redis that counts for them answers."""
    limits = "; ".join(filter(None, (settings.rate_limit, settings.training_rate_limit))) or "none"
    if not settings.redis_url:
        return ok("rate-limits", f"{limits}, counted in memory" if limits != "none" else limits)
    where = urlsplit(settings.redis_url)
    found = f"{limits}, counted in Redis at {where.hostname or where.path}"
    if limits == "none":
        return warn("rate-limits", found, "set TROIKA_RATE_LIMIT, or leave TROIKA_REDIS_URL out")
    try:
        client = redis.Redis.from_url(
            settings.redis_url,
            socket_connect_timeout=REDIS_TIMEOUT_S,
            socket_timeout=REDIS_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        with client:
            client.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        return warn(
            "rate-limits",
            f"{found}, which does not answer ({first_line(error)})",
            "start it or correct TROIKA_REDIS_URL; until then each process counts for itself",
        )
    return ok("rate-limits", found)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
