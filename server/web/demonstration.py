"""What the spec2spec demonstration does: jobs for nobody in particular, forgotten after a while.

A time code is the name of a job for 900 seconds: its end cannot be guessed, and when the last code
of a job has ended the job and its files are forgotten. So is a job that nobody waits for any more.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from server.digest import Digest
from server.errors import (
    DeadlinePassed,
    ModelDisabled,
    ModelNotFound,
    ModelNotReady,
    ModelState,
    Overload,
    ServerError,
    StorageFull,
    every_error,
)
from server.inference.admission import Admission
from server.jobs.desk import Desk
from server.jobs.files import Received
from server.jobs.job import Job, State
from server.jobs.queue import Submission
from server.shielding import whole
from server.signing.principal import Dialect, Principal, Scope
from server.web.chords import chords_in_pieces
from server.web.time_codes import TimeCodes
from server.web.v1.job_requests import JobRequests, Wanted

TASK = "spec2spec"
OWNER = f"*{TASK}"  # no key can have this name
_FIRST = {"extent": "first"}  # 5.94 s, as in 2022, where the caller says nothing else
_MOST_WAITING = 16  # requests; three quarters of them may be of one address
_MOST_CODES = 1000
_NOBODY = Principal(OWNER, Dialect.BEARER, ({Scope.PREDICT: ("*",)},))


@dataclass(frozen=True, slots=True)
class Terms:
    """What answers, and what nobody may ask for.

    Attributes
    ----------
    model : Digest or None
        None: the baseline of the task.
    is_fetched : bool
        Whether the model may still be on its way.
    max_bytes : int
        Of one sound.
    max_kept_bytes : int
        Of the files of all codes that are good.
    wait_s : float
        Longest wait for a job.
    origins : tuple of str
        Whose pages may read the answers; ``*``: any.
    """

    model: Digest | None
    is_fetched: bool
    max_bytes: int
    max_kept_bytes: int
    wait_s: float
    origins: tuple[str, ...] = ()


class Demonstration:
    """Makes sounds for nobody in particular.

    Parameters
    ----------
    desk : Desk
        Takes jobs in.
    requests : JobRequests
        Hold parameters against the contract.
    terms : Terms
        What may be asked for.
    codes : TimeCodes
        Of the jobs that are done.
    """

    def __init__(
        self, desk: Desk, requests: JobRequests, terms: Terms, codes: TimeCodes | None = None
    ) -> None:
        self.desk = desk
        self.terms = terms
        self.codes = TimeCodes() if codes is None else codes
        self.admission = Admission(_MOST_WAITING)
        self._requests = requests
        self._awaited: Counter[Digest] = Counter()  # what is being done, by how many wait for it
        self._own = ""  # the job of our own sound
        self._turn = asyncio.Lock()  # nobody comes to wait for a job that is being forgotten

    async def load(self) -> None:
        """Forget what an earlier process has left; once, before anybody asks."""
        for job in await self.desk.queue.page(OWNER, limit=_MOST_CODES):
            await self._forget(job)

    async def run(self) -> None:
        """Forget each job when its codes have ended."""
        async for name in self.codes.over():
            if (job := await self.desk.queue.get(name)) is not None:
                await self._forget(job)

    @whole
    async def _forget(self, job: Job) -> None:
        """Forget a job unless somebody waits for it, or has a code; the own one is kept."""
        async with self._turn:
            is_awaited = self._awaited[job.asked.content] > 0
            if is_awaited or self.codes.leads_to(job.id) or job.id == self._own:
                return
            with suppress(ServerError):  # JOB_KEEP_S ends it
                await self.desk.cancel(job)
                await self.desk.remove(job)

    def check_room(self) -> None:
        """Pass if there is room for one more.

        Raises
        ------
        Overload, StorageFull
            If there is not.
        """
        if len(self.codes) >= _MOST_CODES:
            raise Overload(f"{_MOST_CODES} time codes are in use", retry_after_s=60)
        if self.codes.kept_bytes >= self.terms.max_kept_bytes:
            raise StorageFull("the files of the demonstration take all their room")

    async def make(self, received: Received, given: dict[str, str]) -> str:
        """Make the files of a sound, or find them made, and return a code for them.

        Raises
        ------
        ServerError
            What is wrong with the sound or the parameters, or what failed.
        """
        wanted = await self._read(given)
        asked = wanted.of_sound(received.digest, received.size)
        submission, job = Submission(OWNER, asked), None
        self._awaited[asked.content] += 1
        try:
            async with self._turn:
                job, _ = await self.desk.submit(received, submission)
            return self.codes.add(_done(await self.desk.ended(job, self.terms.wait_s)))
        finally:
            self._awaited -= Counter([asked.content])  # what comes to 0 is gone
            await self._leave(submission, job)

    @whole
    async def _leave(self, submission: Submission, job: Job | None) -> None:
        """Forget what was asked for; who went away while it was taken in has not seen the job."""
        if (found := job or await self.desk.queue.find(submission)) is not None:
            await self._forget(found)

    async def own(self) -> Job:
        """Make the files of a sound of ours, or find them made."""
        job = await self.desk.queue.get(self._own) if self._own else None
        if job is None or job.state is not State.DONE:
            asked = (await self._read({})).of_sound
            async with self.desk.files.receive(chords_in_pieces()) as sound:
                wanted = Submission(OWNER, asked(sound.digest, sound.size))
                job, _ = await self.desk.submit(sound, wanted)
            self._own = job.id
        return _done(await self.desk.ended(job, self.terms.wait_s))

    async def _read(self, given: dict[str, str]) -> Wanted:
        fields: dict[str, str] = {**_FIRST, **given, "task": TASK}
        if self.terms.model is not None:
            fields["model"] = self.terms.model.hex
        try:
            return await self._requests.read(fields, _NOBODY)
        except (ModelNotFound, ModelState) as error:
            if not self.terms.is_fetched or isinstance(error, ModelDisabled):
                raise
            raise ModelNotReady("the model is being fetched", retry_after_s=10) from error


def _done(job: Job) -> Job:
    """Return a job that is done, or raise what it failed of."""
    if job.state is State.DONE:
        return job
    if job.problem is not None:
        kind = every_error().get(str(job.problem["type"]).rpartition("/")[2], ServerError)
        raise kind(str(job.problem["detail"]))
    raise DeadlinePassed("the sound was not ready in time; send it again")
