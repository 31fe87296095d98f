"""Real databases for the tests: an SQLite file, and a database of one's own on a real PostgreSQL server."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from flask import Flask

from app.storage.database import Database

KINDS = ("sqlite", "postgresql")
POSTGRESQL = "host=localhost port=5432 user=postgres dbname=test connect_timeout=3"


@contextlib.contextmanager
def postgresql_database() -> Iterator[str]:
    """The URL of a new, empty database, dropped at the end; skips the test where no server answers."""
    try:
        server = psycopg.connect(POSTGRESQL, autocommit=True)
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL at localhost:5432: {str(error).splitlines()[0]}")
    name = f"troika_test_{secrets.token_hex(6)}"
    with contextlib.closing(server):
        server.execute(f'CREATE DATABASE "{name}"')
        try:
            yield f"postgresql://postgres@localhost:5432/{name}"
        finally:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextlib.contextmanager
def empty_database(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database of one of `KINDS`; an SQLite file lies in `folder`, which need not exist."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/troika.db"
    else:
        with postgresql_database() as url:
            yield url


@contextlib.contextmanager
def opened(url: str, timeout_s: float = 5.0) -> Iterator[Database]:
    """The database as one process of the service opens it."""
    database = Database(Flask("storage"), url, timeout_s)
    try:
        yield database
    finally:
        database.close()
