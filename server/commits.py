"""One connection in a thread of its own; changes that wait at the same time share one commit.

::

    event loop          write a   write b   write c   read d
    database's thread   [commit a         ][read d][commit b, c      ]

A durable commit is a flush to disk, and a disk does a few hundred of them in a second, however
little each carries.
"""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
import sqlalchemy.exc

from server.errors import StorageFull

READING = "server_reading"  # the execution option of connections that only read
_MAX_GROUP = 256  # changes of one commit: whoever reads waits for no more than these

T = TypeVar("T")
_Outcome = tuple[Any, BaseException | None]  # a caller's answer, or what failed


@dataclass(frozen=True, slots=True)
class _Change:
    """What one caller wants to have written.

    Attributes
    ----------
    work : callable
        Its statements; returns the caller's answer.
    committed : callable
        Called in the database's thread once the change is durable.
    answer : Future
        What the caller waits for.
    """

    work: Callable[[sa.Connection], Any]
    committed: Callable[[], None]
    answer: asyncio.Future[Any]


class Engine:
    """The one connection, which everybody shares in turn.

    A thread has it, so that neither SQL nor the disk holds the event loop up. Changes never wait
    for company: those that come while a commit runs form the next one. Each has a savepoint, so
    that what fails with one is not lost with another.

    Parameters
    ----------
    engine : sa.Engine
        Made by `open_engine`.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._reader = engine.execution_options(**{READING: True})
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="database")
        self._waiting: list[_Change] = []
        self._writer: asyncio.Task[None] | None = None

    async def read(self, query: Callable[[sa.Connection], T]) -> T:
        """Run a query in the database's thread: it sees every change that was answered."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, query)

    async def write(
        self, work: Callable[[sa.Connection], T], *, committed: Callable[[], None] = lambda: None
    ) -> T:
        """Run statements that are durable when this returns, or undone when it raises.

        Parameters
        ----------
        work : callable
            The statements; nothing of them lasts if it raises.
        committed : callable
            Called in the database's thread when the change is durable, before anybody can read it.

        Raises
        ------
        StorageFull
            If the disk has no room for it.
        """
        result: T = await self._queue(work, committed)
        return result

    async def write_each(
        self, changes: Iterable[tuple[Callable[[sa.Connection], T], Callable[[], None]]]
    ) -> list[T | BaseException]:
        """Run several changes as `write` does, in one commit; each fails for itself.

        Parameters
        ----------
        changes : iterable of pairs
            `work` and `committed` of each.

        Returns
        -------
        list
            The outcome of each, in their order.
        """
        answers = [self._queue(work, committed) for work, committed in changes]
        outcomes: list[T | BaseException] = await asyncio.gather(*answers, return_exceptions=True)
        return outcomes

    async def dispose(self) -> None:
        """Finish what was begun and close the connection."""
        if self._writer is not None:
            await self._writer
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown(wait=False)

    def _queue(
        self, work: Callable[[sa.Connection], Any], committed: Callable[[], None]
    ) -> asyncio.Future[Any]:
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(_Change(work, committed, answer))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_waiting())
        return answer

    async def _write_waiting(self) -> None:
        try:
            while group := self._waiting[:_MAX_GROUP]:
                del self._waiting[:_MAX_GROUP]
                loop = asyncio.get_running_loop()
                outcomes = await loop.run_in_executor(self._thread, self._commit, group)
                for change, (result, failure) in zip(group, outcomes, strict=True):
                    if change.answer.done():
                        continue  # its caller has left
                    if failure is None:
                        change.answer.set_result(result)
                    else:
                        change.answer.set_exception(failure)
        finally:
            self._writer = None

    def _read(self, query: Callable[[sa.Connection], T]) -> T:
        with self._reader.connect() as connection:
            return query(connection)

    def _commit(self, group: list[_Change]) -> list[_Outcome]:
        try:
            with self._engine.begin() as connection:
                outcomes = [_attempt(connection, change) for change in group]
        except (
            BaseException
        ) as error:  # a boundary: who waits must hear whatever stopped the commit
            return [(None, _told(error)) for _ in group]
        for change, (_, failure) in zip(group, outcomes, strict=True):
            if failure is None:
                change.committed()
        return outcomes


def _attempt(connection: sa.Connection, change: _Change) -> _Outcome:
    connection.exec_driver_sql("SAVEPOINT change")
    outcome: _Outcome
    try:
        outcome = change.work(connection), None
    except Exception as error:  # a boundary: one caller's failure is not the others'
        try:
            connection.exec_driver_sql("ROLLBACK TO change")
        except sa.exc.OperationalError:
            raise error from None  # SQLite has undone the whole transaction: the disk is full
        outcome = None, _told(error)
    connection.exec_driver_sql("RELEASE change")
    return outcome


def _told(error: BaseException) -> BaseException:
    if isinstance(error, sa.exc.OperationalError) and "full" in str(error.orig):
        full = StorageFull("the disk has no room for the registry", retry_after_s=60)
        full.__cause__ = error
        return full
    return error
