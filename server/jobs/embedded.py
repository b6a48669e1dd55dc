"""The queue in the server's own database.

Each change of a job and the event that tells of it are one transaction. Who waits is woken in this
process: for a job (`lost`, `listening`), or for a turn (`claim`), where only retries and leases
need the clock.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeVar

import sqlalchemy as sa

from server.commits import Engine
from server.digest import Digest
from server.errors import WorkerFailed
from server.jobs import rows
from server.jobs.bell import Bell
from server.jobs.book import Book, Terms
from server.jobs.job import ENDED, LAST, Claim, Event, Job, Kept, Kind, State, new_id, told
from server.jobs.queue import ClaimLost, Submission
from server.metrics import JOB_RETRIES, JOB_SECONDS, JOBS
from server.shielding import whole

_TURN = ""  # what who waits for a turn listens to; no job has this id
_WAKING = frozenset({Kind.QUEUED, Kind.RETRY, Kind.STARTED})  # a turn, or a lease to wait for
_KEY_S = 24 * 3600.0
_FORGOTTEN_AT_ONCE = 100
_STALLED = told(WorkerFailed("whoever did the job was not heard of again"))
T = TypeVar("T")


class EmbeddedQueue:
    """Keeps jobs in the database.

    Parameters
    ----------
    engine : Engine
        Of `server.database`.
    terms : Terms
        How long, and how often.
    clock : callable
        Seconds since 1970.

    Attributes
    ----------
    unfinished : dict of str to int
        How many jobs have not ended, by state.
    """

    def __init__(
        self,
        engine: Engine,
        terms: Terms,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._terms = terms
        self._clock = clock
        self._bell = Bell()
        self._latest_us = 0
        self.unfinished: dict[str, int] = {state.value: 0 for state in rows.LIVE}

    async def submit(self, wanted: Submission) -> tuple[Job, bool]:
        """Return the job, and whether it is new.

        Raises
        ------
        IdempotencyConflict
            If its owner calls another one so.
        Overload, TooManyRequests
            If too many have not ended: of all, or of this owner.
        """

        def submit(book: Book) -> tuple[Job, bool]:
            connection, now = book.connection, book.now
            found, is_new = rows.find(connection, wanted, now), False
            if found is None:
                book.admit(wanted.owner)
                found, is_new = self._new_id(now), True
                given = (found, wanted.owner, wanted.asked, State.QUEUED, wanted.priority)
                book.begin(Job(*given, attempts=0, fence=0, progress=0.0, created_at=now))
            else:  # who asks again wants it for as long again
                until = {"until": now + self._terms.keep_s}
                rows.change(connection, found, [State.DONE], until)
            if wanted.key is not None and rows.named(connection, wanted.key, now) is None:
                content = wanted.asked.content.raw
                rows.name(connection, wanted.key, content, found, now + _KEY_S)
            return rows.known(connection, found), is_new

        return await self._change(submit)

    async def find(self, wanted: Submission) -> Job | None:
        """Return the job that `submit` would find."""
        now = self._clock()

        def find(connection: sa.Connection) -> Job | None:
            found = rows.find(connection, wanted, now)
            return None if found is None else rows.get(connection, found)

        return await self._engine.read(find)

    def _new_id(self, now: float) -> str:
        # of jobs that come in one transaction the first is the oldest
        self._latest_us = max(int(now * 1e6), self._latest_us + 1)
        return new_id(self._latest_us)

    async def get(self, job: str) -> Job | None:
        """Return a job with its result and artifacts."""
        return await self._engine.read(lambda connection: rows.get(connection, job))

    async def page(
        self, owner: str, *, limit: int, before: str | None = None, state: State | None = None
    ) -> list[Job]:
        """List jobs of an owner, the latest first."""
        return await self._engine.read(
            lambda connection: rows.page(connection, owner, limit=limit, before=before, state=state)
        )

    async def cancel(self, job: str) -> None:
        """End a job that has not ended."""
        await self._change(lambda book: book.cancel(job))

    async def remove(self, job: str) -> list[Digest]:
        """Forget a job that has ended; return the files that it held."""

        def remove(book: Book) -> list[Digest]:
            found = rows.held(book.connection, job)
            ended = found is not None and found.state in ENDED
            return rows.forget(book.connection, job) if ended else []

        return await self._change(remove)

    async def events(self, job: str, after: int) -> list[Event]:
        """List what has happened to a job behind a number."""
        return await self._engine.read(lambda asked: rows.events_after(asked, job, after))

    def listening(self, job: str) -> AbstractContextManager[asyncio.Event]:
        """Give an event that is set whenever something happens to a job."""
        return self._bell.listening(job)

    async def claim(self, worker: str) -> Claim:
        """Wait for the next job and take it."""
        with self._bell.listening(_TURN) as rung:
            while True:
                rung.clear()
                claim, due = await self._claim(worker)
                if claim is not None:
                    return claim
                with suppress(TimeoutError):
                    wait_s = None if due is None else max(0.0, due - self._clock())
                    await asyncio.wait_for(rung.wait(), wait_s)

    async def _claim(self, worker: str) -> tuple[Claim | None, float | None]:
        """Take the next job, or tell when there may be one."""

        def claim(book: Book) -> tuple[Claim | None, float | None]:
            for late in rows.running(book.connection, late=book.now):
                book.fail(late, _STALLED, final=False)
            turn = rows.next_due(book.connection, book.now)
            if turn is None:
                return None, rows.when_due(book.connection)
            return book.take(rows.known(book.connection, turn), worker), None

        taking = asyncio.ensure_future(self._change(claim))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            if (taken := (await taking)[0]) is not None:
                await self.release(taken)  # nobody would do it
            raise

    async def extend(self, claim: Claim) -> None:
        """Say that the job is still being done.

        Raises
        ------
        ClaimLost
            If the claim is no longer good.
        """
        until = self._clock() + self._terms.lease_s
        await self._change(lambda book: book.hold(claim, lease_until=until))

    async def progress(self, claim: Claim, progress: float) -> None:
        """Tell how far it is.

        Raises
        ------
        ClaimLost
            If the claim is no longer good.
        """

        def tell(book: Book) -> None:
            book.hold(claim, lease_until=book.now + self._terms.lease_s, progress=progress)
            book.tell(claim.id, Kind.PROGRESS, progress=progress)

        await self._change(tell)

    async def finish(self, claim: Claim, result: dict[str, Any], files: Sequence[Kept]) -> None:
        """End it well.

        Raises
        ------
        ClaimLost
            If the claim is no longer good.
        """

        def finish(book: Book) -> float:
            book.finish(claim, result, files)
            return book.now - (rows.known(book.connection, claim.id).started_at or book.now)

        JOB_SECONDS.observe(await self._change(finish))

    async def fail(self, claim: Claim, problem: dict[str, Any], *, final: bool) -> bool:
        """End it badly, or let it be tried again; tells whether it has ended.

        Raises
        ------
        ClaimLost
            If the claim is no longer good.
        """

        def fail(book: Book) -> bool:
            held = rows.held(book.connection, claim.id)
            if held is None or held.state != State.RUNNING or held.fence != claim.fence:
                raise ClaimLost
            return book.fail(held, problem, final=final)

        return await self._change(fail)

    async def release(self, claim: Claim) -> None:
        """Give it back as if nobody had begun it; what is lost already stays so."""
        await self._change(lambda book: book.release(claim))

    async def lost(self, claim: Claim) -> None:
        """Return when the claim is no longer good."""
        with self._bell.listening(claim.id) as rung:
            while True:
                rung.clear()
                held = await self._engine.read(lambda asked: rows.held(asked, claim.id))
                if held is None or held.state != State.RUNNING or held.fence != claim.fence:
                    return
                await rung.wait()

    async def recover(self) -> None:
        """Take back what the process before this one had claimed."""

        def recover(book: Book) -> None:
            for left in rows.running(book.connection):
                book.fail(left, _STALLED, final=False)

        await self._change(recover)

    async def expire(self) -> list[Digest]:
        """Forget some jobs that have ended long ago; return the files that they held."""

        def expire(book: Book) -> list[Digest]:
            gone = rows.over(book.connection, book.now, _FORGOTTEN_AT_ONCE)
            return [digest for job in gone for digest in rows.forget(book.connection, job)]

        return await self._change(expire)

    @whole
    async def _change(self, work: Callable[[Book], T]) -> T:
        """Run a transaction, then wake who waits for what happened in it."""
        happened: list[tuple[str, Kind]] = []
        counted: dict[str, int] = {}

        def change(connection: sa.Connection) -> T:
            book = Book(connection, self._clock(), self._terms)
            result = work(book)
            happened.extend(book.happened)
            if any(kind is not Kind.PROGRESS for _, kind in happened):
                counted.update(rows.unfinished(connection))
            return result

        result: T = await self._engine.write(change)
        self.unfinished = counted or self.unfinished
        for job, kind in happened:
            self._bell.ring(job)
            if kind in _WAKING:
                self._bell.ring(_TURN)
            if kind in LAST:
                JOBS.labels(kind.value).inc()
            elif kind is Kind.RETRY:
                JOB_RETRIES.inc()
        return result
