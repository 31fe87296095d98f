"""Every test of the records runs on SQLite and on PostgreSQL."""

from tests.storage.conftest import database, database_url

__all__ = ["database", "database_url"]
