"""Rate limits for each key, counted in memory or in Redis, also while Redis is gone or hangs."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
import redis

from config.settings import SettingsError, load_settings
from tests.api.test_chat import assert_error, post
from tests.line import Line
from tests.server import LiveServer, serve

REDIS = ("localhost", 6379)


def hashed(name: str, key: str) -> str:
    return f"{name}:{hashlib.sha256(key.encode()).hexdigest()}"


def client_of(server: LiveServer, key: str) -> httpx.Client:
    return server.client(headers={"Authorization": f"Bearer {key}"})


def assert_limited(response: httpx.Response) -> int:
    """A refusal as it should be; returns when to come back."""
    message = assert_error(response, 429, None)
    assert "allowed" in message
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert response.headers["X-RateLimit-Remaining"] == "0"
    seconds = int(response.headers["Retry-After"])
    assert seconds >= 1
    assert abs(int(response.headers["X-RateLimit-Reset"]) - time.time() - seconds) < 60
    return seconds


# -- in memory -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Four requests an hour, and two in two seconds."""
    with serve(
        tmp_path_factory.mktemp("server"),
        model=chat_model,
        api_keys=",".join(hashed(name, name) for name in ("alice", "bob", "carol", "dave")),
        rate_limit="8/hour;2/2 seconds",
    ) as server:
        yield server


def ask_until_refused(client: httpx.Client) -> httpx.Response:
    for _ in range(20):
        response = client.get("/v1/models")
        if response.status_code == 429:
            return response
        assert response.status_code == 200
    raise AssertionError("twenty requests, and none was refused")


def test_who_waits_as_long_as_told_is_served_again(server: LiveServer) -> None:
    with client_of(server, "alice") as alice:
        first = alice.get("/v1/models")
        assert first.headers["X-RateLimit-Limit"] == "2"
        assert "Retry-After" not in first.headers
        seconds = assert_limited(ask_until_refused(alice))
        if seconds <= 2:  # else a slow machine has used up the hour's
            time.sleep(seconds)
            assert alice.get("/v1/models").status_code == 200


def test_every_key_has_limits_of_its_own_and_open_pages_have_none(server: LiveServer) -> None:
    with client_of(server, "bob") as bob, client_of(server, "carol") as carol:
        ask_until_refused(bob)
        assert carol.get("/v1/models").status_code == 200
        for _ in range(20):
            assert bob.get("/health/live").status_code == 200
            assert bob.get("/docs").status_code == 200
        # Nor does a request without a key, or what a browser asks ahead, cost anybody anything.
        assert httpx.get(f"{server.url}/v1/models").status_code == 401
        assert bob.options("/chat").status_code == 200
        assert "X-RateLimit-Limit" not in bob.get("/health/live").headers


def test_the_official_client_sees_a_rate_limit(server: LiveServer) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="dave", max_retries=0) as client:
        with client_of(server, "dave") as dave:
            ask_until_refused(dave)
        # Ten tries: the two seconds may be over by the first.
        with pytest.raises(openai.RateLimitError) as caught:
            [client.models.list() for _ in range(10)]
        assert int(caught.value.response.headers["Retry-After"]) >= 1


def test_the_document_tells_of_limits_where_there_are_any(server: LiveServer, http: httpx.Client) -> None:
    with server.client() as client:
        limited = client.get("/openapi.json").json()["paths"]
    assert "429" in limited["/v1/models"]["get"]["responses"]
    assert "429" not in limited["/health"]["get"]["responses"]
    assert "429" not in http.get("/openapi.json").json()["paths"]["/v1/models"]["get"]["responses"]


@pytest.mark.parametrize("value", ["60", "60/fortnight", "0/minute", "-1/minute", "60 a minute", "60/minute,5/second"])
@pytest.mark.parametrize("name", ["rate_limit", "training_rate_limit"])
def test_what_is_no_rate_stops_the_start(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name.upper()):
        load_settings(**{name: value})


# -- in Redis ------------------------------------------------------------------------------------------------


@pytest.fixture
def line() -> Iterator[Line]:
    try:
        socket.create_connection(REDIS, timeout=2).close()
    except OSError:
        pytest.skip("no Redis at localhost:6379")
    with contextlib.closing(Line(*REDIS)) as line:
        yield line


def test_redis_counts_and_while_it_is_away_memory_does(line: Line, chat_model: Path, tmp_path: Path) -> None:
    name = f"test-{secrets.token_hex(8)}"
    keys = ",".join(hashed(f"{name}-{key}", key) for key in ("a", "b", "c", "d"))
    settings = {"model": chat_model, "api_keys": keys, "rate_limit": "3/hour"}
    url = f"redis://127.0.0.1:{line.port}/0"
    store = redis.Redis(*REDIS)

    def counted(key: str) -> list[int]:
        return [int(store.get(found) or 0) for found in store.scan_iter(f"*{name}-{key}/*", count=1000)]

    with serve(tmp_path, redis_url=url, **settings) as server:
        with client_of(server, "a") as a:
            assert [post(a, input="Hi").status_code for _ in range(4)] == [200, 200, 200, 429]
            assert counted("a") == [4]
            assert_limited(a.get("/v1/models"))
        # Gone: the service goes on, counts by itself, and says so once.
        line.become("cut")
        with client_of(server, "b") as b:
            assert [b.get("/v1/models").status_code for _ in range(4)] == [200, 200, 200, 429]
        assert counted("b") == []
        assert server.log.count("falling back to in-memory storage") == 1
        # Back: it is found without a restart, with what was counted before.
        line.become("whole")
        with client_of(server, "a") as a:
            server.wait_until(lambda: a.get("/v1/models").status_code == 429)
        server.wait_until(lambda: _is_counted_again(server, counted))
        # Hanging: who notices waits a little, and is served.
        line.become("held")
        with client_of(server, "d") as d:
            assert [d.get("/v1/models").status_code for _ in range(4)] == [200, 200, 200, 429]
        assert counted("d") == []
        line.become("whole")
    for found in store.scan_iter(f"*{name}-*", count=1000):
        store.delete(found)
    store.close()
    assert "Traceback" not in server.log


def _is_counted_again(server: LiveServer, counted: object) -> bool:
    with client_of(server, "c") as c:
        assert c.get("/v1/models").status_code in (200, 429)
    return bool(counted("c"))  # type: ignore[operator]


def test_a_redis_that_is_not_there_at_the_start_holds_nothing_up(chat_model: Path, tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, but nobody listens
        url = f"redis://:a-password@127.0.0.1:{nobody.getsockname()[1]}/0"
        limits = {"redis_url": url, "rate_limit": "9/hour", "training_rate_limit": "2/hour"}
        with serve(tmp_path, model=chat_model, **limits) as server, server.client() as client:
            # Training has a limit of its own beside that of all requests.
            wrong = [client.post("/train-demo", json={"epochs": -1}) for _ in range(3)]
            assert [response.status_code for response in wrong] == [422, 422, 429]
            assert_limited(wrong[-1])
            assert client.get("/train-demo").status_code == 200
            assert [client.get("/v1/models").status_code for _ in range(6)] == [200] * 5 + [429]
            assert "falling back to in-memory storage" in server.log
    assert "a-password" not in server.log
