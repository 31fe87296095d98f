"""A reply that is being made in this process: its events so far, and news of it for the requests that follow it.

The events of a reply are in tracks: each comes in one order, whoever makes it, but how they mingle is chance. So what
somebody has heard is not how many events, but how many of each track.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.idempotency.records import KeptEvent, Lease, Part, StreamGoneError

Place = tuple[int, ...]
"""How many events of each track somebody has heard; none of those that it does not name."""

Heard = tuple[Place | None, str]
"""An event with the place after it, or a note between events, without one; empty if nothing came for a while."""

Kind = Literal["note", "part", "last"]


@dataclass(frozen=True, slots=True)
class Event:
    """What comes of making a reply.

    A `note` is only for those who listen now. A `part` must be the same whenever it's made again. With the `last`, of
    which there may be several, the reply is done: nobody hears them before they are kept, so they need not be.
    """

    kind: Kind
    text: str
    track: int = 0


class Listener:
    """Somebody who has heard a reply up to a place, and now goes through all its events."""

    def __init__(self, heard: Place) -> None:
        self._heard = list(heard)
        self._passed: defaultdict[int, int] = defaultdict(int)

    @property
    def place(self) -> Place:
        return tuple(self._heard)

    def news(self, events: Iterable[KeptEvent]) -> Iterator[Heard]:
        """What is new to them of the next events."""
        for track, text in events:
            self._passed[track] += 1
            self._heard += [0] * (track + 1 - len(self._heard))
            if self._passed[track] > self._heard[track]:
                self._heard[track] += 1
                yield self.place, text


class Recording:
    """One thread makes it, another saves it, any may follow it.

    Where an earlier process left events, these are there at once; what is made must be the same, and then goes on.
    """

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.attempt = lease.attempt
        self.is_done = False
        self.error: Exception | None = None
        """What ended it if it is not done."""
        self.saving = threading.Lock()
        self.saved_at = time.monotonic()
        self.is_unwanted = False
        """Whether somebody else makes it now, or it was erased."""
        self._events = list(lease.events)
        self._owed: defaultdict[int, deque[str]] = defaultdict(deque)
        """Of each track, what an earlier process left and this one has not made again yet."""
        for track, text in lease.events:
            self._owed[track].append(text)
        self._saved = len(self._events)
        self._headers: dict[str, str] | None = None
        self._note = ""
        self._notes = 0
        self._ended = False
        self._followers = 0
        self._followed = time.monotonic()
        self._followed_elsewhere: datetime | None = None
        self._news = threading.Condition()

    # -- for the one who makes it ----------------------------------------------------------------------------

    def begin(self, headers: dict[str, str]) -> None:
        with self._news:
            self._headers = headers
            self._news.notify_all()

    def add(self, event: Event) -> None:
        """Take in the next event. Raises `StreamGoneError` if it is not the one that was sent before."""
        with self._news:
            if event.kind == "note":
                self._note, self._notes = event.text, self._notes + 1
            elif not (owed := self._owed[event.track]):
                self._events.append((event.track, event.text))
            elif owed.popleft() != event.text:
                raise _diverged()
            self._news.notify_all()

    def end(self, error: Exception | None, *, done: bool) -> None:
        with self._news:
            self._ended, self.is_done, self.error = True, done, error
            self._news.notify_all()

    def is_abandoned(self, grace_s: float) -> bool:
        """Whether nobody wants it any more: nobody may, or nobody has followed it for so long."""
        with self._news:
            return self.is_unwanted or (not self._followers and time.monotonic() - self._followed > grace_s)

    # -- for the one who saves it ----------------------------------------------------------------------------

    def unsaved(self, last: Sequence[Event] = ()) -> Part:
        """What the database has not got; with the `last` events all of it.

        Raises `StreamGoneError` if there were other events where these are to be the last.
        """
        with self._news:
            if last and any(self._owed.values()):
                raise _diverged()
            events = [*self._events[self._saved :], *((event.track, event.text) for event in last)]
            return Part(self.lease, events, self._saved + len(events))

    def saved(self, part: Part, followed_elsewhere: datetime | None) -> None:
        with self._news:
            self._saved, self.saved_at = part.ends_at, time.monotonic()
            if followed_elsewhere != self._followed_elsewhere:
                self._followed_elsewhere = followed_elsewhere
                self._followed = time.monotonic()

    @property
    def is_alone(self) -> bool:
        """Whether no request to this process follows it."""
        return not self._followers

    # -- for those who follow it -----------------------------------------------------------------------------

    def headers(self) -> dict[str, str] | None:
        """Its headers as soon as it has begun, None if it never does."""
        with self._news:
            self._news.wait_for(lambda: self._headers is not None or self._ended)
            return self._headers

    def after(self, start: Place, quiet_s: float) -> Iterator[Heard]:
        """What comes after a place, to the end: the reply is then done, or it failed."""
        listener, passed = Listener(start), 0
        with self._news:
            self._followers += 1
            notes = 0
        try:
            while True:
                with self._news:
                    while not (self._ended or len(self._events) > passed or self._notes > notes):
                        if not self._news.wait(quiet_s):
                            break
                    events, ended = self._events[passed:], self._ended
                    is_note, notes = self._notes > notes, self._notes
                passed += len(events)
                yield from listener.news(events)
                if ended:
                    return
                if not events:
                    yield None, self._note if is_note else ""
        finally:
            with self._news:
                self._followers -= 1
                self._followed = time.monotonic()


def _diverged() -> StreamGoneError:
    return StreamGoneError("The rest of this stream can't be made again. Ask without Last-Event-ID: it begins anew.")
