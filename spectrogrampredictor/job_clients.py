"""The jobs of a client: `client.jobs`, for code that waits and for code that does not."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from spectrogrampredictor import jobs
from spectrogrampredictor.calls import ModelName
from spectrogrampredictor.jobs import Job, Told
from spectrogrampredictor.line import AsyncLine, Line

DONE_S = 3600.0
Sound = str | os.PathLike[str]


class Jobs:
    """Work that outlives its request.

    Examples
    --------
    >>> job = client.jobs.run("separation", "song.mp3", format="flac")  # doctest: +SKIP
    >>> client.jobs.save(job, "stems")  # doctest: +SKIP
    """

    def __init__(self, line: Line) -> None:
        self._line = line

    def tasks(self) -> list[dict[str, Any]]:
        """List what can be done, with parameters, forms of models and files."""
        return self._line.run(jobs.tasks())

    def submit(
        self,
        task: str,
        sound: Sound,
        *,
        model: ModelName | None = None,
        priority: int = 0,
        **parameters: Any,
    ) -> Job:
        """Hand in a job.

        Parameters
        ----------
        task : str
            Such as ``midi``.
        sound : str or PathLike
            A sound file; it is streamed.
        model : str or Model, optional
            Its digest or its name; without one the task's baseline answers.
        priority : int
            Higher ones are done first.
        **parameters : Any
            Of the task.

        Returns
        -------
        Job
            The one that was handed in before, where sound, model and parameters are the same.
        """
        return self._line.run(
            jobs.submit(task, sound, model=model, parameters=parameters, priority=priority)
        )

    def get(self, job: str) -> Job:
        """Look a job up by its id."""
        return self._line.run(jobs.one(job))

    def every(self, *, state: str | None = None) -> Iterator[Job]:
        """Look through one's own jobs, the latest first."""
        after: str | None = None
        while True:
            found, after = self._line.run(jobs.page(state=state, after=after))
            yield from found
            if after is None:
                return

    def wait(self, job: Job, *, wait_s: float = DONE_S, progress: Told | None = None) -> Job:
        """Wait until a job is done.

        Raises
        ------
        JobFailed
            If it failed or was cancelled.
        TimeoutError
            If it is not over in that time; it goes on.
        """
        return self._line.run(jobs.finish(job, wait_s, progress))

    def run(
        self,
        task: str,
        sound: Sound,
        *,
        model: ModelName | None = None,
        progress: Told | None = None,
        **parameters: Any,
    ) -> Job:
        """Hand in a job and wait until it is done; see `submit` and `wait`."""
        return self.wait(self.submit(task, sound, model=model, **parameters), progress=progress)

    def save(self, job: Job, folder: str | os.PathLike[str]) -> list[Path]:
        """Fetch the files of a job into a folder; each is checked by its digest."""
        return self._line.run(jobs.save(job, folder))

    def cancel(self, job: Job | str) -> None:
        """End a job; forget one that is over, with its files."""
        self._line.run(jobs.cancel(job if isinstance(job, str) else job.id))


class AsyncJobs:
    """`Jobs` with `await`."""

    def __init__(self, line: AsyncLine) -> None:
        self._line = line

    async def tasks(self) -> list[dict[str, Any]]:
        """List what can be done; as `Jobs.tasks`."""
        return await self._line.run(jobs.tasks())

    async def submit(
        self,
        task: str,
        sound: Sound,
        *,
        model: ModelName | None = None,
        priority: int = 0,
        **parameters: Any,
    ) -> Job:
        """Hand in a job; as `Jobs.submit`."""
        return await self._line.run(
            jobs.submit(task, sound, model=model, parameters=parameters, priority=priority)
        )

    async def get(self, job: str) -> Job:
        """Look a job up; as `Jobs.get`."""
        return await self._line.run(jobs.one(job))

    async def every(self, *, state: str | None = None) -> AsyncIterator[Job]:
        """Look through one's own jobs; as `Jobs.every`."""
        after: str | None = None
        while True:
            found, after = await self._line.run(jobs.page(state=state, after=after))
            for job in found:
                yield job
            if after is None:
                return

    async def wait(self, job: Job, *, wait_s: float = DONE_S, progress: Told | None = None) -> Job:
        """Wait until a job is done; as `Jobs.wait`."""
        return await self._line.run(jobs.finish(job, wait_s, progress))

    async def run(
        self,
        task: str,
        sound: Sound,
        *,
        model: ModelName | None = None,
        progress: Told | None = None,
        **parameters: Any,
    ) -> Job:
        """Hand in a job and wait; as `Jobs.run`."""
        job = await self.submit(task, sound, model=model, **parameters)
        return await self.wait(job, progress=progress)

    async def save(self, job: Job, folder: str | os.PathLike[str]) -> list[Path]:
        """Fetch the files of a job; as `Jobs.save`."""
        return await self._line.run(jobs.save(job, folder))

    async def cancel(self, job: Job | str) -> None:
        """End a job; as `Jobs.cancel`."""
        await self._line.run(jobs.cancel(job if isinstance(job, str) else job.id))
