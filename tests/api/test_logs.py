"""The log of a live service: one line a request, in one form whoever writes it, and nothing of what people say."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server import ROOT, LiveServer, clean_environment, serve

KEY = "a key for tests that nobody uses"
SECRET = "Rumpelstilzchen"
"""What people write, in every place where they can."""


@pytest.fixture(scope="module")
def server(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    keys = f"ann:{hashlib.sha256(KEY.encode()).hexdigest()}"
    folder = tmp_path_factory.mktemp("logs")
    with serve(folder, model=chat_model, api_keys=keys, request_timeout_s=5, max_body_kb=64) as server:
        yield server


@pytest.fixture
def client(server: LiveServer) -> Iterator[httpx.Client]:
    with server.client(headers={"Authorization": f"Bearer {KEY}"}) as client:
        yield client


@pytest.fixture(scope="module")
def model(server: LiveServer) -> str:
    """The name of the model, which the OpenAI API wants in every request."""
    headers = {"Authorization": f"Bearer {KEY}"}
    return str(httpx.get(f"{server.url}/v1/models", headers=headers).json()["data"][0]["id"])


def lines(server: LiveServer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.splitlines()]


def line_of(server: LiveServer, request_id: str) -> dict[str, Any]:
    """The line of one request; there must be exactly one."""

    def found() -> list[dict[str, Any]]:
        return [line for line in lines(server) if line["event"] == "request" and line.get("request_id") == request_id]

    server.wait_until(lambda: bool(found()))
    (line,) = found()
    return line


def test_everything_is_one_json_object_a_line(server: LiveServer) -> None:
    found = lines(server)
    assert {"gunicorn.error", "alembic.runtime.migration", "troika.requests"} <= {line["logger"] for line in found}
    for line in found:
        assert list(line)[:4] == ["timestamp", "level", "logger", "event"]


def test_a_reply_has_its_key_tokens_and_times(server: LiveServer, client: httpx.Client) -> None:
    for stream in (False, True):
        request = {"input": "Hello", "max_new_tokens": 5, "seed": 2, "stream": stream}
        response = client.post("/chat", json=request, headers={"X-Request-ID": f"reply-{stream}"})
        assert response.headers["X-Request-ID"] == f"reply-{stream}"
        line = line_of(server, f"reply-{stream}")
        assert (line["key"], line["method"], line["route"], line["status"]) == ("ann", "POST", "/chat", 200)
        assert (line["outcome"], line["finish_reason"], line["completion_tokens"]) == ("done", "length", 5)
        assert line["prompt_tokens"] > 5
        assert 0 <= line["queue_ms"] <= line["first_token_ms"] <= line["total_ms"]
        assert "error" not in line
    assert line["cached_tokens"] == line["prompt_tokens"] - 1, "the stream's prompt was the first one's"


def test_several_choices_are_one_line(server: LiveServer, client: httpx.Client, model: str) -> None:
    request = {"model": model, "prompt": ["ab", "cde"], "n": 2, "max_tokens": 3}
    response = client.post("/v1/completions", json=request)
    usage = response.json()["usage"]
    line = line_of(server, response.headers["X-Request-ID"])
    assert (line["prompt_tokens"], line["completion_tokens"]) == (usage["prompt_tokens"], 12)
    assert line["finish_reason"] == "length"


def test_a_stream_is_told_when_it_ends_and_how(server: LiveServer, client: httpx.Client, model: str) -> None:
    request = {"input": "Go on", "max_new_tokens": 3900, "stream": True}
    for path, body in (
        ("/chat", request),
        ("/v1/completions", {"model": model, "prompt": "Go on", "max_tokens": 3900, "stream": True}),
    ):
        with client.stream("POST", path, json=body) as stream:
            parts = stream.iter_lines()
            next(parts)
            os.kill(server.engine_pid(), signal.SIGSTOP)
            gone = stream.headers["X-Request-ID"]
            assert not [line for line in lines(server) if line.get("request_id") == gone]
        os.kill(server.engine_pid(), signal.SIGCONT)
        line = line_of(server, gone)
        assert (line["status"], line["outcome"], line["finish_reason"]) == (200, "client_gone", "cancelled")
        assert 1 <= line["completion_tokens"] < 3900

    # An engine that stands still lets the deadline pass.
    with client.stream("POST", "/chat", json=request) as stream:
        parts = stream.iter_text()
        text = next(parts)
        os.kill(server.engine_pid(), signal.SIGSTOP)
        text += "".join(parts)
        os.kill(server.engine_pid(), signal.SIGCONT)
    failed = stream.headers["X-Request-ID"]
    error = json.loads(text.split("event: error\ndata: ")[1])["error"]
    assert (error["code"], error["request_id"]) == ("timeout", failed)
    line = line_of(server, failed)
    assert (line["status"], line["outcome"], line["error"]) == (200, "error", "timeout")


def test_a_request_id_is_taken_or_made_and_always_returned(server: LiveServer, client: httpx.Client) -> None:
    for method, path, options in (
        ("GET", "/health/live", {}),
        ("GET", "/nowhere", {}),
        ("PUT", "/chat", {}),
        ("POST", "/chat", {"json": {}}),
        ("POST", "/chat", {"content": b"{", "headers": {"Content-Type": "application/json"}}),
        ("POST", "/chat", {"content": b"x", "headers": {"Content-Type": "text/plain"}}),
        ("POST", "/chat", {"data": {"input": "x" * 70_000}}),
        ("GET", "/conversations/conv_0", {}),
    ):
        # A connection that a body was not read from ends with the answer.
        headers = options.pop("headers", {}) | {"Connection": "close"}
        response = client.request(method, path, headers=headers | {"X-Request-ID": "mine:1"}, **options)
        assert response.headers["X-Request-ID"] == "mine:1"
        if response.status_code >= 400:
            assert response.json()["error"]["request_id"] == "mine:1"
        made = client.request(method, path, headers=headers | {"X-Request-ID": "has spaces"}, **options)
        assert made.headers["X-Request-ID"].startswith("req-")
    wrong_key = client.get("/v1/models", headers={"Authorization": "Bearer wrong", "X-Request-ID": "mine:2"})
    assert (wrong_key.status_code, wrong_key.headers["X-Request-ID"]) == (401, "mine:2")


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"this is no HTTP\r\n\r\n", 400, "malformed"),
        (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\n\r\n", 414, "uri_too_long"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 9000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"POST /chat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: rot13\r\n\r\n", 501, "unsupported_transfer_coding"),
    ],
)
def test_what_is_no_http_gets_the_shape_of_all_errors(
    server: LiveServer, request_bytes: bytes, status: int, code: str
) -> None:
    with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port or 0), timeout=30) as connection:
        connection.sendall(request_bytes)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.decode().partition("\r\n\r\n")
    error = json.loads(body)["error"]
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert f"X-Request-ID: {error['request_id']}" in head.splitlines()
    assert error["code"] == code
    assert line_of(server, error["request_id"])["error"] == code


def say_it_everywhere(client: httpx.Client, model: str) -> None:
    """Write `SECRET` in every place where people can: well formed, and so that it is refused."""
    first = client.post("/chat", json={"input": SECRET, "system": SECRET, "stop": [SECRET], "max_new_tokens": 3}).json()
    client.post("/chat", data={"input": SECRET, "conversation_id": first["conversation_id"], "stream": "true"})
    messages = [{"role": "user", "content": SECRET}]
    client.post("/v1/chat/completions", json={"model": model, "messages": messages, "max_tokens": 3})
    client.post("/v1/chat/completions", json={"model": model, "messages": messages, "tools": [SECRET]})
    client.post(
        "/v1/completions", json={"model": model, "prompt": SECRET, "max_tokens": 3, "echo": True, "stream": True}
    )
    client.post("/v1/tokenize", json={"prompt": SECRET})
    client.post("/v1/completions", json={"model": SECRET, "prompt": "x"})
    client.post("/chat", json={"input": SECRET, SECRET: SECRET})
    client.post("/chat", json={"input": {"text": SECRET}})
    client.post("/chat", json={"input": SECRET, "temperature": SECRET})
    client.post("/chat", json={"input": 600 * SECRET})
    client.post("/chat", content=f'{{"input": "{SECRET}', headers={"Content-Type": "application/json"})
    client.post("/chat", content=SECRET, headers={"Content-Type": SECRET})
    client.get(f"/{SECRET}?{SECRET}", headers={"X-Request-ID": f"a b {SECRET}", "User-Agent": SECRET})
    client.get(f"/conversations/{SECRET}")
    client.get(f"/conversations/{first['conversation_id']}")


def test_nothing_that_people_write_is_logged(server: LiveServer, client: httpx.Client, model: str) -> None:
    say_it_everywhere(client, model)
    with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port or 0), timeout=30) as connection:
        head = f"POST /chat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nTransfer-Encoding: chunked\r\n"
        connection.sendall(f"{head}Content-Type: application/json\r\n\r\n{SECRET}\r\n{SECRET}\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
    line_of(server, client.get("/health").headers["X-Request-ID"])
    assert SECRET not in server.log
    assert KEY not in server.log
    assert hashlib.sha256(KEY.encode()).hexdigest() not in server.log
    assert not [line for line in lines(server) if "exception" in line]


def test_text_is_logged_where_that_is_asked_for(chat_model: Path, tmp_path: Path) -> None:
    with (
        serve(tmp_path, model=chat_model, log_text=1, log_format="console") as server,
        server.client() as client,
    ):
        reply = client.post("/chat", json={"input": SECRET, "max_new_tokens": 5, "seed": 1})
        server.wait_until(lambda: SECRET in server.log)
        (line,) = [line for line in server.log.splitlines() if SECRET in line]
        with pytest.raises(json.JSONDecodeError):
            json.loads(line)
        assert f"request_id={reply.headers['X-Request-ID']}" in line
        assert "outcome=done" in line


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_values(form: str) -> None:
    """Guards against a console form that shows every variable of every frame."""
    code = f"""
import logging
from app import logs
logs.configure("info", {form!r})
logs.configure("info", {form!r})
def fail(text):
    raise RuntimeError("it broke")
try:
    fail("Rumpel" + "stilzchen")
except RuntimeError:
    logging.getLogger("some.library").exception("oh no")
"""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert result.stderr.count("oh no") == 1
    assert "RuntimeError: it broke" in result.stderr
    assert SECRET not in result.stderr
    if form == "json":
        assert "RuntimeError" in json.loads(result.stderr)["exception"]
