"""The keys that may ask, and the message authentication codes of the itsdangerous dialect.

itsdangerous signs with HMAC-SHA1 under a key derived from the token and a salt; the salt keeps a
signed JSON payload from being taken for a signed file. On the wire a signature is 27 characters of
base64url. One code has several lenient spellings (spare bits, ``=``, ``+/``, junk); only the
canonical one is taken, so that one signed message has one text.
"""

import base64
import hashlib
import hmac
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import itsdangerous

from server.errors import BadSignature
from server.signing.principal import (
    EVERYTHING,
    NO_LIMITS,
    Dialect,
    Grants,
    Limits,
    Principal,
)

FILE_SALT = b"itsdangerous.Signer"  # what `itsdangerous.Signer(token)` uses
PAYLOAD_SALT = b"itsdangerous"  # what `itsdangerous.Serializer(token)` uses
SEPARATOR = b"."
SIGNATURE_CHARS = 27  # ceil(8 * 20 / 6) for the 20 bytes of SHA-1
TRAILER_BYTES = len(SEPARATOR) + SIGNATURE_CHARS
TOKEN_ID = "signing-token-"  # noqa: S105  # how the id of a signing token begins
_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


class Algorithm(StrEnum):
    """What a key is for; a key is good for one algorithm and no other."""

    ITSDANGEROUS = "itsdangerous"
    HMAC_SHA256 = "hmac-sha256"
    ED25519 = "ed25519"


@dataclass(frozen=True, slots=True)
class Key:
    """One key and what it may do.

    Attributes
    ----------
    id : str
        Its public name.
    algorithm : Algorithm
        The only one that it verifies.
    material : bytes
        The secret, or the 32 bytes of an Ed25519 public key.
    grants : Grants
        What it may do.
    not_before, not_after : float
        When it is good, in seconds since 1970; the end is not part of it.
    disabled : bool
        Whether it was switched off.
    limits : Limits
        What it may ask for in a while.
    """

    id: str
    algorithm: Algorithm
    material: bytes = field(repr=False)
    grants: Grants = field(default_factory=lambda: EVERYTHING)
    not_before: float = -math.inf
    not_after: float = math.inf
    disabled: bool = False
    limits: Limits = NO_LIMITS

    def is_active(self, now: float) -> bool:
        """Tell whether it verifies at an instant."""
        return not self.disabled and self.not_before <= now < self.not_after

    def principal(self, dialect: Dialect) -> Principal:
        """Return who speaks when this key has signed."""
        return Principal(
            self.id, dialect, (self.grants,), limits=self.limits, material=self.material
        )


@dataclass(frozen=True, slots=True)
class Code:
    """A message authentication code in the making.

    Attributes
    ----------
    key : Key
        Makes it.
    mac : hmac.HMAC
        What was fed so far.
    """

    key: Key
    mac: hmac.HMAC


class KeyRing:
    """Every key that verifies: signing tokens, oldest first, and keys with scopes.

    Parameters
    ----------
    tokens : sequence of str
        Secrets of the itsdangerous dialect that may do everything; none empty.
    keys : iterable of Key
        Others; their ids differ.
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self,
        tokens: Sequence[str] = (),
        keys: Iterable[Key] = (),
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not all(tokens):
            raise ValueError("a signing token is empty")
        self._keys = {key.id: key for key in (*map(_of_token, tokens), *keys)}
        self._clock = clock
        self._derived: dict[bytes, list[tuple[Key, bytes]]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, key_id: str) -> Key | None:
        """Return the key of a name, if it is good now."""
        key = self._keys.get(key_id)
        return key if key is not None and key.is_active(self._clock()) else None

    def current(self, key: Key) -> Key:
        """Return a key as it stands now: it may have been changed since it was found.

        Raises
        ------
        BadSignature
            If it is not good any more, or another secret goes by its id.
        """
        now = self.find(key.id)
        if now is None or (now.algorithm, now.material) != (key.algorithm, key.material):
            raise BadSignature("the key is no longer good")
        return now

    def codes(self, salt: bytes) -> list[Code]:
        """Start a code for each key of the itsdangerous dialect that is good now."""
        if salt not in self._derived:
            self._derived[salt] = [
                (key, itsdangerous.Signer(key.material, salt=salt).derive_key())
                for key in self._keys.values()
                if key.algorithm is Algorithm.ITSDANGEROUS
            ]
        now = self._clock()
        return [
            Code(key, hmac.new(secret, digestmod="sha1"))
            for key, secret in self._derived[salt]
            if key.is_active(now)
        ]


def _of_token(token: str) -> Key:
    # a name that stays when other tokens come and go, and tells nothing that a signature does not
    name = hmac.new(token.encode(), b"key id", hashlib.sha256).hexdigest()[:8]
    return Key(TOKEN_ID + name, Algorithm.ITSDANGEROUS, token.encode())


def check_trailer(trailer: bytes, codes: Sequence[Code]) -> Key:
    """Compare a trailer (separator and signature) with finished codes; return the key that agrees.

    Every code is compared, without leaving early, in constant time.

    Raises
    ------
    BadSignature
        If the trailer is not canonical or no code agrees; the error never says which.
    """
    text = trailer[len(SEPARATOR) :]
    if len(trailer) != TRAILER_BYTES or not trailer.startswith(SEPARATOR):
        raise BadSignature
    if not _ALPHABET.issuperset(text):
        raise BadSignature
    raw = decode_canonical(text)
    agreed = [code.key for code in codes if hmac.compare_digest(code.mac.digest(), raw)]
    if not agreed:
        raise BadSignature
    return agreed[-1]


def decode_canonical(text: bytes) -> bytes:
    """Decode base64url without padding, its one canonical spelling only.

    Raises
    ------
    BadSignature
        If encoding the decoded bytes gives another text.
    """
    try:
        raw = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except ValueError as error:
        raise BadSignature from error
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != text:
        raise BadSignature
    return raw
