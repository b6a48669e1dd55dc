"""server/database.py: what cannot keep the registry is refused, and damage is found."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from server import database


def test_a_place_that_cannot_keep_a_log_is_refused() -> None:
    # a database in memory has no write-ahead log, as one on a network file system has none
    with pytest.raises(database.DatabaseUnusable, match="write-ahead log"):
        database.migrate("sqlite://")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite3").write_bytes(b"no database " * 100)
    with pytest.raises(database.DatabaseUnusable, match="cannot be used"):
        database.migrate(f"sqlite:///{tmp_path / 'registry.sqlite3'}")


async def test_a_sound_database_has_no_damage(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'registry.sqlite3'}"
    database.migrate(url)
    engine = database.open_engine(url)
    assert await database.damage(engine) == []
    await engine.dispose()


async def test_a_page_that_was_overwritten_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "registry.sqlite3"
    database.migrate(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    data = bytearray(path.read_bytes())
    data[size : 3 * size] = b"\xff" * 2 * size
    path.write_bytes(data)
    engine = database.open_engine(f"sqlite:///{path}")
    assert await database.damage(engine) != []
    await engine.dispose()
