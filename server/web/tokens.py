"""Bearer tokens over the wire.

::

    POST /v1/tokens    signed {"scopes": [...], "models"?: <pattern>, "ttl_s"?, "max_bytes"?}
"""

from typing import Any, cast

from quart import Blueprint, Response, request

from server.errors import MalformedRequest, ScopeMissing
from server.repository.audit import Action, Audit
from server.signing.bearer import BearerTokens
from server.signing.keyfile import PATTERN
from server.signing.payload import take_fields
from server.signing.principal import Dialect, Grants, Principal, Scope
from server.web.connection import StreamedRequest
from server.web.problems import json_response
from server.web.signed import SignedBodies

_MAX_BYTES = 4096


def token_routes(
    bodies: SignedBodies, tokens: BearerTokens, audit: Audit, *, max_ttl_s: float
) -> Blueprint:
    """Build the route."""
    bp = Blueprint("tokens", __name__)

    @bp.post("/v1/tokens")
    async def mint() -> Response:
        asked = cast(StreamedRequest, request)
        async with bodies.open(asked, _MAX_BYTES, bound=True) as opened:
            fields = take_fields(
                opened.fields,
                required={"scopes": list},
                optional={"models": str, "ttl_s": int, "max_bytes": int},
            )
        if opened.principal.dialect is Dialect.BEARER:
            raise ScopeMissing("a bearer token mints no other: sign the call", scope="sign")
        grants = _grants(fields, opened.principal)
        ttl_s = _within(fields, "ttl_s", int(max_ttl_s))
        minted = tokens.mint(
            opened.principal.key_id,
            grants,
            ttl_s=ttl_s,
            max_bytes=_within(fields, "max_bytes", 1 << 53) if "max_bytes" in fields else None,
        )
        said = f"{' '.join(sorted(grants))} for {ttl_s} s"
        await audit.add(Action.TOKEN, detail=said)
        return json_response({"token": minted.text, "expires": minted.expires})

    return bp


def _grants(fields: dict[str, Any], principal: Principal) -> Grants:
    """Read what a token is to be good for: some of what its key may do."""
    scopes, pattern = fields["scopes"], fields.get("models", "*")
    if not scopes or not all(isinstance(each, str) and each in set(Scope) for each in scopes):
        raise MalformedRequest(f"`scopes` lists one or more of {sorted(Scope)}")
    if not PATTERN.fullmatch(pattern):
        raise MalformedRequest("`models` is a pattern of digests: hexadecimal digits, * and ?")
    for scope in scopes:
        principal.require(Scope(scope))
    return {Scope(scope): (pattern,) for scope in scopes}


def _within(fields: dict[str, Any], name: str, most: int) -> int:
    value: int = fields.get(name, most)
    if not 0 < value <= most:
        raise MalformedRequest(f"`{name}` is a whole number from 1 to {most}")
    return value
