"""Clients that leave, stall, send half a request, several at once or the same again: nobody else is harmed."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.test_chat import post
from tests.server import LiveServer

MANY = 40


@pytest.fixture
def connect(live_server: LiveServer) -> Iterator[Callable[[], socket.socket]]:
    """Plain connections to the service, closed in the end."""
    host, port = live_server.url.removeprefix("http://").split(":")
    with contextlib.ExitStack() as open_ones:
        yield lambda: open_ones.enter_context(socket.create_connection((host, int(port)), timeout=60))


def raw(body: dict[str, object], *, length: int | None = None, path: str = "/chat", close: bool = False) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: troika\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(content) if length is None else length}\r\n"
    return f"{head}{'Connection: close' if close else 'Connection: keep-alive'}\r\n\r\n".encode() + content


def assert_all_is_well(server: LiveServer, http: httpx.Client) -> None:
    """Nothing computes for those who left, and others are served."""

    def counts() -> tuple[int, int]:
        engine = http.get("/health").json()["engine"]
        return engine["running"] + engine["waiting"], engine["slots_held"]

    server.wait_until(lambda: counts() == (0, 0))
    assert post(http, input="Hello").status_code == 200


def test_many_that_leave_at_once(
    live_server: LiveServer, http: httpx.Client, connect: Callable[[], socket.socket]
) -> None:
    restarts = http.get("/health").json()["engine"]["restarts"]
    ones = [connect() for _ in range(MANY)]
    for number, one in enumerate(ones):
        one.sendall(
            raw({"input": f"Hello {number}", "stream": number % 2 == 0, "max_new_tokens": 3900, "temperature": 0})
        )
    live_server.wait_until(lambda: http.get("/health").json()["engine"]["running"] > 0)
    for one in ones:
        one.close()
    assert_all_is_well(live_server, http)
    assert http.get("/health").json()["engine"]["restarts"] == restarts


def test_half_a_head_and_half_a_body(
    live_server: LiveServer, http: httpx.Client, connect: Callable[[], socket.socket]
) -> None:
    whole = raw({"input": "Hello", "max_new_tokens": 2})
    ones = [connect() for _ in range(MANY)]
    for number, one in enumerate(ones):
        one.sendall(whole[: 10 + number])
    others = [connect() for _ in range(MANY)]
    for one in others:
        one.sendall(whole[:-7])
    for _ in range(3):
        assert post(http, input="Hello").status_code == 200
    # Some go on after all, some leave in the middle.
    for one in others[: MANY // 2]:
        one.sendall(whole[-7:])
    for one in others[: MANY // 2]:
        assert one.recv(12) == b"HTTP/1.1 200"
    for one in (*ones, *others):
        one.close()
    assert_all_is_well(live_server, http)


def test_a_body_that_is_longer_or_shorter_than_was_said(
    http: httpx.Client, live_server: LiveServer, connect: Callable[[], socket.socket]
) -> None:
    body: dict[str, object] = {"input": "Hello", "max_new_tokens": 2}
    short = connect()
    short.sendall(raw(body, length=len(json.dumps(body)) - 5, close=True))
    assert short.recv(12) == b"HTTP/1.1 400"
    for content in (b'{"input": "Hello", "max_new_tokens": 2}', b"input=Hello&max_new_tokens=2"):
        # Cut off, each would be a whole request of its own, and not the one that was meant.
        kind = b"application/json" if content.startswith(b"{") else b"application/x-www-form-urlencoded"
        broken = connect()
        head = b"POST /chat HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
        broken.sendall(head % (kind, len(content) + 5) + content)
        broken.shutdown(socket.SHUT_WR)
        assert broken.recv(12) == b"", "what is half there was answered"
    assert_all_is_well(live_server, http)


def test_requests_sent_without_waiting_are_answered_in_their_order(
    http: httpx.Client, live_server: LiveServer, connect: Callable[[], socket.socket]
) -> None:
    bodies = [{"input": f"number {n}", "seed": n, "max_new_tokens": 3 + n} for n in range(4)]
    one = connect()
    one.sendall(b"".join(raw(body, close=body is bodies[-1]) for body in bodies))
    received = b""
    while piece := one.recv(65536):
        received += piece
    heads_and_bodies = received.split(b"HTTP/1.1 200 OK\r\n")[1:]
    replies = [json.loads(part.split(b"\r\n\r\n", 1)[1]) for part in heads_and_bodies]
    assert [reply["seed"] for reply in replies] == [0, 1, 2, 3]
    for body, reply in zip(bodies, replies, strict=True):
        assert reply["reply"] == http.post("/chat", json=body).json()["reply"]
    assert_all_is_well(live_server, http)


def test_the_same_request_again_gets_the_same_reply(http: httpx.Client, connect: Callable[[], socket.socket]) -> None:
    request = raw({"input": "Hello", "seed": 5, "max_new_tokens": 30, "temperature": 1.2}, close=True)
    ones = [connect() for _ in range(MANY)]
    for one in ones:
        one.sendall(request)
    replies = set()
    for one in ones:
        received = b""
        while piece := one.recv(65536):
            received += piece
        replies.add(json.loads(received.split(b"\r\n\r\n", 1)[1])["reply"])
    assert len(replies) == 1


def test_clients_that_do_not_close_what_has_ended_hold_up_nobody(
    live_server: LiveServer, http: httpx.Client, connect: Callable[[], socket.socket]
) -> None:
    """The worker once waited for each of them in turn, in the thread that accepts: two seconds for every one."""
    worker = live_server.worker_pid()

    def sockets() -> int:
        count = 0
        for link in Path(f"/proc/{worker}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                count += link.readlink().name.startswith("socket:")
        return count

    assert_all_is_well(live_server, http)
    before = sockets()
    ones = [connect() for _ in range(2 * MANY)]
    for one in ones:
        one.sendall(raw({}, path="/nowhere", close=True))
    assert post(http, input="Hello").status_code == 200
    for one in ones:
        assert one.recv(12) == b"HTTP/1.1 404"
    # None of them has closed, and what they held is free all the same.
    live_server.wait_until(lambda: sockets() <= before + 1)


def test_one_that_does_not_read_holds_up_nobody(
    live_server: LiveServer, http: httpx.Client, connect: Callable[[], socket.socket]
) -> None:
    """With more alternatives to each token than the sockets' buffers hold."""
    options = {"stream": True, "max_new_tokens": 3000, "temperature": 0, "logprobs": 20}
    stalled = []
    for number in range(4):
        one = connect()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.sendall(raw({"input": f"Hello {number}"} | options))
        stalled.append(one)
    for seed in range(3):
        alone = post(http, input="Hello", seed=seed).json()["reply"]
        assert post(http, input="Hello", seed=seed).json()["reply"] == alone
    for one in stalled:
        one.close()
    assert_all_is_well(live_server, http)
