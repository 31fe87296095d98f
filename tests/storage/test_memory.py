"""Conversations in a real database: whole turns, one at a time, for their owner only, until they are erased."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, func, select, update
from sqlalchemy.exc import DataError

from app.chat import memory as memory_module
from app.chat.memory import (
    CONVERSATION_ID,
    LEASE_S,
    ConversationBusyError,
    ConversationNotFoundError,
    Lease,
    Memory,
    StoredTurn,
)
from app.chat.prompt import Message
from app.storage import processes
from app.storage.database import Database, DatabaseUnavailableError
from app.storage.models import Conversation, Turn
from tests.storage.support import opened
from tests.storage.test_database import locked

ROOT = Path(__file__).parents[2]


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextlib.contextmanager
def remembering(database: Database, **options: object) -> Iterator[Memory]:
    """A memory without its housekeeping, so that the test says when that is done."""
    memory = Memory(database, **options)
    memory.close()
    yield memory


@pytest.fixture
def memory(database: Database, clock: Clock) -> Iterator[Memory]:
    with remembering(database, now=clock) as memory:
        yield memory


def turn(user: str = "Hello", reply: str = "Hi!", **values: object) -> StoredTurn:
    defaults = {
        "system": None,
        "complete": True,
        "finish_reason": "stop",
        "model": "gpt2",
        "seed": 7,
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "cached_tokens": 1,
        "created_at": datetime(2026, 11, 23, tzinfo=UTC),
    }
    return StoredTurn(user=user, reply=reply, **defaults | values)


def begin(memory: Memory, conversation_id: str | None = None, owner: str = "", max_turns: int = 1024) -> Lease:
    return memory.begin(conversation_id, owner, "gpt2", max_turns)


def say(memory: Memory, conversation_id: str | None, *turns: StoredTurn, owner: str = "") -> str:
    """Add turns to a conversation, or begin one with them; returns its id."""
    for each in turns:
        lease = begin(memory, conversation_id, owner)
        memory.store(lease, each)
        conversation_id = lease.conversation_id
    assert conversation_id is not None
    return conversation_id


def rows(database: Database) -> tuple[int, int]:
    """How many conversations and turns there are."""
    with database.read() as session:
        count = [session.scalar(select(func.count()).select_from(table)) for table in (Conversation, Turn)]
    return count[0] or 0, count[1] or 0


# -- remembering ---------------------------------------------------------------------------------------------


def test_a_conversation_survives_a_restart(database_url: str) -> None:
    turns = [turn("My name is Lin.", "Hello, Lin!", system="Be kind."), turn("And\0 yours? 😀", "I am\x1b a model.")]
    with opened(database_url) as database, remembering(database) as memory:
        conversation_id = say(memory, None, *turns)
    with opened(database_url) as database, remembering(database) as memory:
        found = memory.read(conversation_id, "")
        assert (found.id, found.model, found.busy, found.turns) == (conversation_id, "gpt2", False, turns)
        assert begin(memory, conversation_id).messages("What is my name?") == [
            Message("system", "Be kind."),
            Message("user", "My name is Lin."),
            Message("assistant", "Hello, Lin!"),
            Message("user", "And\0 yours? 😀"),
            Message("assistant", "I am\x1b a model."),
            Message("user", "What is my name?"),
        ]


def test_a_replaced_turn_is_not_seen_and_stays_until_the_new_one_is_stored(memory: Memory) -> None:
    first, second = turn("My name is Lin.", "Hello!", system="Be kind."), turn("Who am I?", "Lin.", system="Be brief.")
    conversation_id = say(memory, None, first, second)
    given_up = memory.begin(conversation_id, "", "gpt2", 1024, replace_last=True)
    memory.release(given_up)
    assert memory.read(conversation_id, "").turns == [first, second]
    lease = memory.begin(conversation_id, "", "gpt2", 1024, replace_last=True)
    assert (lease.turns, lease.system, lease.replaced) == ([first], "Be kind.", second)
    memory.store(lease, turn("Who am I?", "You are Lin."))
    assert memory.read(conversation_id, "").turns == [first, turn("Who am I?", "You are Lin.")]
    few = memory.begin(conversation_id, "", "gpt2", 1, replace_last=True)
    assert (few.turns, few.earlier) == ([first], 0)


def test_a_conversation_that_has_no_turn_has_none_to_replace(memory: Memory, clock: Clock) -> None:
    lease = begin(memory)
    clock.advance(seconds=LEASE_S + 1)
    with pytest.raises(ConversationNotFoundError, match="no turn to replace"):
        memory.begin(lease.conversation_id, "", "gpt2", 1, replace_last=True)


def test_ids_are_long_and_never_the_same(memory: Memory) -> None:
    ids = {say(memory, None, turn()) for _ in range(5)}
    assert len(ids) == 5
    assert all(CONVERSATION_ID.fullmatch(conversation_id) for conversation_id in ids)


def test_a_system_message_holds_until_another_or_an_empty_one_is_given(memory: Memory) -> None:
    def in_force(system: str | None) -> list[str]:
        lease = begin(memory, conversation_id)
        memory.release(lease)
        return [message.content for message in lease.messages("?", system) if message.role == "system"]

    conversation_id = say(memory, None, turn(system="Be kind."), turn(), turn())
    assert (in_force(None), in_force("Be brief."), in_force("")) == (["Be kind."], ["Be brief."], [])
    say(memory, conversation_id, turn(system="Be brief."), turn())
    assert in_force(None) == ["Be brief."]
    say(memory, conversation_id, turn(system=""), turn())
    assert in_force(None) == []


def test_no_more_turns_are_read_than_asked_for_and_the_system_message_stays(memory: Memory) -> None:
    conversation_id = say(memory, None, turn("0", system="Be kind."), *(turn(str(i)) for i in range(1, 10)))
    lease = begin(memory, conversation_id, max_turns=3)
    assert [each.user for each in lease.turns] == ["7", "8", "9"]
    assert (lease.earlier, lease.system) == (7, "Be kind.")


def test_a_turn_that_cannot_be_stored_is_not_stored_in_part(database: Database, memory: Memory) -> None:
    conversation_id = say(memory, None, turn())
    before = memory.read(conversation_id, "")
    with pytest.raises((OverflowError, DataError)) as caught:
        say(memory, conversation_id, turn("private words", model="other", seed=2**70))
    assert "private words" not in str(caught.value)
    after = memory.read(conversation_id, "")
    assert (after.turns, after.model, after.updated_at) == (before.turns, before.model, before.updated_at)
    assert rows(database) == (1, 1)


def test_only_what_was_said_waits_for_the_disk(tmp_path: Path) -> None:
    """Under a rush most requests are refused after they took a lease: on a disk that takes its time, that adds up."""
    with opened(f"sqlite:///{tmp_path}/troika.db") as database, remembering(database) as memory:
        waits: list[str] = []

        def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if statement.startswith("PRAGMA synchronous=") and threading.current_thread() is threading.main_thread():
                waits.append(statement.partition("=")[2])

        event.listen(database.engine, "before_cursor_execute", note)
        memory.release(begin(memory))
        assert waits == ["NORMAL", "NORMAL"]
        lease = begin(memory)
        memory.renew()
        memory.store(lease, turn())
        assert waits[2:] == ["NORMAL", "NORMAL", "FULL"]
        memory.erase(lease.conversation_id, "")
        assert waits[5:] == ["FULL"]


def test_a_locked_database_is_said_to_be_unavailable(database_url: str) -> None:
    with opened(database_url, timeout_s=0.2) as database, remembering(database) as memory:
        with locked(database), pytest.raises(DatabaseUnavailableError):
            begin(memory)
        say(memory, None, turn())


# -- one turn at a time --------------------------------------------------------------------------------------


def test_a_second_turn_at_once_is_refused_and_a_later_one_is_not(memory: Memory) -> None:
    conversation_id = say(memory, None, turn())
    lease = begin(memory, conversation_id)
    assert memory.read(conversation_id, "").busy
    with pytest.raises(ConversationBusyError, match=conversation_id):
        begin(memory, conversation_id)
    memory.store(lease, turn("second"))
    assert [each.user for each in memory.read(conversation_id, "").turns] == ["Hello", "second"]
    memory.release(begin(memory, conversation_id))
    assert not memory.read(conversation_id, "").busy


def test_of_many_at_once_exactly_one_begins(database: Database, memory: Memory) -> None:
    conversation_id = say(memory, None, turn())

    def attempt(_: int) -> bool:
        try:
            begin(memory, conversation_id)
        except ConversationBusyError:
            return False
        return True

    with ThreadPoolExecutor(12) as threads:
        assert sum(threads.map(attempt, range(12))) == 1


def test_a_first_turn_that_comes_to_nothing_leaves_no_conversation(database: Database, memory: Memory) -> None:
    memory.release(begin(memory))
    assert rows(database) == (0, 0)


def test_a_lease_that_nobody_renews_expires(database: Database, memory: Memory, clock: Clock) -> None:
    conversation_id = say(memory, None, turn())
    begin(memory, conversation_id)
    clock.advance(seconds=LEASE_S - 1)
    with pytest.raises(ConversationBusyError):
        begin(memory, conversation_id)
    clock.advance(seconds=2)
    begin(memory, conversation_id)


def test_a_lease_is_renewed_but_not_for_ever(database: Database, clock: Clock) -> None:
    with remembering(database, now=clock, longest_turn_s=60) as memory:
        conversation_id = say(memory, None, turn())
        begin(memory, conversation_id)
        for _ in range(6):
            clock.advance(seconds=10)
            with pytest.raises(ConversationBusyError):
                begin(memory, conversation_id)
            memory.renew()
        clock.advance(seconds=LEASE_S)
        memory.renew()
        begin(memory, conversation_id)


def test_the_background_renews_leases(database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "RENEWAL_S", 0.01)
    renewals = threading.Semaphore(0)
    monkeypatch.setattr(Memory, "renew", lambda self: renewals.release())
    memory = Memory(database, now=clock)
    try:
        for _ in range(3):
            assert renewals.acquire(timeout=30)
    finally:
        memory.close()
    assert not memory._keeper.is_alive()


def test_who_lost_the_lease_cannot_store_and_does_no_harm(memory: Memory, clock: Clock) -> None:
    conversation_id = say(memory, None, turn())
    slow = begin(memory, conversation_id)
    clock.advance(seconds=LEASE_S + 1)
    quick = begin(memory, conversation_id)
    with pytest.raises(ConversationBusyError, match="went on without"):
        memory.store(slow, turn("slow"))
    memory.release(slow)
    assert memory.read(conversation_id, "").busy
    memory.store(quick, turn("quick"))
    assert [each.user for each in memory.read(conversation_id, "").turns] == ["Hello", "quick"]


def test_a_lease_that_expired_but_was_not_taken_still_stores(memory: Memory, clock: Clock) -> None:
    conversation_id = say(memory, None, turn())
    slow = begin(memory, conversation_id)
    clock.advance(seconds=LEASE_S + 1)
    memory.store(slow, turn("slow"))
    assert len(memory.read(conversation_id, "").turns) == 2


@pytest.mark.skipif(not Path("/proc/self/ns/pid").exists(), reason="only Linux tells whether a process is gone")
def test_the_mark_of_a_process_that_died_counts_for_nothing(
    database_url: str, database: Database, memory: Memory
) -> None:
    conversation_id = say(memory, None, turn())
    program = """
import sys
from flask import Flask
from app.chat.memory import Memory
from app.storage.database import Database
Memory(Database(Flask("x"), sys.argv[1])).begin(sys.argv[2], "", "gpt2", 1)
print("begun", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, database_url, conversation_id],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"begun\n"
        with remembering(database) as now:  # the other process goes by the clock on the wall
            with pytest.raises(ConversationBusyError):
                begin(now, conversation_id)
            os.kill(other.pid, signal.SIGKILL)
            os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # dead, but not yet reaped
            lease = begin(now, conversation_id)
            now.store(lease, turn("after the crash"))
    assert [each.user for each in memory.read(conversation_id, "").turns] == ["Hello", "after the crash"]


def test_of_a_process_elsewhere_nobody_knows_whether_it_is_gone(
    database: Database, memory: Memory, clock: Clock
) -> None:
    conversation_id = say(memory, None, turn())
    begin(memory, conversation_id)
    with database.write() as session:
        session.execute(update(Conversation).values(busy_process="another-boot/pid:[1]/7/100"))
    with pytest.raises(ConversationBusyError):
        begin(memory, conversation_id)
    clock.advance(seconds=LEASE_S + 1)
    begin(memory, conversation_id)


def test_processes_are_told_apart() -> None:
    me = processes.this_process()
    assert not processes.is_gone(me)
    for unknown in ("", "x", "a/b/c/d", "0123456789abcdef"):
        assert not processes.is_gone(unknown)
    if me.count("/") == 3:
        boot_and_namespace, pid, start = me.rsplit("/", 2)
        assert processes.is_gone(f"{boot_and_namespace}/{pid}/{int(start) + 1}")
        assert processes.is_gone(f"{boot_and_namespace}/{2**22 + 1}/{start}")


def test_a_turn_that_the_database_was_not_there_for_does_not_hold_its_conversation(
    database_url: str, clock: Clock
) -> None:
    with opened(database_url, timeout_s=0.2) as database, remembering(database, now=clock) as memory:
        conversation_id = say(memory, None, turn())
        stored, released, new = begin(memory, conversation_id), begin(memory), begin(memory)
        with locked(database):
            for end in (lambda: memory.store(stored, turn()), lambda: memory.store(new, turn())):
                with pytest.raises(DatabaseUnavailableError):
                    end()
            with pytest.raises(DatabaseUnavailableError):
                memory.release(released)
            with pytest.raises(DatabaseUnavailableError):
                memory.release_left()
        assert memory.read(conversation_id, "").busy
        memory.release_left()
        assert not memory.read(conversation_id, "").busy
        assert rows(database) == (1, 1)


def test_a_lease_that_was_left_and_ran_out_is_the_next_one_s(database_url: str, clock: Clock) -> None:
    with opened(database_url, timeout_s=0.2) as database, remembering(database, now=clock) as memory:
        conversation_id = say(memory, None, turn())
        lost = begin(memory, conversation_id)
        with locked(database), pytest.raises(DatabaseUnavailableError):
            memory.store(lost, turn())
        clock.advance(seconds=LEASE_S + 1)
        next_one = begin(memory, conversation_id)
        memory.release_left()
        memory.store(next_one, turn("mine"))
        assert [each.user for each in memory.read(conversation_id, "").turns] == ["Hello", "mine"]


# -- owners --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "conversation_id",
    ["", "conv_", "conv_" + "0" * 32, "conv_\0", "conv_" + "0" * 32 + "\n", "'; DROP TABLE turns; --"],
)
def test_an_unknown_id_is_not_found(memory: Memory, conversation_id: str) -> None:
    for ask in (memory.read, memory.erase, lambda found, owner: begin(memory, found, owner)):
        with pytest.raises(ConversationNotFoundError):
            ask(conversation_id, "")


def test_a_foreign_conversation_is_not_found_and_not_touched(memory: Memory) -> None:
    conversation_id = say(memory, None, turn(), owner="lin")
    for ask in (memory.read, memory.erase, lambda found, owner: begin(memory, found, owner)):
        with pytest.raises(ConversationNotFoundError) as foreign:
            ask(conversation_id, "mallory")
        with pytest.raises(ConversationNotFoundError) as unknown:
            ask("conv_" + "0" * 32, "mallory")
        assert str(foreign.value) == str(unknown.value)
    found = memory.read(conversation_id, "lin")
    assert (len(found.turns), found.busy) == (1, False)


# -- erasing -------------------------------------------------------------------------------------------------


def test_erased_is_gone_with_all_its_turns_and_no_other(database: Database, memory: Memory) -> None:
    doomed, kept = say(memory, None, turn(), turn()), say(memory, None, turn())
    memory.erase(doomed, "")
    assert rows(database) == (1, 1)
    assert len(memory.read(kept, "").turns) == 1
    with pytest.raises(ConversationNotFoundError):
        memory.read(doomed, "")


def test_erased_words_are_in_no_file_of_sqlite(tmp_path: Path) -> None:
    def on_disk() -> bytes:
        return b"".join(file.read_bytes() for file in tmp_path.iterdir())

    secret = "a rather unlikely secret"
    with opened(f"sqlite:///{tmp_path}/troika.db") as database, remembering(database) as memory:
        conversation_id = say(memory, None, turn(secret, secret.upper() * 1000, system=secret.title()), turn(secret))
        say(memory, None, turn())
        assert secret.encode() in on_disk()
        memory.erase(conversation_id, "")
        assert secret.encode() not in on_disk().lower()


def test_what_a_reader_kept_from_being_cleared_is_cleared_later(tmp_path: Path) -> None:
    url, wal = f"sqlite:///{tmp_path}/troika.db", tmp_path / "troika.db-wal"
    with opened(url, timeout_s=0.2) as database, remembering(database) as memory:
        conversation_id = say(memory, None, turn("a rather unlikely secret"))
        with database.read() as reader:
            assert reader.scalar(select(func.count()).select_from(Turn)) == 1
            memory.erase(conversation_id, "")
            assert b"unlikely" in wal.read_bytes()
        memory._scrub()
        assert wal.read_bytes() == b""


def test_erasing_wins_over_a_turn_that_is_being_made(database: Database, memory: Memory) -> None:
    conversation_id = say(memory, None, turn())
    lease = begin(memory, conversation_id)
    memory.erase(conversation_id, "")
    memory.store(lease, turn("too late"))
    assert rows(database) == (0, 0)


def test_only_what_is_over_the_age_limit_is_purged(database: Database, clock: Clock) -> None:
    with remembering(database, now=clock, max_age_days=30) as memory:
        old, used, busy = (say(memory, None, turn()) for _ in range(3))
        clock.advance(days=29)
        say(memory, used, turn("still here"))
        assert memory.purge() == 0
        clock.advance(days=2)
        begin(memory, busy)
        assert memory.purge() == 1
        with pytest.raises(ConversationNotFoundError):
            memory.read(old, "")
        assert len(memory.read(used, "").turns) == 2
        assert memory.read(busy, "").busy


def test_without_an_age_limit_everything_is_kept(memory: Memory, clock: Clock) -> None:
    conversation_id = say(memory, None, turn())
    clock.advance(days=36_500)
    assert memory.purge() == 0
    memory.read(conversation_id, "")


def test_a_conversation_that_a_crash_kept_from_beginning_is_purged(
    database: Database, memory: Memory, clock: Clock
) -> None:
    begin(memory)
    assert memory.purge() == 0
    clock.advance(seconds=LEASE_S + 1)
    assert memory.purge() == 1
    assert rows(database) == (0, 0)


def test_the_start_purges(database: Database, clock: Clock) -> None:
    with remembering(database, now=clock) as memory:
        say(memory, None, turn())
    clock.advance(days=2)
    with remembering(database, now=clock, max_age_days=1):
        pass
    assert rows(database) == (0, 0)
