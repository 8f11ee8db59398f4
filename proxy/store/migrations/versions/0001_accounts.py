"""Accounts: virtual keys, users, teams, provider keys of users, overrides of models, and the audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "meta",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("value", TEXT, nullable=False),
    )
    op.create_table(
        "teams",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("models", TEXT),
        sa.Column("limits", TEXT, nullable=False),
        sa.Column("budget", TEXT),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "users",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("team_id", TEXT),
        sa.Column("models", TEXT),
        sa.Column("limits", TEXT, nullable=False),
        sa.Column("budget", TEXT),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_users_team_id", "users", ["team_id"])
    op.create_table(
        "keys",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("pepper_id", TEXT, nullable=False),
        sa.Column("prefix", TEXT, nullable=False),
        sa.Column("last4", TEXT, nullable=False),
        sa.Column("user_id", TEXT),
        sa.Column("team_id", TEXT),
        sa.Column("models", TEXT),
        sa.Column("limits", TEXT, nullable=False),
        sa.Column("budget", TEXT),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("metadata", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
    )
    op.create_index("ix_keys_user_id", "keys", ["user_id"])
    op.create_index("ix_keys_team_id", "keys", ["team_id"])
    op.create_table(
        "provider_keys",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("fingerprint", TEXT, nullable=False),
        sa.Column("kek_id", TEXT, nullable=False),
        sa.Column("wrapped_dek", sa.LargeBinary, nullable=False),
        sa.Column("nonce", sa.LargeBinary, nullable=False),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("user_id", "provider", name="provider_keys_user_provider"),
    )
    op.create_table(
        "model_overrides",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("json", TEXT, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("number", SERIAL, primary_key=True, autoincrement=True),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("action", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("changes", TEXT, nullable=False),
    )
    op.execute("INSERT INTO meta (name, value) VALUES ('probe', '0')")


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("audit")
    op.drop_table("model_overrides")
    op.drop_table("provider_keys")
    op.drop_table("keys")
    op.drop_table("users")
    op.drop_table("teams")
    op.drop_table("meta")
