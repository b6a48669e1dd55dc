"""Create the table of who changed what."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create it."""
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary(32)),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("detail", sa.Text),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("audit")
