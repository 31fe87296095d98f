"""The tables. A change here needs a migration beside it; a test compares the two."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, ForeignKey, Index, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, aware of its time zone on this side; SQLite keeps it as UTC without saying so."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_ESCAPE = {"\0": "\x1b0", "\x1b": "\x1be"}
_UNESCAPE = {escaped: character for character, escaped in _ESCAPE.items()}


class AnyText(TypeDecorator[str]):
    """Text with any character: PostgreSQL has no place for U+0000, which a model can well generate."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value and re.sub("[\0\x1b]", lambda found: _ESCAPE[found[0]], value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        return value and re.sub("\x1b[0e]", lambda found: _UNESCAPE[found[0]], value)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "ix": "ix_%(table_name)s_%(column_0_name)s",
        }
    )


class Conversation(Base):
    """A conversation and, in the `busy` columns, the lease on it while a turn is being made."""

    __tablename__ = "conversations"
    __table_args__ = (Index(None, "updated_at"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(255))
    model: Mapped[str] = mapped_column(Text)
    """The model of the last turn."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    busy_turn: Mapped[str | None] = mapped_column(String(64))
    """Names the turn that is being made; only that turn may be stored."""
    busy_process: Mapped[str | None] = mapped_column(String(255))
    busy_until: Mapped[datetime | None] = mapped_column(UtcDateTime)

    turns: Mapped[list[Turn]] = relationship(
        order_by="Turn.position", cascade="all, delete-orphan", passive_deletes=True
    )


class Turn(Base):
    """What was said and what was answered. Rows are only ever added and deleted."""

    __tablename__ = "turns"

    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """0, 1, 2, … without gaps."""
    user: Mapped[str] = mapped_column(AnyText)
    system: Mapped[str | None] = mapped_column(AnyText)
    """The system message that came with this turn; empty if it took the earlier one away, null if it left it."""
    reply: Mapped[str] = mapped_column(AnyText)
    complete: Mapped[bool]
    """False if the client left before the end: `reply` is then what was sent."""
    finish_reason: Mapped[str] = mapped_column(String(32))
    model: Mapped[str] = mapped_column(Text)
    seed: Mapped[int] = mapped_column(BigInteger)
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    cached_tokens: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class TrainingJob(Base):
    """A training run and, while it waits or runs, the lease of the process that has it in hand."""

    __tablename__ = "training_jobs"
    __table_args__ = (Index(None, "owner", "created_at"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(255))
    status: Mapped[str] = mapped_column(String(32))
    process: Mapped[str] = mapped_column(String(255))
    lease_until: Mapped[datetime] = mapped_column(UtcDateTime)
    cancel_requested: Mapped[bool]
    """Set by whoever wants it cancelled and is not the process that has it in hand."""
    options: Mapped[dict[str, Any]] = mapped_column(JSON)
    started: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """What the run said when it began: dataset, parameters."""
    step: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """Where it stands, or stood last."""
    history: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    """The whole epochs."""
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    scores: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """The few numbers of the result that lists show."""
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(AnyText)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class KeptReply(Base):
    """What was answered under an idempotency key or, while it is being made, the lease of the process that makes it."""

    __tablename__ = "kept_replies"
    __table_args__ = (Index(None, "created_at"), Index(None, "conversation_id"))

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """The SHA-256 of owner and key, in hexadecimal digits."""
    fingerprint: Mapped[str] = mapped_column(String(64))
    """The SHA-256 of the request."""
    attempt: Mapped[str] = mapped_column(String(32))
    """Names what is made, in the ids of its events. Whoever goes on with it makes the same."""
    seed: Mapped[int] = mapped_column(BigInteger)
    """For a request that brings none."""
    headers: Mapped[dict[str, str] | None] = mapped_column(JSON(none_as_null=True))
    """Null until it has begun."""
    conversation_id: Mapped[str | None] = mapped_column(String(64))
    """The conversation that it's a turn of, with which it's erased. One that never began leaves it alone."""
    holder: Mapped[str | None] = mapped_column(String(64))
    """Names who makes it; null when nobody does."""
    process: Mapped[str] = mapped_column(String(255))
    lease_until: Mapped[datetime] = mapped_column(UtcDateTime)
    followed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When a request to another process last followed it."""
    done: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class KeptPiece(Base):
    """Some events of such a reply, or the whole of it. Rows are only ever added and deleted."""

    __tablename__ = "kept_pieces"

    reply_id: Mapped[str] = mapped_column(ForeignKey("kept_replies.id", ondelete="CASCADE"), primary_key=True)
    ends_at: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """How many events there are up to here."""
    events: Mapped[list[str]] = mapped_column(JSON)
    tracks: Mapped[list[int] | None] = mapped_column(JSON(none_as_null=True))
    """The track of each event; null where it is 0 of all."""
