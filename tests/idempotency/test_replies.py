"""Replies made by threads of one process and followed from another: both on one real database."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from app.idempotency.recording import Event
from app.idempotency.records import Asked, ReplyRecords, StreamGoneError
from app.idempotency.replies import KeptReplies, Make, Making, Task
from app.storage import processes
from app.storage.database import Database

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
    """Makes a reply of these events as it's let; an exception among them is raised."""

    def __init__(self, *events: str | Exception, hold_before: int | None = None) -> None:
        self.events = events
        self.hold_before = hold_before
        self.go_on = threading.Event()
        self.tasks: list[Task] = []

    def __call__(self, task: Task) -> Making:
        self.tasks.append(task)
        return Making(self._make(), lambda: None, {"X-Made": str(len(self.tasks))})

    def _make(self) -> Iterator[Event]:
        for number, event in enumerate(self.events, 1):
            if number == self.hold_before:
                self.go_on.wait()
            if isinstance(event, Exception):
                raise event
            yield Event("last" if number == len(self.events) else "part", event)


def never(task: Task) -> Making:
    raise AssertionError("it is made already")


def hear(replies: KeptReplies, make: Make, start: int = 0, asked: Asked = ASKED) -> list[tuple[int, str]]:
    answer = replies.answer(asked, make)
    return [(number, text) for number, text in answer.after(start, QUIET_S) if number is not None]


def test_who_follows_here_or_there_hears_the_same(here: KeptReplies, there: KeptReplies) -> None:
    maker = Maker("a", "b", "c", hold_before=2)
    answers = [here.answer(ASKED, maker), here.answer(ASKED, never), there.answer(ASKED, never)]
    assert [answer.is_first for answer in answers] == [True, False, False]
    assert [answer.headers for answer in answers] == [{"X-Made": "1"}] * 3
    streams = [(heard for heard in answer.after(0, QUIET_S) if heard[0] is not None) for answer in answers]
    assert [next(stream) for stream in streams] == [(1, "a")] * 3
    maker.go_on.set()
    assert [list(stream) for stream in streams] == [[(2, "b"), (3, "c")]] * 3
    assert hear(there, never, start=2) == [(3, "c")]
    assert hear(here, never, start=3) == []


def test_a_failure_is_told_to_who_asked_first_and_made_good_by_who_follows(
    here: KeptReplies, there: KeptReplies
) -> None:
    maker = Maker("a", ValueError("no more"), hold_before=2)
    first, follower = here.answer(ASKED, maker), there.answer(ASKED, Maker("a", "b"))
    heard = (one for one in follower.after(0, QUIET_S) if one[0] is not None)
    assert next(heard) == (1, "a")
    maker.go_on.set()
    with pytest.raises(ValueError, match="no more"):
        list(first.after(0, QUIET_S))
    assert list(heard) == [(2, "b")]
    assert hear(here, never) == [(1, "a"), (2, "b")]


def test_it_is_made_again_with_the_same_seed_and_name(here: KeptReplies) -> None:
    failing, making = Maker("a", ValueError("no more")), Maker("a", "b")
    with pytest.raises(ValueError, match="no more"):
        hear(here, failing)
    assert hear(here, making, start=1) == [(2, "b")]
    first, second = failing.tasks[0], making.tasks[0]
    assert (first.attempt, first.seed, first.created) == (second.attempt, second.seed, second.created)


@pytest.mark.parametrize("events", [("a", "other", "c"), ("a",)])
def test_what_comes_out_otherwise_is_not_passed_off_as_the_rest(here: KeptReplies, events: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="no more"):
        hear(here, Maker("a", "b", ValueError("no more")))
    with pytest.raises(StreamGoneError):
        hear(here, Maker(*events), start=2)
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
    assert hear(here, never) == [(1, "a"), (2, "b")]
