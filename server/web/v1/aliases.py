"""Names for models, changed by those who say what they saw.

::

    GET    /v1/aliases                    all
    GET    /v1/aliases/{name}             one; its version is the ETag
    PUT    /v1/aliases/{name}             {"digest"}, with If-Match or If-None-Match: *
    POST   /v1/aliases/{name}/rollback    {}, back to the model before, If-Match at will
    DELETE /v1/aliases/{name}             with If-Match
"""

from typing import cast

from quart import Blueprint, Response, request
from werkzeug.datastructures import ETags

from server.digest import Digest
from server.errors import MalformedRequest, PreconditionRequired
from server.repository.aliases import ABSENT, Alias, Aliases, changed_meanwhile, check_name
from server.signing.payload import take_fields
from server.signing.principal import Principal, Scope
from server.web.connection import StreamedRequest
from server.web.naming import alias_named, knows
from server.web.signed import SignedBodies
from server.web.v1.once import Once
from server.web.v1.schemas import AliasInfo, AliasList, AliasTarget, answer, instant, take

_MAX_BYTES = 4096
_ANY, _NEVER = "*", "W/"


def alias_routes(aliases: Aliases, bodies: SignedBodies) -> Blueprint:
    """Build what shows names."""
    bp = Blueprint("v1_aliases", __name__)

    @bp.get("/v1/aliases")
    async def all_names() -> Response:
        async with bodies.open_raw(_asked(), 0, Scope.READ) as raw:
            take_fields(raw.fields, required={})
        shown = [one for one in aliases.all() if raw.principal.allows(Scope.READ, one.digest)]
        return answer(AliasList(aliases=[_info(one, raw.principal) for one in shown]))

    @bp.get("/v1/aliases/<name>")
    async def one(name: str) -> Response:
        async with bodies.open_raw(_asked(), 0, Scope.READ) as raw:
            take_fields(raw.fields, required={})
        return _told(alias_named(aliases, name, raw.principal, Scope.READ), raw.principal)

    return bp


def alias_changes(aliases: Aliases, bodies: SignedBodies, once: Once) -> Blueprint:
    """Build what changes names."""
    bp = Blueprint("v1_alias_changes", __name__)

    @bp.put("/v1/aliases/<name>")
    async def put(name: str) -> Response:
        async with bodies.open(_asked(), _MAX_BYTES, Scope.ADMIN, once=True) as opened:
            wanted = take(opened.fields, AliasTarget)
        digest, principal = Digest.parse(wanted.digest), opened.principal
        principal.require(Scope.ADMIN, digest)
        old, seen = aliases.find(check_name(name)), _seen(is_required=True)
        if old is not None:  # it is taken from that one
            if not knows(principal, old.digest, Scope.ADMIN):
                raise changed_meanwhile(None if seen else old)
            principal.require(Scope.ADMIN, old.digest)
        return _told(await aliases.set(name, digest, seen=seen), principal)

    @bp.post("/v1/aliases/<name>/rollback")
    async def roll_back(name: str) -> Response:
        async with bodies.open(_asked(), _MAX_BYTES, Scope.ADMIN, once=True) as opened:
            take_fields(opened.fields, required={})
        found = alias_named(aliases, name, opened.principal, Scope.ADMIN)
        opened.principal.require(Scope.ADMIN, found.previous)
        seen = _seen(is_required=False)

        async def roll_back_now() -> Response:
            return _told(await aliases.roll_back(name, seen=seen), opened.principal)

        return await once.answer(opened, roll_back_now)

    @bp.delete("/v1/aliases/<name>")
    async def remove(name: str) -> Response:
        async with bodies.open_raw(_asked(), 0, Scope.ADMIN, once=True) as raw:
            take_fields(raw.fields, required={})
        alias_named(aliases, name, raw.principal, Scope.ADMIN)
        await aliases.remove(name, seen=_seen(is_required=True))
        return Response(status=204)

    return bp


def _asked() -> StreamedRequest:
    return cast(StreamedRequest, request)


def _seen(*, is_required: bool) -> str | None:
    """Return the version that a request has seen; None where any is good.

    Raises
    ------
    PreconditionRequired
        If it must say so and does not.
    """
    absent, match = request.headers.get("If-None-Match"), request.if_match
    if absent is not None:
        if absent.strip() != _ANY or "If-Match" in request.headers:
            raise MalformedRequest("If-None-Match is `*`, and stands alone: nobody has the name")
        return ABSENT
    if "If-Match" not in request.headers:
        if is_required:
            raise PreconditionRequired("send If-Match with the ETag, or If-None-Match: *")
        return None
    return _version(match)


def _version(match: ETags) -> str | None:
    if match.star_tag:
        return None
    versions = match.as_set(include_weak=True)
    if len(versions) != 1:
        raise MalformedRequest("If-Match is one ETag, or `*`")
    version = versions.pop()
    return version if match.is_strong(version) else _NEVER  # a weak one matches nothing here


def _info(alias: Alias, principal: Principal) -> AliasInfo:
    before = alias.previous
    if before is not None and not knows(principal, before, Scope.ADMIN):
        before = None
    return AliasInfo(
        name=alias.name,
        digest=alias.digest.hex,
        previous=None if before is None else before.hex,
        changed=instant(alias.changed_at),
    )


def _told(alias: Alias, principal: Principal) -> Response:
    response = answer(_info(alias, principal))
    response.set_etag(alias.version)
    return response
