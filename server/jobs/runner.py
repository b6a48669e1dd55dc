"""Lanes that do jobs, one each at a time.

::

    claim -> open files -> do --progress--> queue
                           `--> name the artifacts, finish
    lost (cancelled, lease ended) ----> the work is stopped, the lane is free

What fails by the client's fault fails at once; anything else is tried again, as often as the queue
allows.
"""

import asyncio
import logging
import time
from contextlib import AsyncExitStack
from typing import Any

from server.errors import Overload, ServerError
from server.jobs.files import JobFiles
from server.jobs.job import Claim, Kept, told
from server.jobs.queue import ClaimLost, Queue
from server.jobs.work import Do, Order
from server.repository import fsops
from server.repository.threads import on_disk, open_on_disk

_log = logging.getLogger(__name__)
_EXTEND_S = 10.0  # a third of a lease
_PAUSE_S = 5.0  # while the database has no room for a claim
_STEP = 0.005  # of progress, that is worth an event
_STEP_S = 1.0  # after which any progress is
_SERVER_FAULT = 500


class Runner:
    """Does jobs.

    Parameters
    ----------
    queue : Queue
        Gives them out.
    files : JobFiles
        Has their sounds, and keeps what they make.
    do : callable
        Does one: takes an `Order` and what to tell progress to, returns the result.
    lanes : int
        How many side by side.
    extend_s : float
        How often a claim is extended.
    """

    def __init__(
        self, queue: Queue, files: JobFiles, do: Do, *, lanes: int, extend_s: float = _EXTEND_S
    ) -> None:
        self._queue = queue
        self._files = files
        self._do = do
        self._lanes = lanes
        self._extend_s = extend_s

    async def run(self) -> None:
        """Do jobs until cancelled; those under way are put back then."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._lanes):
                group.create_task(self._lane(f"lane {number}"))

    async def _lane(self, name: str) -> None:
        while True:
            try:
                await self._take(await self._queue.claim(name))
            except ServerError as error:
                _log.warning("jobs wait for the database", extra={"reason": error.detail})
                await asyncio.sleep(_PAUSE_S)

    async def _take(self, claim: Claim) -> None:
        """Do a job, or stop when it is another's or nobody's any more."""
        work = asyncio.ensure_future(self._attempt(claim))
        held = asyncio.ensure_future(self._hold(claim))
        try:
            await asyncio.wait({work, held}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await _stopped(work, held)
            await self._queue.release(claim)
            raise
        else:
            await _stopped(work, held)
        finally:
            await self._files.release([claim.asked.sound])
        for task in (work, held):
            if not task.cancelled() and (error := task.exception()) is not None:
                # it could not even be said that the job failed: its lease will end
                _log.error("job left behind", exc_info=error, extra={"job": claim.id})

    async def _hold(self, claim: Claim) -> None:
        """Extend a claim until it is lost."""
        lost = asyncio.ensure_future(self._queue.lost(claim))
        try:
            while not (await asyncio.wait({lost}, timeout=self._extend_s))[0]:
                try:
                    await self._queue.extend(claim)
                except ClaimLost:
                    return
                except ServerError as error:
                    fields = {"job": claim.id, "reason": error.detail}
                    _log.warning("claim not extended", extra=fields)
        finally:
            lost.cancel()

    async def _attempt(self, claim: Claim) -> None:
        try:
            await self._make(claim)
            _log.info("job done", extra={"job": claim.id, "task": claim.asked.task})
        except ClaimLost:
            return
        except ServerError as error:
            final = error.status < _SERVER_FAULT and not isinstance(error, Overload)
            await self._failed(claim, error, final=final)
        except Exception:  # a boundary: whatever a job meets is its own failure
            _log.exception("job met a fault", extra={"job": claim.id})
            await self._failed(claim, ServerError(), final=False)

    async def _make(self, claim: Claim) -> None:
        """Do a job and finish it."""
        self._files.check_room()
        names = claim.asked.files
        async with AsyncExitStack() as stack:
            sound = await self._files.open(claim.asked.sound)
            stack.push_async_callback(self._files.close, sound)
            files: dict[str, fsops.NewFile] = {}
            for name in names:
                files[name] = await open_on_disk(self._files.new, fsops.NewFile.close)
                stack.push_async_callback(on_disk, files[name].close)
            order = Order(claim.asked, sound, {name: file.fd for name, file in files.items()})
            result = await self._do(order, _Telling(self._queue, claim).tell)
            kept = [await self._files.measure(file, names[name]) for name, file in files.items()]
            await self._finish(claim, result, dict(zip(kept, files.values(), strict=True)))

    async def _finish(
        self, claim: Claim, result: dict[str, Any], files: dict[Kept, fsops.NewFile]
    ) -> None:
        """Name the files, then say that the job is done; without it nobody holds them."""
        self._files.check_room(sum(kept.size for kept in files))
        try:
            async with self._files.turn:
                for kept, file in files.items():
                    await self._files.keep(file, kept.digest, kept.size)
                await self._queue.finish(claim, result, list(files))
        except BaseException:
            await self._files.release(kept.digest for kept in files)
            raise

    async def _failed(self, claim: Claim, error: ServerError, *, final: bool) -> None:
        fields = {"job": claim.id, "task": claim.asked.task, "reason": error.detail}
        try:
            ended = await self._queue.fail(claim, told(error), final=final)
        except ClaimLost:
            return
        _log.warning("job failed" if ended else "job will be tried again", extra=fields)


class _Telling:
    """Tells progress in steps that are worth an event."""

    def __init__(self, queue: Queue, claim: Claim) -> None:
        self._queue = queue
        self._claim = claim
        self._told = claim.progress  # that an earlier attempt came to
        self._at = time.monotonic()

    async def tell(self, progress: float) -> None:
        now, more = time.monotonic(), progress - self._told
        if more >= _STEP or (more > 0 and now - self._at >= _STEP_S):
            self._told, self._at = progress, now
            await self._queue.progress(self._claim, round(progress, 4))


async def _stopped(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
