"""The database: opened, migrated by several processes at once, locked, refused."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select, text

from app.storage.database import Database, DatabaseError, DatabaseUnavailableError
from app.storage.models import Base, Conversation, Turn
from config.settings import SettingsError, load_settings
from tests.storage.support import opened, postgresql_database

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 23, 14, 30, 15, 123456, tzinfo=UTC)


def conversation(name: str = "conv_1") -> Conversation:
    return Conversation(id=name, owner="", model="gpt2", created_at=NOW, updated_at=NOW)


def turn(position: int = 0, **values: object) -> Turn:
    defaults = {
        "conversation_id": "conv_1",
        "user": "Hello",
        "reply": "Hi",
        "complete": True,
        "finish_reason": "stop",
        "model": "gpt2",
        "seed": 1,
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "cached_tokens": 0,
        "created_at": NOW,
    }
    return Turn(position=position, **defaults | values)


def open_and_close(url: str) -> None:
    with opened(url):
        pass


# -- migrations ----------------------------------------------------------------------------------------------


def test_an_empty_database_gets_the_tables_and_a_current_one_is_left_alone(database_url: str) -> None:
    for _ in range(2):
        with opened(database_url) as database, database.engine.connect() as connection:
            assert {"conversations", "turns"} <= set(inspect(connection).get_table_names())
            assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar() == 1


def test_migrations_make_the_tables_that_the_models_describe(database: Database) -> None:
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_processes_that_start_at_once_migrate_once(database_url: str) -> None:
    program = (
        "import sys; from flask import Flask; from app.storage.database import Database; "
        "print('ready', flush=True); sys.stdin.readline(); Database(Flask('x'), sys.argv[1]).close()"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, database_url],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    with opened(database_url) as database, database.read() as session:
        assert session.execute(text("SELECT count(*) FROM alembic_version")).scalar() == 1


def test_a_migration_that_fails_leaves_nothing_behind(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("alembic.op.create_index", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            open_and_close(database_url)
    with opened(database_url) as database, database.read() as session:
        assert session.scalars(select(Conversation)).all() == []


def test_a_database_of_a_newer_version_is_refused(database_url: str) -> None:
    with opened(database_url) as database, database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseError, match="made by a newer version"):
        open_and_close(database_url)


# -- refusals ------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with pytest.raises(DatabaseError, match=r"TROIKA_DATABASE_URL=sqlite:///.*/file/troika\.db"):
        open_and_close(f"sqlite:///{tmp_path}/file/troika.db")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "troika.db").write_text("these are my holiday notes, not a database" * 100, encoding="utf-8")
    with pytest.raises(DatabaseError, match="not a database"):
        open_and_close(f"sqlite:///{tmp_path}/troika.db")


def test_a_server_that_does_not_answer_is_refused_without_showing_the_password() -> None:
    with pytest.raises(DatabaseError) as caught:
        open_and_close("postgresql://somebody:secret@localhost:1/nothing")
    assert "somebody:***@localhost" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?uri=true",
        "mysql://u:secret@h/d",
        "postgresql+asyncpg://u:secret@h/d",
    ],
)
def test_other_databases_are_refused_by_the_settings_without_showing_a_password(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TROIKA_DATABASE_URL", url)
    with pytest.raises(SettingsError, match="must be sqlite:///FILE or postgresql://") as caught:
        load_settings()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_known_by_all_its_names(scheme: str) -> None:
    with postgresql_database() as url:
        open_and_close(str(load_settings(database_url=url.replace("postgresql", scheme)).database_url))


# -- transactions --------------------------------------------------------------------------------------------


def test_what_raises_inside_a_transaction_leaves_nothing(database: Database) -> None:
    def fail_half_way() -> None:
        with database.write() as session:
            session.add(conversation())
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    with database.read() as session:
        assert session.get(Conversation, "conv_1") is None


def test_a_process_that_is_killed_inside_a_transaction_leaves_nothing(database_url: str, database: Database) -> None:
    program = """
import os, signal, sys
from flask import Flask
from app.storage.database import Database
from tests.storage.test_database import conversation, turn
with Database(Flask("x"), sys.argv[1]).write() as session:
    session.add_all([conversation(), turn()])
    session.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program, database_url], cwd=ROOT, timeout=60, check=False)
    assert killed.returncode == -9
    with database.write() as session:
        assert session.get(Conversation, "conv_1") is None
        session.add(conversation())


@contextlib.contextmanager
def locked(database: Database) -> Iterator[None]:
    """Somebody else holds the table and doesn't let go."""
    if database.is_sqlite:
        with contextlib.closing(sqlite3.connect(str(database.url.database), isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield
    else:
        plain = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with contextlib.closing(psycopg.connect(plain)) as other:
            other.execute("LOCK TABLE conversations")
            yield


def test_a_locked_database_is_an_error_and_not_a_hang(database_url: str) -> None:
    with opened(database_url, timeout_s=0.2) as database:
        with locked(database), pytest.raises(DatabaseUnavailableError), database.write() as session:
            session.add(conversation())
        with database.write() as session:
            session.add(conversation())


def test_a_database_that_has_no_connection_left_is_an_error_and_not_a_hang(database_url: str) -> None:
    with opened(database_url, timeout_s=0.2) as database, contextlib.ExitStack() as held:
        for _ in range(15):
            session = held.enter_context(database.read())
            session.execute(text("SELECT 1"))
        with pytest.raises(DatabaseUnavailableError, match="no free connection"), database.read() as session:
            session.execute(text("SELECT 1"))


def test_a_reader_does_not_wait_for_a_writer(database: Database) -> None:
    with database.write() as writer:
        writer.add(conversation())
        writer.flush()
        with database.read() as reader:
            assert reader.get(Conversation, "conv_1") is None


# -- columns -------------------------------------------------------------------------------------------------


def test_any_text_comes_back_as_it_was(database: Database) -> None:
    texts = ["", "Hello", "你好 😀\r\n\t", "a\0b\x1b0c\x1bed\x1b", "\0\0", "\ufffd\U0010ffff"]
    with database.write() as session:
        session.add(conversation())
        session.flush()
        session.add_all(turn(i, user=text, system=text, reply=text) for i, text in enumerate(texts))
    with database.read() as session:
        turns = session.scalars(select(Turn).order_by(Turn.position)).all()
    assert [(t.user, t.system, t.reply) for t in turns] == [(text, text, text) for text in texts]


def test_moments_keep_their_instant_and_numbers_their_size(database: Database) -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=8)))
    with database.write() as session:
        session.add(conversation())
        session.flush()
        session.add_all([turn(0, created_at=elsewhere, seed=-(2**63)), turn(1, seed=2**63 - 1)])
    with database.read() as session:
        first, second = session.scalars(select(Turn).order_by(Turn.position)).all()
    assert (first.created_at, first.created_at.utcoffset()) == (NOW, timedelta(0))
    assert (first.seed, second.seed) == (-(2**63), 2**63 - 1)


def test_the_file_is_private_durable_and_made_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with opened("sqlite:///some/folder/troika.db") as database, database.write() as session:
        pragmas = {
            name: session.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "foreign_keys", "secure_delete", "synchronous", "busy_timeout")
        }
    assert pragmas == {
        "journal_mode": "wal",
        "foreign_keys": 1,
        "secure_delete": 1,
        "synchronous": 2,
        "busy_timeout": 5000,
    }
    with opened("sqlite:///some/folder/troika.db") as database:
        for durable, level in ((False, 1), (True, 2), (False, 1)):  # on the same connection
            with database.write(durable=durable) as session:
                assert session.execute(text("PRAGMA synchronous")).scalar() == level
    assert (tmp_path / "some/folder/troika.db").stat().st_mode & 0o777 == 0o600
