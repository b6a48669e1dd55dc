"""What happens to a job, as it happens: server-sent events.

::

    GET /v1/jobs/{id}/events        Last-Event-ID: 3 goes on behind the third

    : here
                                    <- an empty line
    id: 4
    event: progress
    data: {"job":"...","event":"progress","state":"running","at":"...","progress":0.25}

Everything that is told is in the database, numbered: nothing is lost to who was away, and nothing
told twice. The stream ends after the last event, or when the server stops.
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

import msgspec
from quart import Blueprint, Response, request

from server.errors import MalformedRequest
from server.jobs.desk import Desk
from server.jobs.job import Event, Kind, State
from server.signing.payload import take_fields
from server.web.pieces import Pieces
from server.web.v1.job_access import JobAccess
from server.web.v1.schemas import instant

EVENTS = "text/event-stream"
_BEAT_S = 10.0
_STATES = {Kind.STARTED: State.RUNNING, Kind.PROGRESS: State.RUNNING, Kind.RETRY: State.QUEUED}


def job_event_routes(desk: Desk, access: JobAccess) -> Blueprint:
    """Build the route."""
    bp = Blueprint("v1_job_events", __name__)

    @bp.get("/v1/jobs/<name>/events")
    async def events(name: str) -> Response:
        principal, fields = await access.reader()
        take_fields(fields, required={})
        job = await access.job(name, principal)
        seen = _seen()
        if request.method == "HEAD":
            return Response(content_type=EVENTS)
        stream = _written(desk, job.id, seen)
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


async def _written(desk: Desk, job: str, after: int) -> AsyncGenerator[bytes, None]:
    yield b": here\n\n"
    async with aclosing(desk.follow(job, after, beat_s=_BEAT_S)) as followed:
        async for event in followed:
            yield b": still here\n\n" if event is None else _told(job, event)


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
