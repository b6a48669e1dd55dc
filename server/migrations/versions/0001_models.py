"""Create the tables of models and nonces."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "model",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger),
        sa.Column("manifest", sa.Text),
        sa.Column("record", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("crashes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("registered_at", sa.Double, nullable=False),
        sa.Column("promoted_at", sa.Double),
        sa.Column("ready_at", sa.Double),
        sa.Column("rejected_at", sa.Double),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "nonce",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("until", sa.Double, nullable=False, index=True),
        sqlite_with_rowid=False,
    )
    # few models are promoted beside many registered ones: only they are ever listed
    op.create_index(
        "model_state", "model", ["state"], sqlite_where=sa.text("state <> 'registered'")
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("nonce")
    op.drop_table("model")
