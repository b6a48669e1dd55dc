"""Join the parts of jobs; `app` starts and stops them.

::

    database, files -> queue -> lanes -> task runs
                          `--> desk -> routes
"""

import asyncio

from server.jobs.book import Terms
from server.jobs.desk import Desk
from server.jobs.embedded import EmbeddedQueue
from server.jobs.files import FOLDER, JobFiles
from server.jobs.runner import Runner
from server.jobs.work import TaskDoer
from server.parts import Inference, logged
from server.repository.layout import Layout
from server.repository_parts import Repository
from server.settings import Settings


class Jobs:
    """The queue, its files and its lanes, joined.

    Parameters
    ----------
    settings : Settings
        Numbers and bounds.
    layout : Layout
        Where files lie.
    repository : Repository
        Has the database.
    inference : Inference
        Does the work.
    group : asyncio.TaskGroup
        Every background task belongs to it.
    """

    def __init__(
        self,
        settings: Settings,
        layout: Layout,
        repository: Repository,
        inference: Inference,
        group: asyncio.TaskGroup,
    ) -> None:
        terms = Terms(settings.job_attempts, settings.job_keep_s, settings.max_jobs)
        self._queue = EmbeddedQueue(repository.engine, terms)
        files = JobFiles(
            layout.models / FOLDER,
            layout.disk,
            repository.engine,
            max_file_bytes=settings.max_job_bytes,
            max_bytes=settings.max_jobs_bytes,
        )
        self.desk = Desk(self._queue, files)
        doer = TaskDoer(inference.predictor, inference.task_runs)
        self._runner = Runner(self._queue, files, doer, lanes=settings.job_workers)
        self._group = group
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with what waits."""
        self._running = self._group.create_task(logged(self._runner.run()))

    def stop(self) -> None:
        """Put back what is being done, and end what follows jobs."""
        self.desk.stop()
        if self._running is not None:
            self._running.cancel()

    async def close(self) -> None:
        """Return when nothing is done any more."""
        self.stop()
        if self._running is not None:
            await asyncio.wait({self._running})

    def state(self) -> dict[str, int]:
        """Return how many jobs have not ended, for `/readyz`."""
        return {f"jobs_{state}": count for state, count in self._queue.unfinished.items()}
