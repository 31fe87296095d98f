"""The end of the service, as an operator and a load balancer see it: real signals, real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from app.storage.models import Turn
from tests.models import save_chat_model
from tests.server import LiveServer, children, serve

LONG = {"max_new_tokens": 3000, "seed": 5, "stream": True}
UNENDING_JOB = {"dataset": "digits", "train_fraction": 0.05, "epochs": 100, "hidden_units": 2000}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_chat_model(tmp_path_factory.mktemp("chat-model"))


class Stream:
    """The events of one streamed `/chat`, read one by one."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.conversation_id = response.headers["X-Conversation-ID"]
        self.text = ""
        self.end: tuple[str, Any] | None = None
        self._lines = response.iter_lines()

    def read_one(self) -> bool:
        """Read one event; returns whether it was a token, and not the end."""
        name = ""
        for line in self._lines:
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                data = json.loads(line.removeprefix("data: "))
                if name == "token":
                    self.text += data["text"]
                    return True
                self.end = (name, data)
                return False
        return False

    def read_all(self) -> tuple[str, Any]:
        while self.read_one():
            pass
        assert self.end is not None, "the stream broke off"
        return self.end


@contextmanager
def begun(client: httpx.Client, **body: object) -> Iterator[Stream]:
    """A stream of which some text has come."""
    with client.stream("POST", "/chat", json={"input": "Tell me more."} | LONG | body) as response:
        stream = Stream(response)
        while not stream.text:
            assert stream.read_one()
        yield stream


def stored_turns(folder: Path, stream: Stream) -> list[tuple[str, str, bool]]:
    """What the database holds of a conversation: replies, how they ended, and whether they are complete."""
    database = create_engine(f"sqlite:///{folder}/troika.db")
    query = select(Turn).where(Turn.conversation_id == stream.conversation_id).order_by(Turn.position)
    with Session(database) as session:
        found = [(turn.reply, turn.finish_reason, turn.complete) for turn in session.scalars(query)]
    database.dispose()
    return found


def descendants(pid: int) -> set[int]:
    found = set(children(pid))
    return found.union(*(descendants(child) for child in found))


def assert_ends(server: LiveServer, processes: set[int], status: int = 0) -> None:
    assert server.process.wait(timeout=60) == status, server.log
    deadline = time.monotonic() + 30
    while left := [pid for pid in processes if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"left behind: {left}\n{server.log}"
        time.sleep(0.05)
    assert "Traceback" not in server.log


def why_not_ready(server: LiveServer) -> str | None:
    response = httpx.get(f"{server.url}/health/ready", timeout=10)
    return None if response.status_code == 200 else str(response.json()["error"]["code"])


def test_sigterm_lets_streams_finish_and_refuses_what_is_new(model: Path, tmp_path: Path) -> None:
    with serve(tmp_path, model=model, grace_s=300) as server, server.client() as client, server.client() as kept:
        with client.stream("POST", "/chat", json={"input": "Tell me more."} | LONG) as response:
            _, alone = Stream(response).read_all()
        assert kept.get("/health/live").headers["Connection"] == "keep-alive"
        processes, engine = descendants(server.process.pid), server.engine_pid()
        with begun(client) as stream:
            os.kill(engine, signal.SIGSTOP)
            server.process.terminate()
            server.wait_until(lambda: why_not_ready(server) == "draining")

            # Whoever comes now is told so, on a new connection or an old one, and sent away.
            for asker in (server.client(), kept):
                refused = asker.post("/chat", json={"input": "Me too"})
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
                assert refused.headers["Connection"] == "close"
                assert int(refused.headers["Retry-After"]) > 0
            assert httpx.get(f"{server.url}/health/live").json() == {"status": "live"}
            health = httpx.get(f"{server.url}/health")
            assert (health.status_code, health.json()["status"]) == (503, "not ready")
            assert "troika_draining 1.0" in httpx.get(f"{server.url}/metrics").text

            os.kill(engine, signal.SIGCONT)
            name, reply = stream.read_all()
        assert (name, reply["reply"]) == ("done", alone["reply"])
        assert_ends(server, processes)
    assert stored_turns(tmp_path, stream) == [(alone["reply"], "length", True)]


def test_after_the_grace_streams_end_with_an_error_and_what_was_said_is_stored(model: Path, tmp_path: Path) -> None:
    with serve(tmp_path, model=model, grace_s=1) as server, server.client() as client:
        job = client.post("/train-demo", json=UNENDING_JOB).json()
        server.wait_until(lambda: client.get(job["links"]["self"]).json()["status"] == "running")
        processes = descendants(server.process.pid)
        with begun(client) as stream, begun(client) as other:
            # Nothing that has been said is still on its way.
            os.kill(server.engine_pid(), signal.SIGSTOP)
            server.process.terminate()
            for name, body in (stream.read_all(), other.read_all()):
                assert (name, body["error"]["code"]) == ("error", "draining")
            assert stream.end is not None
            assert stream.end[1]["error"]["request_id"] == stream.response.headers["X-Request-ID"]
        assert_ends(server, processes)
    with serve(tmp_path, model=model) as server:
        for cut in (stream, other):
            (turn,) = httpx.get(f"{server.url}/conversations/{cut.conversation_id}").json()["turns"]
            assert (turn["reply"], turn["complete"], turn["finish_reason"]) == (cut.text, False, "shutdown")
            # It can be gone on with.
            body = {"input": "And then?", "conversation_id": cut.conversation_id, "max_new_tokens": 3}
            assert httpx.post(f"{server.url}/chat", json=body, timeout=60).status_code == 200
        assert httpx.get(f"{server.url}{job['links']['self']}").json()["status"] == "interrupted"


def test_ctrl_c_ends_at_once_and_in_order(model: Path, tmp_path: Path) -> None:
    with serve(tmp_path, model=model, grace_s=3000) as server, server.client() as client:
        processes = descendants(server.process.pid)
        with begun(client) as stream:
            os.kill(server.engine_pid(), signal.SIGSTOP)
            # A terminal sends it to all of them.
            for pid in (server.process.pid, server.worker_pid()):
                os.kill(pid, signal.SIGINT)
            name, body = stream.read_all()
            assert (name, body["error"]["code"]) == ("error", "draining")
        assert_ends(server, processes)
    assert stored_turns(tmp_path, stream) == [(stream.text, "shutdown", False)]


def test_when_the_master_is_killed_nothing_is_left(model: Path, tmp_path: Path) -> None:
    with serve(tmp_path, model=model) as server, server.client() as client:
        processes = descendants(server.process.pid)
        with begun(client) as stream:
            os.kill(server.engine_pid(), signal.SIGSTOP)
            server.process.kill()
            assert stream.read_all()[0] == "error"
        assert_ends(server, processes, status=-signal.SIGKILL)


def test_idle_connections_do_not_hold_up_the_end(model: Path, tmp_path: Path) -> None:
    with serve(tmp_path, model=model, grace_s=3000) as server, server.client() as kept:
        port = httpx.URL(server.url).port or 0
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        half = socket.create_connection(("127.0.0.1", port))
        half.sendall(b"POST /chat HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf of it")
        kept.get("/health")
        processes = descendants(server.process.pid)
        server.process.terminate()
        assert_ends(server, processes)
        for connection in (*silent, half):
            connection.close()
