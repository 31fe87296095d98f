"""Run by Alembic: it migrates on the connection, and in the transaction, that `app.storage.database` gives it."""

from alembic import context

from app.storage.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
)
context.run_migrations()
