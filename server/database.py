"""The registry's database: its tables, its engine and its one owner.

SQLite, embedded: one process owns the file and one connection writes, because libraries before
3.51.3 can damage a write-ahead log that two connections write. Every commit is flushed to disk
before it is answered.

::

    nonce   digest PK | until
    alias   name PK | digest | previous | version | changed_at
    kept_answer    key PK | asked | sealed | until
    audit   id PK | at | action | digest | by | detail
    job     id PK | owner | content | state | priority | asked | attempts | fence | ...
    job_event    job, number PK | at | kind | data
    artifact     job, name PK | digest | size
    job_key key PK | content | job | until
    model   digest PK | state | size | manifest | record | reason | crashes | registered_at ...
    rejected_at
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import sqlalchemy.exc

from server.commits import READING, Engine

REVISION = "0005"  # newest of migrations/versions; a test holds it against the files
MIGRATIONS = Path(__file__).with_name("migrations")
_SAFE_SQLITE = (3, 51, 3)

metadata = sa.MetaData()

model = sa.Table(
    "model",
    metadata,
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

# signed payloads that may be used once: SHA-256 of the nonce, and when it may be forgotten
nonce = sa.Table(
    "nonce",
    metadata,
    sa.Column("digest", sa.LargeBinary(32), primary_key=True),
    sa.Column("until", sa.Double, nullable=False, index=True),
    sqlite_with_rowid=False,
)

# names for models; see `server.repository.aliases`
alias = sa.Table(
    "alias",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("digest", sa.LargeBinary(32), nullable=False, index=True),
    sa.Column("previous", sa.LargeBinary(32)),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("changed_at", sa.Double, nullable=False),
    sqlite_with_rowid=False,
)

# answers that are given again; see `server.repository.kept_answers`
kept_answer = sa.Table(
    "kept_answer",
    metadata,
    sa.Column("key", sa.LargeBinary(32), primary_key=True),
    sa.Column("asked", sa.LargeBinary(32), nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("until", sa.Double, nullable=False, index=True),
    sqlite_with_rowid=False,
)

# who changed what; see `server.repository.audit`
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("digest", sa.LargeBinary(32)),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("detail", sa.Text),
)


# work that outlives a request; see `server.jobs.rows`
job = sa.Table(
    "job",
    metadata,
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

# what has happened to a job, numbered from 1
job_event = sa.Table(
    "job_event",
    metadata,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)

# which files a job holds; equal ones lie on disk once, see `server.jobs.files`
artifact = sa.Table(
    "artifact",
    metadata,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("digest", sa.LargeBinary(32), nullable=False, index=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# what clients call their submissions
job_key = sa.Table(
    "job_key",
    metadata,
    sa.Column("key", sa.LargeBinary(32), primary_key=True),
    sa.Column("content", sa.LargeBinary(32), nullable=False),
    sa.Column("job", sa.Text, nullable=False, index=True),
    sa.Column("until", sa.Double, nullable=False, index=True),
    sqlite_with_rowid=False,
)


class DatabaseInUse(Exception):
    """Another process owns the registry."""


class LockUnusable(Exception):
    """The lock file cannot be opened; says why."""


class DatabaseUnusable(Exception):
    """The database cannot be opened or is none; says why."""


@contextmanager
def owner_lock(path: Path) -> Iterator[None]:
    """Own the registry while the block runs; the lock goes with the process, however it ends.

    Raises
    ------
    DatabaseInUse
        If another process holds it.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LockUnusable(f"{path.name} cannot be opened ({error.strerror})") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise DatabaseInUse from error
    try:
        yield
    finally:
        os.close(fd)


def open_engine(url: str) -> Engine:
    """Open the database with one connection, in a thread of its own."""
    engine = sa.create_engine(
        _synchronous(url),
        poolclass=sa.QueuePool,
        pool_size=1,
        max_overflow=0,
        connect_args={"isolation_level": None},
    )
    sa.event.listen(engine, "connect", _configure)
    sa.event.listen(engine, "begin", _begin)
    return Engine(engine)


def migrate(url: str) -> None:
    """Bring the tables to the newest revision; costs nothing when they are there already."""
    engine = sa.create_engine(_synchronous(url))
    try:
        _upgrade(engine)
        with engine.connect() as connection:
            mode = connection.exec_driver_sql("PRAGMA journal_mode=WAL").scalar()
        if mode != "wal":  # shared memory is what network file systems lack
            raise DatabaseUnusable("cannot keep a write-ahead log there; use a local disk")
    except sa.exc.DatabaseError as error:
        raise DatabaseUnusable(f"cannot be used ({error.orig})") from error
    finally:
        engine.dispose()


def _upgrade(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        if _revision(connection) != REVISION:
            # Alembic is half a second of imports that only a new or old database needs
            from alembic import command  # noqa: PLC0415
            from alembic.config import Config  # noqa: PLC0415

            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


@contextmanager
def in_use() -> Iterator[None]:
    """Use a database that opened.

    Raises
    ------
    DatabaseUnusable
        If it is damaged further on.
    """
    try:
        yield
    except sa.exc.DatabaseError as error:
        raise DatabaseUnusable(f"cannot be read ({error.orig}): see `fsck`") from error


async def damage(engine: Engine) -> list[str]:
    """Let the database check itself; return what is wrong with it."""

    def check(connection: sa.Connection) -> list[str]:
        return [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check(20)")]

    try:
        found = await engine.read(check)
    except sa.exc.DatabaseError as error:
        return [str(error.orig)]
    return [] if found == ["ok"] else found


def unsafe_sqlite() -> str | None:
    """Return the SQLite version when it has the write-ahead log fault that one owner avoids."""
    return sqlite3.sqlite_version if sqlite3.sqlite_version_info < _SAFE_SQLITE else None


def _synchronous(url: str) -> str:
    return url.replace("+aiosqlite", "")


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def _configure(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "busy_timeout=5000",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    # A deferred transaction that turns into a writer fails at once, whatever the busy timeout. A
    # query needs none: nobody writes between its statements.
    if not connection.get_execution_options().get(READING, False):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
