"""What a queue of jobs is to tasks and routes, whatever keeps it.

::

    routes      submit, find, get, page, cancel, remove, events, listening
    runner      claim -> extend, progress ... -> finish | fail | release; lost
    the clock   expire; recover, once at the start

A job is done by whoever holds its claim. A claim ends with its lease, and each has a fence: what
comes late with an older fence is refused, so that a job may be begun twice but ends once.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from server.digest import Digest
from server.jobs.job import Asked, Claim, Event, Job, Kept, State


class ClaimLost(Exception):
    """The job was cancelled, or is another's by now."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What somebody wants done.

    Attributes
    ----------
    owner : str
        Their key.
    asked : Asked
        What.
    priority : int
        Greater ones first.
    key : bytes or None
        What they call it, hashed: the same call again is the same job.
    """

    owner: str
    asked: Asked
    priority: int = 0
    key: bytes | None = None


class Queue(Protocol):
    """Keeps jobs; every change is durable when it returns."""

    async def submit(self, wanted: Submission) -> tuple[Job, bool]:
        """Return the job, and whether it is new: one owner has one job of one content."""

    async def find(self, wanted: Submission) -> Job | None:
        """Return the job that `submit` would find, if there is one."""

    async def get(self, job: str) -> Job | None:
        """Return a job with its result and artifacts."""

    async def page(
        self, owner: str, *, limit: int, before: str | None = None, state: State | None = None
    ) -> list[Job]:
        """List jobs of an owner, the latest first."""

    async def cancel(self, job: str) -> None:
        """End a job that has not ended; whoever does it loses its claim."""

    async def remove(self, job: str) -> list[Digest]:
        """Forget a job that has ended; return the files that it held."""

    async def events(self, job: str, after: int) -> list[Event]:
        """List what has happened to a job behind a number."""

    def listening(self, job: str) -> AbstractContextManager[asyncio.Event]:
        """Give an event that is set whenever something happens to a job."""

    async def claim(self, worker: str) -> Claim:
        """Wait for the next job and take it: by priority, then by age."""

    async def extend(self, claim: Claim) -> None:
        """Say that the job is still being done; raises `ClaimLost`."""

    async def progress(self, claim: Claim, progress: float) -> None:
        """Tell how far it is; raises `ClaimLost`."""

    async def finish(self, claim: Claim, result: dict[str, Any], files: Sequence[Kept]) -> None:
        """End it well; raises `ClaimLost`."""

    async def fail(self, claim: Claim, problem: dict[str, Any], *, final: bool) -> bool:
        """End it badly, or let it be tried again; tells whether it has ended."""

    async def release(self, claim: Claim) -> None:
        """Give it back as if nobody had begun it."""

    async def lost(self, claim: Claim) -> None:
        """Return when the claim is no longer good."""

    async def recover(self) -> None:
        """Take back what the process before this one had claimed."""

    async def expire(self) -> list[Digest]:
        """Forget some jobs that have ended long ago; return the files that they held."""
