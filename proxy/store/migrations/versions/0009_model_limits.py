"""Limits of keys, users and teams for single models."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLES = ("keys", "users", "teams")


def upgrade() -> None:
    """Add the columns."""
    for table in TABLES:
        op.add_column(table, sa.Column("model_limits", sa.Text().with_variant(sa.Text(collation="C"), "postgresql")))


def downgrade() -> None:
    """Drop them."""
    for table in TABLES:
        op.drop_column(table, "model_limits")
