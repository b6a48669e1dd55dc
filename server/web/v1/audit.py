"""Who changed what, for administrators.

::

    GET /v1/audit?limit=100&before=<id>    the latest first

A key sees what concerns the models that it may administrate; what concerns no model is for keys
that may administrate every one.
"""

from typing import cast

from quart import Blueprint, Response, request

from server.repository.audit import MAX_ENTRIES, Audit, Entry
from server.signing.payload import take_fields
from server.signing.principal import Principal, Scope
from server.web.connection import StreamedRequest
from server.web.signed import SignedBodies, query_fields
from server.web.v1.schemas import AuditEntry, AuditPage, answer, instant, number

_LIMIT = 100
LARGEST_ID = (1 << 63) - 1


def audit_routes(bodies: SignedBodies, audit: Audit) -> Blueprint:
    """Build the route."""
    bp = Blueprint("audit", __name__)

    @bp.get("/v1/audit")
    async def entries() -> Response:
        asked = cast(StreamedRequest, request)
        async with bodies.open_raw(asked, 0, Scope.ADMIN) as raw:
            fields = take_fields(
                query_fields(asked), required={}, optional={"limit": str, "before": str}
            )
        limit = number(fields, "limit", MAX_ENTRIES) or _LIMIT
        found = await audit.page(before=number(fields, "before", LARGEST_ID), limit=limit)
        following = found[-1].id if len(found) == limit else None
        shown = [_told(entry) for entry in found if _is_for(raw.principal, entry)]
        return answer(AuditPage(entries=shown, next=following))

    return bp


def _is_for(principal: Principal, entry: Entry) -> bool:
    if entry.digest is None:
        return principal.allows_every(Scope.ADMIN)
    return principal.allows(Scope.ADMIN, entry.digest)


def _told(entry: Entry) -> AuditEntry:
    return AuditEntry(
        id=entry.id,
        at=instant(entry.at),
        action=entry.action,
        model=None if entry.digest is None else entry.digest.hex,
        by=entry.by,
        detail=entry.detail,
    )
