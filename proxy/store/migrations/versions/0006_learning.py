"""What is learned from: the features of calls and of routed prompts, the labels of answers, and what was learned."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables, and add the column."""
    op.add_column("calls", sa.Column("features", sa.LargeBinary))
    op.create_table(
        "decisions",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False, index=True),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("decision", sa.LargeBinary, nullable=False),
        sa.Column("features", sa.LargeBinary),
    )
    op.create_table(
        "labels",
        sa.Column("call_id", TEXT, primary_key=True),
        sa.Column("model", TEXT, primary_key=True),
        sa.Column("source", TEXT, primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("key_id", TEXT),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("weight", sa.Double, nullable=False),
        sa.Column("propensity", sa.Double, nullable=False),
        sa.Column("features", sa.LargeBinary),
    )
    op.create_index("labels_time", "labels", ["time", "call_id"])
    op.create_table(
        "learned",
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("state", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    for table in ("learned", "labels", "decisions"):
        op.drop_table(table)
    op.drop_column("calls", "features")
