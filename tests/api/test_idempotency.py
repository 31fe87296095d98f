"""Requests under an idempotency key, on two web processes with one database: made once, whoever asks and wherever."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import openai
import psycopg
import pytest

from tests.api.test_chat import assert_error
from tests.api.test_conversations import read
from tests.api.test_rate_limits import client_of, hashed
from tests.server import LiveServer, paused, serve
from tests.storage.support import KINDS, empty_database

pytestmark = pytest.mark.slow

Pair = tuple[LiveServer, LiveServer]
Body = dict[str, Any]

WHOLE = {
    "/chat": {"input": "Hello", "max_new_tokens": 30},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 30, "n": 2},
    "/v1/completions": {"prompt": ["One", "Two"], "max_tokens": 30, "logprobs": 1},
}
STREAMED = {
    "/chat": {"input": "Hello", "max_new_tokens": 400, "stream": True},
    "/v1/chat/completions": {
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 400,
        "stream": True,
        "stream_options": {"include_usage": True},
    },
    "/v1/completions": {"prompt": "Hello", "max_tokens": 400, "stream": True},
}
EVERY_STREAM = pytest.mark.parametrize("path", STREAMED)
SEVERAL = {
    "/v1/chat/completions": STREAMED["/v1/chat/completions"] | {"n": 3, "logprobs": True},
    "/v1/completions": STREAMED["/v1/completions"] | {"prompt": ["One", "Two"], "n": 2, "echo": True},
}


@pytest.fixture(scope="module", params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with empty_database(request.param, tmp_path_factory.mktemp("idempotency")) as url:
        yield url


@pytest.fixture(scope="module")
def pair(database_url: str, chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with serving_twice(tmp_path_factory.mktemp("servers"), model=chat_model, database_url=database_url) as servers:
        yield servers


@contextlib.contextmanager
def serving_twice(folder: Path, **settings: object) -> Iterator[Pair]:
    with serve(folder, **settings) as first, serve(folder, **settings) as second:
        yield first, second


def new_key() -> str:
    return f'"{uuid.uuid4()}"'


def ask(server: LiveServer, path: str, body: Body, key: str, last: str | None = None) -> httpx.Response:
    headers = {"Idempotency-Key": key} | ({"Last-Event-ID": last} if last else {})
    with server.client() as http:
        return http.post(path, json=of_model(server, path, body), headers=headers)


@cache
def model_of(server: LiveServer) -> str:
    return str(httpx.get(f"{server.url}/v1/models").json()["data"][0]["id"])


def of_model(server: LiveServer, path: str, body: Body) -> Body:
    return body | {"model": model_of(server)} if path.startswith("/v1") else body


def generated(*servers: LiveServer) -> int:
    """Tokens that these have generated since they started."""
    return sum(generated_by(server.client()) for server in servers)


def generated_by(http: httpx.Client) -> int:
    with http:
        found = re.search(r"^troika_generation_tokens_total (\S+)", http.get("/metrics").text, re.MULTILINE)
    assert found
    return int(float(found[1]))


def events(text: str) -> list[str]:
    """The events of a stream as they are, without comments."""
    return [block for block in text.split("\n\n") if block and not block.startswith(":")]


def event_id(event: str) -> str:
    return event.partition("\n")[0].removeprefix("id: ")


@contextlib.contextmanager
def begun(
    server: LiveServer, path: str, body: Body, key: str, count: int, last: str | None = None
) -> Iterator[list[str]]:
    """The first `count` events of a stream that is then broken off, at the end of the block."""
    headers = {"Idempotency-Key": key} | ({"Last-Event-ID": last} if last else {})
    with (
        server.client() as http,
        http.stream("POST", path, json=of_model(server, path, body), headers=headers) as response,
    ):
        assert response.status_code == 200
        text = ""
        for piece in response.iter_text():
            text += piece
            if len(events(text)) > count:  # the last may be cut in the middle
                break
        yield events(text)[:count]


# -- retries -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WHOLE)
def test_a_retry_gets_the_same_reply_and_generates_nothing(pair: Pair, path: str) -> None:
    key = new_key()
    first = ask(pair[0], path, WHOLE[path], key)
    assert first.status_code == 200, first.text
    assert "Idempotent-Replayed" not in first.headers
    before = generated(*pair)
    for server in pair:
        again = ask(server, path, WHOLE[path], key)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.headers["Content-Type"] == "application/json"
        assert again.json() == first.json()
    assert generated(*pair) == before
    assert ask(pair[0], path, WHOLE[path], new_key()).json() != first.json()


def test_a_reply_under_a_key_is_what_it_would_be_without(pair: Pair) -> None:
    for path, body in WHOLE.items():
        with pair[0].client() as http:
            plain = http.post(path, json=of_model(pair[0], path, body) | {"seed": 3}).json()
        keyed = ask(pair[0], path, body | {"seed": 3}, new_key()).json()
        assert keyed.keys() == plain.keys()
        assert (keyed.get("reply"), keyed.get("choices")) == (plain.get("reply"), plain.get("choices"))


def test_a_turn_that_is_asked_for_again_is_one_turn(pair: Pair) -> None:
    first = ask(pair[0], "/chat", WHOLE["/chat"], new_key()).json()
    body = WHOLE["/chat"] | {"conversation_id": first["conversation_id"]}
    key = new_key()
    replies = [ask(server, "/chat", body, key).json()["reply"] for server in pair for _ in range(2)]
    assert len(set(replies)) == 1
    with pair[1].client() as http:
        turns = read(http, first["conversation_id"])["turns"]
    assert [turn["reply"] for turn in turns] == [first["reply"], replies[0]]


@pytest.mark.parametrize("streamed", [False, True])
def test_who_asks_while_it_is_made_gets_the_same_and_it_is_made_once(pair: Pair, streamed: bool) -> None:
    key, body = new_key(), {"input": "Hello", "max_new_tokens": 600, "stream": streamed}
    before = generated(*pair)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda number: ask(pair[number % 2], "/chat", body, key), range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({tuple(events(answer.text)) for answer in answers}) == 1
    assert len({answer.headers.get("X-Conversation-ID") for answer in answers}) == 1
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers].count(None) == 1
    assert generated(*pair) - before == 600


def test_a_form_and_json_that_say_the_same_are_one_request(pair: Pair) -> None:
    key = new_key()
    first = ask(pair[0], "/chat", {"input": "Hello", "max_new_tokens": 9}, key).json()
    with pair[0].client() as http:
        form = {"input": "Hello", "max_new_tokens": "9"}
        assert http.post("/chat", data=form, headers={"Idempotency-Key": key.strip('"')}).json() == first


@EVERY_STREAM
def test_another_request_under_the_key_is_refused(pair: Pair, path: str) -> None:
    key = new_key()
    assert ask(pair[0], path, STREAMED[path], key).status_code == 200
    for other in (STREAMED[path] | {"seed": 1}, STREAMED[path] | {"stream": False, "stream_options": None}):
        other = {name: value for name, value in other.items() if value is not None}
        for server in pair:
            refused = ask(server, path, other, key)
            assert "another request" in assert_error(refused, 422, "Idempotency-Key")
            assert refused.json()["error"]["code"] == "idempotency_key_reused"
    chat = ask(pair[0], "/chat", {"input": "Hello"}, key) if path != "/chat" else refused
    assert chat.status_code == 422


def test_a_try_that_failed_can_be_tried_again(pair: Pair) -> None:
    key = new_key()
    conversation = ask(pair[0], "/chat", WHOLE["/chat"], new_key()).json()["conversation_id"]
    body = WHOLE["/chat"] | {"conversation_id": conversation}
    with pair[0].client() as http, ThreadPoolExecutor(1) as pool:
        with paused(pair[0].engine_pid()):
            other = pool.submit(ask, pair[0], "/chat", body, new_key())
            pair[0].wait_until(lambda: bool(read(http, conversation)["busy"]))
            for server in pair:
                assert_error(ask(server, "/chat", body, key), 409, "conversation_id")
        assert other.result().status_code == 200
    replies = [ask(server, "/chat", body, key) for server in pair]
    assert [reply.status_code for reply in replies] == [200, 200]
    assert replies[0].json() == replies[1].json()


def test_an_erased_conversation_leaves_no_reply_behind(pair: Pair) -> None:
    key = new_key()
    first = ask(pair[0], "/chat", WHOLE["/chat"], key).json()
    with pair[1].client() as http:
        assert http.delete(f"/conversations/{first['conversation_id']}").status_code == 204
    again = ask(pair[0], "/chat", WHOLE["/chat"], key)
    assert "Idempotent-Replayed" not in again.headers
    assert again.json()["conversation_id"] != first["conversation_id"]


@pytest.mark.parametrize("key", ["", "two words", '"open', "x" * 256, '""', "caf\xe9"])
def test_what_is_no_key_is_refused(pair: Pair, key: str) -> None:
    with pair[0].client() as http:
        for path, status in (("/chat", 422), ("/v1/completions", 400)):
            body = of_model(pair[0], path, WHOLE[path])
            refused = http.post(path, json=body, headers={"Idempotency-Key": key.encode("latin-1")})
            assert_error(refused, status, "Idempotency-Key")


# -- streams that go on --------------------------------------------------------------------------------------


@EVERY_STREAM
def test_a_stream_that_is_cut_anywhere_goes_on_anywhere_and_is_the_whole_stream(pair: Pair, path: str) -> None:
    chance = random.Random(path)
    for _ in range(3):
        key, seen = new_key(), []
        before = generated(*pair)
        for _ in range(5):
            last = event_id(seen[-1]) if seen else None
            with begun(chance.choice(pair), path, STREAMED[path], key, chance.randrange(1, 60), last) as some:
                seen += some
        rest = ask(chance.choice(pair), path, STREAMED[path], key, event_id(seen[-1]))
        seen += events(rest.text)
        assert seen == events(ask(pair[0], path, STREAMED[path], key).text)
        assert [int(event_id(event).partition("-")[2]) for event in seen] == list(range(1, len(seen) + 1))
        assert "[DONE]" in seen[-1] if path.startswith("/v1") else "event: done" in seen[-1]
        assert generated(*pair) - before == 400
        ended = ask(pair[1], path, STREAMED[path], key, event_id(seen[-1]))
        assert (ended.status_code, events(ended.text)) == (200, [])


@pytest.mark.parametrize("path", SEVERAL)
def test_a_stream_of_several_replies_goes_on_too(pair: Pair, path: str) -> None:
    key = new_key()
    with begun(pair[0], path, SEVERAL[path], key, 50) as seen:
        pass
    for server in pair:
        rest = ask(server, path, SEVERAL[path], key, event_id(seen[-1]))
        assert seen + events(rest.text) == events(ask(server, path, SEVERAL[path], key).text)
        ended = ask(server, path, SEVERAL[path], key, event_id(events(rest.text)[-1]))
        assert (ended.status_code, events(ended.text)) == (200, [])


def test_a_reply_that_cannot_be_kept_ends_in_an_error_and_can_be_asked_for_again(pair: Pair, database_url: str) -> None:
    path, key = "/v1/completions", new_key()
    is_file = database_url.startswith("sqlite")
    somebody = sqlite3.connect(database_url.removeprefix("sqlite:///")) if is_file else psycopg.connect(database_url)
    with contextlib.closing(somebody), ThreadPoolExecutor(1) as pool:
        with paused(pair[0].engine_pid()):
            future = pool.submit(ask, pair[0], path, STREAMED[path], key)
            pair[0].wait_until(lambda: has_begun(somebody))
            somebody.rollback()
            somebody.execute("BEGIN IMMEDIATE" if is_file else "LOCK TABLE kept_replies")
        found = events(future.result().text)
    assert len(found) > 300  # every token comes, but no promise that it's kept
    assert '"database_unavailable"' in found[-1]
    rest = ask(pair[1], path, STREAMED[path], key, event_id(found[-2]))
    assert found[:-1] + events(rest.text) == events(ask(pair[0], path, STREAMED[path], key).text)
    assert "[DONE]" in rest.text


def has_begun(connection: sqlite3.Connection | psycopg.Connection) -> bool:
    """Whether all that is being made has."""
    connection.rollback()
    query = "SELECT count(*), count(headers) FROM kept_replies WHERE holder IS NOT NULL"
    held, begun = connection.execute(query).fetchone()
    return held == begun > 0


def test_a_reply_is_made_to_its_end_though_nobody_listens(pair: Pair) -> None:
    key, body = new_key(), STREAMED["/chat"] | {"max_new_tokens": 1500}
    before = generated(*pair)
    with begun(pair[0], "/chat", body, key, 3) as seen:
        pass
    pair[0].wait_until(lambda: generated(*pair) - before == 1500)
    whole = events(ask(pair[1], "/chat", body, key).text)
    assert whole[:3] == seen
    assert generated(*pair) - before == 1500


def test_what_cannot_go_on_is_said(pair: Pair) -> None:
    key, body = new_key(), STREAMED["/chat"]
    with begun(pair[0], "/chat", body, key, 3) as seen:
        last = event_id(seen[-1])
    for server in pair:
        gone = ask(server, "/chat", body, new_key(), last)
        assert_error(gone, 410, "Last-Event-ID")
        other = f"{'0' * 24}-3"
        assert ask(server, "/chat", body, key, other).json()["error"]["code"] == "stream_gone"
        for wrong in ("3", "last", f"{last}-1", f"{last}.", f"{last}x", f"{last}.1x4096", "x" * 5000):
            assert_error(ask(server, "/chat", body, key, wrong), 422, "Last-Event-ID")
        whole = ask(server, "/chat", WHOLE["/chat"], new_key(), last)
        assert "only a stream" in assert_error(whole, 422, "Last-Event-ID")
        with server.client() as http:
            plain = of_model(server, "/v1/completions", STREAMED["/v1/completions"])
            alone = http.post("/v1/completions", json=plain, headers={"Last-Event-ID": last})
        assert_error(alone, 400, "Last-Event-ID")


def test_the_official_client_retries_and_streams_under_a_key(pair: Pair) -> None:
    clients = [openai.OpenAI(base_url=f"{server.url}/v1", api_key="x") for server in pair]

    def create(client: openai.OpenAI, key: str, **options: Any) -> Any:
        messages = [{"role": "user", "content": "Hello"}]
        return client.chat.completions.create(
            model=model_of(pair[0]), messages=messages, max_tokens=60, extra_headers={"Idempotency-Key": key}, **options
        )

    key = new_key()
    first, again = (create(client, key) for client in clients)
    assert first == again
    with pytest.raises(openai.UnprocessableEntityError, match="another request"):
        create(clients[0], key, seed=1)
    key = new_key()
    streams = [list(create(client, key, stream=True)) for client in clients]
    assert streams[0] == streams[1]
    assert streams[0][-1].choices[0].finish_reason == "length"
    for client in clients:
        client.close()


# -- lost processes ------------------------------------------------------------------------------------------


def kill(server: LiveServer) -> None:
    """Master and worker at once, as when a machine is lost."""
    worker = server.worker_pid()
    for process in (server.process.pid, worker):
        os.kill(process, signal.SIGKILL)
    server.process.wait()


def end(server: LiveServer) -> None:
    """In order, with no time for what runs."""
    server.process.terminate()


@pytest.mark.parametrize("lose", [kill, end])
def test_what_a_lost_process_was_making_goes_on_on_another_with_the_same_bytes(
    lose: Callable[[LiveServer], None], database_url: str, chat_model: Path, tmp_path: Path
) -> None:
    settings = {"model": chat_model, "database_url": database_url, "grace_s": 0}
    with serve(tmp_path, **settings) as other:
        with other.client() as http:
            turn = http.post("/chat", json=WHOLE["/chat"]).json()
        conversation = {"conversation_id": turn["conversation_id"]}
        asked = {path: body | {"seed": 5} for path, body in STREAMED.items()}
        asked = {
            path: body | {"max_new_tokens" if path == "/chat" else "max_tokens": 3000} for path, body in asked.items()
        }
        keys = {path: new_key() for path in asked}
        followed = new_key()
        with serve(tmp_path, **settings) as lost, contextlib.ExitStack() as stack, ThreadPoolExecutor(1) as pool:
            seen = {path: stack.enter_context(begun(lost, path, body, keys[path], 20)) for path, body in asked.items()}
            with (
                other.client() as http,
                http.stream(
                    "POST", "/chat", json=asked["/chat"], headers={"Idempotency-Key": keys["/chat"]}
                ) as response,
            ):
                new = response.headers["X-Conversation-ID"]
            turn_seen = stack.enter_context(begun(lost, "/chat", asked["/chat"] | conversation, followed, 20))
            follower = pool.submit(ask, other, "/chat", asked["/chat"] | conversation, followed)
            lose(lost)
            # Who follows on the other process doesn't even notice.
            whole_turn = events(follower.result(timeout=100).text)
        assert whole_turn[:20] == turn_seen
        assert "event: done" in whole_turn[-1]
        for path, body in asked.items():
            rest = ask(other, path, body, keys[path], event_id(seen[path][-1]))
            assert rest.status_code == 200, rest.text
            with other.client() as http:
                undisturbed = http.post(path, json=of_model(other, path, body)).text
            assert said(seen[path] + events(rest.text)) == said(events(undisturbed))
            # What a client was told in the beginning holds.
            assert path != "/chat" or f'"conversation_id":"{new}"' in rest.text
        with other.client() as http:
            turns = read(http, turn["conversation_id"])["turns"]
        assert [turn["complete"] for turn in turns] == [True, True]


@pytest.mark.parametrize("lose", [kill, end])
def test_of_several_replies_that_a_lost_process_was_making_each_goes_on_with_the_same_chunks(
    lose: Callable[[LiveServer], None], database_url: str, chat_model: Path, tmp_path: Path
) -> None:
    settings = {"model": chat_model, "database_url": database_url, "grace_s": 0}
    with serve(tmp_path, **settings) as other:
        asked = {path: body | {"seed": 5, "max_tokens": 3000} for path, body in SEVERAL.items()}
        keys = {path: new_key() for path in asked}
        with serve(tmp_path, **settings) as lost, contextlib.ExitStack() as stack, ThreadPoolExecutor(2) as pool:
            seen = {path: stack.enter_context(begun(lost, path, body, keys[path], 100)) for path, body in asked.items()}
            followers = {path: pool.submit(ask, other, path, body, keys[path]) for path, body in asked.items()}
            assert generated(lost) < 7 * 3000
            lose(lost)
            followed = {path: events(follower.result(timeout=100).text) for path, follower in followers.items()}
        for path, body in asked.items():
            with other.client() as http:
                undisturbed = chunks(events(http.post(path, json=of_model(other, path, body)).text))
            assert all(len(of_one) > 1500 for of_one in undisturbed.values())
            assert len(undisturbed) == (3 if "chat" in path else 4)
            rest = ask(other, path, body, keys[path], event_id(seen[path][-1]))
            assert rest.status_code == 200, rest.text
            for found in (seen[path] + events(rest.text), followed[path]):
                assert chunks(found) == undisturbed
                assert found[-1].endswith("data: [DONE]")
                assert sum('"usage":{' in event for event in found) == ("chat" in path)


def chunks(stream: list[str]) -> dict[int, list[Body]]:
    """What is said of each choice, in its order."""
    found: dict[int, list[Body]] = {}
    for event in stream:
        data = event.partition("data: ")[2]
        for choice in json.loads(data)["choices"] if data != "[DONE]" else []:
            found.setdefault(choice["index"], []).append(choice)
    return found


def said(stream: list[str]) -> list[str]:
    """The texts in a stream's events, which are all that a seed settles; some tokens have none."""
    found = re.findall(r'^data: .*?"(?:text|content)":("(?:[^"\\]|\\.)*")', "\n".join(stream), re.MULTILINE)
    assert len(found) > 1500
    return found


# -- settings ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forgetful(database_url: str, chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Two keys' names; replies are kept for a second, and given up at once when nobody listens."""
    settings = {
        "api_keys": f"{hashed('alice', 'a')},{hashed('bob', 'b')}",
        "idempotency_max_age_s": 1,
        "idempotency_grace_s": 0,
    }
    folder = tmp_path_factory.mktemp("forgetful")
    with serve(folder, model=chat_model, database_url=database_url, **settings) as server:
        yield server


def test_a_key_is_its_owners_and_is_forgotten_in_time(forgetful: LiveServer) -> None:
    headers = {"Idempotency-Key": new_key()}
    with client_of(forgetful, "a") as alice, client_of(forgetful, "b") as bob:
        first = alice.post("/chat", json=WHOLE["/chat"], headers=headers)
        other = bob.post("/chat", json=WHOLE["/chat"], headers=headers)
        assert "Idempotent-Replayed" not in other.headers
        assert other.json()["conversation_id"] != first.json()["conversation_id"]

        def is_forgotten() -> bool:
            again = alice.post("/chat", json=WHOLE["/chat"], headers=headers)
            assert again.status_code == 200
            return again.json()["conversation_id"] != first.json()["conversation_id"]

        forgetful.wait_until(is_forgotten)


def test_without_listeners_it_is_given_up_after_the_grace_and_can_be_asked_for_again(forgetful: LiveServer) -> None:
    headers = {"Idempotency-Key": new_key()}
    body = {"input": "Hello", "max_new_tokens": 3900, "stream": True}
    with client_of(forgetful, "a") as alice:
        before = generated_by(client_of(forgetful, "a"))
        with alice.stream("POST", "/chat", json=body, headers=headers) as response:
            next(line for line in response.iter_lines() if line.startswith("data"))
        forgetful.wait_until(lambda: alice.get("/health").json()["engine"]["running"] == 0)
        assert generated_by(client_of(forgetful, "a")) - before < 3900
        again = alice.post("/chat", json=body, headers=headers)
        assert "event: done" in events(again.text)[-1]
