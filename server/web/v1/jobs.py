"""Jobs: work that outlives its request.

::

    POST   /v1/jobs?task=midi           a sound; 202 with its Location, 200 when it is known
    GET    /v1/jobs?limit=100&after=<id>&state=done
    GET    /v1/jobs/{id}
    DELETE /v1/jobs/{id}                cancels it; one that has ended is forgotten

    Prefer: wait=30                     the answer comes with the end of the job, if that is soon
    Idempotency-Key: ...                the same key again is the same job
"""

import re
from typing import Any

from quart import Blueprint, Response, request

from server.errors import MalformedRequest
from server.jobs.desk import Desk
from server.jobs.job import ENDED, Job, State
from server.jobs.queue import Submission
from server.repository.catalog import MAX_LISTED
from server.signing.payload import take_fields
from server.signing.principal import Scope
from server.web.body import check_declared
from server.web.signed import SignedBodies
from server.web.v1.forms import FORM
from server.web.v1.job_access import JobAccess, asked, is_of, signed_fields
from server.web.v1.job_forms import FORM_BYTES, sound_of
from server.web.v1.job_requests import JobRequests
from server.web.v1.job_schemas import JobPage, told
from server.web.v1.once import once_key
from server.web.v1.schemas import answer, number

_OK, _ACCEPTED = 200, 202
_LIMIT = 100
MAX_WAIT_S = 60
_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*(\d{1,9})\s*(?:[,;]|$)", re.I)  # RFC 7240 section 4.3


def job_routes(
    desk: Desk, requests: JobRequests, access: JobAccess, bodies: SignedBodies
) -> Blueprint:
    """Build the routes."""
    bp = Blueprint("v1_jobs", __name__)

    @bp.post("/v1/jobs")
    async def submit() -> Response:
        is_form = asked().mimetype == FORM
        most = desk.files.max_file_bytes + (FORM_BYTES if is_form else 0)
        check_declared(asked().stream_body, most)
        async with bodies.open_stream(asked(), most, Scope.PREDICT) as body:
            principal = body.principal
            fields = signed_fields(body.fields, principal)
            key = once_key(principal)
            wanted = None if is_form else await requests.read(fields, principal)
            async with sound_of(asked(), body, desk.files) as (received, named):
                if wanted is None:
                    wanted = await requests.read(_joined(fields, named), principal)
                done = wanted.of_sound(received.digest, received.size)
                submission = Submission(principal.key_id, done, wanted.priority, key)
                job, is_new = await desk.submit(received, submission)
        return await _answered(desk, job, is_new=is_new)

    @bp.get("/v1/jobs")
    async def page() -> Response:
        principal, given = await access.reader()
        fields = take_fields(
            given, required={}, optional={"limit": str, "after": str, "state": str}
        )
        limit = number(fields, "limit", MAX_LISTED) or _LIMIT
        listed = await desk.queue.page(
            principal.key_id, limit=limit, before=fields.get("after"), state=_state(fields)
        )
        shown = [told(job) for job in listed if is_of(job, principal)]
        following = listed[-1].id if len(listed) == limit else None
        return answer(JobPage(jobs=shown, next=following))

    @bp.get("/v1/jobs/<name>")
    async def one(name: str) -> Response:
        principal, fields = await access.reader()
        take_fields(fields, required={})
        return answer(told(await access.job(name, principal)))

    @bp.delete("/v1/jobs/<name>")
    async def end(name: str) -> Response:
        principal, fields = await access.changer()
        take_fields(fields, required={})
        job = await access.job(name, principal)
        if job.state in ENDED:
            await desk.remove(job)
            return Response(status=204)
        await desk.cancel(job)
        return answer(told(await access.job(name, principal)))

    return bp


async def _answered(desk: Desk, job: Job, *, is_new: bool) -> Response:
    """Tell of a submitted job, at its end where the client likes to wait."""
    found = _WAIT.search(request.headers.get("Prefer", ""))
    wait_s = min(MAX_WAIT_S, int(found[1])) if found else 0
    if wait_s and job.state not in ENDED:
        job = await desk.ended(job, wait_s)
    response = answer(told(job), _OK if not is_new or job.state in ENDED else _ACCEPTED)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    if wait_s:
        response.headers["Preference-Applied"] = f"wait={wait_s}"
    return response


def _joined(fields: dict[str, Any], named: dict[str, Any]) -> dict[str, Any]:
    if twice := sorted(set(fields) & set(named)):
        raise MalformedRequest(f"the form says again what stands beside it: {twice}")
    return fields | named


def _state(fields: dict[str, Any]) -> State | None:
    state = fields.get("state")
    if state is not None and state not in set(State):
        raise MalformedRequest(f"`state` is one of {', '.join(State)}")
    return None if state is None else State(state)
