"""Dialogs: conversations, responses, their items, and the events of responses that run in the background."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "conversations",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("metadata", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("length", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("lock_owner", TEXT),
        sa.Column("lock_until", sa.BigInteger),
    )
    op.create_index("conversations_updated", "conversations", ["updated_at", "id"])
    op.create_table(
        "responses",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("conversation_id", TEXT),
        sa.Column("position", sa.BigInteger),
        sa.Column("previous_id", TEXT),
        sa.Column("chain", TEXT, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("document", sa.LargeBinary),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("background", sa.Boolean, nullable=False),
        sa.Column("owner", TEXT),
        sa.Column("owned_until", sa.BigInteger),
        sa.Column("cancelled", sa.Boolean, nullable=False),
        sa.Column("request", sa.LargeBinary),
    )
    op.create_index("ix_responses_conversation_id", "responses", ["conversation_id"])
    op.create_index("responses_updated", "responses", ["updated_at", "id"])
    op.create_index("responses_chain", "responses", ["chain", "updated_at"])
    op.create_table(
        "items",
        sa.Column("container", TEXT, primary_key=True),
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("response_id", TEXT),
        sa.Column("output", sa.Boolean, nullable=False),
        sa.Column("json", sa.LargeBinary, nullable=False),
    )
    op.create_index("items_id", "items", ["tenant", "id"])
    op.create_table(
        "response_events",
        sa.Column("response_id", TEXT, primary_key=True),
        sa.Column("first", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("response_events")
    op.drop_table("items")
    op.drop_table("responses")
    op.drop_table("conversations")
