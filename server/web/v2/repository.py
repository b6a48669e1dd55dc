"""The model repository extension: what there is, and what is loaded.

::

    POST /v2/repository/index                    {"ready"?: true}; the body may be empty
    POST /v2/repository/models/{name}/load       loads a model now, so that nobody waits for it
    POST /v2/repository/models/{name}/unload     frees its memory once its last call has ended

A model that was unloaded is called unavailable until somebody loads it or asks it again: nothing
here takes a model from those who may use it.
"""

from typing import Any, cast

from quart import Blueprint, Response, request

from server.errors import MalformedRequest
from server.repository.registry import State
from server.signing.payload import parse_fields, take_fields
from server.signing.principal import Scope
from server.web.connection import StreamedRequest
from server.web.problems import json_response
from server.web.v2.health import unavailable
from server.web.v2.models import MAX_BYTES, VERSION, Parts

_LISTED = (State.READY, State.PROMOTED, State.DISABLED, State.REJECTED)
_MOST = 10_000  # models in each state


def repository_routes(parts: Parts) -> Blueprint:
    """Build the routes."""
    bp = Blueprint("v2_repository", __name__)

    @bp.post("/v2/repository/index")
    async def index() -> Response:
        asked = cast(StreamedRequest, request)
        async with parts.bodies.open_raw(asked, MAX_BYTES, Scope.READ) as raw:
            fields = take_fields(_fields(raw.data), required={}, optional={"ready": bool})
            principal = raw.principal
        states = _LISTED[:1] if fields.get("ready") else _LISTED
        found = [
            (model, unavailable(parts, model))
            for state in states
            for model in await parts.registry.in_state(state, limit=_MOST)
            if principal.allows(Scope.READ, model.digest)
        ]
        names = parts.aliases.by_model()
        listed = [
            {
                "name": name,
                "version": VERSION,
                "state": "READY" if why is None else "UNAVAILABLE",
                "reason": why or "",
            }
            for model, why in found
            if why is None or not fields.get("ready")
            for name in [model.digest.hex, *names.get(model.digest, [])]
        ]
        return json_response(listed)

    @bp.post("/v2/repository/models/<name>/load")
    async def load(name: str) -> Response:
        asked = cast(StreamedRequest, request)
        async with parts.bodies.open_raw(asked, MAX_BYTES, Scope.PREDICT) as raw:
            if take_fields(_fields(raw.data), required={}, optional={"parameters": dict}).get(
                "parameters"
            ):
                raise MalformedRequest("a model is its file: no parameters and no files are taken")
            principal = raw.principal
        digest = parts.digest_of(name, principal, Scope.PREDICT)
        model = await parts.predictor.ready(digest)
        await parts.workers.warm(digest, model.record)
        return json_response({"name": name, "state": "READY"})

    @bp.post("/v2/repository/models/<name>/unload")
    async def unload(name: str) -> Response:
        asked = cast(StreamedRequest, request)
        async with parts.bodies.open_raw(asked, MAX_BYTES, Scope.ADMIN) as raw:
            take_fields(_fields(raw.data), required={}, optional={"parameters": dict})
            principal = raw.principal
        digest = parts.digest_of(name, principal, Scope.ADMIN)
        await parts.known(digest)
        parts.workers.unload(digest)
        return json_response({"name": name, "state": "UNAVAILABLE"})

    return bp


def _fields(body: bytes) -> dict[str, Any]:
    return parse_fields(body) if body.strip() else {}
