"""Who asks, in whatever dialect, and what they may do: the one place where scopes are checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from server.digest import Digest
from server.errors import ScopeMissing


class Scope(StrEnum):
    """What a key may be allowed to do."""

    REGISTER = "register"
    UPLOAD = "upload"
    SWEEP = "sweep"
    PREDICT = "predict"
    READ = "read"
    ADMIN = "admin"


class Dialect(StrEnum):
    """How a request says who sends it."""

    ITSDANGEROUS = "itsdangerous"
    MESSAGE = "message"
    BEARER = "bearer"


Grants = Mapping[Scope, tuple[str, ...]]  # for each scope, patterns of model digests

_SOME_DIGEST = "0" * 64

EVERYTHING: Grants = dict.fromkeys(Scope, ("*",))


@dataclass(frozen=True, slots=True)
class Limits:
    """What a key may ask for in a while; None is without limit.

    Attributes
    ----------
    requests_per_minute : int or None
        Requests that were verified.
    bytes_per_hour : int or None
        Bytes of their bodies.
    """

    requests_per_minute: int | None = None
    bytes_per_hour: int | None = None


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever sent a request that was verified.

    Attributes
    ----------
    key_id : str
        The public name of their key.
    dialect : Dialect
        How they said so.
    grants : tuple of Grants
        Each of them must allow what is asked: those of the key, and a bearer token's own.
    max_bytes : int or None
        Largest body that a bearer token is good for.
    limits : Limits
        What the key may ask for in a while.
    material : bytes
        The secret, or public key, that verified what they sent; empty where a token did.
    """

    key_id: str
    dialect: Dialect
    grants: tuple[Grants, ...] = (EVERYTHING,)
    max_bytes: int | None = None
    limits: Limits = NO_LIMITS
    material: bytes = field(default=b"", repr=False)

    def allows(self, scope: Scope, digest: Digest | None = None) -> bool:
        """Tell whether this may be done, with this very model where one is named."""
        return all(_allows(grants.get(scope, ()), digest) for grants in self.grants)

    def allows_every(self, scope: Scope) -> bool:
        """Tell whether this may be done with every model there is or will be."""
        return all(_is_for_every(grants.get(scope, ())) for grants in self.grants)

    def require(self, scope: Scope, digest: Digest | None = None) -> None:
        """Pass if this may be done, with this very model where one is named.

        Raises
        ------
        ScopeMissing
            If it may not.
        """
        if self.allows(scope, digest):
            return
        what = f"`{scope}`" if digest is None else f"`{scope}` with this model"
        raise ScopeMissing(f"the key is not allowed to {what}", scope=scope)


def _is_for_every(patterns: tuple[str, ...]) -> bool:
    # without a digit in it a pattern fits every digest, or none
    return any(not each.strip("*?") and fnmatchcase(_SOME_DIGEST, each) for each in patterns)


def _allows(patterns: tuple[str, ...], digest: Digest | None) -> bool:
    if digest is None:
        return bool(patterns)
    return any(pattern == "*" or fnmatchcase(digest.hex, pattern) for pattern in patterns)
