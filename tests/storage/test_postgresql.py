"""A PostgreSQL that keeps its connections open and says nothing: an error after a while, and all well afterwards."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import make_url, text, update

from app.storage.database import CommitUnknownError, Database, DatabaseError, DatabaseUnavailableError
from app.storage.inspection import inspect
from app.storage.models import Conversation
from tests.line import Line
from tests.storage.support import opened, postgresql_database
from tests.storage.test_database import conversation
from tests.storage.test_memory import begin, remembering, rows, turn

TIMEOUT_S = 0.2


@pytest.fixture
def line() -> Iterator[Line]:
    with contextlib.closing(Line("localhost", 5432)) as line:
        yield line


@pytest.fixture
def url() -> Iterator[str]:
    with postgresql_database() as url:
        yield url


@pytest.fixture
def through(url: str, line: Line) -> str:
    """The same database by way of the line."""
    return make_url(url).set(host="127.0.0.1", port=line.port).render_as_string(hide_password=False)


def rename(database: Database, model: str) -> None:
    with database.write() as session:
        session.execute(update(Conversation).values(model=model))


def name(database: Database) -> str:
    with database.read() as session:
        return session.get_one(Conversation, "conv_1").model


def add_conversation(database: Database) -> None:
    with database.write() as session:
        session.add(conversation())


def fall_silent_in_the_middle(database: Database, line: Line) -> None:
    with database.write() as session:
        session.execute(update(Conversation).values(model="never"))
        line.become("held")
        session.execute(text("SELECT 1"))


def assert_refused(database: Database) -> None:
    with pytest.raises(DatabaseUnavailableError, match="can't be reached"):
        name(database)


def test_silence_before_the_handshake_refuses_the_start_with_a_sentence(through: str, line: Line) -> None:
    line.become("held")
    with pytest.raises(DatabaseError, match=r"TROIKA_DATABASE_URL=.* can't be used: .*timeout"), opened(through, 0.2):
        pass
    with pytest.raises(DatabaseError, match="timeout"):
        inspect(through, TIMEOUT_S)


def test_silence_on_idle_connections_is_an_error_for_each_and_over_when_it_is_over(through: str, line: Line) -> None:
    with opened(through, TIMEOUT_S) as database, ThreadPoolExecutor(10) as pool:
        add_conversation(database)
        list(pool.map(name, [database] * 10))  # several connections
        line.become("held")
        list(pool.map(assert_refused, [database] * 30))
        line.become("whole")
        assert list(pool.map(name, [database] * 30)) == ["gpt2"] * 30


def test_silence_in_the_middle_of_a_transaction_ends_it(through: str, line: Line) -> None:
    with opened(through, TIMEOUT_S) as database:
        add_conversation(database)
        with pytest.raises(DatabaseUnavailableError) as caught:
            fall_silent_in_the_middle(database, line)
        assert "did not reply within 1.4 s" in str(caught.value.__cause__)
        line.become("whole")
        assert name(database) == "gpt2"


def test_what_a_silent_client_had_locked_is_free_after_a_while(url: str, through: str, line: Line) -> None:
    """The server can't see either that the other side is gone for good."""
    with opened(url, TIMEOUT_S) as database, opened(through, TIMEOUT_S) as cut_off:
        add_conversation(database)
        with pytest.raises(DatabaseUnavailableError):
            fall_silent_in_the_middle(cut_off, line)
        deadline = time.monotonic() + 30
        while name(database) != "in time":
            with contextlib.suppress(DatabaseUnavailableError):
                rename(database, "in time")
            assert time.monotonic() < deadline


def test_what_takes_long_but_is_answered_is_waited_for(through: str) -> None:
    with opened(through, TIMEOUT_S) as database, database.read() as session:
        assert session.execute(text("SELECT 1 FROM pg_sleep(:s)"), {"s": 4 * TIMEOUT_S}).scalar() == 1


def test_the_server_s_own_limit_comes_first(through: str) -> None:
    with opened(through, TIMEOUT_S) as database:
        with pytest.raises(DatabaseUnavailableError) as caught, database.read() as session:
            session.execute(text("SELECT pg_sleep(60)"))
        assert "statement timeout" in str(caught.value.__cause__)


# -- commits whose answer is lost ----------------------------------------------------------------------------


@pytest.mark.parametrize("happened", [False, True])
def test_a_commit_whose_answer_is_lost_is_in_doubt(through: str, line: Line, happened: bool) -> None:
    with opened(through) as database:
        add_conversation(database)
        line.cut_at(b"COMMIT", passed_on=happened)
        with pytest.raises(CommitUnknownError):
            rename(database, "another")
        assert name(database) == ("another" if happened else "gpt2")


@pytest.mark.parametrize("replaced", [False, True])
def test_a_turn_that_was_stored_is_found_to_be_though_nobody_said_so(through: str, line: Line, replaced: bool) -> None:
    with opened(through) as database, remembering(database) as memory:
        lease = begin(memory)
        if replaced:
            memory.store(lease, turn("And?", "So!"))
            lease = memory.begin(lease.conversation_id, "", "gpt2", 10, replace_last=True)
        line.cut_at(b"COMMIT", passed_on=True)
        memory.store(lease, turn(seed=8))
        assert memory.read(lease.conversation_id, "").turns == [turn(seed=8)]
        assert memory.counts().running == 0
        begin(memory, lease.conversation_id)


def test_a_turn_that_was_not_stored_is_said_not_to_be(through: str, line: Line) -> None:
    with opened(through) as database, remembering(database) as memory:
        lease = begin(memory)
        line.cut_at(b"COMMIT", passed_on=False)
        with pytest.raises(CommitUnknownError, match="look whether"):
            memory.store(lease, turn())
        assert rows(database) == (1, 0)
        memory.store(lease, turn())
        assert rows(database) == (1, 1)


def test_a_turn_of_which_nothing_can_be_found_out_is_said_to_be_in_doubt(
    through: str, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(through, TIMEOUT_S) as database, remembering(database) as memory:
        lease = begin(memory)
        with monkeypatch.context() as patch:
            patch.setattr(memory, "_add", lambda *_: line.become("cut"))
            with pytest.raises(CommitUnknownError, match="look whether"):
                memory.store(lease, turn())
