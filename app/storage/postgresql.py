"""PostgreSQL's connections, with an end to every wait for the server.

The server has limits of its own, for locks and statements, but they are worth nothing when it, or what lies between,
keeps the line open and says no more. TCP doesn't notice either, as long as somebody acknowledges what is sent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, event


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed, with an `OperationalError`, if a reply takes too long.

    Within a transaction that is `reply_timeout_s` seconds. Outside of one only pings and settings are sent, which wait
    for nobody: `ping_timeout_s`.
    """

    ping_timeout_s = 5.0
    reply_timeout_s = 35.0

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        if timeout is None:
            timeout = self.ping_timeout_s if self.autocommit else self.reply_timeout_s
        try:
            return super().wait(gen, interval, timeout)
        except psycopg.OperationalError as error:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            self.pgconn.finish()  # should the reply come after all, nobody may take it for that to another statement
            raise psycopg.OperationalError(f"the server did not reply within {timeout:g} s") from error


def bound(engine: Engine, timeout_s: float) -> None:
    """Have the engine's connections give up: `timeout_s` for a lock, a ping and a new connection (2 s at least), six
    times that for a statement by the server's watch, and as much again as for a lock until its reply must have come.

    The server in turn ends a transaction whose client says nothing for as long as a statement may take, since what it
    has locked is needed.
    """
    lock_ms, statement_ms = round(1000 * timeout_s), round(6000 * timeout_s)

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, args: Any, options: dict[str, Any]) -> BoundedConnection:
        options = {"connect_timeout": max(2, round(timeout_s))} | options
        connection = BoundedConnection.connect(*args, **options, autocommit=True)
        connection.ping_timeout_s = timeout_s
        connection.reply_timeout_s = 7 * timeout_s
        try:
            connection.execute(
                f"SET lock_timeout = {lock_ms}; SET statement_timeout = {statement_ms}; "
                f"SET idle_in_transaction_session_timeout = {statement_ms}"
            )
            connection.autocommit = False
        except BaseException:
            connection.close()
            raise
        return connection


@contextlib.contextmanager
def patient(connection: Connection, reply_timeout_s: float) -> Iterator[None]:
    """Wait for replies for longer than usual."""
    driver: Any = connection.connection.driver_connection
    usual, driver.reply_timeout_s = driver.reply_timeout_s, reply_timeout_s
    try:
        yield
    finally:
        driver.reply_timeout_s = usual
