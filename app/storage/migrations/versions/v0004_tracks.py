"""Streams of several replies at once, under idempotency keys: which reply each event is of."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("kept_pieces", sa.Column("tracks", sa.JSON))
