"""An index that finds the calls of a team by time."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index."""
    op.create_index("calls_team_time", "calls", ["team_id", "time", "id"])


def downgrade() -> None:
    """Drop the index."""
    op.drop_index("calls_team_time", "calls")
