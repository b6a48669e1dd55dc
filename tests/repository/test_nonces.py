"""server/repository/nonces.py: used once, also across restarts."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from server import database
from server.errors import BadSignature, Overload
from server.repository.nonces import Nonces
from tests.repository.conftest import House


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


async def test_what_waits_beyond_its_end_is_refused(house: House) -> None:
    clock = Clock()
    nonces = Nonces(house.engine, clock=clock)
    await nonces.spend("first", until=1001.0)
    clock.now = 1001.5  # a replay that was judged before the end, and waited for the disk
    for _ in range(2):
        with pytest.raises(BadSignature):
            await nonces.spend("first", until=1001.0)


def remembered(house: House) -> int:
    with closing(sqlite3.connect(house.layout.models / "registry.sqlite3")) as connection:
        count: int = connection.execute("SELECT count(*) FROM nonce").fetchone()[0]
        return count


async def test_of_many_at_once_one_is_good(house: House) -> None:
    nonces = Nonces(house.engine)
    spent = (nonces.spend("the same", until=9e9) for _ in range(20))
    outcomes = await asyncio.gather(*spent, return_exceptions=True)
    assert sum(outcome is None for outcome in outcomes) == 1
    assert sum(isinstance(outcome, BadSignature) for outcome in outcomes) == 19


async def test_no_more_are_remembered_than_there_is_room_for(house: House) -> None:
    clock = Clock()
    nonces = Nonces(house.engine, clock=clock, most=2)
    await nonces.spend("first", until=1300.0)
    with pytest.raises(BadSignature):  # a replay takes no room
        await nonces.spend("first", until=1300.0)
    await nonces.spend("second", until=1300.0)
    with pytest.raises(Overload):
        await nonces.spend("one more", until=1300.0)
    clock.now = 1301.0
    await nonces.spend("one more", until=1600.0)
    assert remembered(house) == 1


async def test_what_an_earlier_process_remembered_takes_room(house: House) -> None:
    await Nonces(house.engine, most=1).spend("before", until=9e9)
    with pytest.raises(Overload):
        await Nonces(house.engine, most=1).spend("after", until=9e9)


async def test_what_is_out_of_date_is_forgotten_by_and_by(house: House) -> None:
    clock = Clock()
    nonces = Nonces(house.engine, clock=clock)
    await asyncio.gather(*(nonces.spend(str(number), until=1300.0) for number in range(250)))
    clock.now = 1301.0
    left = []
    for number in range(3):
        await nonces.spend(f"later {number}", until=1600.0)
        left.append(remembered(house))
    assert left == [151, 52, 3]


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite3").write_bytes(b"no database" * 100)
    with pytest.raises(database.DatabaseUnusable):
        database.migrate(f"sqlite+aiosqlite:///{tmp_path / 'registry.sqlite3'}")


def test_a_database_in_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(database.DatabaseUnusable):
        database.migrate(f"sqlite+aiosqlite:///{tmp_path / 'nowhere' / 'registry.sqlite3'}")
