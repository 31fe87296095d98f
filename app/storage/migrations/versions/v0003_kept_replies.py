"""Replies under idempotency keys."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "kept_replies",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("attempt", sa.String(32), nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("headers", sa.JSON),
        sa.Column("conversation_id", sa.String(64)),
        sa.Column("holder", sa.String(64)),
        sa.Column("process", sa.String(255), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("followed_at", sa.DateTime(timezone=True)),
        sa.Column("done", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_kept_replies_created_at", "kept_replies", ["created_at"])
    op.create_index("ix_kept_replies_conversation_id", "kept_replies", ["conversation_id"])
    op.create_table(
        "kept_pieces",
        sa.Column(
            "reply_id",
            sa.String(64),
            sa.ForeignKey("kept_replies.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("ends_at", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("events", sa.JSON, nullable=False),
    )
