"""Alembic's migrations, run by `app.storage.database` at every start."""
