"""What is remembered: conversations and their turns, as the service sees them.

A conversation has one turn in the making at most. Who makes it holds a lease on the conversation, renewed in the
background and ended with the turn. A lease that its process left behind when it died counts for nothing: at once where
that process can be seen to be gone (same host and container), else `LEASE_S` after the last renewal. Should a lease be
lost to another turn while its holder still lives (it was suspended, or clocks of two hosts differ), the holder finds
out when it stores: the lease names its turn, and no other can be stored. So clocks can cost a turn but never mix two.
"""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from app.chat.prompt import Message
from app.storage import processes
from app.storage.database import Database, DatabaseError
from app.storage.models import Conversation, KeptReply, Turn

log = logging.getLogger(__name__)

LEASE_S = 20.0
RENEWAL_S = 5.0
PURGE_S = 3600.0
STOP_S = 2.0  # how long `close` waits for the housekeeping, which may wait for the database

MOST_NAMED = 500
"""Ids in one statement: databases have a limit."""

CONVERSATION_ID = re.compile(r"conv_[0-9a-f]{32}")


class ConversationNotFoundError(Exception):
    """There is no such conversation, or it is somebody else's: nobody is told which."""


class ConversationBusyError(Exception):
    """Another turn of the conversation is being made."""


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """One turn as it was: `complete` is False if it was cut off in the middle, `reply` then what was sent.

    `system` is the system message that came with the turn: empty if it took the earlier one away, None if it left it.
    """

    user: str
    system: str | None
    reply: str
    complete: bool
    finish_reason: str
    model: str
    seed: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StoredConversation:
    id: str
    model: str
    created_at: datetime
    updated_at: datetime
    busy: bool
    turns: list[StoredTurn]


@dataclass(frozen=True, slots=True)
class MemoryCounts:
    """Since the start: conversations that began and turns that were stored; and the turns in the making now."""

    conversations: int
    turns: int
    running: int


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to add one turn to a conversation, and what stands before it.

    `turns` are the newest ones, as many as were asked for, `earlier` how many there are before those, and `system` the
    system message in force. `replaced` is the last turn if the new one is to take its place; it is in none of these.
    """

    conversation_id: str
    turn_id: str
    is_new: bool
    renew_until: datetime
    system: str | None = None
    turns: list[StoredTurn] = field(default_factory=list)
    earlier: int = 0
    replaced: StoredTurn | None = None

    def messages(self, user: str, system: str | None = None) -> list[Message]:
        """The conversation with its next message. A system message holds until another, or an empty one, is given."""
        in_force = self.system if system is None else system
        said = [
            message for turn in self.turns for message in (Message("user", turn.user), Message("assistant", turn.reply))
        ]
        return [*([Message("system", in_force)] if in_force else []), *said, Message("user", user)]


class Memory:
    """The conversations in a database.

    What was said is safe on the disk when `store` returns. A lease need not be: power that goes ends its turn as well.
    It is renewed for at most `longest_turn_s`. Conversations that nobody has added to for `max_age_days` are erased; 0
    keeps them. `now` is the clock.
    """

    def __init__(
        self,
        database: Database,
        *,
        longest_turn_s: float = 300.0,
        max_age_days: float = 0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._longest_turn = timedelta(seconds=longest_turn_s)
        self._max_age = timedelta(days=max_age_days)
        self._now = now
        self._process = processes.this_process()
        self._lock = threading.Lock()
        self._leases: dict[str, Lease] = {}
        self._left: dict[str, tuple[Lease, datetime]] = {}  # not ended, since the database was away; and until when
        self._conversations = 0
        self._turns = 0
        self._scrubbing = threading.Lock()
        self._to_scrub = True
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep_house, name="memory-housekeeping", daemon=True)
        self._keeper.start()

    # -- turns -----------------------------------------------------------------------------------------------

    def begin(
        self, conversation_id: str | None, owner: str, model: str, max_turns: int, *, replace_last: bool = False
    ) -> Lease:
        """Begin a turn of a conversation (None: of a new one), and read its last `max_turns` turns.

        With `replace_last` the turn is to take the place of the last one, which stays until then. Raises
        `ConversationNotFoundError` (also if there is no turn to replace), `ConversationBusyError` or `DatabaseError`.
        Give the lease to `store` or to `release` in the end.
        """
        now = self._now()
        turn_id = secrets.token_hex(8)
        renew_until = now + self._longest_turn
        with self._database.write(durable=False) as session:
            if conversation_id is None:
                conversation = Conversation(
                    id=f"conv_{secrets.token_hex(16)}", owner=owner, model=model, created_at=now, updated_at=now
                )
                session.add(conversation)
                lease = Lease(conversation.id, turn_id, True, renew_until)
            else:
                conversation = _find(session, conversation_id, owner, lock=True)
                if self._is_busy(conversation):
                    raise ConversationBusyError(
                        f"The conversation {conversation_id} is busy with another turn; wait until that has ended."
                    )
                last = _last_turn(session, conversation_id) if replace_last else None
                history = _history(session, conversation_id, max_turns, last.position if last else None)
                replaced = _stored(last) if last else None
                lease = Lease(conversation_id, turn_id, False, renew_until, *history, replaced)
            conversation.busy_turn = turn_id
            conversation.busy_process = self._process
            conversation.busy_until = now + timedelta(seconds=LEASE_S)
        with self._lock:
            self._leases[turn_id] = lease
        return lease

    def store(self, lease: Lease, turn: StoredTurn) -> None:
        """Add the turn, or put it in place of the one it replaces, and end the lease: all or nothing.

        A conversation that was erased meanwhile stays so. Raises `ConversationBusyError` if the lease was lost to
        another turn, or `DatabaseError`; the turn is not stored then.
        """
        with self._ending(lease), self._database.write() as session:
            conversation = session.get(Conversation, lease.conversation_id, with_for_update=True)
            if conversation is None:
                return
            if conversation.busy_turn != lease.turn_id:
                raise ConversationBusyError(
                    f"The conversation {lease.conversation_id} went on without this turn, which took too long; "
                    "it was not stored."
                )
            mine = Turn.conversation_id == conversation.id
            position = session.execute(select(func.count()).where(mine)).scalar_one()
            if lease.replaced:
                position -= 1
                session.execute(delete(Turn).where(mine, Turn.position == position))
                self._to_scrub = True
            session.add(
                Turn(
                    conversation_id=conversation.id,
                    position=position,
                    **{name: getattr(turn, name) for name in StoredTurn.__slots__},
                )
            )
            conversation.model = turn.model
            conversation.updated_at = self._now()
            _free(conversation)
        with self._lock:
            self._conversations += lease.is_new
            self._turns += 1

    def release(self, lease: Lease) -> None:
        """End the lease with nothing stored; a conversation that would have begun with this turn never was."""
        with self._ending(lease):
            self._release(lease)

    def _release(self, lease: Lease) -> None:
        held = (Conversation.id == lease.conversation_id, Conversation.busy_turn == lease.turn_id)
        with self._database.write(durable=False) as session:
            if lease.is_new:
                session.execute(delete(Conversation).where(*held))
            else:
                session.execute(
                    update(Conversation).where(*held).values(busy_turn=None, busy_process=None, busy_until=None)
                )

    # -- conversations ---------------------------------------------------------------------------------------

    def counts(self) -> MemoryCounts:
        with self._lock:
            return MemoryCounts(self._conversations, self._turns, len(self._leases))

    def read(self, conversation_id: str, owner: str) -> StoredConversation:
        """The whole conversation; raises `ConversationNotFoundError` or `DatabaseError`."""
        with self._database.read() as session:
            conversation = _find(session, conversation_id, owner)
            return StoredConversation(
                id=conversation.id,
                model=conversation.model,
                created_at=conversation.created_at,
                updated_at=conversation.updated_at,
                busy=self._is_busy(conversation),
                turns=[_stored(turn) for turn in conversation.turns],
            )

    def erase(self, conversation_id: str, owner: str) -> None:
        """Delete the conversation for good, also while a turn of it is being made, which then isn't stored.

        Raises `ConversationNotFoundError` or `DatabaseError`.
        """
        with self._database.write() as session:
            session.delete(_find(session, conversation_id, owner, lock=True))
            session.execute(delete(KeptReply).where(KeptReply.conversation_id == conversation_id))
        self._to_scrub = True
        self._scrub()

    def purge(self) -> int:
        """Erase the conversations that are over the age limit, and what crashes left of those that never began."""
        now = self._now()
        doomed = [~exists().where(Turn.conversation_id == Conversation.id)]
        if self._max_age:
            doomed.append(Conversation.updated_at < now - self._max_age)
        idle = or_(Conversation.busy_until.is_(None), Conversation.busy_until < now)
        with self._database.write() as session:
            ids = session.scalars(delete(Conversation).where(or_(*doomed), idle).returning(Conversation.id)).all()
            for start in range(0, len(ids), MOST_NAMED):
                named = KeptReply.conversation_id.in_(ids[start : start + MOST_NAMED])
                session.execute(delete(KeptReply).where(named))
        if ids:
            log.info("purged %d conversations", len(ids))
            self._to_scrub = True
            self._scrub()
        return len(ids)

    def close(self) -> None:
        """Stop the housekeeping. Turns that are still being made stay marked until their leases expire."""
        self._closing.set()
        self._keeper.join(STOP_S)

    # -- leases ----------------------------------------------------------------------------------------------

    def _is_busy(self, conversation: Conversation) -> bool:
        until = conversation.busy_until
        return until is not None and until > self._now() and not processes.is_gone(conversation.busy_process or "")

    def renew(self) -> None:
        """Prolong the leases of this process."""
        now = self._now()
        with self._lock:
            held = [turn_id for turn_id, lease in self._leases.items() if lease.renew_until > now]
        if held:
            with self._database.write(durable=False) as session:
                session.execute(
                    update(Conversation)
                    .where(Conversation.busy_turn.in_(held))
                    .values(busy_until=now + timedelta(seconds=LEASE_S))
                )

    @contextlib.contextmanager
    def _ending(self, lease: Lease) -> Iterator[None]:
        """Renew it no more; where the database can't be told so, try again later rather than let everybody wait."""
        with self._lock:
            self._leases.pop(lease.turn_id, None)
        try:
            yield
        except DatabaseError:
            with self._lock:
                self._left[lease.turn_id] = lease, self._now() + timedelta(seconds=LEASE_S)
            raise

    def release_left(self) -> None:
        """End the leases that the database was not there to end. Raises `DatabaseError` if it still is not."""
        with self._lock:
            left = list(self._left.values())
        for lease, until in left:
            if until > self._now():  # after that it has ended by itself
                self._release(lease)
            with self._lock:
                self._left.pop(lease.turn_id, None)

    def _scrub(self) -> None:
        """Clear the traces of what was erased; again later if something was in the way."""
        with self._scrubbing:
            if not self._to_scrub:
                return
            self._to_scrub = False  # and not later: what is erased from here on is for the next one to clear
            try:
                done = self._database.scrub()
            except DatabaseError:
                done = False
            if not done:
                self._to_scrub = True

    def _keep_house(self) -> None:
        """Renew and end leases, and purge at the start and then every `PURGE_S` seconds, until `close`."""
        purge_at = self._now()
        while True:
            try:
                self.renew()
                self.release_left()
                if self._now() >= purge_at:
                    purge_at = self._now() + timedelta(seconds=PURGE_S)
                    self.purge()
                self._scrub()
            except DatabaseError as error:
                log.warning("housekeeping of conversations: %s", error)
            except Exception:
                log.exception("housekeeping of conversations failed")
            if self._closing.wait(RENEWAL_S):
                return


def _find(session: Session, conversation_id: str, owner: str, *, lock: bool = False) -> Conversation:
    found = None
    if CONVERSATION_ID.fullmatch(conversation_id):
        query = select(Conversation).where(Conversation.id == conversation_id, Conversation.owner == owner)
        found = session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise ConversationNotFoundError("There is no such conversation.")
    return found


def _last_turn(session: Session, conversation_id: str) -> Turn:
    query = select(Turn).where(Turn.conversation_id == conversation_id).order_by(Turn.position.desc()).limit(1)
    found = session.scalar(query)
    if found is None:
        raise ConversationNotFoundError("The conversation has no turn to replace.")
    return found


def _history(
    session: Session, conversation_id: str, max_turns: int, before: int | None
) -> tuple[str | None, list[StoredTurn], int]:
    """The system message in force, the newest turns, and how many there are before them; all before a position."""
    mine = Turn.conversation_id == conversation_id
    if before is not None:
        mine &= Turn.position < before
    newest_first = Turn.position.desc()
    system = session.scalar(select(Turn.system).where(mine, Turn.system.is_not(None)).order_by(newest_first).limit(1))
    newest: Iterable[Turn] = session.scalars(select(Turn).where(mine).order_by(newest_first).limit(max_turns))
    turns = list(newest)[::-1]
    return system, [_stored(turn) for turn in turns], turns[0].position if turns else 0


def _stored(turn: Turn) -> StoredTurn:
    return StoredTurn(**{name: getattr(turn, name) for name in StoredTurn.__slots__})


def _free(conversation: Conversation) -> None:
    conversation.busy_turn = conversation.busy_process = conversation.busy_until = None
