"""server/repository/nonces.py: used once, also across restarts."""

from pathlib import Path

import pytest

from server import database
from server.errors import BadSignature
from server.repository.nonces import Nonces


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_nonce_is_good_once_until_it_is_out_of_date(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'registry.sqlite3'}"
    database.migrate(url)
    clock = Clock()
    for _restart in range(2):
        engine = database.open_engine(url)
        nonces = Nonces(engine, clock=clock)
        if _restart == 0:
            await nonces.spend("first", until=1300.0)
        with pytest.raises(BadSignature):
            await nonces.spend("first", until=1300.0)
        await engine.dispose()
    engine = database.open_engine(url)
    clock.now = 1301.0
    await Nonces(engine, clock=clock).spend("first", until=1600.0)
    await engine.dispose()


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite3").write_bytes(b"no database" * 100)
    with pytest.raises(database.DatabaseUnusable):
        database.migrate(f"sqlite+aiosqlite:///{tmp_path / 'registry.sqlite3'}")


def test_a_database_in_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(database.DatabaseUnusable):
        database.migrate(f"sqlite+aiosqlite:///{tmp_path / 'nowhere' / 'registry.sqlite3'}")
