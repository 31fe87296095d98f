"""The database: opened, brought up to date, and given out one transaction at a time.

SQLite in a file or PostgreSQL. Every wait has an end: a database that is locked, away or silent is a
`DatabaseUnavailableError` after some seconds, not a hang.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from flask import Flask
from flask_sqlalchemy_lite import SQLAlchemy
from sqlalchemy import URL, Connection, Engine, event, make_url, text
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from app.storage import postgresql
from app.storage.fair_lock import FairLock

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"

MIGRATION_LOCK = 0x54726F696B61
"""The key of the PostgreSQL advisory lock under which one process migrates while others wait."""

MIGRATION_S = 100.0
"""How long one step of a migration may take on PostgreSQL: gunicorn ends a worker that does not start within 120 s."""


class DatabaseError(Exception):
    """The database can't be used. The message may be shown to a client."""


class DatabaseUnavailableError(DatabaseError):
    """It is locked, full or away: the same may work later."""


class Database:
    """The engine and sessions of one application.

    Opening it migrates it; raises `DatabaseError`, with a sentence for the operator, if that can't be done.
    """

    def __init__(self, app: Flask, url: str, timeout_s: float = 5.0) -> None:
        self.url = normalised(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._timeout_s = timeout_s
        self._writing = FairLock()
        extension = SQLAlchemy(session_options={"expire_on_commit": False})
        app.config["SQLALCHEMY_ENGINES"] = {
            "default": {
                "url": self.url,
                "pool_timeout": timeout_s,
                "pool_pre_ping": not self.is_sqlite,
                "connect_args": {"timeout": timeout_s} if self.is_sqlite else {},
                "hide_parameters": True,  # errors go to the log, and what people say doesn't
            }
        }
        extension.init_app(app)
        with app.app_context():
            self.engine: Engine = extension.engine
            self._sessions = extension.sessionmaker
        if self.is_sqlite:
            event.listen(self.engine, "connect", self._set_up_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            postgresql.bound(self.engine, timeout_s)
        try:
            if self.is_sqlite:
                _make_private_file(Path(str(self.url.database)))
            self._migrate()
        except BaseException as error:
            self.close()
            if not isinstance(error, (DatabaseError, SQLAlchemyError, CommandError, OSError)):
                raise
            raise DatabaseError(
                f"TROIKA_DATABASE_URL={self.url.render_as_string()} can't be used: {reason_of(error)}."
            ) from error

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads; it never waits for a writer."""
        with _translated(), self._sessions() as session:
            yield session

    @contextlib.contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Session]:
        """A transaction that is committed at the end of the block, or not at all if the block raises.

        One that need not be `durable` doesn't wait for the disk on SQLite: the end of a process can't undo it, the
        loss of power can, until the next durable one, which makes all before it durable too.
        """
        with self._turn_to_write(), _translated(), self._sessions.begin() as session:
            # SQLite is to take the write lock at once: a reader that turns writer fails without waiting.
            session.connection(execution_options={"troika_write": "FULL" if durable else "NORMAL"})
            yield session

    @contextlib.contextmanager
    def _turn_to_write(self) -> Iterator[None]:
        """SQLite's writers find out by trying whose turn it is: of many threads some never get there in time, and all
        hold a connection meanwhile. So they wait here, in a queue.
        """
        if not self.is_sqlite:
            yield
            return
        if not self._writing.acquire(timeout=self._timeout_s):
            raise DatabaseUnavailableError("The database is locked. Try again later.")
        try:
            yield
        finally:
            self._writing.release()

    def scrub(self) -> bool:
        """See to it that what was deleted is in no file any more; returns False if a reader was in the way.

        SQLite overwrites deleted rows with zeros, but its write-ahead log has them as they were until it is cut off.
        PostgreSQL reuses their space in its own time (autovacuum), out of reach of any query.
        """
        if not self.is_sqlite:
            return True
        with _translated(), contextlib.closing(self.engine.raw_connection()) as connection:
            cursor = connection.cursor()
            blocked, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            cursor.close()
            return not blocked

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def _set_up_sqlite(self, connection: sqlite3.Connection, _record: object) -> None:
        # `_begin_sqlite` begins transactions: left to itself, the driver does so too late.
        connection.isolation_level = None
        deadline = time.monotonic() + self._timeout_s
        while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            # The first to open a new file switches it over; SQLite doesn't wait for the lock that this takes.
            try:
                connection.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("PRAGMA synchronous=FULL")

    def _migrate(self) -> None:
        """Bring the tables up to date, whole or not at all. Of several processes one does it while the others wait."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        with self.write() as session, contextlib.ExitStack() as patience:
            connection = config.attributes["connection"] = session.connection()
            if not self.is_sqlite:
                patience.enter_context(postgresql.patient(connection, MIGRATION_S))
                session.execute(text("SET LOCAL lock_timeout = '60s'"))
                session.execute(text("SET LOCAL statement_timeout = 0"))
                session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            command.upgrade(config, "head")


def normalised(url: str) -> URL:
    """The driver for PostgreSQL is psycopg 3, whatever the URL calls it; a file's path is absolute."""
    if url.startswith("postgres"):
        return make_url("postgresql+psycopg://" + url.partition("://")[2])
    parsed = make_url(url)
    return parsed.set(database=str(Path(parsed.database or "").resolve()))


def _make_private_file(path: Path) -> None:
    """Conversations are nobody else's to read; SQLite gives its other files the permissions of this one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)


def _begin_sqlite(connection: Connection) -> None:
    synchronous = connection.get_execution_options().get("troika_write")
    if synchronous is not None:
        connection.exec_driver_sql(f"PRAGMA synchronous={synchronous}")  # only possible outside of a transaction
    connection.exec_driver_sql("BEGIN IMMEDIATE" if synchronous else "BEGIN")


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """What the driver and the pool raise when the database is locked, full or away, as our own error."""
    try:
        yield
    except PoolTimeoutError as error:
        raise DatabaseUnavailableError("The database has no free connection. Try again later.") from error
    except (OperationalError, InterfaceError, sqlite3.OperationalError) as error:
        log.warning("the database is unavailable: %s", reason_of(error))
        raise DatabaseUnavailableError("The database is locked or can't be reached. Try again later.") from error


def reason_of(error: BaseException) -> str:
    """The driver's own words, in one line."""
    while isinstance(error, DatabaseUnavailableError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, CommandError):
        return f"it was made by a newer version of Troika ({error})"
    return " ".join(str(getattr(error, "orig", None) or error).split()).rstrip(".?")
