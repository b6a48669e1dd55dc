"""Bearer tokens over the wire.

::

    POST /v1/tokens    signed {"scopes": [...], "models"?: <pattern>, "ttl_s"?, "max_bytes"?}
"""

from typing import cast

from msgspec import UNSET
from quart import Blueprint, Response, request

from server.errors import MalformedRequest, ScopeMissing
from server.repository.audit import Action, Audit
from server.signing.bearer import BearerTokens
from server.signing.principal import Dialect, Grants, Principal, Scope
from server.web.connection import StreamedRequest
from server.web.signed import SignedBodies
from server.web.v1.once import Once
from server.web.v1.schemas import Token, TokenRequest, answer, take

_MAX_BYTES = 4096


def token_routes(
    bodies: SignedBodies, tokens: BearerTokens, audit: Audit, once: Once, *, max_ttl_s: float
) -> Blueprint:
    """Build the route."""
    bp = Blueprint("tokens", __name__)

    @bp.post("/v1/tokens")
    async def mint() -> Response:
        asked = cast(StreamedRequest, request)
        async with bodies.open(asked, _MAX_BYTES, once=True) as opened:
            wanted = take(opened.fields, TokenRequest)
        if opened.principal.dialect is Dialect.BEARER:
            raise ScopeMissing("a bearer token mints no other: sign the call", scope="sign")
        grants = _grants(wanted, opened.principal)
        ttl_s = int(max_ttl_s) if wanted.ttl_s is UNSET else wanted.ttl_s
        if ttl_s > max_ttl_s:
            raise MalformedRequest(f"`ttl_s` is a whole number from 1 to {max_ttl_s:.0f}")
        max_bytes = None if wanted.max_bytes is UNSET else wanted.max_bytes

        async def mint_now() -> Response:
            minted = tokens.mint(
                opened.principal.key_id,
                grants,
                ttl_s=ttl_s,
                max_bytes=max_bytes,
                material=opened.principal.material,
            )
            said = f"{' '.join(sorted(grants))} of {wanted.models} for {ttl_s} s"
            await audit.add(Action.TOKEN, detail=said)
            return answer(Token(token=minted.text, expires=minted.expires))

        return await once.answer(opened, mint_now)

    return bp


def _grants(wanted: TokenRequest, principal: Principal) -> Grants:
    """Read what a token is to be good for: some of what its key may do."""
    for scope in wanted.scopes:
        principal.require(Scope(scope))
    return {Scope(scope): (wanted.models,) for scope in wanted.scopes}
