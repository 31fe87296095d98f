"""Replies made by threads of one process and followed from another: both on one real database."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import make_url, update

from app.idempotency.recording import Event, Place
from app.idempotency.records import Asked, ReplyRecords, StreamGoneError
from app.idempotency.replies import KeptReplies, Make, Making, Task, Write
from app.storage import processes
from app.storage.database import CommitUnknownError, Database
from app.storage.models import Conversation, KeptReply
from tests.line import Line
from tests.storage.support import opened, postgresql_database
from tests.storage.test_database import conversation

ASKED = Asked(owner="", key="a key", fingerprint="f" * 64)
QUIET_S = 0.05


@pytest.fixture
def here(database: Database) -> Iterator[KeptReplies]:
    replies = KeptReplies(ReplyRecords(database, 3600), grace_s=60)
    yield replies
    replies.close()


@pytest.fixture
def there(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeptReplies]:
    """The replies as another process sees them, which can't be seen to be gone."""
    with monkeypatch.context() as patch:
        patch.setattr(processes, "this_process", lambda: "another/host/1/2")
        records = ReplyRecords(database, 3600)
    replies = KeptReplies(records, grace_s=60)
    yield replies
    replies.close()


class Maker:
    """Makes a reply of these events as it's let; an exception among them is raised. Their first digit is the track."""

    def __init__(
        self, *events: str | Exception, hold_before: int | None = None, store: Callable[[Write], None] | None = None
    ) -> None:
        self.events = events
        self.hold_before = hold_before
        self.store = store
        self.go_on = threading.Event()
        self.tasks: list[Task] = []

    def __call__(self, task: Task) -> Making:
        self.tasks.append(task)
        return Making(self._make(), lambda: None, {"X-Made": str(len(self.tasks))}, store=self.store)

    def _make(self) -> Iterator[Event]:
        for number, event in enumerate(self.events, 1):
            if number == self.hold_before:
                self.go_on.wait()
            if isinstance(event, Exception):
                raise event
            is_last = number == len(self.events) or event.startswith("last")
            yield Event("last" if is_last else "part", event, int(event[0]) if event[0].isdigit() else 0)


def never(task: Task) -> Making:
    raise AssertionError("it is made already")


def hear(replies: KeptReplies, make: Make, *start: int, asked: Asked = ASKED) -> list[tuple[Place, str]]:
    answer = replies.answer(asked, make)
    return [(place, text) for place, text in answer.after(start, QUIET_S) if place is not None]


def test_who_follows_here_or_there_hears_the_same(here: KeptReplies, there: KeptReplies) -> None:
    maker = Maker("a", "b", "c", hold_before=2)
    answers = [here.answer(ASKED, maker), here.answer(ASKED, never), there.answer(ASKED, never)]
    assert [answer.is_first for answer in answers] == [True, False, False]
    assert [answer.headers for answer in answers] == [{"X-Made": "1"}] * 3
    streams = [(heard for heard in answer.after((), QUIET_S) if heard[0] is not None) for answer in answers]
    assert [next(stream) for stream in streams] == [((1,), "a")] * 3
    maker.go_on.set()
    assert [list(stream) for stream in streams] == [[((2,), "b"), ((3,), "c")]] * 3
    assert hear(there, never, 2) == [((3,), "c")]
    assert hear(here, never, 3) == []


def test_a_failure_is_told_to_who_asked_first_and_made_good_by_who_follows(
    here: KeptReplies, there: KeptReplies
) -> None:
    maker = Maker("a", ValueError("no more"), hold_before=2)
    first, follower = here.answer(ASKED, maker), there.answer(ASKED, Maker("a", "b"))
    heard = (one for one in follower.after((), QUIET_S) if one[0] is not None)
    assert next(heard) == ((1,), "a")
    maker.go_on.set()
    with pytest.raises(ValueError, match="no more"):
        list(first.after((), QUIET_S))
    assert list(heard) == [((2,), "b")]
    assert hear(here, never) == [((1,), "a"), ((2,), "b")]


def test_it_is_made_again_with_the_same_seed_and_name(here: KeptReplies) -> None:
    failing, making = Maker("a", ValueError("no more")), Maker("a", "b")
    with pytest.raises(ValueError, match="no more"):
        hear(here, failing)
    assert hear(here, making, 1) == [((2,), "b")]
    first, second = failing.tasks[0], making.tasks[0]
    assert (first.attempt, first.seed, first.created) == (second.attempt, second.seed, second.created)


@pytest.mark.parametrize("events", [("a", "other", "c"), ("a",)])
def test_what_comes_out_otherwise_is_not_passed_off_as_the_rest(here: KeptReplies, events: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="no more"):
        hear(here, Maker("a", "b", ValueError("no more")))
    with pytest.raises(StreamGoneError):
        hear(here, Maker(*events), 2)
    assert [text for _, text in hear(here, Maker("x", "y"))] == ["x", "y"]


def test_nobody_waits_for_what_could_not_begin(here: KeptReplies) -> None:
    def refuse(task: Task) -> Making:
        raise ValueError("not now")

    for _ in range(2):
        with pytest.raises(ValueError, match="not now"):
            here.answer(ASKED, refuse)
    assert [text for _, text in hear(here, Maker("a"))] == ["a"]


def test_the_end_waits_for_what_is_being_made(here: KeptReplies) -> None:
    maker = Maker("a", "b", hold_before=2)
    here.answer(ASKED, maker)
    here.drain(0)
    here.close()
    maker.go_on.set()
    here.drain(60)
    assert hear(here, never) == [((1,), "a"), ((2,), "b")]


# -- several tracks ------------------------------------------------------------------------------------------

FAILS = ValueError("no more")


@pytest.mark.parametrize("saved", range(7))
def test_tracks_that_mingle_otherwise_the_next_time_go_on_from_any_place(here: KeptReplies, saved: int) -> None:
    first = ["0a", "1a", "0b", "2a", "1b", "0c"]
    again = ["2a", "2b", "1a", "1b", "1c", "0a", "0b", "0c", "end"]
    with pytest.raises(ValueError, match="no more"):
        hear(here, Maker(*first[:saved], FAILS))
    # What the client heard before the process was lost, of which only a part had been saved.
    places = [(), (1,), (1, 1), (2, 1), (2, 1, 1), (2, 2, 1), (3, 2, 1)]
    for heard in range(saved, len(places)):
        answer = here.answer(ASKED, Maker(*again))
        rest = [text for place, text in answer.after(places[heard], QUIET_S) if place is not None]
        whole = first[:heard] + rest
        assert by_track(whole) == by_track(again)
        assert whole[-1] == "end"


def by_track(texts: list[str]) -> list[list[str]]:
    return [[text for text in texts if text.startswith(track)] for track in "012e"]


def test_the_place_says_how_much_of_each_track_was_heard(here: KeptReplies, there: KeptReplies) -> None:
    texts = ["1a", "0a", "1b", "3a", "end"]
    places = [(0, 1), (1, 1), (1, 2), (1, 2, 0, 1), (2, 2, 0, 1)]
    assert hear(here, Maker(*texts)) == hear(there, never) == list(zip(places, texts, strict=True))
    assert hear(there, never, *places[2]) == list(zip(places, texts, strict=True))[3:]
    assert hear(there, never, *places[4]) == []


def test_a_track_that_comes_out_otherwise_is_not_passed_off_as_the_rest(here: KeptReplies) -> None:
    with pytest.raises(ValueError, match="no more"):
        hear(here, Maker("0a", "1a", "0b", FAILS))
    with pytest.raises(StreamGoneError):
        hear(here, Maker("1other", "0a", "0b", "end"), 2, 1)


# -- the end -------------------------------------------------------------------------------------------------


def test_nobody_hears_an_end_that_is_not_kept_and_it_may_come_out_otherwise(here: KeptReplies) -> None:
    def fail(write: Write) -> None:
        raise ValueError("no more")

    answer = here.answer(ASKED, Maker("a", "last: 1 of 2", "last", store=fail))
    heard = (text for place, text in answer.after((), QUIET_S) if place is not None)
    assert next(heard) == "a"
    with pytest.raises(ValueError, match="no more"):
        next(heard)
    assert [text for _, text in hear(here, Maker("a", "last: 2 of 2", "last"))] == ["a", "last: 2 of 2", "last"]


@pytest.mark.parametrize("refused", [False, True])
def test_what_is_stored_with_the_end_is_not_stored_if_the_reply_is_another_s_by_then(
    here: KeptReplies, there: KeptReplies, database: Database, refused: bool
) -> None:
    """Such as when the process was suspended for longer than its lease; a conversation may have gone on as well."""

    def store(write: Write) -> None:
        if refused:
            raise ValueError("another turn is being made")
        with database.write() as session:
            session.add(conversation("conv_1"))
            session.flush()
            write(session)

    late = Maker("a", "late", hold_before=2, store=store)
    first = here.answer(ASKED, late)
    heard = (text for place, text in first.after((), QUIET_S) if place is not None)
    assert next(heard) == "a"
    with database.write() as session:
        session.execute(update(KeptReply).values(lease_until=KeptReply.created_at, holder="nobody"))
    with database.read() as session:
        assert session.get(Conversation, "conv_1") is None
    assert [text for _, text in hear(there, Maker("a", "in time"))] == ["a", "in time"]
    late.go_on.set()
    assert list(heard) == ["in time"]  # who asked first follows whoever makes it now
    with database.read() as session:
        assert session.get(Conversation, "conv_1") is None


@pytest.mark.parametrize("happened", [False, True])
def test_an_end_is_told_if_it_was_kept_though_the_answer_to_its_commit_was_lost(happened: bool) -> None:
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(postgresql_database())
        line = stack.enter_context(contextlib.closing(Line("localhost", 5432)))
        through = make_url(url).set(host="127.0.0.1", port=line.port).render_as_string(hide_password=False)
        database, cut_off = (stack.enter_context(opened(each)) for each in (url, through))
        replies = stack.enter_context(contextlib.closing(KeptReplies(ReplyRecords(database, 3600), grace_s=60)))

        def store(write: Write) -> None:
            with cut_off.write() as session:
                write(session)
                line.cut_at(b"COMMIT", passed_on=happened)

        maker = Maker("a", "b", hold_before=2, store=store)
        answer = replies.answer(ASKED, maker)
        maker.go_on.set()
        heard = (text for place, text in answer.after((), QUIET_S) if place is not None)
        assert next(heard) == "a"
        if happened:
            assert list(heard) == ["b"]
        else:
            with pytest.raises(CommitUnknownError):
                next(heard)
            assert [text for _, text in hear(replies, Maker("a", "b"))] == ["a", "b"]
