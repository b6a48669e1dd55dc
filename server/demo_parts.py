"""Join the parts of the spec2spec demonstration, where it is switched on; `app` starts and ends it.

::

    desk of jobs, task spec2spec --> demonstration --> routes
    SPEC2SPEC_MODEL with a URL ----> fetching -------> registry, staging
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from server.digest import Digest
from server.job_parts import Jobs
from server.parts import Inference, logged
from server.repository.fetching import Fetching
from server.repository_parts import Repository
from server.settings import Settings
from server.web.demonstration import TASK, Demonstration, Terms
from server.web.v1.job_requests import JobRequests

_SHARE = 4  # of the room for the files of jobs, one part of so many


class Demo:
    """The demonstration with its model.

    Parameters
    ----------
    settings : Settings
        Whether there is one, and its model.
    repository : Repository
        Where the model is listed.
    inference : Inference
        Does the work.
    jobs : Jobs
        Take it in.
    group : asyncio.TaskGroup
        Every background task belongs to it.

    Attributes
    ----------
    surface : Demonstration or None
        None where it is switched off.
    """

    def __init__(
        self,
        settings: Settings,
        repository: Repository,
        inference: Inference,
        jobs: Jobs,
        group: asyncio.TaskGroup,
    ) -> None:
        self.surface: Demonstration | None = None
        self._pin = settings.spec2spec_model
        self._group = group
        self._running: list[asyncio.Task[None]] = []
        self._fetching = Fetching(
            repository.registry,
            repository.staging,
            repository.sweeper,
            repository.recovery,
            wake=inference.intake.wake,
        )
        if settings.spec2spec_demo:
            requests = JobRequests(inference.contracts, repository.aliases, inference.predictor)
            terms = Terms(
                model=Digest.parse(self._pin.digest) if self._pin.digest else None,
                is_fetched=bool(self._pin.url),
                max_bytes=min(settings.max_prediction_bytes, settings.max_job_bytes),
                max_kept_bytes=settings.max_jobs_bytes // _SHARE,
                wait_s=settings.deadline_s,
                origins=settings.spec2spec_origins,
            )
            self.surface = Demonstration(jobs.desk, requests, terms)

    async def start(self) -> None:
        """Fetch the model, and keep time; the surface answers meanwhile."""
        if self.surface is None:
            return
        await self.surface.load()
        self._begin(self.surface.run())
        if self._pin.url:
            digest = Digest.parse(self._pin.digest)
            self._begin(self._fetching.run(self._pin.url, digest, {"task": TASK}))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._running.append(self._group.create_task(logged(work)))

    def close(self) -> None:
        """End what runs."""
        for task in self._running:
            task.cancel()
