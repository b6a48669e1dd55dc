"""Where jobs are handed in and asked after: the queue and the files, kept in step."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from server.jobs.files import JobFiles, Received
from server.jobs.job import ENDED, LAST, Event, Job
from server.jobs.queue import Queue, Submission
from server.shielding import whole


class Desk:
    """Takes jobs in and tells of them.

    Parameters
    ----------
    queue : Queue
        Keeps them.
    files : JobFiles
        Keeps what belongs to them.
    """

    def __init__(self, queue: Queue, files: JobFiles) -> None:
        self.queue = queue
        self.files = files
        self._stopping = asyncio.Event()

    async def load(self) -> None:
        """Go on where the process before this one ended; once, before anybody asks."""
        await self.queue.recover()
        await self.files.load()

    @whole
    async def submit(self, received: Received, wanted: Submission) -> tuple[Job, bool]:
        """Take a job in, and tell whether it is new.

        Raises
        ------
        ServerError
            As `Queue.submit` and `JobFiles.keep`.
        """
        is_new = False
        try:
            async with self.files.turn:
                await self.files.keep(received.file, received.digest, received.size)
                job, is_new = await self.queue.submit(wanted)
        finally:
            if not is_new:
                await self.files.release([received.digest])
        return job, is_new

    async def cancel(self, job: Job) -> None:
        """End a job that has not ended."""
        await self.queue.cancel(job.id)
        await self.files.release([job.asked.sound])

    async def remove(self, job: Job) -> None:
        """Forget a job that has ended, with its files."""
        await self.files.release(await self.queue.remove(job.id))

    async def expire(self) -> None:
        """Forget jobs that have ended long ago."""
        await self.files.release(await self.queue.expire())

    async def ended(self, job: Job, wait_s: float) -> Job:
        """Wait a while for the end of a job, and return it as it is then."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                async for _ in self.follow(job.id, 0, beat_s=wait_s):
                    pass
        return await self.queue.get(job.id) or job

    async def follow(
        self, job: str, after: int, *, beat_s: float
    ) -> AsyncGenerator[Event | None, None]:
        """Yield what has happened and what happens to a job, to its last event.

        Parameters
        ----------
        job : str
            Its id.
        after : int
            The number behind which to begin.
        beat_s : float
            After so long without an event, None is yielded.
        """
        with self.queue.listening(job) as rung:
            while not self._stopping.is_set():
                rung.clear()
                found = await self.queue.get(job)  # before its events: its end is among them then
                for event in await self.queue.events(job, after):
                    yield event
                    after = event.number
                    if event.kind in LAST:
                        return
                if found is None or found.state in ENDED:
                    return  # it is forgotten, or its end was told before
                if not await self._rung(rung, beat_s):
                    yield None

    async def _rung(self, rung: asyncio.Event, wait_s: float) -> bool:
        """Wait until something happens; tells whether it did."""
        waiting = [asyncio.ensure_future(event.wait()) for event in (rung, self._stopping)]
        try:
            done, _ = await asyncio.wait(
                waiting, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for task in waiting:
                task.cancel()
        return bool(done)

    def stop(self) -> None:
        """End what follows jobs: the server stops."""
        self._stopping.set()
