"""What happens to a job, as it happens: server-sent events.

::

    GET /v1/jobs/{id}/events        Last-Event-ID: 3 goes on behind the third

    : here
                                    <- an empty line
    id: 4
    event: progress
    data: {"job":"...","event":"progress","state":"running","at":"...","progress":0.25}

Everything that is told is in the database, numbered: nothing is lost to who was away, and nothing
told twice. The stream ends after the last event, when the server stops, and with the key or token
of who listens: before each event, and each sign of life, it is asked whether they may still.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing

import msgspec
from quart import Blueprint, Response, request

from server.errors import BadSignature, MalformedRequest, ScopeMissing
from server.jobs.desk import Desk
from server.jobs.job import Event, Job, Kind, State
from server.signing.payload import take_fields
from server.signing.principal import Principal
from server.web.pieces import Pieces
from server.web.v1.job_access import JobAccess, is_of
from server.web.v1.schemas import instant

EVENTS = "text/event-stream"
_BEAT_S = 10.0
_STATES = {Kind.STARTED: State.RUNNING, Kind.PROGRESS: State.RUNNING, Kind.RETRY: State.QUEUED}


def job_event_routes(desk: Desk, access: JobAccess) -> Blueprint:
    """Build the route."""
    bp = Blueprint("v1_job_events", __name__)

    @bp.get("/v1/jobs/<name>/events")
    async def events(name: str) -> Response:
        looks, fields = await access.watcher()
        take_fields(fields, required={})
        job = await access.job(name, looks())
        seen = _seen()
        if request.method == "HEAD":
            return Response(content_type=EVENTS)
        stream = _written(desk, job, seen, looks)
        response = Response(Pieces(stream, AsyncExitStack()), content_type=EVENTS)
        response.timeout = None
        response.headers["X-Accel-Buffering"] = "no"  # a proxy between must not gather it
        return response

    return bp


def _seen() -> int:
    text = request.headers.get("Last-Event-ID", "0")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise MalformedRequest("`Last-Event-ID` is the `id` of an event")
    return int(text)


async def _written(
    desk: Desk, job: Job, after: int, looks: Callable[[], Principal]
) -> AsyncGenerator[bytes, None]:
    yield b": here\n\n"
    async with aclosing(desk.follow(job.id, after, beat_s=_BEAT_S)) as followed:
        async for event in followed:
            if not _may_hear(job, looks):
                return
            yield b": still here\n\n" if event is None else _told(job.id, event)


def _may_hear(job: Job, looks: Callable[[], Principal]) -> bool:
    try:
        return is_of(job, looks())
    except (BadSignature, ScopeMissing):
        return False


def _told(job: str, event: Event) -> bytes:
    kind = event.kind
    said = {
        "job": job,
        "event": kind.value,
        "state": _STATES.get(kind, kind.value),
        "at": instant(event.at),
        **event.data,
    }
    head = f"id: {event.number}\nevent: {kind.value}\ndata: ".encode()
    return head + msgspec.json.encode(said) + b"\n\n"
