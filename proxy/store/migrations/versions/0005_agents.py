"""Agents with their versions, and the agent of each call."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables, and add the columns."""
    op.create_table(
        "agents",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("latest", sa.Integer, nullable=False),
        sa.Column("labels", TEXT, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "agent_versions",
        sa.Column("agent_id", TEXT, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("json", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
    )
    op.add_column("calls", sa.Column("agent", TEXT))
    op.add_column("calls", sa.Column("agent_version", TEXT))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("calls", "agent_version")
    op.drop_column("calls", "agent")
    op.drop_table("agent_versions")
    op.drop_table("agents")
