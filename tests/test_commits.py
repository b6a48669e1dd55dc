"""server/commits.py: waiting changes share a commit, and nothing else."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from server import database
from server.commits import Engine
from server.errors import StorageFull


class Ledger:
    """A table of numbers behind an engine, and how often the database committed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.commits = 0
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE number (n INTEGER PRIMARY KEY)")
        sync = sa.create_engine(f"sqlite:///{path}", connect_args={"isolation_level": None})
        sa.event.listen(sync, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        sa.event.listen(sync, "commit", self._count)
        self.engine = Engine(sync)

    def _count(self, _connection: sa.Connection) -> None:
        self.commits += 1

    async def add(self, number: int) -> int:
        return await self.engine.write(lambda connection: insert(connection, number))

    def numbers(self) -> list[int]:
        """Read what is durable, as another process would."""
        with closing(sqlite3.connect(self.path)) as connection:
            return [n for (n,) in connection.execute("SELECT n FROM number ORDER BY n")]


def insert(connection: sa.Connection, number: int) -> int:
    connection.exec_driver_sql("INSERT INTO number VALUES (?)", (number,))
    return number


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    ledger = Ledger(tmp_path / "numbers.sqlite3")
    yield ledger
    await ledger.engine.dispose()


async def test_a_change_is_durable_when_it_is_answered(ledger: Ledger) -> None:
    assert await ledger.add(5) == 5
    assert ledger.numbers() == [5]


async def test_changes_that_wait_together_share_commits(ledger: Ledger) -> None:
    assert await asyncio.gather(*map(ledger.add, range(300))) == list(range(300))
    assert ledger.numbers() == list(range(300))
    assert ledger.commits <= 4


async def test_the_failure_of_one_change_is_not_the_others(ledger: Ledger) -> None:
    def insert_and_fail(connection: sa.Connection) -> None:
        insert(connection, 100)
        insert(connection, 1)  # is there already

    failing = ledger.engine.write(insert_and_fail)
    outcomes = await asyncio.gather(ledger.add(1), failing, ledger.add(2), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [int, sa.exc.IntegrityError, int]
    assert ledger.numbers() == [1, 2]


async def test_a_refusal_undoes_its_own_statements(ledger: Ledger) -> None:
    def insert_and_refuse(connection: sa.Connection) -> None:
        insert(connection, 1)
        raise KeyError("refused")

    with pytest.raises(KeyError):
        await ledger.engine.write(insert_and_refuse)
    assert ledger.numbers() == []


async def test_a_commit_that_fails_fails_for_everybody(ledger: Ledger) -> None:
    def refuse(_connection: sa.Connection) -> None:
        raise sa.exc.OperationalError("COMMIT", None, Exception("database or disk is full"))

    sa.event.listen(ledger.engine._engine, "commit", refuse)
    told: list[str] = []
    changes = [
        ledger.engine.write(
            lambda connection, n=n: insert(connection, n),  # type: ignore[misc]  # a default binds n
            committed=lambda: told.append("durable"),
        )
        for n in range(3)
    ]
    outcomes = await asyncio.gather(*changes, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StorageFull] * 3
    sa.event.remove(ledger.engine._engine, "commit", refuse)
    assert (ledger.numbers(), told) == ([], [])
    assert await ledger.add(7) == 7


async def test_a_full_database_is_told_as_a_full_disk(ledger: Ledger) -> None:
    def fill(connection: sa.Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count=4")
        connection.exec_driver_sql("CREATE TABLE wide (text)")
        for _ in range(100):
            connection.exec_driver_sql("INSERT INTO wide VALUES (zeroblob(1000))")

    outcomes = await asyncio.gather(
        ledger.add(1), ledger.engine.write(fill), ledger.add(2), return_exceptions=True
    )
    assert isinstance(outcomes[1], StorageFull)
    answered = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert ledger.numbers() == answered


async def test_a_query_sees_nothing_that_is_not_durable(ledger: Ledger) -> None:
    def count(connection: sa.Connection) -> int:
        found: int = connection.exec_driver_sql("SELECT count(*) FROM number").scalar_one()
        return found

    async def ask() -> None:
        seen = await ledger.engine.read(count)
        assert seen <= len(ledger.numbers())

    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(ledger.add(number))
            group.create_task(ask())


async def test_whoever_is_told_of_a_commit_is_told_before_the_answer(ledger: Ledger) -> None:
    told: list[int] = []
    await ledger.engine.write(
        lambda connection: insert(connection, 1),
        committed=lambda: told.append(len(ledger.numbers())),
    )
    assert told == [1]


async def test_a_caller_that_leaves_holds_nobody_up(ledger: Ledger) -> None:
    leaving = asyncio.create_task(ledger.add(1))
    staying = asyncio.create_task(ledger.add(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == 2
    assert await ledger.add(3) == 3
    assert leaving.cancelled()


async def test_an_engine_that_is_disposed_of_finishes_what_was_begun(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "numbers.sqlite3")
    adding = [asyncio.create_task(ledger.add(number)) for number in range(3)]
    await asyncio.sleep(0)
    await ledger.engine.dispose()
    assert await asyncio.gather(*adding) == [0, 1, 2]


async def test_statements_run_outside_the_event_loop(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'registry.sqlite3'}"
    database.migrate(url)
    engine = database.open_engine(url)
    where: Callable[[sa.Connection], int] = lambda _connection: threading.get_ident()  # noqa: E731
    threads = {await engine.read(where), await engine.write(where)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    await engine.dispose()
