"""Who changed what, for administrators.

::

    GET /v1/audit?limit=100&before=<id>    the latest first
"""

from datetime import UTC, datetime
from typing import Any, cast

from quart import Blueprint, Response, request

from server.errors import MalformedRequest
from server.repository.audit import MAX_ENTRIES, Audit, Entry
from server.signing.payload import take_fields
from server.signing.principal import Scope
from server.web.connection import StreamedRequest
from server.web.problems import json_response
from server.web.signed import SignedBodies, query_fields

_LIMIT = 100
_LARGEST = (1 << 63) - 1


def audit_routes(bodies: SignedBodies, audit: Audit) -> Blueprint:
    """Build the route."""
    bp = Blueprint("audit", __name__)

    @bp.get("/v1/audit")
    async def entries() -> Response:
        asked = cast(StreamedRequest, request)
        async with bodies.open_raw(asked, 0, Scope.ADMIN):
            fields = take_fields(
                query_fields(asked), required={}, optional={"limit": str, "before": str}
            )
        limit = _number(fields, "limit", MAX_ENTRIES) or _LIMIT
        found = await audit.page(before=_number(fields, "before", _LARGEST), limit=limit)
        following = found[-1].id if len(found) == limit else None
        return json_response({"entries": [_told(entry) for entry in found], "next": following})

    return bp


def _number(fields: dict[str, Any], name: str, most: int) -> int | None:
    text = fields.get(name)
    if text is None:
        return None
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
    if not 0 < number <= most:
        raise MalformedRequest(f"`{name}` is a whole number from 1 to {most}")
    return number


def _told(entry: Entry) -> dict[str, Any]:
    at = datetime.fromtimestamp(entry.at, UTC).isoformat(timespec="milliseconds")
    return {
        "id": entry.id,
        "at": at.replace("+00:00", "Z"),
        "action": entry.action,
        "model": None if entry.digest is None else entry.digest.hex,
        "by": entry.by,
        "detail": entry.detail,
    }
