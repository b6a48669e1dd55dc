"""Who sends a request, in whatever dialect: judged by its head where that says it.

::

    Signature-Input, Signature    dialect 2: the head is signed, and with it the body's digest
    Authorization: Bearer         a token; the body is not signed, but held to a `Content-Digest`
    neither                       dialect 1: the signature is in the body, or in `Signed-Request`
"""

import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

from server.errors import BadSignature
from server.inference.admission import Asker
from server.repository.nonces import Nonces
from server.signing.bearer import BearerTokens
from server.signing.digests import ContentDigest, HashedBody
from server.signing.header import NAME
from server.signing.keyfile import OPERATOR
from server.signing.keyring import TOKEN_ID, Key, KeyRing
from server.signing.message import FIELDS, Message, open_message
from server.signing.principal import Dialect, Principal, Scope
from server.telemetry import ACTOR
from server.web.body import RequestBody, limited
from server.web.connection import StreamedRequest
from server.web.quotas import Quotas

_ONCE = ("Authorization", NAME)  # what others could read in another way


@dataclass(frozen=True, slots=True)
class Dialect1:
    """Where dialect 1 is taken, and how long.

    Attributes
    ----------
    paths : collection of str
        Patterns of paths.
    until : float
        When it ends, in seconds since 1970.
    """

    paths: Collection[str]
    until: float


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever is known before the body is read.

    Attributes
    ----------
    principal : Principal
        Who it is.
    expected : ContentDigest or None
        What the body must hash to; None where nothing was said of it.
    quotas : Quotas
        Count a body whose size was not declared.
    still : callable
        Returns who it is by now, or raises: a body may take hours, and a key end meanwhile.
    """

    principal: Principal
    expected: ContentDigest | None
    quotas: Quotas
    still: Callable[[], Principal]

    def body(self, body: RequestBody, max_bytes: int) -> HashedBody:
        """Return a body that fails at its end if it is not the one signed, or its sender is out."""
        most = self.principal.max_bytes
        pieces = limited(body, max_bytes if most is None else min(most, max_bytes))
        if body.declared is None:
            pieces = self.quotas.counted(self.principal, pieces)
        return HashedBody(judged(pieces, self.still), self.expected)


class Callers:
    """Finds out who asks.

    Parameters
    ----------
    keys : callable
        Returns the keys of this moment.
    tokens : BearerTokens
        Read those that were minted here.
    nonces : Nonces
        Remembers those that were used.
    dialect1 : Dialect1
        Where the old way is good.
    quotas : Quotas
        Count what keys ask for.
    max_age_s : float
        Longest life of a signature.
    authorities : collection of str
        Names under which this server is asked; none: any.
    """

    def __init__(
        self,
        keys: Callable[[], KeyRing],
        tokens: BearerTokens,
        nonces: Nonces,
        dialect1: Dialect1,
        quotas: Quotas,
        *,
        max_age_s: float,
        authorities: Collection[str] = (),
    ) -> None:
        self.keys = keys
        self.max_age_s = max_age_s
        self._tokens = tokens
        self._nonces = nonces
        self._dialect1 = dialect1
        self._quotas = quotas
        self._authorities = authorities

    async def identify(self, asked: StreamedRequest, *scopes: Scope) -> Caller | None:
        """Return who asks; None where only the body, or `Signed-Request`, can say so.

        Raises
        ------
        BadSignature
            If it says so wrongly, or in a way that is not taken here.
        ScopeMissing, QuotaExceeded
            If the key may not do what the scopes name, or not now.
        """
        headers = asked.headers
        if any(len(headers.getlist(name)) > 1 for name in _ONCE):
            raise BadSignature("who asks stands there twice")
        declared = asked.stream_body.declared or 0
        if "Signature-Input" in headers or "Signature" in headers:
            return await self._by_message(asked, scopes, declared)
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            still = partial(self._by_token, token, scopes)
            principal = still()
            self._quotas.spend(principal, declared)
            digest = headers.get("Content-Digest")
            expected = None if digest is None else ContentDigest.parse(digest)
            return Caller(principal, expected, self._quotas, still)
        now, taken = time.time(), self._dialect1
        if now >= taken.until or not any(fnmatchcase(asked.path, path) for path in taken.paths):
            raise BadSignature("dialect 1 is not taken here")
        return None

    async def by_key(
        self,
        key: Key,
        size: int,
        *scopes: Scope,
        nonce: str | None = None,
        until: float = 0.0,
    ) -> Principal:
        """Return who speaks when a key has signed so many bytes in dialect 1; uses its nonce up.

        Raises
        ------
        BadSignature
            If the nonce was used before, or the key is no longer good.
        ScopeMissing, QuotaExceeded
            If the key may not do what the scopes name, or not now.
        """
        principal = self.still(key, Dialect.ITSDANGEROUS, scopes)
        if nonce is not None:
            await self._spend(key, nonce, until)
        self._quotas.spend(principal, size)
        return principal

    def still(self, key: Key, dialect: Dialect, scopes: Collection[Scope]) -> Principal:
        """Return who speaks by now when a key has signed.

        Raises
        ------
        BadSignature
            If it was revoked, replaced or has ended since it was found.
        ScopeMissing
            If it may no longer do what the scopes name.
        """
        return self._admitted(self.keys().current(key).principal(dialect), scopes)

    def _by_token(self, token: str, scopes: Collection[Scope]) -> Principal:
        return self._admitted(self._tokens.open(token), scopes)

    async def _by_message(
        self, asked: StreamedRequest, scopes: Collection[Scope], declared: int
    ) -> Caller:
        signed = open_message(
            _message(asked),
            self.keys(),
            now=time.time(),
            max_age_s=self.max_age_s,
            authorities=self._authorities,
        )
        principal = self._admitted(signed.key.principal(Dialect.MESSAGE), scopes)
        # after the signature: a forgery uses nothing up; before the body: a replay is not read
        await self._spend(signed.key, signed.nonce, signed.nonce_until)
        self._quotas.spend(principal, declared)  # after the nonce: a replay uses no quota up
        still = partial(self.still, signed.key, Dialect.MESSAGE, scopes)
        return Caller(principal, signed.expected, self._quotas, still)

    def _admitted(self, principal: Principal, scopes: Collection[Scope]) -> Principal:
        """Return a principal who may do all that is asked, and name them in the log.

        Raises
        ------
        ScopeMissing
            If they may not.
        """
        ACTOR.set(principal.key_id)
        for scope in scopes:
            principal.require(scope)
        return principal

    async def _spend(self, key: Key, nonce: str, until: float) -> None:
        # no id holds a space: a nonce of one key is never one of another
        await self._nonces.spend(f"{key.id} {nonce}", until=until)


async def judged(
    chunks: AsyncIterable[bytes], still: Callable[[], Principal]
) -> AsyncIterator[bytes]:
    """Yield the pieces of a body; at its end its sender must still be good."""
    async for chunk in chunks:
        yield chunk
    still()


def asker_of(asked: StreamedRequest, principal: Principal) -> Asker:
    """Return whose share of the predictions a call takes: its address's and its key's."""
    shared = principal.key_id == OPERATOR or principal.key_id.startswith(TOKEN_ID)
    return Asker(asked.caller, None if shared else principal.key_id)


def refuse_signed(asked: StreamedRequest) -> None:
    """Refuse a signed message where nothing that is signed is taken.

    Raises
    ------
    BadSignature
        If it is one: what was captured on one port must be no good on the other.
    """
    if "Signature-Input" in asked.headers or "Signature" in asked.headers:
        raise BadSignature("signed messages belong to the API port")


def _message(asked: StreamedRequest) -> Message:
    fields: dict[str, str] = {}
    for raw_name, raw in asked.scope["headers"]:
        name = raw_name.decode("latin-1").lower()
        if name in fields:
            raise BadSignature(f"{name} twice")
        if name in FIELDS or name == "host":
            fields[name] = raw.decode("latin-1")
    return Message(
        method=asked.method,
        authority=fields.pop("host", ""),
        path=asked.scope["raw_path"].decode("latin-1"),
        query=asked.scope["query_string"].decode("latin-1"),
        fields=fields,
    )
