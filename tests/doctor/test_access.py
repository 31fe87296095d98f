"""Keys and rate limits: what the self-check says of each, with a real Redis where one runs."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import pytest
import redis

from app.doctor import access
from config.settings import load_settings
from tests.server import free_port

HASH = hashlib.sha256(b"a key").hexdigest()


def test_a_service_open_to_the_network_is_told() -> None:
    finding = access.keys(load_settings(host="0.0.0.0"))
    assert finding.level == "warn"
    assert "TROIKA_API_KEYS" in finding.advice
    assert access.keys(load_settings(host="0.0.0.0", api_keys=f"alice:{HASH}")).level == "ok"
    for host in ("127.0.0.1", "::1", "localhost"):
        assert access.keys(load_settings(host=host)).level == "ok"


def test_keys_that_stop_the_start_are_told(tmp_path: Path) -> None:
    finding = access.keys(load_settings(api_keys_file=str(tmp_path / "none")))
    assert finding.level == "fail"
    assert "TROIKA_API_KEYS_FILE" in finding.found
    assert finding.advice


def test_a_redis_that_is_away_is_told_without_its_password() -> None:
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    finding = access.rate_limits(load_settings(rate_limit="60/minute", redis_url=url))
    assert finding.level == "warn"
    assert "60/minute, counted in Redis at 127.0.0.1, which does not answer" in finding.found
    assert "each process counts for itself" in finding.advice
    assert "secret" not in str(finding)


def test_a_redis_that_answers_is_in_order() -> None:
    url = "redis://localhost:6379/0"
    with contextlib.closing(redis.Redis.from_url(url, socket_connect_timeout=1)) as client:
        try:
            client.ping()
        except redis.RedisError:
            pytest.skip("no Redis at localhost:6379")
    assert access.rate_limits(load_settings(rate_limit="60/minute", redis_url=url)).level == "ok"
    assert access.rate_limits(load_settings(redis_url=url)).level == "warn"


def test_limits_in_memory_need_nothing() -> None:
    assert access.rate_limits(load_settings()).found == "none"
    assert "counted in memory" in access.rate_limits(load_settings(rate_limit="60/minute")).found
