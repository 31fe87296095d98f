"""Conversations over a socket, on SQLite and on PostgreSQL: remembered, read, erased, and never two turns at once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.api.test_chat import assert_error, events, post
from tests.server import LiveServer, serve
from tests.storage.support import KINDS, empty_database

NOBODYS = "conv_" + "0" * 32


@pytest.fixture(scope="module", params=KINDS)
def stored_in(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database of this module's own."""
    with empty_database(request.param, tmp_path_factory.mktemp("conversations")) as url:
        yield url


@pytest.fixture(scope="module")
def server(stored_in: str, chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("server")
    with serve(folder, model=chat_model, database_url=stored_in, max_input_chars=2000) as server:
        yield server


@pytest.fixture
def http(server: LiveServer) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def read(http: httpx.Client, conversation_id: object) -> dict[str, object]:
    response = http.get(f"/conversations/{conversation_id}")
    assert response.status_code == 200, response.text
    return response.json()


@contextlib.contextmanager
def streaming(http: httpx.Client, **body: object) -> Iterator[tuple[httpx.Response, str]]:
    """A stream that does not end while nobody reads on, and the text that it has sent so far."""
    # Greedy, so that the end of text does not come by chance; with more alternatives than socket buffers hold.
    options = {"stream": True, "max_new_tokens": 3900, "temperature": 0, "logprobs": 20}
    with http.stream("POST", "/chat", json=options | body) as response:
        assert response.status_code == 200
        received = ""
        lines = response.iter_lines()  # by its name it lives until the end; its own end would close the connection
        for line in lines:
            if line.startswith("data: "):
                received += json.loads(line.removeprefix("data: "))["text"]
            if len(received) > 20:
                break
        yield response, received


# -- remembering ---------------------------------------------------------------------------------------------


def test_a_follow_up_has_what_was_said_before_in_its_prompt(http: httpx.Client) -> None:
    first = post(http, input="My name is Lin.", seed=1).json()
    second = post(http, input="What is my name?", seed=2, conversation_id=first["conversation_id"]).json()
    assert second["conversation_id"] == first["conversation_id"]
    spoken = len("My name is Lin.") + len("What is my name?")
    assert second["usage"]["prompt_tokens"] >= spoken + first["usage"]["completion_tokens"]
    assert second["context"]["turns_dropped"] == 0
    found = read(http, first["conversation_id"])
    assert (found["id"], found["model"], found["busy"]) == (first["conversation_id"], first["model"], False)
    for position, (reply, stored) in enumerate(zip((first, second), found["turns"], strict=True)):
        assert stored["position"] == position
        assert stored["complete"] is True
        assert stored["system"] is None
        for name in ("reply", "finish_reason", "seed", "usage", "model"):
            assert stored[name] == reply[name], name


def test_without_an_id_every_message_begins_a_conversation(http: httpx.Client) -> None:
    ids = {post(http, input="Hello").json()["conversation_id"] for _ in range(3)}
    assert len(ids) == 3
    assert all(len(read(http, conversation_id)["turns"]) == 1 for conversation_id in ids)


def test_the_last_turn_can_be_replaced(http: httpx.Client) -> None:
    first = post(http, input="My name is Lin.", seed=1).json()
    name = first["conversation_id"]
    second = post(http, input="What is my name?", seed=2, system="Be brief.", conversation_id=name).json()
    again = post(http, input="What is my name?", seed=2, conversation_id=name, replace_last=True).json()
    assert (again["reply"], again["usage"]["prompt_tokens"]) == (second["reply"], second["usage"]["prompt_tokens"])
    edited = post(http, input="Who am I?", seed=3, system="", conversation_id=name, replace_last=True).json()
    found = read(http, name)["turns"]
    assert [(turn["position"], turn["input"], turn["reply"], turn["seed"]) for turn in found] == [
        (0, "My name is Lin.", first["reply"], 1),
        (1, "Who am I?", edited["reply"], 3),
    ]
    post(http, input="Hi", conversation_id=name)
    assert len(read(http, name)["turns"]) == 3


def test_the_only_turn_can_be_replaced(http: httpx.Client) -> None:
    first = post(http, input="Hello", seed=1).json()
    again = post(http, input="Hello", seed=1, conversation_id=first["conversation_id"], replace_last=True).json()
    assert again["reply"] == first["reply"]
    assert len(read(http, first["conversation_id"])["turns"]) == 1


def test_a_replacement_that_fails_leaves_the_turn(http: httpx.Client) -> None:
    first = post(http, input="Hello", seed=1).json()
    name = first["conversation_id"]
    body = {"input": "x" * 1900, "truncation": "error", "max_new_tokens": 4000}
    assert_error(post(http, conversation_id=name, replace_last=True, **body), 400, "max_new_tokens")
    assert [turn["input"] for turn in read(http, name)["turns"]] == ["Hello"]
    assert read(http, name)["busy"] is False


def test_replacing_needs_a_conversation(http: httpx.Client) -> None:
    assert_error(post(http, input="Hello", replace_last=True), 422, "replace_last")
    assert_error(post(http, input="Hello", replace_last=True, conversation_id=NOBODYS), 404, "conversation_id")


@pytest.mark.slow
def test_a_conversation_goes_on_after_a_restart(stored_in: str, chat_model: Path, tmp_path: Path) -> None:
    settings = {"model": chat_model, "database_url": stored_in}
    with serve(tmp_path, **settings) as server, server.client() as http:
        first = post(http, input="My name is Lin.").json()
    with serve(tmp_path, **settings) as server, server.client() as http:
        second = post(http, input="What is my name?", conversation_id=first["conversation_id"]).json()
        turns = read(http, first["conversation_id"])["turns"]
    assert second["usage"]["prompt_tokens"] > first["usage"]["total_tokens"]
    assert [(turn["input"], turn["reply"]) for turn in turns] == [
        ("My name is Lin.", first["reply"]),
        ("What is my name?", second["reply"]),
    ]


@pytest.mark.slow
def test_a_crash_in_the_middle_of_a_turn_costs_that_turn_alone(
    stored_in: str, chat_model: Path, tmp_path: Path
) -> None:
    settings = {"model": chat_model, "database_url": stored_in}
    with serve(tmp_path, **settings) as server, server.client() as http:
        conversation_id = post(http, input="My name is Lin.", temperature=0).json()["conversation_id"]
        with streaming(http, input="What is my name?", conversation_id=conversation_id):
            workers = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
            server.process.kill()
            for worker in workers:
                os.kill(int(worker), signal.SIGKILL)
    with serve(tmp_path, **settings) as server, server.client() as http:
        again = post(http, input="And now?", conversation_id=conversation_id)
        assert again.status_code == 200, again.text
        assert [turn["input"] for turn in read(http, conversation_id)["turns"]] == ["My name is Lin.", "And now?"]


def test_a_system_message_holds_until_it_is_taken_away(http: httpx.Client) -> None:
    def tokens(system: str | None, conversation_id: str | None) -> tuple[int, str]:
        body = {"input": "Hello", "temperature": 0, "max_new_tokens": 1, "system": system}
        reply = post(http, **body, **({"conversation_id": conversation_id} if conversation_id else {})).json()
        return reply["usage"]["prompt_tokens"], reply["conversation_id"]

    _, plain = tokens(None, None)
    _, special = tokens("x" * 1500, None)
    assert tokens(None, special)[0] > tokens(None, plain)[0] + 1000
    assert tokens("", special)[0] < 1000
    assert tokens(None, special)[0] < 1000
    assert [turn["system"] for turn in read(http, special)["turns"]] == ["x" * 1500, None, "", None]


def test_a_form_goes_on_with_a_conversation_too(http: httpx.Client) -> None:
    first = http.post("/chat", data={"input": "Hello", "max_new_tokens": "4"}).json()
    data = {"input": "Again", "max_new_tokens": "4", "conversation_id": first["conversation_id"]}
    assert http.post("/chat", data=data).status_code == 200
    assert len(read(http, first["conversation_id"])["turns"]) == 2


# -- streams -------------------------------------------------------------------------------------------------


def test_a_stream_names_its_conversation_before_and_after(http: httpx.Client) -> None:
    response = post(http, input="Hello", stream=True)
    name, done = events(response)[-1]
    assert name == "done"
    assert response.headers["X-Conversation-ID"] == done["conversation_id"]
    (turn,) = read(http, done["conversation_id"])["turns"]
    assert (turn["reply"], turn["complete"]) == (done["reply"], True)


def test_a_reply_whose_client_left_is_kept_as_far_as_it_was_sent(server: LiveServer, http: httpx.Client) -> None:
    with streaming(http, input="Hello") as (response, received):
        conversation_id = response.headers["X-Conversation-ID"]
        assert read(http, conversation_id)["busy"] is True
    server.wait_until(lambda: read(http, conversation_id)["busy"] is False)
    (turn,) = read(http, conversation_id)["turns"]
    assert (turn["complete"], turn["finish_reason"], turn["input"]) == (False, "cancelled", "Hello")
    assert turn["reply"].startswith(received)
    assert 0 < turn["usage"]["completion_tokens"] < 3900
    assert post(http, input="Go on", conversation_id=conversation_id).status_code == 200


def test_a_second_turn_at_once_gets_409(server: LiveServer, http: httpx.Client) -> None:
    conversation_id = post(http, input="Hello", temperature=0).json()["conversation_id"]
    with streaming(http, input="And?", conversation_id=conversation_id):
        for stream in (False, True):
            refused = post(http, input="Me too", conversation_id=conversation_id, stream=stream)
            assert conversation_id in assert_error(refused, 409, "conversation_id")
    server.wait_until(lambda: read(http, conversation_id)["busy"] is False)
    assert [turn["input"] for turn in read(http, conversation_id)["turns"]] == ["Hello", "And?"]


# -- erasing and exporting -----------------------------------------------------------------------------------


def test_an_erased_conversation_is_gone(http: httpx.Client) -> None:
    conversation_id = post(http, input="Hello").json()["conversation_id"]
    erased = http.delete(f"/conversations/{conversation_id}")
    assert (erased.status_code, erased.content) == (204, b"")
    path = f"/conversations/{conversation_id}"
    for response in (http.get(path), http.get(f"{path}/export"), http.delete(path)):
        assert_error(response, 404, "conversation_id")
    assert_error(post(http, input="Hello", conversation_id=conversation_id), 404, "conversation_id")


def test_erasing_wins_over_a_reply_that_is_being_sent(server: LiveServer, http: httpx.Client) -> None:
    with streaming(http, input="Hello") as (response, _):
        conversation_id = response.headers["X-Conversation-ID"]
        assert http.delete(f"/conversations/{conversation_id}").status_code == 204
    server.wait_until(lambda: http.get("/health").json()["engine"]["running"] == 0)
    assert_error(http.get(f"/conversations/{conversation_id}"), 404, "conversation_id")


def test_an_export_is_a_file_with_the_same_content(http: httpx.Client) -> None:
    conversation_id = post(http, input="你好", seed=1).json()["conversation_id"]
    response = http.get(f"/conversations/{conversation_id}/export")
    assert response.headers["Content-Disposition"] == f'attachment; filename="{conversation_id}.json"'
    assert response.headers["Content-Type"] == "application/json"
    assert response.json() == read(http, conversation_id)


@pytest.mark.parametrize(
    "unknown", [NOBODYS, "conv_", "x", "%00", "conv_%0a", "%F0%9F%98%80", "..%2f..", "'%20OR%201=1"]
)
def test_an_unknown_conversation_is_404_whatever_its_name(http: httpx.Client, unknown: str) -> None:
    for response in (http.get(f"/conversations/{unknown}"), http.delete(f"/conversations/{unknown}")):
        assert response.status_code == 404, response.text


# -- bad input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["input", "system", "conversation_id"])
def test_a_null_character_is_refused_by_name(http: httpx.Client, field: str) -> None:
    assert "U+0000" in assert_error(post(http, **{"input": "Hello", field: "a\0b"}), 422, field)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"conversation_id": ""}, "conversation_id"),
        ({"conversation_id": 7}, "conversation_id"),
        ({"conversation_id": "x" * 65}, "conversation_id"),
        ({"truncation": "perhaps"}, "truncation"),
    ],
)
def test_a_wrong_field_is_422_and_named(http: httpx.Client, body: dict[str, object], param: str) -> None:
    assert_error(post(http, input="Hello", **body), 422, param)


def test_a_long_conversation_loses_its_oldest_turns_or_is_refused(http: httpx.Client) -> None:
    conversation_id = post(http, input="x" * 1900).json()["conversation_id"]
    for _ in range(2):
        last = post(http, input="x" * 1900, conversation_id=conversation_id).json()
    assert last["context"]["turns_dropped"] == 1
    refused = post(http, input="x" * 1900, conversation_id=conversation_id, truncation="error")
    assert_error(refused, 400, "input")
    fits_but_for_the_reply = post(http, input="x", truncation="error", max_new_tokens=5000)
    assert_error(fits_but_for_the_reply, 400, "max_new_tokens")
    found = read(http, conversation_id)
    assert (len(found["turns"]), found["busy"]) == (3, False)


def test_a_locked_database_is_503_and_soon_over(stored_in: str, http: httpx.Client) -> None:
    is_file = stored_in.startswith("sqlite")
    somebody = sqlite3.connect(stored_in.removeprefix("sqlite:///")) if is_file else psycopg.connect(stored_in)
    with contextlib.closing(somebody):
        somebody.execute("BEGIN EXCLUSIVE" if is_file else "LOCK TABLE conversations")
        response = post(http, input="Hello")
    assert_error(response, 503, None)
    assert int(response.headers["Retry-After"]) > 0
    assert post(http, input="Hello").status_code == 200


def test_a_database_that_cannot_be_used_stops_the_start(chat_model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    url = f"sqlite:///{tmp_path}/file/troika.db"
    with serve(tmp_path, wait=False, model=chat_model, database_url=url) as server:
        assert server.process.wait(timeout=60) != 0
    assert f"troika: TROIKA_DATABASE_URL={url} can't be used" in server.log
    assert "Traceback" not in server.log
