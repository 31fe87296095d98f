"""The replies under idempotency keys in the database, and the lease of whoever makes one.

A reply is made by one process at a time, which holds a lease on it and renews it. A lease that was given up, or whose
process is gone (at once where that can be seen, else `LEASE_S` after the last renewal) leaves the reply to the next who
asks: with its attempt and its seed, so that the next makes the same and can go on after any event that was sent. The
lease names its holder, and nobody else can write: a process that was suspended finds out, and stops.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.storage import processes
from app.storage.database import Database
from app.storage.models import Conversation, KeptPiece, KeptReply

LEASE_S = 25.0
"""Some seconds more than a conversation's: who takes over finds the conversation free."""


KeptEvent = tuple[int, str]
"""The track of an event (see `recording`), and its text."""


class KeyReusedError(Exception):
    """The key was given with another request before."""


class StreamGoneError(Exception):
    """What a client wants to go on with is not kept any more, or can't be made again."""


class LeaseLostError(Exception):
    """Somebody else makes the reply now, or it was erased."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request under a key; `attempt` is what it wants to go on with, if it does."""

    owner: str
    key: str
    fingerprint: str
    attempt: str | None = None

    @property
    def id(self) -> str:
        return hashlib.sha256(f"{self.owner}\0{self.key}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Lease:
    """The right, and the duty, to make a reply; `events` and the conversation are what an earlier holder left of it."""

    id: str
    attempt: str
    holder: str
    seed: int
    created_at: datetime
    conversation_id: str | None = None
    events: tuple[KeptEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """What to save of a reply: its latest events, and how many there are with them."""

    lease: Lease
    events: Sequence[KeptEvent]
    ends_at: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A reply as it is in the database, from some event on; `headers` is None while it has not begun."""

    id: str
    attempt: str
    done: bool
    is_held: bool
    headers: dict[str, str] | None
    events: tuple[KeptEvent, ...] = ()


class ReplyRecords:
    """The replies, kept for `max_age_s` from when they were first asked for; `now` is the clock."""

    def __init__(
        self, database: Database, max_age_s: float, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = database
        self._max_age = timedelta(seconds=max_age_s)
        self._now = now
        self._process = processes.this_process()

    def claim(self, asked: Asked) -> Lease | Kept:
        """The lease on the reply, or the reply if it's there or somebody makes it.

        Raises `KeyReusedError`, `StreamGoneError` or `DatabaseError`.
        """
        try:
            return self._claim(asked)
        except IntegrityError:
            return self._claim(asked)  # somebody else was the first, in this moment

    def _claim(self, asked: Asked) -> Lease | Kept:
        with self._database.write() as session:
            row = session.get(KeptReply, asked.id, with_for_update=True)
            if row is not None and row.created_at < self._now() - self._max_age and not self._is_held(row):
                session.delete(row)
                session.flush()
                row = None
            if row is None:
                return self._begin(session, asked)
            if row.fingerprint != asked.fingerprint:
                raise KeyReusedError("This Idempotency-Key came with another request before; take a new one.")
            if asked.attempt not in (None, row.attempt):
                raise _gone()
            if row.done or self._is_held(row):
                return self._kept(row)
            return self._take_over(session, row)

    def _begin(self, session: Session, asked: Asked) -> Lease:
        if asked.attempt is not None:
            raise _gone()
        row = KeptReply(
            id=asked.id,
            fingerprint=asked.fingerprint,
            attempt=secrets.token_hex(12),
            seed=secrets.randbelow(1 << 31),
            done=False,
            created_at=self._now(),
        )
        session.add(row)
        return self._lease(row, ())

    def _take_over(self, session: Session, row: KeptReply) -> Lease:
        """The first holder did not come to the end."""
        row.headers = None
        return self._lease(row, tuple(_events(session, row.id, 0)))

    def _lease(self, row: KeptReply, events: tuple[KeptEvent, ...]) -> Lease:
        row.holder = secrets.token_hex(8)
        row.process = self._process
        row.lease_until = self._until()
        return Lease(row.id, row.attempt, row.holder, row.seed, row.created_at, row.conversation_id, events)

    def begun(self, lease: Lease, headers: dict[str, str], conversation_id: str | None) -> None:
        """Say what the reply's headers are, and whose turn it is. Raises `LeaseLostError` or `DatabaseError`."""
        with self._database.write() as session:
            if conversation_id is not None:
                # First, as whoever erases it does, so that neither waits for the other.
                lock = {"read": True, "key_share": True}
                if session.get(Conversation, conversation_id, with_for_update=lock) is None:
                    raise LeaseLostError
            self._change(session, lease, headers=headers, conversation_id=conversation_id)

    def save(self, parts: Iterable[Part]) -> dict[str, datetime | None]:
        """Add what was made, and renew the leases.

        Returns for each holder that still has its lease when somebody last followed its reply from another process.
        Raises `DatabaseError`.
        """
        held = {}
        with self._database.write() as session:
            for part in parts:
                with contextlib.suppress(LeaseLostError):
                    held[part.lease.holder] = self._change(session, part.lease, lease_until=self._until())
                    _add(session, part)
        return held

    def write_end(self, session: Session, part: Part) -> None:
        """Add the end of a reply, which is then done.

        Raises `LeaseLostError`: nothing of the `session` may be kept then.
        """
        self._change(session, part.lease, done=True, holder=None)
        _add(session, part)

    def end(self, part: Part) -> None:
        """The same in a transaction of its own. Raises `LeaseLostError` or `DatabaseError`."""
        with self._database.write() as session:
            self.write_end(session, part)

    def give_up(self, lease: Lease, *, forget: bool) -> bool:
        """End the lease without a reply, which the next who asks makes; `forget` what there is of it.

        Returns whether there was the lease: False also if the reply is done. Raises `DatabaseError`.
        """
        held = (KeptReply.id == lease.id, KeptReply.holder == lease.holder)
        change = delete(KeptReply).where(*held) if forget else update(KeptReply).where(*held).values(holder=None)
        with self._database.write() as session:
            return session.execute(change.returning(KeptReply.id)).first() is not None

    def read(self, reply_id: str, start: int) -> Kept | None:
        """The reply from its event `start` on; None if it isn't there. Raises `DatabaseError`."""
        with self._database.read() as session:
            row = session.get(KeptReply, reply_id)
            return None if row is None else self._kept(row, tuple(_events(session, reply_id, start)))

    def follow(self, reply_id: str) -> None:
        """Let the process that makes the reply know that it's waited for. Raises `DatabaseError`."""
        with self._database.write() as session:
            session.execute(update(KeptReply).where(KeptReply.id == reply_id).values(followed_at=self._now()))

    def purge(self) -> int:
        """Delete the replies that are over their age, and return how many there were. Raises `DatabaseError`."""
        old = KeptReply.created_at < self._now() - self._max_age
        idle = KeptReply.done | KeptReply.holder.is_(None) | (KeptReply.lease_until < self._now())
        with self._database.write() as session:
            return len(session.execute(delete(KeptReply).where(old, idle).returning(KeptReply.id)).all())

    def _change(self, session: Session, lease: Lease, **values: object) -> datetime | None:
        changed = session.execute(
            update(KeptReply)
            .where(KeptReply.id == lease.id, KeptReply.holder == lease.holder)
            .values(values)
            .returning(KeptReply.followed_at)
        ).first()
        if changed is None:
            raise LeaseLostError
        followed_at: datetime | None = changed[0]
        return followed_at

    def _is_held(self, row: KeptReply) -> bool:
        if row.holder is None or row.lease_until < self._now():
            return False
        return not processes.is_gone(row.process)

    def _until(self) -> datetime:
        return self._now() + timedelta(seconds=LEASE_S)

    def _kept(self, row: KeptReply, events: tuple[KeptEvent, ...] = ()) -> Kept:
        return Kept(row.id, row.attempt, row.done, self._is_held(row), row.headers, events)


def _gone() -> StreamGoneError:
    return StreamGoneError(
        "Last-Event-ID: what it belongs to is not kept any more. Ask again without it: a new reply begins."
    )


def _add(session: Session, part: Part) -> None:
    if part.events:
        tracks, texts = zip(*part.events, strict=True)
        # It may be there already: a commit can happen, and its answer be lost.
        session.merge(
            KeptPiece(
                reply_id=part.lease.id,
                ends_at=part.ends_at,
                events=list(texts),
                tracks=list(tracks) if any(tracks) else None,
            )
        )


def _events(session: Session, reply_id: str, start: int) -> list[KeptEvent]:
    """The events from `start` on."""
    mine = (KeptPiece.reply_id == reply_id, KeptPiece.ends_at > start)
    events: list[KeptEvent] = []
    for piece in session.scalars(select(KeptPiece).where(*mine).order_by(KeptPiece.ends_at)):
        first = piece.ends_at - len(piece.events)
        del events[max(0, first - start) :]  # what was saved twice
        tracks = piece.tracks or [0] * len(piece.events)
        events += list(zip(tracks, piece.events, strict=True))[max(0, start - first) :]
    return events
