"""Replies under keys in a real database: one makes each, whoever is lost is replaced, and each has its time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from app.chat.memory import Memory
from app.idempotency.records import (
    LEASE_S,
    Asked,
    Kept,
    KeyReusedError,
    Lease,
    LeaseLostError,
    Part,
    ReplyRecords,
    StreamGoneError,
)
from app.storage import processes
from app.storage.database import Database
from app.storage.models import KeptPiece, KeptReply
from tests.jobs.test_records import Clock
from tests.storage.test_memory import remembering

ASKED = Asked(owner="alice", key="a key", fingerprint="f" * 64)
AGE_S = 3600.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def records(database: Database, clock: Clock) -> ReplyRecords:
    return ReplyRecords(database, AGE_S, now=clock)


@pytest.fixture
def elsewhere(database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReplyRecords]:
    """The records as a process on another host sees them."""
    with monkeypatch.context() as patch:
        patch.setattr(processes, "this_process", lambda: "another/host/1/2")
        yield ReplyRecords(database, AGE_S, now=clock)


def claimed(records: ReplyRecords, asked: Asked = ASKED) -> Lease:
    found = records.claim(asked)
    assert isinstance(found, Lease)
    return found


def kept(records: ReplyRecords, asked: Asked = ASKED) -> Kept:
    found = records.claim(asked)
    assert isinstance(found, Kept)
    return found


def part(lease: Lease, texts: list[str], ends_at: int) -> Part:
    """Of a reply with one track."""
    return Part(lease, [(0, text) for text in texts], ends_at)


def events(records: ReplyRecords, start: int = 0) -> tuple[str, ...]:
    found = records.read(ASKED.id, start)
    assert found
    return tuple(text for _, text in found.events)


def test_a_reply_is_made_by_one_and_read_by_all_from_any_event_on(
    records: ReplyRecords, elsewhere: ReplyRecords
) -> None:
    lease = claimed(records)
    assert kept(elsewhere).headers is None
    records.begun(lease, {"X": "1"}, None)
    records.save([part(lease, ["a\0", "b"], 2), part(lease, [], 2)])
    records.save([part(lease, ["c", "d", "e"], 5)])
    assert kept(elsewhere).headers == {"X": "1"}
    assert [events(elsewhere, start) for start in range(6)] == [tuple(["a\0", *"bcde"][start:]) for start in range(6)]
    assert not kept(elsewhere).done
    records.end(part(lease, ["f"], 6))
    assert kept(elsewhere).done
    assert events(elsewhere, 4) == ("e", "f")


def test_of_many_who_ask_at_once_one_makes_it(records: ReplyRecords) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: records.claim(ASKED), range(16)))
    assert sum(isinstance(one, Lease) for one in found) == 1
    assert len({one.attempt for one in found}) == 1


def test_another_request_is_refused_and_another_owner_has_keys_of_their_own(records: ReplyRecords) -> None:
    lease = claimed(records)
    with pytest.raises(KeyReusedError):
        records.claim(replace(ASKED, fingerprint="0" * 64))
    assert claimed(records, replace(ASKED, owner="bob")).attempt != lease.attempt
    assert claimed(records, replace(ASKED, key="another key")).attempt != lease.attempt


def test_a_lease_that_is_not_renewed_goes_to_the_next_with_all_there_is(
    records: ReplyRecords, elsewhere: ReplyRecords, clock: Clock
) -> None:
    lost = claimed(elsewhere)
    elsewhere.begun(lost, {}, None)
    elsewhere.save([part(lost, ["a"], 1)])
    clock.advance(LEASE_S - 1)
    elsewhere.save([part(lost, ["b"], 2)])
    clock.advance(LEASE_S - 1)
    assert kept(records).is_held
    clock.advance(2)
    lease = claimed(records, replace(ASKED, attempt=lost.attempt))
    assert (lease.attempt, lease.seed, lease.created_at) == (lost.attempt, lost.seed, lost.created_at)
    assert lease.events == ((0, "a"), (0, "b"))
    # Whoever was only suspended can't write any more.
    assert elsewhere.save([part(lost, ["c"], 3)]) == {}
    with pytest.raises(LeaseLostError):
        elsewhere.begun(lost, {"X": "2"}, None)
    assert not elsewhere.give_up(lost, forget=True)
    assert events(records) == ("a", "b")
    records.end(part(lease, ["c"], 3))
    assert kept(records).done


def test_what_was_given_up_is_made_again_at_once(records: ReplyRecords) -> None:
    lease = claimed(records)
    records.save([part(lease, ["a"], 1)])
    assert records.give_up(lease, forget=False)
    again = claimed(records)
    assert (again.attempt, again.events) == (lease.attempt, ((0, "a"),))
    records.give_up(again, forget=True)
    assert records.read(ASKED.id, 0) is None


def test_every_event_keeps_its_track(records: ReplyRecords, elsewhere: ReplyRecords) -> None:
    lease = claimed(records)
    mingled = [(0, "a"), (2, "b"), (0, "c"), (1, "d"), (2, "e")]
    records.save([Part(lease, mingled[:3], 3)])
    records.save([Part(lease, mingled[3:], 5)])
    found = [elsewhere.read(ASKED.id, start) for start in range(6)]
    assert [kept.events for kept in found if kept] == [tuple(mingled[start:]) for start in range(6)]


def test_what_is_saved_twice_is_there_once(records: ReplyRecords) -> None:
    """When the answer to a commit is lost, what it saved is saved again, with what has come since."""
    lease = claimed(records)
    for texts in ("ab", "ab", "abcd"):
        records.save([part(lease, list(texts), len(texts))])
    records.save([part(lease, ["e"], 5)])
    assert [events(records, start) for start in range(6)] == [tuple("abcde"[start:]) for start in range(6)]


def test_a_stream_that_is_not_there_does_not_go_on(records: ReplyRecords) -> None:
    with pytest.raises(StreamGoneError):
        records.claim(replace(ASKED, attempt="0" * 24))
    lease = claimed(records)
    with pytest.raises(StreamGoneError):
        records.claim(replace(ASKED, attempt="0" * 24))
    assert kept(records, replace(ASKED, attempt=lease.attempt)).attempt == lease.attempt


def test_replies_are_kept_for_their_time(records: ReplyRecords, database: Database, clock: Clock) -> None:
    old = claimed(records)
    records.end(part(old, ["a"], 1))
    running = claimed(records, replace(ASKED, key="it runs"))
    clock.advance(AGE_S - 1)
    records.save([part(running, ["a"], 1)])
    assert kept(records).done
    assert records.purge() == 0
    clock.advance(2)
    assert records.purge() == 1  # what is being made is left alone
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(KeptReply)) == 1
        assert session.scalar(select(func.count()).select_from(KeptPiece)) == 1
    assert claimed(records).attempt != old.attempt


def test_over_its_time_a_reply_counts_for_nothing_though_it_is_still_there(records: ReplyRecords, clock: Clock) -> None:
    old = claimed(records)
    records.end(part(old, ["a"], 1))
    clock.advance(AGE_S + 1)
    fresh = claimed(records, replace(ASKED, fingerprint="0" * 64))
    assert fresh.attempt != old.attempt
    assert events(records) == ()


def test_that_another_process_follows_is_heard_by_the_one_that_makes_it(
    records: ReplyRecords, elsewhere: ReplyRecords, clock: Clock
) -> None:
    lease = claimed(records)
    assert records.save([part(lease, [], 0)]) == {lease.holder: None}
    elsewhere.follow(ASKED.id)
    assert records.save([part(lease, [], 0)]) == {lease.holder: clock.now}


def test_with_a_conversation_its_replies_are_erased_also_those_being_made(
    records: ReplyRecords, database: Database
) -> None:
    memory = Memory(database)
    memory.close()
    turn = memory.begin(None, "alice", "gpt2", 10)
    lease = claimed(records)
    records.begun(lease, {}, turn.conversation_id)
    memory.erase(turn.conversation_id, "alice")
    assert records.read(ASKED.id, 0) is None
    with pytest.raises(LeaseLostError):
        records.end(part(lease, ["a"], 1))
    late = claimed(records)
    with pytest.raises(LeaseLostError):
        records.begun(late, {}, turn.conversation_id)


def test_a_conversation_that_did_not_come_to_its_first_turn_is_purged_but_not_what_was_said_of_it(
    records: ReplyRecords, database: Database, clock: Clock
) -> None:
    with remembering(database, now=clock) as memory:
        turn = memory.begin(None, "alice", "gpt2", 10)
        lease = claimed(records)
        records.begun(lease, {}, turn.conversation_id)
        records.save([part(lease, ["a"], 1)])
        clock.advance(LEASE_S + 1)
        assert memory.purge() == 1
        again = claimed(records, replace(ASKED, attempt=lease.attempt))
        assert (again.conversation_id, again.events) == (turn.conversation_id, ((0, "a"),))
        turn = memory.begin(None, "alice", "gpt2", 10, new_id=again.conversation_id)
        assert turn.conversation_id == again.conversation_id
