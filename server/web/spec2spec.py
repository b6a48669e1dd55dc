"""The surface of the spec2spec demonstration of 2022, behind a setting; it is not signed.

::

    GET  /                          `OK`, before any model is ready
    POST /predict                   multipart, a sound in `audio_data`; beside it parameters of the
                                    task: `YYYY_MM_DD_HH_MM_SS_<16 hex>`, once its files are made
    GET  /outwav?time_code=...      its files; without a code those of a sound of ours
    GET  /inspec, GET /outspec

Who asks is nobody, so what nobody may take is bounded: see `demonstration`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from quart import Blueprint, Response, request

from server.errors import MalformedForm, NotFound
from server.inference.admission import Asker
from server.jobs.files import Received
from server.jobs.job import Job
from server.sound_errors import UnreadableSound
from server.web.body import limited
from server.web.callers import refuse_signed
from server.web.connection import StreamedRequest
from server.web.demonstration import TASK, Demonstration
from server.web.multipart import FormFile, FormReader
from server.web.v1.job_artifacts import sent

_FIELD = "audio_data"
_SOUNDS = {"", "wav", "mp3", "flac", "ogg", "oga", "opus", "aif", "aiff", "au"}
_MAX_VALUE_BYTES, _MAX_VALUES = 100, 10
_FORM_BYTES = 1 << 16  # around the sound


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
        async for _behind in chunks:
            pass  # whether the client leaves is seen when its whole body has come
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
