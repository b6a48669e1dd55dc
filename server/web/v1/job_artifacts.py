"""The files that a job has made: one, or a part of it, or all of them in an archive.

::

    GET /v1/jobs/{id}/artifacts/{name}          Range, If-Range, If-None-Match; ETag = SHA-256
    GET /v1/jobs/{id}/artifacts?format=zip      or tar, written while it is sent
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass

from quart import Blueprint, Response, request

from server.errors import MalformedRequest
from server.job_errors import ArtifactNotFound, JobNotDone, RangeUnsatisfiable
from server.jobs.desk import Desk
from server.jobs.files import JobFiles
from server.jobs.job import Job, Kept, State
from server.signing.payload import take_fields
from server.web.pieces import Pieces
from server.web.problems import problem
from server.web.v1.job_access import JobAccess
from server.web.v1.job_archives import ARCHIVES, safe_name
from server.web.v1.job_schemas import media_type

_READ_BYTES = 1 << 18
_OK, _PARTIAL, _NOT_MODIFIED = 200, 206, 304


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes of a file.

    Attributes
    ----------
    first : int
        Where they begin.
    size : int
        How many there are.
    """

    first: int
    size: int


def job_artifact_routes(desk: Desk, access: JobAccess) -> Blueprint:
    """Build the routes."""
    bp = Blueprint("v1_job_artifacts", __name__)

    @bp.get("/v1/jobs/<name>/artifacts/<file>")
    async def artifact(name: str, file: str) -> Response:
        principal, fields = await access.reader()
        take_fields(fields, required={})
        job = await access.job(name, principal)
        kept = _find(job, file)
        try:
            return await sent(desk.files, kept)
        except RangeUnsatisfiable as error:
            refused = problem(error, path=request.path)
            refused.headers["Content-Range"] = f"bytes */{kept.size}"
            return refused

    @bp.get("/v1/jobs/<name>/artifacts")
    async def archive(name: str) -> Response:
        principal, fields = await access.reader()
        kind = take_fields(fields, required={}, optional={"format": str}).get("format", "zip")
        if kind not in ARCHIVES:
            raise MalformedRequest(f"`format` is one of {', '.join(ARCHIVES)}")
        job = _done(await access.job(name, principal))
        written = ARCHIVES[kind](desk.files, job.artifacts)
        response = Response(Pieces(written, AsyncExitStack()), content_type=f"application/{kind}")
        response.timeout = None
        response.headers["Content-Disposition"] = f'attachment; filename="{job.id}.{kind}"'
        return response

    return bp


def _done(job: Job) -> Job:
    if job.state is not State.DONE:
        raise JobNotDone(f"the job is {job.state.value}")
    return job


def _find(job: Job, file: str) -> Kept:
    if file not in job.asked.files.values():
        there = sorted(job.asked.files.values())
        raise ArtifactNotFound(f"the job makes {', '.join(there) or 'no files'}")
    _done(job)
    return next(kept for kept in job.artifacts if kept.name == file)


async def sent(files: JobFiles, kept: Kept) -> Response:
    """Answer with a file, or with what the request at hand asks of it.

    Raises
    ------
    RangeUnsatisfiable
        If nothing of it is there.
    """
    tag = kept.digest.hex
    if request.if_none_match.contains(tag):
        response = Response(status=_NOT_MODIFIED)
        response.set_etag(tag)
        return response
    part = _part(kept)
    wanted = part or Part(0, kept.size)
    if request.method == "HEAD":
        response = Response(content_type=media_type(kept.name))
    else:
        fd = await files.open(kept.digest)
        held = AsyncExitStack()
        held.push_async_callback(files.close, fd)
        pieces = Pieces(_read(files, fd, wanted), held)
        response = Response(pieces, content_type=media_type(kept.name))
    response.timeout = None
    response.set_etag(tag)
    name = safe_name(kept.name)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Content-Length"] = str(wanted.size)
    if part is not None:
        response.status_code = _PARTIAL
        last = part.first + part.size - 1
        response.headers["Content-Range"] = f"bytes {part.first}-{last}/{kept.size}"
    return response


def _part(kept: Kept) -> Part | None:
    """Read which part is wanted; None: all of it.

    Several parts at once are answered with all, as RFC 9110 section 14.2 allows.

    Raises
    ------
    RangeUnsatisfiable
        If nothing of it is there.
    """
    asked, only_if = request.range, request.if_range
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1:
        return None
    if "If-Range" in request.headers and only_if.etag != kept.digest.hex:
        return None
    found = asked.range_for_length(kept.size)
    if found is None:
        raise RangeUnsatisfiable(f"the artifact has {kept.size} bytes")
    first, end = found
    return Part(first, end - first)


async def _read(files: JobFiles, fd: int, part: Part) -> AsyncGenerator[bytes, None]:
    at, end = part.first, part.first + part.size
    while at < end and (piece := await files.read(fd, min(_READ_BYTES, end - at), at)):
        yield piece
        at += len(piece)
