"""Bearer tokens: short-lived, for clients that can only set a header.

::

    Authorization: Bearer <base64url of JSON> "." <timestamp> "." <signature>

        kid         the key that minted it: a token is never good for more, or for longer, than it
        key         which secret went by that id: HMAC of it, 16 hexadecimal digits
        scopes      patterns of model digests for each scope
        exp         when it ends, in seconds since 1970
        max_bytes   largest body, where it is limited

It is what itsdangerous' timed serializer makes under a salt of its own, with SHA-256 and a secret
that only this server has.
"""

import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import itsdangerous

from server.errors import BadSignature
from server.signing.keyfile import OPERATOR
from server.signing.keyring import KeyRing, decode_canonical
from server.signing.principal import (
    EVERYTHING,
    NO_LIMITS,
    Dialect,
    Grants,
    Limits,
    Principal,
    Scope,
)

PURPOSE = b"bearer tokens"
_SALT = b"spectrogrampredictor.bearer"
_MAX_CHARS = 8192


@dataclass(frozen=True, slots=True)
class Minted:
    """A new token.

    Attributes
    ----------
    text : str
        The token.
    expires : int
        When it ends, in seconds since 1970.
    """

    text: str
    expires: int


class BearerTokens:
    """Mints and reads tokens.

    Parameters
    ----------
    secret : bytes
        Signs them.
    keys : callable
        Returns the keys of this moment.
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self,
        secret: bytes,
        keys: Callable[[], KeyRing],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._serializer = itsdangerous.URLSafeTimedSerializer(
            secret,
            salt=_SALT,
            signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
        )
        self._secret = secret
        self._keys = keys
        self._clock = clock

    def mint(
        self,
        key_id: str,
        grants: Grants,
        *,
        ttl_s: float,
        max_bytes: int | None = None,
        material: bytes = b"",
    ) -> Minted:
        """Make a token.

        Parameters
        ----------
        key_id : str
            Who mints it.
        grants : Grants
            What it is good for; nothing that the key may not do itself comes of it.
        ttl_s : float
            How long it is good, unless its key ends before.
        max_bytes : int, optional
            Largest body.
        material : bytes
            The secret, or public key, that goes by that id: the token ends with it.
        """
        key = self._keys().find(key_id)
        end = self._clock() + ttl_s
        expires = int(end if key is None else min(end, key.not_after))
        said: dict[str, Any] = {"kid": key_id, "scopes": grants, "exp": expires}
        if key_id != OPERATOR:
            said["key"] = self._fingerprint(material)
        if max_bytes is not None:
            said["max_bytes"] = max_bytes
        text = self._serializer.dumps(said)
        return Minted(text if isinstance(text, str) else text.decode(), expires)

    def open(self, text: str) -> Principal:
        """Return whom a token speaks for.

        Raises
        ------
        BadSignature
            If it is not ours, is over, or its key is no longer good.
        """
        if not text.isascii() or len(text) > _MAX_CHARS:
            raise BadSignature("token")
        decode_canonical(text.rpartition(".")[2].encode())
        try:
            said = self._serializer.loads(text)
        except itsdangerous.BadData as error:
            raise BadSignature("token") from error
        if self._clock() >= said["exp"]:
            raise BadSignature("token is over")
        granted = {Scope(scope): tuple(globs) for scope, globs in said["scopes"].items()}
        grants, limits = self._of_key(said["kid"], said.get("key", ""))
        return Principal(
            said["kid"], Dialect.BEARER, (grants, granted), said.get("max_bytes"), limits
        )

    def _of_key(self, key_id: str, fingerprint: str) -> tuple[Grants, Limits]:
        """Return what the key of a token may do."""
        if key_id == OPERATOR:
            return EVERYTHING, NO_LIMITS
        key = self._keys().find(key_id)
        if key is None or not hmac.compare_digest(self._fingerprint(key.material), fingerprint):
            raise BadSignature("the key of the token is no longer good")
        return key.grants, key.limits

    def _fingerprint(self, material: bytes) -> str:
        """Name a secret, to nobody but this server."""
        return hmac.digest(self._secret, b"key\0" + material, "sha256")[:8].hex()
