"""The database locked, full, gone and back, under a live service: a clear error, no hang, and all well afterwards."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import httpx
import psycopg
import pytest
from sqlalchemy import make_url

from tests.api.test_chat import assert_error, events, post
from tests.api.test_conversations import read
from tests.faults.support import fill, small_disk
from tests.line import Line
from tests.server import LiveServer, paused, serve
from tests.storage.support import KINDS, POSTGRESQL, empty_database, postgresql_database

pytestmark = pytest.mark.slow


def assert_unavailable(response: httpx.Response) -> None:
    assert_error(response, 503, None)
    assert response.json()["error"]["code"] == "database_unavailable"
    assert int(response.headers["Retry-After"]) > 0


def assert_the_rest_still_works(http: httpx.Client) -> None:
    """What needs no database is not dragged along."""
    assert http.get("/health/ready").status_code == 200
    body = {"model": http.get("/v1/models").json()["data"][0]["id"], "prompt": "Hello", "max_tokens": 2}
    assert http.post("/v1/completions", json=body).status_code == 200


def assert_nothing_is_left_over(server: LiveServer, http: httpx.Client) -> None:
    def engine() -> dict[str, object]:
        return dict(http.get("/health").json()["engine"])

    server.wait_until(lambda: engine()["running"] == engine()["waiting"] == engine()["slots_held"] == 0)
    assert engine()["restarts"] == 0


@contextlib.contextmanager
def in_the_middle_of_a_turn(server: LiveServer, conversation_id: str) -> Iterator[Future[httpx.Response]]:
    """A turn has begun and its reply waits for the engine, which goes on at the end of the block."""
    with ThreadPoolExecutor(1) as pool, server.client() as other, server.client() as http:
        with paused(server.engine_pid()):
            future = pool.submit(post, http, input="Go on", conversation_id=conversation_id, stream=True)
            server.wait_until(lambda: bool(read(other, conversation_id)["busy"]))
            yield future
        future.result()


def texts_of(http: httpx.Client, conversation_id: str) -> list[str]:
    """What the user said in each turn that was stored."""
    return [turn["input"] for turn in read(http, conversation_id)["turns"]]  # type: ignore[attr-defined]


def assert_ends_in_an_error(response: httpx.Response) -> None:
    """The reader gets every token, then an error in place of a `done` that would promise that it was stored."""
    found = events(response)
    assert [name for name, _ in found].count("token") >= 12
    name, data = found[-1]
    assert name == "error", data
    assert data["error"]["code"] == "database_unavailable"  # type: ignore[index]


# -- locked --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=KINDS)
def stored_in(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with empty_database(request.param, tmp_path_factory.mktemp("stored")) as url:
        yield url


@pytest.fixture(scope="module")
def server(stored_in: str, chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with serve(tmp_path_factory.mktemp("server"), model=chat_model, database_url=stored_in) as server:
        yield server


@pytest.fixture
def client(server: LiveServer) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def test_locked_in_the_middle_of_a_stream(stored_in: str, server: LiveServer, client: httpx.Client) -> None:
    before = str(post(client, input="Hello").json()["conversation_id"])
    is_file = stored_in.startswith("sqlite")
    somebody = sqlite3.connect(stored_in.removeprefix("sqlite:///")) if is_file else psycopg.connect(stored_in)
    with contextlib.closing(somebody):
        with in_the_middle_of_a_turn(server, before) as future:
            somebody.execute("BEGIN IMMEDIATE" if is_file else "LOCK TABLE conversations")
        assert_ends_in_an_error(future.result())
        assert_unavailable(post(client, input="Hello"))
        assert_the_rest_still_works(client)
    # The turn that was lost holds the conversation until the housekeeping comes round.
    server.wait_until(lambda: post(client, input="Again", conversation_id=before).status_code == 200)
    assert texts_of(client, before) == ["Hello", "Again"]
    assert_nothing_is_left_over(server, client)


# -- gone and back -------------------------------------------------------------------------------------------


def test_connections_that_the_server_ends_are_made_anew(chat_model: Path, tmp_path: Path) -> None:
    """As when PostgreSQL restarts: also in the middle of a stream nobody notices."""
    with (
        postgresql_database() as url,
        serve(tmp_path, model=chat_model, database_url=url) as server,
        server.client() as http,
        psycopg.connect(POSTGRESQL, autocommit=True) as administrator,
    ):

        def end_connections() -> int:
            ended = administrator.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s",
                [make_url(url).database],
            ).fetchone()
            return int(ended[0]) if ended else 0

        first = str(post(http, input="Hello").json()["conversation_id"])
        assert end_connections() > 0
        assert post(http, input="Again", conversation_id=first).status_code == 200
        with in_the_middle_of_a_turn(server, first) as future:
            assert end_connections() > 0
        assert events(future.result())[-1][0] == "done"
        assert texts_of(http, first) == ["Hello", "Again", "Go on"]
        assert_nothing_is_left_over(server, http)


@pytest.mark.parametrize("fault", ["cut", "held"])
def test_gone_or_silent_and_back(chat_model: Path, tmp_path: Path, fault: Literal["cut", "held"]) -> None:
    with postgresql_database() as url, contextlib.closing(Line("localhost", 5432)) as line:
        through = make_url(url).set(host="127.0.0.1", port=line.port).render_as_string(hide_password=False)
        with serve(tmp_path, model=chat_model, database_url=through) as server, server.client() as http:
            before = str(post(http, input="Hello", seed=1).json()["conversation_id"])
            with in_the_middle_of_a_turn(server, before) as future:
                line.become(fault)
            assert_ends_in_an_error(future.result())
            with ThreadPoolExecutor(24) as pool:  # more than there may be connections
                asked = [pool.submit(post, http, input="Hello") for _ in range(22)]
                asked.append(pool.submit(http.get, f"/conversations/{before}"))
                asked.append(pool.submit(http.delete, f"/conversations/{before}"))
            for answer in asked:
                assert_unavailable(answer.result())
            assert_the_rest_still_works(http)
            line.become("whole")
            assert texts_of(http, before) == ["Hello"]
            server.wait_until(lambda: post(http, input="Again", conversation_id=before).status_code == 200)
            assert_nothing_is_left_over(server, http)


def test_a_service_ends_in_order_while_its_database_says_nothing(chat_model: Path, tmp_path: Path) -> None:
    with postgresql_database() as url, contextlib.closing(Line("localhost", 5432)) as line:
        through = make_url(url).set(host="127.0.0.1", port=line.port).render_as_string(hide_password=False)
        with serve(tmp_path, model=chat_model, database_url=through) as server, server.client() as http:
            before = str(post(http, input="Hello", seed=1).json()["conversation_id"])
            with in_the_middle_of_a_turn(server, before) as future:
                line.become("held")
                server.process.terminate()
            assert_ends_in_an_error(future.result())
            assert server.process.wait(timeout=60) == 0
            assert "WORKER TIMEOUT" not in server.log
            assert "SIGKILL" not in server.log


# -- full ----------------------------------------------------------------------------------------------------


def test_a_full_disk(chat_model: Path, tmp_path: Path) -> None:
    with (
        small_disk(tmp_path, 4096) as disk,
        serve(tmp_path, model=chat_model, database_url=f"sqlite:///{disk}/troika.db") as server,
        server.client() as http,
    ):
        stored = str(post(http, input="Hello").json()["conversation_id"])
        ballast = fill(disk)
        # What SQLite had set aside takes some turns more.
        answers = [post(http, input="x" * 900, max_new_tokens=1)]
        while answers[-1].status_code == 200:
            assert len(answers) < 500, "the disk does not fill"
            answers.append(post(http, input="x" * 900, max_new_tokens=1))
        assert_unavailable(answers[-1])
        assert texts_of(http, stored) == ["Hello"]
        assert_the_rest_still_works(http)
        ballast.unlink()
        assert post(http, input="Again", conversation_id=stored).status_code == 200
        for answer in answers[:-1]:
            assert len(texts_of(http, answer.json()["conversation_id"])) == 1
        with contextlib.closing(sqlite3.connect(disk / "troika.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert_nothing_is_left_over(server, http)
