"""Model files that come in parts: tus 1.0.0.

::

    OPTIONS /v1/uploads         what the server can do; for everybody
    POST    /v1/uploads         begins an upload: `Upload-Length`, and `Upload-Metadata` perhaps
    HEAD    /v1/uploads/{id}    where it stands
    PATCH   /v1/uploads/{id}    goes on from `Upload-Offset`; with the last byte it is settled
    DELETE  /v1/uploads/{id}    forgets it

An upload belongs to the key that began it. Its bytes count only if they hash to a digest that was
registered; who names it at the beginning, as `sha256` in the metadata, is refused early.
"""

from dataclasses import dataclass
from functools import partial as bound
from typing import cast

from quart import Blueprint, Response, request

from server.errors import MalformedRequest, MethodNotAllowed, ModelNotFound, TooLarge
from server.repository.appending import Appending
from server.repository.partial_files import Partial
from server.repository.partials import Partials
from server.repository.registry import Registry
from server.repository.staging import Staging
from server.signing.principal import Principal, Scope
from server.upload_errors import WrongOffset
from server.web.body import check_declared
from server.web.connection import StreamedRequest
from server.web.signed import SignedBodies, StreamedBody
from server.web.v1.tus import (
    PART,
    VERSION,
    Checksum,
    check_part,
    check_version,
    number,
    options,
    read_metadata,
    state_headers,
)

_CREATED, _NO_CONTENT, _REFUSED_VERSION = 201, 204, 412


@dataclass(frozen=True, slots=True)
class Resumable:
    """What uploads in parts ask.

    Attributes
    ----------
    partials : Partials
        The uploads.
    appending : Appending
        Goes on with them.
    staging : Staging
        Has places and room for them.
    registry : Registry
        Says what may become a model.
    """

    partials: Partials
    appending: Appending
    staging: Staging
    registry: Registry

    async def begin(self, asked: StreamedRequest, length: int, principal: Principal) -> Partial:
        """Begin an upload.

        Raises
        ------
        ServerError
            If it would be refused at its end, as far as that is known now.
        """
        most = self.staging.max_file_bytes
        if length > most:
            raise TooLarge(f"a model file may have {most} bytes", limit=most)
        metadata = asked.headers.get("Upload-Metadata", "")
        digest = read_metadata(metadata)
        if digest is not None:
            principal.require(Scope.UPLOAD, digest)
            if await self.registry.get(digest) is None:
                raise ModelNotFound
        return await self.partials.create(
            principal.key_id, length, digest=digest, metadata=metadata
        )

    async def go_on(
        self, asked: StreamedRequest, partial: Partial, offset: int, body: StreamedBody
    ) -> None:
        """Append a part, and settle the upload when it is whole.

        Raises
        ------
        ServerError
            If the part is not the next one, or what came of it at the end.
        """
        text = asked.headers.get("Upload-Checksum")
        checksum = None if text is None else Checksum(text)
        chunks = body.chunks if checksum is None else checksum.hashed(body.chunks)
        check = None if checksum is None else checksum.check
        async with (
            self.staging.admit(asked.stream_body.declared, asked.caller) as room,
            self.partials.holding(partial),
        ):
            if offset != partial.offset:
                detail = f"the upload stands at {partial.offset}, the part begins at {offset}"
                raise WrongOffset(detail, offset=partial.offset)
            if not partial.note.done:
                check_declared(asked.stream_body, partial.note.length - partial.offset)
                await self.appending.append(partial, chunks, room, check=check)
            await self.settle(partial, body.principal)

    async def settle(self, partial: Partial, principal: Principal) -> None:
        """Make an upload a model when it is whole.

        Raises
        ------
        ServerError
            If it is none that was registered, or this principal may not upload it.
        """
        if partial.is_whole:
            await self.partials.settle(partial, allow=bound(principal.require, Scope.UPLOAD))

    def state(self, partial: Partial) -> dict[str, str]:
        """Return what an answer says of an upload."""
        return state_headers(partial, self.partials.expires(partial))


def resumable_routes(resumable: Resumable, bodies: SignedBodies) -> Blueprint:
    """Build the routes."""
    bp = Blueprint("v1_uploads", __name__)
    _add_beginning(bp, resumable, bodies)
    _add_parts(bp, resumable, bodies)

    @bp.after_request
    async def speak(response: Response) -> Response:
        response.headers["Tus-Resumable"] = VERSION
        if response.status_code == _REFUSED_VERSION:
            response.headers["Tus-Version"] = VERSION
        return response

    return bp


def _add_beginning(bp: Blueprint, resumable: Resumable, bodies: SignedBodies) -> None:
    partials, most = resumable.partials, resumable.staging.max_file_bytes

    @bp.route("/v1/uploads", methods=["OPTIONS"], provide_automatic_options=False)
    async def abilities() -> Response:
        return Response(status=_NO_CONTENT, headers=options(most))

    @bp.post("/v1/uploads", provide_automatic_options=False)
    async def create() -> Response:
        asked = _asked()
        length = number(asked, "Upload-Length")
        has_part = asked.mimetype == PART
        async with bodies.open_stream(asked, length if has_part else 0, Scope.UPLOAD) as body:
            partial = await resumable.begin(asked, length, body.principal)
            try:
                if has_part:
                    await resumable.go_on(asked, partial, 0, body)
                else:
                    await _nothing(body)
                    await resumable.settle(partial, body.principal)
            except BaseException:
                await partials.remove(partial)  # nobody knows its path yet
                raise
        location = {"Location": f"/v1/uploads/{partial.id}"}
        return Response(status=_CREATED, headers=location | resumable.state(partial))


def _add_parts(bp: Blueprint, resumable: Resumable, bodies: SignedBodies) -> None:
    partials, most = resumable.partials, resumable.staging.max_file_bytes

    @bp.route("/v1/uploads/<upload>", methods=["HEAD"])
    async def head(upload: str) -> Response:
        async with bodies.open_stream(_asked(), 0, Scope.UPLOAD) as body:
            await _nothing(body)
            partial = partials.find(upload, body.principal.key_id)
            async with partials.holding(partial):
                await resumable.settle(partial, body.principal)
        told = {"Upload-Length": str(partial.note.length)}
        if partial.note.metadata:
            told["Upload-Metadata"] = partial.note.metadata
        return Response(headers=resumable.state(partial) | told)

    @bp.patch("/v1/uploads/<upload>")
    async def go_on(upload: str) -> Response:
        asked = _asked()
        check_part(asked)
        offset = number(asked, "Upload-Offset")
        async with bodies.open_stream(asked, most, Scope.UPLOAD) as body:
            partial = partials.find(upload, body.principal.key_id)
            await resumable.go_on(asked, partial, offset, body)
        return Response(status=_NO_CONTENT, headers=resumable.state(partial))

    @bp.delete("/v1/uploads/<upload>")
    async def terminate(upload: str) -> Response:
        async with bodies.open_stream(_asked(), 0, Scope.UPLOAD, once=True) as body:
            await _nothing(body)
            partial = partials.find(upload, body.principal.key_id)
            async with partials.holding(partial):
                await partials.remove(partial)
        return Response(status=_NO_CONTENT)

    @bp.post("/v1/uploads/<upload>")
    async def overridden(upload: str) -> Response:
        """Do what a client asks for who cannot send other methods."""
        method = _asked().headers.get("X-HTTP-Method-Override", "")
        if method == "PATCH":
            return await go_on(upload)
        if method == "DELETE":
            return await terminate(upload)
        raise MethodNotAllowed("a POST here names PATCH or DELETE in X-HTTP-Method-Override")


def _asked() -> StreamedRequest:
    asked = cast(StreamedRequest, request)
    check_version(asked)
    if "Upload-Defer-Length" in asked.headers:
        raise MalformedRequest("an upload says how long it will be: Upload-Length")
    return asked


async def _nothing(body: StreamedBody) -> None:
    """Read a body that must be empty to its end, where its signature is judged."""
    async for _ in body.chunks:
        pass
