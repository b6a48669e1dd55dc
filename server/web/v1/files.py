"""The file of a model, as the body of a request.

::

    HEAD /v1/models/{digest}/file    200 with `Model-Bytes` when it is here, else 404
    PUT  /v1/models/{digest}/file    settled at once; 200 without its body when it is here

The digest must be registered. What arrives is hashed on its way, and nothing of it counts if it is
another file.
"""

from typing import cast

from quart import Blueprint, Response, request

from server.digest import Digest
from server.errors import DigestMismatch, ModelNotFound
from server.repository.catalog import Listed
from server.repository.registry import State
from server.repository.staging import Staging
from server.repository.sweep import Sweeper
from server.signing.payload import take_fields
from server.signing.principal import Scope
from server.web.body import check_declared
from server.web.connection import StreamedRequest
from server.web.signed import SignedBodies
from server.web.v1.models import CREATED, Models, told
from server.web.v1.schemas import answer


def file_routes(
    models: Models, staging: Staging, sweeper: Sweeper, bodies: SignedBodies
) -> Blueprint:
    """Build the routes."""
    bp = Blueprint("v1_files", __name__)

    @bp.route("/v1/models/<name>/file", methods=["HEAD"])
    async def held(name: str) -> Response:
        digest = Digest.parse(name)
        async with bodies.open_raw(_asked(), 0, Scope.READ) as raw:
            take_fields(raw.fields, required={})
        raw.principal.require(Scope.READ, digest)
        found = await models.find(digest)
        if not _is_here(found):
            raise ModelNotFound("the model's file is not here")
        return Response(headers={"Model-Bytes": str(found.size)})

    @bp.put("/v1/models/<name>/file")
    async def put(name: str) -> Response:
        digest, asked = Digest.parse(name), _asked()
        check_declared(asked.stream_body, staging.max_file_bytes)
        async with bodies.open_stream(asked, staging.max_file_bytes, Scope.UPLOAD) as body:
            body.principal.require(Scope.UPLOAD, digest)
            if _is_here(found := await models.find(digest)):
                return answer(told(found, models.aliases.by_model()))
            if body.expected not in (None, digest):
                raise DigestMismatch("the digest of the body is not the one of the path")
            async with (
                staging.admit(asked.stream_body.declared, asked.caller) as room,
                staging.receive(body.chunks, room) as upload,
            ):
                if upload.digest != digest:
                    raise DigestMismatch(f"what arrived hashes to {upload.digest.hex}")
                await sweeper.settle(upload, registers=False)
        return answer(told(await models.find(digest), models.aliases.by_model()), CREATED)

    return bp


def _is_here(listed: Listed) -> bool:
    return listed.model.state is not State.REGISTERED


def _asked() -> StreamedRequest:
    return cast(StreamedRequest, request)
