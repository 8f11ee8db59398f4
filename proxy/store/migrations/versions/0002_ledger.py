"""The ledger: calls, attempts, and the sums over them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
DIMENSIONS = ("key_id", "user_id", "team_id", "provider", "model", "route")
MEASURES = (
    "requests",
    "errors",
    "attempts",
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_tokens",
    "cost_nusd",
    "own_key_nusd",
)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "calls",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("request_id", TEXT, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("endpoint", TEXT, nullable=False),
        sa.Column("key_id", TEXT),
        sa.Column("user_id", TEXT),
        sa.Column("team_id", TEXT),
        sa.Column("client_id", TEXT),
        sa.Column("model", TEXT),
        sa.Column("route", TEXT),
        sa.Column("provider", TEXT),
        sa.Column("upstream_model", TEXT),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("status", sa.SmallInteger, nullable=False),
        sa.Column("outcome", TEXT, nullable=False),
        sa.Column("code", TEXT),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("input_tokens", sa.BigInteger),
        sa.Column("cached_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger),
        sa.Column("reasoning_tokens", sa.BigInteger, nullable=False),
        sa.Column("cost_nusd", sa.BigInteger),
        sa.Column("cost_status", TEXT, nullable=False),
        sa.Column("ms", sa.Double, nullable=False),
        sa.Column("ttft_ms", sa.Double),
        sa.Column("queue_ms", sa.Double, nullable=False),
        sa.Column("cache", TEXT, nullable=False),
        sa.Column("decision", sa.LargeBinary),
    )
    op.create_index("calls_time", "calls", ["time", "id"])
    op.create_index("calls_key_time", "calls", ["key_id", "time", "id"])
    op.create_index("calls_user_time", "calls", ["user_id", "time", "id"])
    op.create_table(
        "attempts",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("call_id", TEXT, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("provider_key", TEXT),
        sa.Column("outcome", TEXT, nullable=False),
        sa.Column("status", sa.SmallInteger),
        sa.Column("cause", TEXT),
        sa.Column("ms", sa.Double),
        sa.Column("ttft_ms", sa.Double),
        sa.Column("input_tokens", sa.BigInteger),
        sa.Column("cached_tokens", sa.BigInteger, nullable=False),
        sa.Column("cache_write_tokens", sa.BigInteger, nullable=False),
        sa.Column("cache_write_1h_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger),
        sa.Column("reasoning_tokens", sa.BigInteger, nullable=False),
        sa.Column("audio_tokens", sa.BigInteger, nullable=False),
        sa.Column("image_tokens", sa.BigInteger, nullable=False),
        sa.Column("cost_nusd", sa.BigInteger),
        sa.Column("cost_status", TEXT, nullable=False),
        sa.Column("price_version", TEXT),
        sa.Column("own_key", sa.Boolean, nullable=False),
        sa.Column("key_id", TEXT),
        sa.Column("user_id", TEXT),
        sa.Column("team_id", TEXT),
        sa.Column("route", TEXT),
    )
    op.create_index("ix_attempts_call_id", "attempts", ["call_id"])
    op.create_index("ix_attempts_time", "attempts", ["time"])
    for name in ("usage_hours", "usage_days"):
        op.create_table(
            name,
            sa.Column("slot", sa.BigInteger, primary_key=True, autoincrement=False),
            *(sa.Column(dimension, TEXT, primary_key=True) for dimension in DIMENSIONS),
            *(sa.Column(measure, sa.BigInteger, nullable=False) for measure in MEASURES),
            sqlite_with_rowid=False,
        )
        op.create_index(f"{name}_key", name, ["key_id", "slot"])
        op.create_index(f"{name}_user", name, ["user_id", "slot"])
    op.create_table(
        "spend",
        sa.Column("scope", TEXT, primary_key=True),
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("slot", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("nusd", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("spend")
    op.drop_table("usage_days")
    op.drop_table("usage_hours")
    op.drop_table("attempts")
    op.drop_table("calls")
