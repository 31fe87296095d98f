"""The engine killed, stopped or out of memory in mid-stream, and the worker killed: what readers and operators see."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.test_chat import post
from tests.api.test_conversations import read
from tests.api.test_training import ENDLESS, start, wait_for
from tests.api.test_training_faults import wait_for_end
from tests.faults.test_fuzz_streams import read_events
from tests.models import save_chat_model
from tests.server import LiveServer, serve
from tests.test_shutdown import descendants, why_not_ready

pytestmark = pytest.mark.slow

WAVE = 56
REQUESTS: dict[str, dict[str, Any]] = {
    "/chat": {"input": "Tell me more.", "seed": 1, "max_new_tokens": 400, "repetition_penalty": 1.1},
    "/v1/completions": {"prompt": "Once upon a time", "seed": 2, "max_tokens": 400, "logprobs": 2},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "And?"}], "seed": 3, "max_tokens": 400},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A service to which all this happens in turn. Its model has many words, so that a large batch takes memory.

    The logits of `WAVE` sequences take more than 32 MiB, above which glibc always asks the kernel: what the heap still
    holds free from the engine's start must not do for them.
    """
    model = save_chat_model(tmp_path_factory.mktemp("wide-model"), words=200_000)
    with serve(tmp_path_factory.mktemp("server"), model=model, stall_timeout_s=4, max_per_client=200) as server:
        yield server


class Stream:
    """A streamed reply of which something has come."""

    def __init__(self, response: httpx.Response) -> None:
        assert response.status_code == 200
        self._pieces = response.iter_bytes()
        self._begun = b""
        while self._begun.count(b"data: ") < 3:
            self._begun += next(self._pieces)

    def read(self) -> list[tuple[str, Any]]:
        """All its events from the first, without what is another's each time."""
        events = read_events(chain([self._begun], self._pieces))
        found = [(name, json.loads(data)) for name, data in events if data != "[DONE]"]
        for _, data in found:
            for key in ("id", "created", "timing", "conversation_id", "usage", "request_id"):
                data.pop(key, None)
        return found


@contextlib.contextmanager
def begun(client: httpx.Client) -> Iterator[list[Stream]]:
    model = client.get("/v1/models").json()["data"][0]["id"]
    with contextlib.ExitStack() as stack:
        yield [
            Stream(
                stack.enter_context(
                    client.stream(
                        "POST", path, json=body | {"stream": True} | ({"model": model} if "/v1" in path else {})
                    )
                )
            )
            for path, body in REQUESTS.items()
        ]


@pytest.fixture(scope="module")
def undisturbed(server: LiveServer) -> list[list[tuple[str, Any]]]:
    with server.client() as client, begun(client) as streams:
        return [stream.read() for stream in streams]


def restarts(client: httpx.Client) -> int:
    return int(client.get("/health").json()["engine"]["restarts"])


def assert_nothing_is_left_over(server: LiveServer, client: httpx.Client) -> None:
    def counts() -> tuple[int, int, int]:
        engine = client.get("/health").json()["engine"]
        return engine["running"], engine["waiting"], engine["slots_held"]

    server.wait_until(lambda: counts() == (0, 0, 0))
    assert post(client, input="Hello").status_code == 200


# -- the engine ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["killed", "stopped"])
def test_the_engine_killed_or_stopped(server: LiveServer, undisturbed: list[list[tuple[str, Any]]], fault: str) -> None:
    """Nobody who reads a stream can tell from its bytes, of whichever endpoint."""
    with server.client() as client:
        before, engine = restarts(client), server.engine_pid()
        with begun(client) as streams:
            os.kill(engine, signal.SIGSTOP)
            if fault == "killed":
                os.kill(engine, signal.SIGKILL)
            else:
                server.wait_until(lambda: why_not_ready(server) == "stalled")
            server.wait_until(lambda: why_not_ready(server) == "crashed")
            assert [stream.read() for stream in streams] == undisturbed
        assert server.is_ready()
        assert restarts(client) == before + 1
        assert server.engine_pid() != engine
        assert_nothing_is_left_over(server, client)


def test_the_engine_out_of_memory(server: LiveServer, undisturbed: list[list[tuple[str, Any]]]) -> None:
    """Running replies need none that is not theirs, so it is a batch that grows which finds that there is no more."""
    limits = httpx.Limits(max_connections=2 * WAVE)
    together = {"input": "Me too", "seed": 7, "max_new_tokens": 100}
    with server.client(limits=limits) as client, ThreadPoolExecutor(WAVE) as pool, begun(client) as streams:
        before, engine = restarts(client), server.engine_pid()
        os.kill(engine, signal.SIGSTOP)
        resource.prlimit(engine, resource.RLIMIT_AS, (1 << 20, 1 << 20))
        wave = [pool.submit(post, client, **together) for _ in range(WAVE)]
        server.wait_until(lambda: client.get("/health").json()["engine"]["waiting"] >= WAVE)
        os.kill(engine, signal.SIGCONT)
        server.wait_until(lambda: why_not_ready(server) == "crashed")
        assert [stream.read() for stream in streams] == undisturbed
        replies = {reply.result().json()["reply"] for reply in wave}
        assert server.is_ready()
        assert restarts(client) == before + 1
        assert replies == {post(client, **together).json()["reply"]}
        assert "allocate memory" in server.log or "MemoryError" in server.log or "bad_alloc" in server.log
        assert_nothing_is_left_over(server, client)


# -- the worker ----------------------------------------------------------------------------------------------


def test_the_worker_killed(chat_model: Path, tmp_path: Path) -> None:
    """Gunicorn's master starts another; engine and training end with the old one, what was stored is there."""
    with serve(tmp_path, model=chat_model) as server, server.client() as client:
        conversation_id = str(post(client, input="Hello").json()["conversation_id"])
        job = start(client, **ENDLESS)
        wait_for(server, client, job, "running")
        body = {"input": "Go on.", "conversation_id": conversation_id, "stream": True, "max_new_tokens": 3000}
        worker = server.worker_pid()
        old = descendants(server.process.pid)
        with client.stream("POST", "/chat", json=body) as response:
            stream = response.iter_text()
            text = next(stream)
            os.kill(server.engine_pid(), signal.SIGSTOP)  # one that can't see its pipe close
            os.kill(worker, signal.SIGKILL)
            with pytest.raises(httpx.RemoteProtocolError):
                text += "".join(stream)
            assert "event: done" not in text
        for pid in old:
            wait_for_end(pid)
        server.wait_until(server.is_ready)
        assert server.worker_pid() not in old
        assert server.engine_pid() not in old

        # The turn that broke off was not stored, and does not hold the conversation.
        assert [turn["input"] for turn in read(client, conversation_id)["turns"]] == ["Hello"]  # type: ignore[attr-defined]
        assert post(client, input="And then?", conversation_id=conversation_id).status_code == 200
        assert [turn["input"] for turn in read(client, conversation_id)["turns"]] == ["Hello", "And then?"]  # type: ignore[attr-defined]
        assert wait_for(server, client, job, "interrupted")["status"] == "interrupted"
        assert "was sent SIGKILL" in server.log
