"""More than the service can do: who is refused and how, what those who wait are told, and that health still answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.api.admission import Admission
from app.api.errors import OverloadedError, TooManyAtOnceError
from tests.api.test_chat import assert_error, post
from tests.server import LiveServer, paused, serve

ENDLESS = {"input": "Hello", "max_new_tokens": 3900, "temperature": 0, "stream": True}
"""A reply that outlasts what is done beside it."""


@pytest.fixture(scope="module")
def server(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One request is computed at a time, three wait, and each client may have three."""
    with serve(
        tmp_path_factory.mktemp("server"),
        model=chat_model,
        max_sequences=1,
        max_waiting=3,
        max_per_client=3,
        trusted_proxies=1,
    ) as server:
        yield server


@pytest.fixture
def clients(server: LiveServer) -> Iterator[list[httpx.Client]]:
    """Clients of three addresses."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(server.client(headers={"X-Forwarded-For": f"203.0.113.{number}"}))
            for number in range(3)
        ]


@contextlib.contextmanager
def streams(client: httpx.Client, count: int) -> Iterator[list[Iterator[str]]]:
    """The lines of so many streams, begun one after the other, which are given up in the end."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(client.stream("POST", "/chat", json=ENDLESS)).iter_lines() for _ in range(count)]


def under_way(client: httpx.Client) -> tuple[int, int]:
    engine = client.get("/health").json()["engine"]
    return engine["running"], engine["waiting"]


def assert_come_back_later(response: httpx.Response, status: int, code: str) -> None:
    assert_error(response, status, None)
    assert response.json()["error"]["code"] == code
    assert 1 <= int(response.headers["Retry-After"]) <= 600


# -- refusing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/chat", "/v1/completions"])
def test_one_client_gets_429_and_others_503_when_the_queue_is_full(
    server: LiveServer, clients: list[httpx.Client], path: str
) -> None:
    def ask(client: httpx.Client) -> httpx.Response:
        if path == "/chat":
            return post(client, input="Hello")
        return client.post(path, json={"model": model, "prompt": "Hello", "max_tokens": 2})

    alice, bob, carol = clients
    model = alice.get("/v1/models").json()["data"][0]["id"]
    with streams(alice, 1) as (first,):
        assert next(first)
        with paused(server.engine_pid()), streams(alice, 2):
            assert_come_back_later(ask(alice), 429, "too_many_at_once")
            with streams(bob, 1):
                assert under_way(carol) == (1, 3)
                assert_come_back_later(ask(bob), 503, "queue_full")
                # What needs no computing is answered, and so is whoever asks how things are.
                assert carol.get("/v1/models").status_code == 200
                assert carol.get("/health/live").status_code == 200
                assert carol.get("/metrics").status_code == 200
    server.wait_until(lambda: under_way(carol) == (0, 0))
    assert ask(alice).status_code == 200


def test_a_refused_turn_leaves_no_conversation_busy(server: LiveServer, clients: list[httpx.Client]) -> None:
    alice, bob, _ = clients
    conversation_id = post(alice, input="Hello").json()["conversation_id"]
    with paused(server.engine_pid()), streams(alice, 3):
        assert_come_back_later(post(alice, input="And?", conversation_id=conversation_id), 429, "too_many_at_once")
    found = bob.get(f"/conversations/{conversation_id}").json()
    assert (found["busy"], len(found["turns"])) == (False, 1)


def test_a_request_for_more_replies_than_one_client_may_have_is_wrong_and_not_early(
    clients: list[httpx.Client],
) -> None:
    model = clients[0].get("/v1/models").json()["data"][0]["id"]
    body = {"model": model, "prompt": "Hello", "max_tokens": 2, "n": 2}
    assert_error(clients[0].post("/v1/completions", json=body), 400, "n")


# -- waiting -------------------------------------------------------------------------------------------------


def test_who_waits_is_told_how_many_are_before(server: LiveServer, clients: list[httpx.Client]) -> None:
    alice, bob, _ = clients
    with streams(alice, 1) as (first,):
        assert next(first)
        with paused(server.engine_pid()), streams(bob, 1) as (second,), streams(alice, 1) as (third,):
            assert next(second) == ": waiting, 0 ahead"
            assert next(third) == ": waiting, 1 ahead"
            assert ": computing" in first


# -- counting ------------------------------------------------------------------------------------------------


def test_who_leaves_makes_room_and_nobody_is_forgotten() -> None:
    admission = Admission(3, 2)
    leave = [admission.enter("a"), admission.enter("a")]
    with pytest.raises(TooManyAtOnceError) as each:
        admission.enter("a")
    leave.append(admission.enter("b"))
    with pytest.raises(OverloadedError) as all_of_them:
        admission.enter("c")
    assert int(each.value.headers["Retry-After"]) >= 1
    assert int(all_of_them.value.headers["Retry-After"]) >= 1
    leave.pop(0)()
    leave.append(admission.enter("c"))
    for left in leave:
        left()
    assert len([admission.enter("a"), admission.enter("a"), admission.enter("b")]) == 3
