"""Create the table of names for models."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create it."""
    op.create_table(
        "alias",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("previous", sa.LargeBinary(32)),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("changed_at", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_alias_digest", "alias", ["digest"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("alias")
