"""The surface of the spec2spec demonstration of 2022, behind a setting; it is not signed.

::

    GET  /                          `OK`, before any model is ready
    POST /predict                   multipart, a sound in `audio_data`; beside it parameters of the
                                    task: `YYYY_MM_DD_HH_MM_SS_<16 hex>`, once its files are made
    GET  /outwav?time_code=...      its files; without a code those of a sound of ours
    GET  /inspec, GET /outspec

A time code is the name of a job for 900 seconds: its end cannot be guessed, and when the last code
of a job has ended the job and its files are forgotten. Who asks is nobody, so what nobody may take
is bounded here.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import cast

from quart import Blueprint, Response, request

from server.digest import Digest
from server.errors import (
    DeadlinePassed,
    MalformedForm,
    ModelDisabled,
    ModelNotFound,
    ModelNotReady,
    ModelState,
    NotFound,
    Overload,
    ServerError,
    StorageFull,
    every_error,
)
from server.inference.admission import Admission, Asker
from server.jobs.desk import Desk
from server.jobs.files import Received
from server.jobs.job import Job, State
from server.jobs.queue import Submission
from server.shielding import whole
from server.signing.principal import Dialect, Principal, Scope
from server.sound_errors import UnreadableSound
from server.web.body import limited
from server.web.callers import refuse_signed
from server.web.chords import chords_in_pieces
from server.web.connection import StreamedRequest
from server.web.multipart import FormFile, FormReader
from server.web.time_codes import TimeCodes
from server.web.v1.job_artifacts import sent
from server.web.v1.job_requests import JobRequests, Wanted

TASK = "spec2spec"
OWNER = f"*{TASK}"  # no key can have this name
_FIELD = "audio_data"
_SOUNDS = {"", "wav", "mp3", "flac", "ogg", "oga", "opus", "aif", "aiff", "au"}
_FIRST = {"extent": "first"}  # 5.94 s, as in 2022, where the form says nothing else
_MAX_VALUE_BYTES, _MAX_VALUES = 100, 10
_FORM_BYTES = 1 << 16  # around the sound
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
        self.codes = codes or TimeCodes()
        self.admission = Admission(_MOST_WAITING)
        self._requests = requests
        self._awaited: Counter[str] = Counter()  # jobs, by how many requests wait for them
        self._own = ""  # the job of our own sound

    async def load(self) -> None:
        """Forget what an earlier process has left; once, before anybody asks."""
        for job in await self.desk.queue.page(OWNER, limit=_MOST_CODES):
            await self._forget(job.id)

    async def run(self) -> None:
        """Forget each job when its codes have ended."""
        async for name in self.codes.over():
            await self._forget(name)

    @whole
    async def _forget(self, name: str) -> None:
        """Forget a job unless somebody waits for it, or has a code; the own one is kept."""
        if self._awaited[name] or self.codes.leads_to(name) or name == self._own:
            return
        with suppress(ServerError):  # JOB_KEEP_S ends it
            if (job := await self.desk.queue.get(name)) is not None:
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
        job, _ = await self.desk.submit(received, Submission(OWNER, asked))
        self._awaited[job.id] += 1
        try:
            return self.codes.add(_done(await self.desk.ended(job, self.terms.wait_s)))
        finally:
            self._awaited -= Counter([job.id])  # what comes to 0 is gone
            await self._forget(job.id)

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


def spec2spec_routes(demonstration: Demonstration) -> Blueprint:
    """Build the routes."""
    bp = Blueprint("spec2spec", __name__)
    origins = demonstration.terms.origins

    @bp.after_request
    async def allow(response: Response) -> Response:
        origin = request.headers.get("Origin")
        if origin is not None and ("*" in origins or origin.lower() in origins):
            response.headers["Access-Control-Allow-Origin"] = "*" if "*" in origins else origin
        if origins and "*" not in origins:
            response.headers["Vary"] = "Origin"
        return response

    @bp.get("/")
    async def up() -> Response:
        return _text("OK")

    @bp.post("/predict")
    async def predict() -> Response:
        asked = cast(StreamedRequest, request)
        refuse_signed(asked)
        demonstration.check_room()
        with demonstration.admission.place(None, Asker(asked.caller)):
            async with _sound_of(asked, demonstration) as (received, given):
                code = await demonstration.make(received, given)
        return _text(code)

    @bp.get("/outwav")
    async def outwav() -> Response:
        return await _file(demonstration, "out.wav")

    @bp.get("/inspec")
    async def inspec() -> Response:
        return await _file(demonstration, "inspec.png")

    @bp.get("/outspec")
    async def outspec() -> Response:
        return await _file(demonstration, "outspec.png")

    return bp


async def _file(demonstration: Demonstration, name: str) -> Response:
    """Answer with a file of a code's job, or of our own sound's."""
    if (code := request.args.get("time_code")) is None:
        caller = cast(StreamedRequest, request).caller
        with demonstration.admission.place(None, Asker(caller)):
            job: Job | None = await demonstration.own()
    else:
        job = await demonstration.desk.queue.get(demonstration.codes.job(code) or "")
    for kept in job.artifacts if job is not None else ():
        if kept.name == name:
            return await sent(demonstration.desk.files, kept)
    raise NotFound("this time code leads to nothing: it ends after 15 minutes")


@asynccontextmanager
async def _sound_of(
    asked: StreamedRequest, demonstration: Demonstration
) -> AsyncIterator[tuple[Received, dict[str, str]]]:
    """Give the sound of a form, and the parameters beside it."""
    chunks = limited(asked.stream_body, demonstration.terms.max_bytes + _FORM_BYTES)
    parts = FormReader(chunks, asked.headers.get("Content-Type", "")).parts()
    given: dict[str, str] = {}
    if (sound := await _values(parts, given)) is None:
        raise MalformedForm(f"the form carries no sound in the field `{_FIELD}`")
    ext = (sound.name or "").rpartition(".")[2].lower() if "." in (sound.name or "") else ""
    if ext not in _SOUNDS:
        raise UnreadableSound(f"a file named .{ext[:20]} is no sound: send wav or mp3")
    async with demonstration.desk.files.receive(sound.chunks, asked.stream_body.declared) as whole:
        if await _values(parts, given) is not None:
            raise MalformedForm("send one sound at a time")
        yield whole, given


async def _values(parts: AsyncIterator[FormFile], given: dict[str, str]) -> FormFile | None:
    """Read values until the sound comes, or the end."""
    async for part in parts:
        if part.field == _FIELD and part.name is not None:
            return part
        value = b""
        async for piece in part.chunks:
            value += piece
            if len(value) > _MAX_VALUE_BYTES:
                break
        if len(value) > _MAX_VALUE_BYTES or len(given) >= _MAX_VALUES or part.name is not None:
            raise MalformedForm(f"the form holds a sound in `{_FIELD}`, and parameters of {TASK}")
        given[part.field] = value.decode("utf-8", "replace")
    return None


def _text(value: str) -> Response:
    return Response(value, content_type="text/plain; charset=utf-8")
