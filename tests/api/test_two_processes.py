"""Two web processes on one database, one training folder and one Redis: any of them serves what the other began."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import redis

from tests.api.test_chat import assert_error, post
from tests.api.test_conversations import read
from tests.api.test_rate_limits import REDIS, assert_limited, client_of, hashed
from tests.api.test_training import ENDLESS, QUICK, events, start
from tests.api.test_training import read as read_job
from tests.server import LiveServer, serve
from tests.storage.support import KINDS, empty_database

pytestmark = pytest.mark.slow

Pair = tuple[httpx.Client, httpx.Client]


@pytest.fixture(scope="module", params=KINDS)
def servers(
    request: pytest.FixtureRequest, chat_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LiveServer, LiveServer]]:
    folder = tmp_path_factory.mktemp("shared")
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(empty_database(request.param, folder))
        settings = {"model": chat_model, "database_url": url, "training_folder": folder / "training"}
        first, second = (stack.enter_context(serve(folder, **settings)) for _ in range(2))
        yield first, second


@pytest.fixture
def pair(servers: tuple[LiveServer, LiveServer]) -> Iterator[Pair]:
    first, second = servers
    with first.client() as one, second.client() as other:
        yield one, other


# -- conversations -------------------------------------------------------------------------------------------


def test_a_conversation_begun_on_one_goes_on_on_the_other_as_it_would_have_on_the_first(pair: Pair) -> None:
    one, other = pair

    def talk(*processes: httpx.Client) -> list[str]:
        replies, conversation = [], {}
        for turn, process in enumerate(processes):
            said = post(process, input=f"This is turn {turn}.", seed=turn, **conversation).json()
            conversation = {"conversation_id": said["conversation_id"]}
            replies.append(said["reply"])
        assert [turn["reply"] for turn in read(one, said["conversation_id"])["turns"]] == replies
        assert read(one, said["conversation_id"]) == read(other, said["conversation_id"])
        return replies

    assert talk(one, other, one, other) == talk(one, one, one, one)


def test_a_turn_in_the_making_on_one_keeps_the_other_from_the_conversation(pair: Pair) -> None:
    one, other = pair
    conversation = {"conversation_id": post(one, input="Hello").json()["conversation_id"]}
    body = {"input": "Go on", "stream": True, "max_new_tokens": 2000, **conversation}
    with one.stream("POST", "/chat", json=body) as response:
        lines = response.iter_lines()  # kept: when it is collected, the connection closes
        next(line for line in lines if line.startswith("event: token"))
        refused = post(other, input="And I", **conversation)
        assert_error(refused, 409, "conversation_id")
    assert other.delete(f"/conversations/{conversation['conversation_id']}").status_code == 204
    assert one.get(f"/conversations/{conversation['conversation_id']}").status_code == 404


# -- training ------------------------------------------------------------------------------------------------


def test_a_job_started_on_one_is_seen_followed_and_cancelled_on_the_other(
    pair: Pair, servers: tuple[LiveServer, LiveServer]
) -> None:
    one, other = pair
    job = start(one, **ENDLESS)
    with ThreadPoolExecutor(1) as pool:
        followed = pool.submit(events, other, job)
        servers[1].wait_until(lambda: read_job(other, job)["progress"] > 0)
        assert job["id"] in [listed["id"] for listed in other.get("/train-demo").json()["jobs"]]
        assert other.delete(job["links"]["self"]).status_code in (200, 202)
        names = [name for _, name, _ in followed.result(timeout=60)]
    assert names[0] == "started"
    assert names[-1] == "cancelled"
    assert read_job(one, job)["status"] == "cancelled"
    assert read_job(one, job) == read_job(other, job)


def test_a_classifier_trained_by_one_reads_a_digit_on_the_other(pair: Pair) -> None:
    one, other = pair
    job = one.post("/train-demo", params={"wait": "true"}, json=QUICK).json()
    assert job["status"] == "done"
    drawing = {"image": [[255 * (12 <= column < 16) for column in range(28)] for _ in range(28)]}
    readings = [process.post(f"/train-demo/{job['id']}/predict", json=drawing).json() for process in pair]
    assert readings[0] == readings[1]
    assert sum(readings[0]["probabilities"]) == pytest.approx(1)
    assert other.delete(job["links"]["self"]).status_code == 204
    assert_error(one.get(job["links"]["self"]), 404, "job_id")


# -- rate limits ---------------------------------------------------------------------------------------------


def test_limits_are_shared_through_redis(chat_model: Path, tmp_path: Path) -> None:
    try:
        socket.create_connection(REDIS, timeout=2).close()
    except OSError:
        pytest.skip("no Redis at localhost:6379")
    name = f"test-{secrets.token_hex(8)}"
    host, port = REDIS
    settings = {
        "model": chat_model,
        "api_keys": hashed(name, "a"),
        "rate_limit": "4/hour",
        "redis_url": f"redis://{host}:{port}/0",
    }
    with serve(tmp_path, **settings) as first, serve(tmp_path, **settings) as second:
        with client_of(first, "a") as one, client_of(second, "a") as other:
            answers = [process.get("/v1/models") for process in (one, other, one, other, one, other)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 429, 429]
        assert [answer.headers["X-RateLimit-Remaining"] for answer in answers[:4]] == ["3", "2", "1", "0"]
        for refused in answers[4:]:
            assert_limited(refused)
    with contextlib.closing(redis.Redis(*REDIS)) as store:
        for found in store.scan_iter(f"*{name}*", count=1000):
            store.delete(found)
