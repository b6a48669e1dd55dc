"""Create the tables of jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create them."""
    _create_jobs()
    _create_what_belongs_to_them()


def _create_jobs() -> None:
    op.create_table(
        "job",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("content", sa.LargeBinary(32), nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("asked", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("fence", sa.Integer, nullable=False, server_default="0"),
        sa.Column("worker", sa.Text),
        sa.Column("lease_until", sa.Double),
        sa.Column("run_at", sa.Double, nullable=False),
        sa.Column("progress", sa.Double, nullable=False, server_default="0"),
        sa.Column("result", sa.Text),
        sa.Column("problem", sa.Text),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("ended_at", sa.Double),
        sa.Column("until", sa.Double, index=True),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_job_turn", "job", ["state", "priority", "id"])
    op.create_index("ix_job_owner", "job", ["owner", "id"])
    # one job for one content of one owner, whatever else goes wrong
    op.create_index(
        "ix_job_content",
        "job",
        ["owner", "content"],
        unique=True,
        sqlite_where=sa.text("state IN ('queued', 'running', 'done')"),
    )


def _create_what_belongs_to_them() -> None:
    op.create_table(
        "job_event",
        sa.Column("job", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    # a job ends once
    op.create_index(
        "ix_job_event_end",
        "job_event",
        ["job"],
        unique=True,
        sqlite_where=sa.text("kind IN ('done', 'failed', 'cancelled')"),
    )
    op.create_table(
        "artifact",
        sa.Column("job", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("digest", sa.LargeBinary(32), nullable=False, index=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "job_key",
        sa.Column("key", sa.LargeBinary(32), primary_key=True),
        sa.Column("content", sa.LargeBinary(32), nullable=False),
        sa.Column("job", sa.Text, nullable=False, index=True),
        sa.Column("until", sa.Double, nullable=False, index=True),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop them."""
    for name in ("job_key", "artifact", "job_event", "job"):
        op.drop_table(name)
