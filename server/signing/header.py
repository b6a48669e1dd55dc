"""A request whose body is signed by its digest, in one header.

::

    Signed-Request: <JSON object> "." <signature>      as `itsdangerous.Serializer(token).dumps`
        sha256   of the body's bytes, 64 hexadecimal digits
        _path    the path that is asked
        _ts      seconds since 1970
        ...      fields of the route

The header is judged before a byte of the body is read; the body is hashed while it arrives.
"""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from server.digest import Digest
from server.errors import BadSignature, MalformedRequest
from server.signing.keyring import Key, KeyRing
from server.signing.payload import open_payload

NAME = "Signed-Request"


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What the header says.

    Attributes
    ----------
    digest : Digest
        SHA-256 of the body that belongs to it.
    fields : dict
        The fields of the route.
    nonce : str or None
        A text that may be used once.
    nonce_until : float
        When it may be forgotten, in seconds since 1970.
    key : Key
        Has signed.
    """

    digest: Digest
    fields: dict[str, Any]
    nonce: str | None
    nonce_until: float
    key: Key


def open_header(
    value: str, keys: KeyRing, *, path: str, now: float, max_age_s: float
) -> SignedRequest:
    """Read the header of a request.

    Parameters
    ----------
    value : str
        Of the header; empty when there is none.
    keys : KeyRing
        Any of its tokens may have signed.
    path : str
        The path that was asked.
    now : float
        Seconds since 1970.
    max_age_s : float
        Oldest stamp accepted, in seconds.

    Raises
    ------
    BadSignature
        Missing, altered, too old, or meant for another path.
    MalformedRequest
        Signed, but without what it must hold.
    """
    if not value.isascii():
        raise BadSignature
    payload = open_payload(
        value.encode(), keys, path=path, now=now, max_age_s=max_age_s, bound=True
    )
    if "sha256" not in payload.fields:
        raise MalformedRequest(f"the header {NAME} must hold `sha256`, of the body")
    digest = Digest.parse(payload.fields.pop("sha256"))
    return SignedRequest(digest, payload.fields, payload.nonce, payload.nonce_until, payload.key)


async def only_signed(chunks: AsyncIterator[bytes], digest: Digest) -> AsyncIterator[bytes]:
    """Yield the pieces of a body, and fail at its end when its digest is another one.

    Raises
    ------
    BadSignature
        If the body is not the one that was signed.
    """
    sha256 = hashlib.sha256()
    async for chunk in chunks:
        sha256.update(chunk)
        yield chunk
    if sha256.digest() != digest.raw:
        raise BadSignature
