"""Prompts with their profiles, where they are stored."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "prompts",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("json", sa.LargeBinary, nullable=False),
    )
    op.create_index("prompts_time", "prompts", ["time", "id"])
    op.create_index("prompts_tenant_time", "prompts", ["tenant", "time", "id"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("prompts")
