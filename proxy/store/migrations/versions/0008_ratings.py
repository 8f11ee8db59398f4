"""Ratings of answers, and the comments of feedback."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the columns."""
    op.add_column("calls", sa.Column("rating", sa.Double))
    op.add_column("calls", sa.Column("rating_reasons", TEXT))
    op.add_column("labels", sa.Column("comment", TEXT))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("labels", "comment")
    for name in ("rating_reasons", "rating"):
        op.drop_column("calls", name)
