"""The replies under keys as one process sees them: it makes some, follows others, and keeps house.

A reply is made by a thread of its own, which goes on when the client that asked first has gone: whoever asks again
follows it, in this process from memory, in any other through the database, a fraction of a second behind.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from sqlalchemy.orm import Session

from app.idempotency.recording import Event, Heard, Listener, Place, Recording
from app.idempotency.records import LEASE_S, Asked, Kept, LeaseLostError, ReplyRecords, StreamGoneError
from app.storage.database import DatabaseError

log = logging.getLogger(__name__)

SAVE_S = 0.25  # between two writes of what is being made
POLL_S = 0.25  # between two looks at what another process makes
RENEWAL_S = LEASE_S / 5
PURGE_S = 600.0


class RepliesClosedError(Exception):
    """The service ends."""


Write = Callable[[Session], None]


@dataclass(frozen=True, slots=True)
class Making:
    """A reply that has begun. Its `events` end with the last ones, or before that if nobody wants them any more.

    `store`, where there is one, stores what the reply is besides, and in the same transaction calls what it's given:
    there must be no end without it, nor it without the end. `close` gives up what is not finished.
    """

    events: Iterator[Event]
    close: Callable[[], None]
    headers: dict[str, str] = field(default_factory=dict)
    conversation_id: str | None = None
    store: Callable[[Write], None] | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What a reply is to be made with: the same each time it has to be made again."""

    attempt: str
    seed: int
    created: int
    """Seconds since 1970."""
    conversation_id: str | None
    """What an earlier try to make it said of whose turn it is."""
    is_gone: Callable[[], bool]
    """Whether to give it up."""


Make = Callable[[Task], Making]


class Source(Protocol):
    """Where a reply comes from."""

    attempt: str
    is_done: bool

    def headers(self) -> dict[str, str] | None: ...
    def after(self, start: Place, quiet_s: float) -> Iterator[Heard]: ...


class KeptReplies:
    """Makes each reply once. One that nobody follows for `grace_s` is given up. `close` it in the end."""

    def __init__(self, records: ReplyRecords, grace_s: float, scrub: Callable[[], object] = lambda: None) -> None:
        self._records = records
        self._grace_s = grace_s
        self._scrub = scrub
        self._changed = threading.Condition()
        self._mine: dict[str, Recording] = {}
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep_house, name="replies-housekeeping", daemon=True)
        self._keeper.start()

    def answer(self, asked: Asked, make: Make) -> Answer:
        """The reply to a request, which `make` begins if nobody has; raises what that does.

        Raises `KeyReusedError`, `StreamGoneError`, `RepliesClosedError` or `DatabaseError`.
        """
        return Answer(self, asked, make)

    def drain(self, timeout_s: float) -> None:
        """Wait until nothing is being made, for at most `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: not self._mine, timeout_s)

    def close(self) -> None:
        """Stop the housekeeping, and let those go who follow other processes. What is being made here can still end."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        self._keeper.join()

    # -- finding ---------------------------------------------------------------------------------------------

    def open(self, asked: Asked, make: Make) -> tuple[Source, bool]:
        """Where the reply comes from, and whether it was this call that began it."""
        found = self._records.claim(asked)
        if isinstance(found, Kept):
            with self._changed:
                mine = self._mine.get(found.id)
            return (mine if mine and mine.attempt == found.attempt else Elsewhere(self, found)), False
        recording = Recording(found)
        with self._changed:
            self._mine[found.id] = recording
            self._changed.notify_all()
        try:
            self._begin(recording, make)
        except Exception as error:
            self._give_up(recording, error)
            if not isinstance(error, LeaseLostError):
                raise
            return self.open(asked, make)
        return recording, True

    def look(self, reply_id: str, passed: int) -> Kept | None:
        return self._records.read(reply_id, passed)

    def follow(self, reply_id: str) -> None:
        self._records.follow(reply_id)

    def pause(self) -> None:
        """Wait between two looks at another process's reply. Raises `RepliesClosedError`."""
        if self._closing.wait(POLL_S):
            raise RepliesClosedError("The service is shutting down; ask again, and the reply goes on.")

    # -- making ----------------------------------------------------------------------------------------------

    def _begin(self, recording: Recording, make: Make) -> None:
        lease = recording.lease
        is_gone = lambda: recording.is_abandoned(self._grace_s)  # noqa: E731
        created = int(lease.created_at.timestamp())
        making = make(Task(lease.attempt, lease.seed, created, lease.conversation_id, is_gone))
        try:
            self._records.begun(lease, making.headers, making.conversation_id)
            threading.Thread(target=self._make, args=(recording, making), name="reply", daemon=True).start()
        except BaseException:
            making.close()
            raise
        recording.begin(making.headers)

    def _make(self, recording: Recording, making: Making) -> None:
        """Make the reply, to its end or until nobody wants it."""
        last: list[Event] = []
        error = None
        try:
            for event in making.events:
                if event.kind == "last":
                    last.append(event)
                else:
                    recording.add(event)
            if last:
                # Nobody hears of an end that isn't kept: a retry would find the reply unfinished.
                self._keep(recording, last, making)
        except Exception as failure:
            error = failure
        finally:
            making.close()
        if last and error is None:
            for event in last:
                recording.add(event)
            self._end(recording, None, done=True)
        else:
            self._give_up(recording, error)

    def _keep(self, recording: Recording, last: list[Event], making: Making) -> None:
        """Save its end. Raises `LeaseLostError`, `DatabaseError` or what the `making` does."""
        with recording.saving:
            part = recording.unsaved(last)
            if making.store is None:
                self._records.end(part)
            else:
                making.store(lambda session: self._records.write_end(session, part))

    def _give_up(self, recording: Recording, error: Exception | None) -> None:
        """End it unfinished. Whoever asked hears of the error; whoever asks again has it made again.

        If it turns out that somebody else makes it now, or that its end was kept after all, whoever asked gets that.
        """
        log.info("a reply under a key was given up: %s", error or "nobody waited for it")
        try:
            part = recording.unsaved()
            if part.events:
                self._save([recording])
            forget = not part.ends_at or isinstance(error, StreamGoneError)
            if not self._records.give_up(recording.lease, forget=forget):
                error = None
        except DatabaseError as failure:
            log.warning("a reply that was given up stays leased for some seconds: %s", failure)
        finally:
            self._end(recording, error, done=False)

    def _end(self, recording: Recording, error: Exception | None, *, done: bool) -> None:
        with self._changed:
            if self._mine.get(recording.lease.id) is recording:
                del self._mine[recording.lease.id]
            self._changed.notify_all()
        recording.end(error, done=done)

    # -- housekeeping ----------------------------------------------------------------------------------------

    def _save(self, recordings: list[Recording]) -> None:
        """Save what is new of them. Raises `DatabaseError`."""
        for recording in recordings:
            recording.saving.acquire()
        try:
            parts = [recording.unsaved() for recording in recordings]
            held = self._records.save(parts)
            for recording, part in zip(recordings, parts, strict=True):
                if part.lease.holder in held:
                    recording.saved(part, held[part.lease.holder])
                else:
                    recording.is_unwanted = True
        finally:
            for recording in recordings:
                recording.saving.release()

    def _keep_house(self) -> None:
        """Save, renew leases, and purge, until `close`."""
        purge_at = time.monotonic()
        while not self._closing.is_set():
            try:
                with self._changed:
                    due = [recording for recording in self._mine.values() if self._is_due(recording)]
                if due:
                    self._save(due)
                if time.monotonic() >= purge_at:
                    purge_at = time.monotonic() + PURGE_S
                    if count := self._records.purge():
                        log.info("purged %d replies under keys", count)
                        self._scrub()
            except DatabaseError as error:
                log.warning("housekeeping of replies under keys: %s", error)
            except Exception:
                log.exception("housekeeping of replies under keys failed")
            with self._changed:
                if not self._mine:
                    self._changed.wait_for(lambda: self._mine or self._closing.is_set(), PURGE_S)
            self._closing.wait(SAVE_S)

    def _is_due(self, recording: Recording) -> bool:
        # Who is alone must hear soon whether another process wants it.
        waited = time.monotonic() - recording.saved_at
        return bool(recording.unsaved().events) or waited >= RENEWAL_S or (recording.is_alone and waited >= 1)


class Elsewhere:
    """A reply in the database: it is whole, or another process makes it."""

    def __init__(self, replies: KeptReplies, kept: Kept) -> None:
        self.attempt = kept.attempt
        self.is_done = False
        self._replies = replies
        self._id = kept.id
        self._headers = kept.headers

    def headers(self) -> dict[str, str] | None:
        """Its headers as soon as it has begun, None if it does not. Raises `RepliesClosedError`."""
        while self._headers is None and (kept := self._look(0)) is not None and kept.is_held:
            self._headers = kept.headers
            if kept.headers is None:
                self._replies.pause()
        return self._headers

    def after(self, start: Place, quiet_s: float) -> Iterator[Heard]:
        """What comes after a place, until it is done or nobody makes it any more. Raises `RepliesClosedError`."""
        listener, passed = Listener(start), 0
        quiet_since = time.monotonic()
        renew_at = quiet_since
        while (kept := self._look(passed)) is not None:
            passed += len(kept.events)
            for heard in listener.news(kept.events):
                quiet_since = time.monotonic()
                yield heard
            self.is_done = kept.done
            if kept.done or not kept.is_held:
                return
            if time.monotonic() >= renew_at:
                renew_at = time.monotonic() + RENEWAL_S
                self._replies.follow(self._id)
            self._replies.pause()
            if time.monotonic() - quiet_since >= quiet_s:
                quiet_since = time.monotonic()
                yield None, ""

    def _look(self, passed: int) -> Kept | None:
        kept = self._replies.look(self._id, passed)
        return kept if kept and kept.attempt == self.attempt else None


class Answer:
    """A reply for one of the requests that ask for it, wherever it's made; if its maker is lost, here."""

    def __init__(self, replies: KeptReplies, asked: Asked, make: Make) -> None:
        self.headers: dict[str, str] = {}
        self._replies = replies
        self._asked = asked
        self._make = make
        self._source, self.is_first = replies.open(asked, make)
        while (headers := self._source.headers()) is None:
            self._reopen(())
        self.headers = headers

    @property
    def attempt(self) -> str:
        """Names what is heard: its events are the same for everybody who hears them."""
        return self._source.attempt

    def after(self, start: Place, quiet_s: float) -> Iterator[Heard]:
        """What comes after a place, to the reply's end. Raises what making it does."""
        while True:
            for place, text in self._source.after(start, quiet_s):
                start = start if place is None else place
                yield place, text
            if self._source.is_done:
                return
            self._reopen(start)

    def _reopen(self, start: Place) -> None:
        """Its maker is lost, or has failed; who has heard something of it wants nothing else."""
        error = self._source.error if isinstance(self._source, Recording) else None
        if error is not None and self.is_first:
            raise error
        asked = replace(self._asked, attempt=self.attempt) if start else self._asked
        self._source, self.is_first = self._replies.open(asked, self._make)
