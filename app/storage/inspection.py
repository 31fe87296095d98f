"""A look at the database that changes nothing, for the self-check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from app.storage import postgresql
from app.storage.database import MIGRATIONS, DatabaseError, normalised, reason_of


@dataclass(frozen=True, slots=True)
class Inspection:
    """`revision` is the database's migration, None where there is none yet; `head` the newest one.

    `file` is the path of an SQLite database, None for a server. `known` is whether this version of Troika has the
    database's migration.
    """

    address: str
    file: Path | None
    revision: str | None
    head: str
    known: bool


def inspect(url: str, timeout_s: float = 5.0) -> Inspection:
    """Connect, see whether one could write, and read the migration. Raises `DatabaseError` with the driver's words."""
    parsed = normalised(url)
    script = ScriptDirectory(str(MIGRATIONS))
    head = script.get_current_head() or ""
    file = Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
    address = parsed.render_as_string()  # it hides the password
    if file is not None and not file.exists():
        return Inspection(address, file, None, head, known=True)
    wait = {} if file is None else {"timeout": timeout_s}
    engine = create_engine(parsed, poolclass=NullPool, connect_args=wait, hide_parameters=True)
    if file is None:
        postgresql.bound(engine, timeout_s)
    try:
        with engine.connect() as connection:
            if file is not None:
                # What a writer would have to get; reading alone says nothing of a lock or of a file's permissions.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            elif connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on":
                raise DatabaseError("it only reads: this is a standby, or the role may not write")
            revision = MigrationContext.configure(connection).get_current_revision()
            connection.rollback()
    except SQLAlchemyError as error:
        raise DatabaseError(reason_of(error)) from error
    finally:
        engine.dispose()
    known = revision is None or revision in {r.revision for r in script.walk_revisions()}
    return Inspection(address, file, revision, head, known)
