"""What clients do to connections: open many, send slowly or without end, read nothing. The service answers others."""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.api.security import HEADERS
from tests.api.test_chat import post
from tests.server import LiveServer, paused, serve

BODY = json.dumps({"input": "Hello", "max_new_tokens": 2}).encode()
HEAD = b"POST /chat HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
WITH_LENGTH = HEAD + b"Content-Length: %d\r\n" % len(BODY)
WHOLE = WITH_LENGTH + b"\r\n" + BODY

BIG_REPLY = json.dumps({"input": "Hello", "stream": True, "max_new_tokens": 3900, "logprobs": 20}).encode()
"""Asks for megabytes, more than socket buffers hold."""


@pytest.fixture(scope="module")
def impatient(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Waits two seconds for a request, or for a reader."""
    with serve(
        tmp_path_factory.mktemp("impatient"),
        model=chat_model,
        receive_timeout_s=2,
        send_timeout_s=2,
        max_body_kb=64,
        max_sequences=4,
    ) as server:
        yield server


@pytest.fixture(scope="module")
def small(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Few threads and connections, and much patience."""
    with serve(
        tmp_path_factory.mktemp("small"),
        model=chat_model,
        receive_timeout_s=300,
        send_timeout_s=300,
        max_connections=150,
        max_sequences=2,
        max_waiting=0,
        max_per_client=1000,
    ) as server:
        yield server


@contextlib.contextmanager
def connections(server: LiveServer, count: int, sent: bytes = b"", buffer: int = 0) -> Iterator[list[socket.socket]]:
    """So many connections, each of which has sent the same, with a small receive buffer if they are not to read."""
    host, port = server.url.removeprefix("http://").split(":")
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            one = stack.enter_context(socket.socket())
            if buffer:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            one.settimeout(60)
            one.connect((host, int(port)))
            one.sendall(sent)
            found.append(one)
        yield found


def received(one: socket.socket) -> bytes:
    """All that comes until the service closes the connection."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := one.recv(65536):
            found += data
    return found


def assert_refused(answer: bytes, status: int, code: str) -> None:
    """With all that the application's own replies say of themselves."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    lines = head.decode().split("\r\n")
    assert set(lines) >= {"Connection: close", *(f"{name}: {value}" for name, value in HEADERS.items())}
    assert f"X-Request-ID: {json.loads(body)['error']['request_id']}" in lines
    assert ("Retry-After: 1" in lines) == (status == 503)
    assert json.loads(body)["error"]["code"] == code


def is_served(server: LiveServer) -> bool:
    return httpx.post(f"{server.url}/chat", json={"input": "Hello", "max_new_tokens": 2}, timeout=60).status_code == 200


# -- many, and slow ------------------------------------------------------------------------------------------


def test_idle_connections_hold_nobody_up_and_the_oldest_make_room(small: LiveServer) -> None:
    """More of them than there are threads, and then more than connections are allowed."""
    with connections(small, 400) as idle:
        assert is_served(small)
        idle[0].settimeout(60)
        assert received(idle[0]) == b""
        idle[-1].sendall(WHOLE)
        assert idle[-1].recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /chat HT",
        HEAD,
        WITH_LENGTH + b"\r\n" + BODY[:5],
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
    ids=["request line", "headers", "body", "chunks"],
)
def test_requests_that_do_not_come_to_an_end_hold_nobody_up(impatient: LiveServer, sent: bytes) -> None:
    with connections(impatient, 300, sent) as slow:
        assert is_served(impatient)
        assert httpx.get(f"{impatient.url}/health/live").status_code == 200
        for one in slow:
            assert_refused(received(one), 408, "request_timeout")


def test_a_body_that_trickles_has_no_more_time(impatient: LiveServer) -> None:
    with connections(impatient, 1, HEAD + b"Content-Length: 60000\r\n\r\n") as (one,):
        one.settimeout(0.1)
        answer = b""
        while not answer:
            one.sendall(b" ")
            with contextlib.suppress(TimeoutError):
                answer = one.recv(65536)
        assert_refused(answer, 408, "request_timeout")


def test_connections_that_say_nothing_are_closed(impatient: LiveServer) -> None:
    with connections(impatient, 20) as idle:
        assert [received(one) for one in idle] == [b""] * 20


# -- large ---------------------------------------------------------------------------------------------------


def test_a_huge_body_is_refused_before_it_comes(impatient: LiveServer) -> None:
    with connections(impatient, 1, HEAD + b"Content-Length: 10000000000\r\n\r\n") as (one,):
        assert_refused(received(one), 413, "too_large")
    with connections(impatient, 1, HEAD + b"Transfer-Encoding: chunked\r\n\r\n100000\r\n") as (one,):
        assert_refused(received(one), 413, "too_large")


def test_headers_without_end_are_refused(impatient: LiveServer) -> None:
    with connections(impatient, 1, HEAD + b"X: " + b"x" * 70_000) as (one,):
        assert_refused(received(one), 431, "headers_too_large")


def test_a_body_of_unclear_length_is_refused(impatient: LiveServer) -> None:
    """Two who disagree about where a request ends, a proxy and a server, can be made to mix up their clients."""
    with connections(impatient, 1, WITH_LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n") as (one,):
        assert_refused(received(one), 400, "malformed")


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 501, "unsupported_transfer_coding"),
        (b"this is no HTTP\r\n\r\n", 400, "malformed"),
        (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "uri_too_long"),
    ],
)
def test_what_the_application_never_hears_of_is_answered_in_its_words(
    impatient: LiveServer, sent: bytes, status: int, code: str
) -> None:
    with connections(impatient, 1, sent) as (one,):
        assert_refused(received(one), status, code)


def test_of_too_much_that_waits_to_be_whole_the_largest_is_refused(small: LiveServer) -> None:
    """70 MB in all, where 64 MiB are kept."""
    almost_whole = HEAD + b"Content-Length: 1000001\r\n\r\n" + b" " * 1_000_000
    with connections(small, 70, almost_whole) as many, selectors.DefaultSelector() as selector:
        for one in many:
            selector.register(one, selectors.EVENT_READ)
        for key, _ in selector.select(60):
            assert_refused(received(key.fileobj), 503, "overloaded")  # type: ignore[arg-type]
            break
        else:
            pytest.fail("none was refused")
        assert is_served(small)


# -- readers that take nothing -------------------------------------------------------------------------------


def inside(server: LiveServer) -> int:
    """Requests that are being answered, but for the one that asks."""
    text = httpx.get(f"{server.url}/metrics", timeout=60).text
    (line,) = (line for line in text.splitlines() if line.startswith("troika_http_requests_in_progress "))
    return int(float(line.rpartition(" ")[2])) - 1


def test_readers_that_take_nothing_are_let_go(impatient: LiveServer) -> None:
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(BIG_REPLY) + BIG_REPLY
    with connections(impatient, 4, request, buffer=4096) as stalled:
        for one in stalled:
            assert one.recv(1)
        assert is_served(impatient)
        impatient.wait_until(lambda: inside(impatient) == 0)
    assert "a client that reads nothing was let go" in impatient.log
    assert "Traceback" not in impatient.log
    engine = httpx.get(f"{impatient.url}/health").json()["engine"]
    assert (engine["running"], engine["waiting"], engine["slots_held"]) == (0, 0, 0)


def test_when_all_threads_are_taken_health_still_answers(small: LiveServer) -> None:
    # More than there are places: one that an earlier test still holds must not be missing here.
    with connections(small, 80, b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n", buffer=4096):
        small.wait_until(lambda: httpx.get(f"{small.url}/v1/models", timeout=60).status_code == 503)
        refused = httpx.get(f"{small.url}/v1/models")
        assert refused.json()["error"]["code"] == "overloaded"
        assert int(refused.headers["Retry-After"]) >= 1
        for path in ("/health", "/health/live", "/health/ready", "/metrics"):
            assert httpx.get(f"{small.url}{path}").status_code == 200
    small.wait_until(lambda: is_served(small))


def test_a_reply_that_takes_too_long_is_given_up(chat_model: Path, tmp_path: Path) -> None:
    with serve(tmp_path, model=chat_model, request_timeout_s=1) as server, server.client() as http:
        with paused(server.engine_pid()):
            whole = post(http, input="Hello")
            stream = post(http, input="Hello", stream=True)
        assert (whole.status_code, whole.json()["error"]["code"]) == (503, "timeout")
        assert '"code":"timeout"' in stream.text.replace(" ", "")
        assert stream.text.count("event: error") == 1
        assert is_served(server)


# -- as it should be -----------------------------------------------------------------------------------------


def test_requests_behind_each_other_are_answered_in_turn(impatient: LiveServer) -> None:
    with connections(impatient, 1, WHOLE + b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n" + WHOLE[:40]) as (one,):
        answers = b""
        while answers.count(b"HTTP/1.1 200 ") < 2 or not answers.endswith(b"}\n"):
            answers += one.recv(65536)
        one.sendall(WHOLE[40:-1])
        one.sendall(WHOLE[-1:])
        while answers.count(b"HTTP/1.1 200 ") < 3:
            answers += one.recv(65536)


def test_a_request_byte_by_byte_and_one_in_chunks_are_answered(impatient: LiveServer) -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY[:7], BODY[7:]))
    with connections(impatient, 2) as (one, other):
        other.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        for byte in WHOLE:
            one.sendall(bytes([byte]))
        assert one.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert other.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_who_asks_for_leave_to_send_the_body_gets_it_once(impatient: LiveServer) -> None:
    with connections(impatient, 1, WITH_LENGTH + b"Expect: 100-continue\r\n\r\n") as (one,):
        assert one.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        one.sendall(BODY)
        assert one.recv(65536).startswith(b"HTTP/1.1 200 ")
    with connections(impatient, 1, HEAD + b"Expect: 100-continue\r\nContent-Length: 1000000\r\n\r\n") as (one,):
        assert_refused(received(one), 413, "too_large")
