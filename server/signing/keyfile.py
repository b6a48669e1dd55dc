"""The file of keys, read strictly and again whenever it changes.

::

    {"keys": [
      {"id": "notebook", "algorithm": "hmac-sha256", "secret": "<base64, at least 32 bytes>",
       "scopes": {"register": ["*"], "predict": ["3f2a*"]},
       "not_before": "2026-11-01T00:00:00Z", "not_after": "...", "disabled": false,
       "limits": {"requests_per_minute": 600, "bytes_per_hour": 10000000000}},
      {"id": "robot", "algorithm": "ed25519", "public_key": "<base64 of 32 bytes>", "scopes": ...},
      {"id": "old", "algorithm": "itsdangerous", "secret": "<a token>", "scopes": ...}]}

A scope names patterns of model digests. The last four members of the first may be left out.
"""

import base64
import codecs
import json
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from server.known_secrets import is_known
from server.signing.edwards import is_public_key
from server.signing.keyring import TOKEN_ID, Algorithm, Key, KeyRing
from server.signing.principal import Grants, Limits, Scope

PATTERN = re.compile(r"[0-9a-f*?]{1,64}")  # of model digests
OPERATOR = "operator"  # mints tokens at the command line; no key of the file
MIN_SECRET_BYTES = {Algorithm.HMAC_SHA256: 32, Algorithm.ITSDANGEROUS: 16}
_PUBLIC_KEY_BYTES = 32
_MAX_BYTES = 1 << 20
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_REQUIRED = {"id", "algorithm", "scopes"}
_OPTIONAL = {"not_before", "not_after", "disabled", "limits"}
_MOST = 1 << 53  # above it, JSON is read in two ways
_LIMITS = {"requests_per_minute", "bytes_per_hour"}
_log = logging.getLogger(__name__)


class KeyFault(Exception):
    """A file of keys that cannot be used; says where and why, and never shows a secret."""


class KeyFile:
    """The ring of keys, as fresh as its file.

    Parameters
    ----------
    path : Path or None
        The file; None: the tokens alone.
    tokens : sequence of str
        Signing tokens beside it.
    clock : callable
        Seconds since 1970.

    Raises
    ------
    KeyFault
        If the file cannot be used. Later faults are logged, and the ring stays as it was.
    """

    def __init__(
        self,
        path: Path | None,
        tokens: Sequence[str] = (),
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._tokens = tokens
        self._clock = clock
        self._seen: tuple[int, ...] | None = None
        self.fault: str | None = None
        keys: Sequence[Key] = ()
        if path is not None:
            self._seen = _version(path)
            keys = read_keys(path)
        self._ring = KeyRing(tokens, keys, clock=clock)

    def ring(self) -> KeyRing:
        """Return the keys of this very moment: a change of the file counts at once."""
        # one look costs two microseconds, and a key that was taken out is refused at its next use
        if self._path is not None and (version := _version(self._path)) != self._seen:
            self._seen = version
            self._reload(self._path)
        return self._ring

    def state(self) -> dict[str, object]:
        """Return how the keys are, for `/readyz`."""
        return {"known": len(self._ring), "fault": self.fault}

    def _reload(self, path: Path) -> None:
        try:
            ring = KeyRing(self._tokens, read_keys(path), clock=self._clock)
        except KeyFault as error:
            self.fault = str(error)
            _log.error("keys not read again: the old ones stay", extra={"fault": self.fault})
            return
        self._ring, self.fault = ring, None
        _log.info("keys read again", extra={"keys": len(ring)})


def read_keys(path: Path) -> list[Key]:
    """Read a file of keys.

    Raises
    ------
    KeyFault
        If it is no such file, or others than its owner and group may read it.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IROTH | stat.S_IWOTH):
                raise KeyFault("every user may read or write it: take that away (chmod 640)")
            text = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise KeyFault(f"cannot be read ({error.strerror})") from error
    if len(text) > _MAX_BYTES:
        raise KeyFault(f"is larger than {_MAX_BYTES} bytes")
    return parse_keys(text)


def parse_keys(text: bytes) -> list[Key]:
    """Read the keys of a file's text.

    Raises
    ------
    KeyFault
        If it does not have the form that the module shows.
    """
    if text.startswith(codecs.BOM_UTF8):
        raise KeyFault("begins with a byte order mark: save it as UTF-8 without one")
    try:
        whole = json.loads(text.decode(), object_pairs_hook=_unique)
        if whole.keys() != {"keys"} or not isinstance(listed := whole["keys"], list):
            raise ValueError
        keys = [_key(entry, f"key {number}") for number, entry in enumerate(listed, 1)]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise KeyFault('is not JSON of the form {"keys": [...]}') from error
    ids = [key.id for key in keys]
    if twice := {name for name in ids if ids.count(name) > 1}:
        raise KeyFault(f"names {sorted(twice)} twice")
    return keys


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise KeyFault("an object names a member twice")
    return found


def _key(entry: Mapping[str, Any], where: str) -> Key:
    if not isinstance(entry, dict) or not entry.keys() >= _REQUIRED:
        raise KeyFault(f"{where}: must hold {sorted(_REQUIRED)}")
    name = entry["id"]
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise KeyFault(f"{where}: an id is 1 to 64 letters, digits, dots, dashes and underscores")
    if name == OPERATOR or name.startswith(TOKEN_ID):
        raise KeyFault(f"{where}: the id {name} is the server's own")
    where = f"key {name}"
    if entry["algorithm"] not in set(Algorithm):
        raise KeyFault(f"{where}: algorithm must be one of {', '.join(sorted(Algorithm))}")
    algorithm = Algorithm(entry["algorithm"])
    material = "public_key" if algorithm is Algorithm.ED25519 else "secret"
    if unknown := entry.keys() - _REQUIRED - _OPTIONAL - {material}:
        raise KeyFault(f"{where}: unknown members {sorted(unknown)}")
    if not isinstance(entry.get("disabled", False), bool):
        raise KeyFault(f"{where}: disabled must be true or false")
    return Key(
        name,
        algorithm,
        _material(entry.get(material), algorithm, f"{where}: {material}"),
        _grants(entry["scopes"], f"{where}: scopes"),
        not_before=_instant(entry.get("not_before"), float("-inf"), f"{where}: not_before"),
        not_after=_instant(entry.get("not_after"), float("inf"), f"{where}: not_after"),
        disabled=entry.get("disabled", False),
        limits=_limits(entry.get("limits", {}), f"{where}: limits"),
    )


def _material(text: object, algorithm: Algorithm, where: str) -> bytes:
    if not isinstance(text, str):
        raise KeyFault(f"{where} is missing")
    if algorithm is Algorithm.ITSDANGEROUS:
        raw = text.encode("utf-8", "surrogatepass")
    else:
        try:
            raw = base64.b64decode(text, validate=True)
        except ValueError as error:
            raise KeyFault(f"{where} must be standard base64") from error
    if algorithm is Algorithm.ED25519:
        if len(raw) != _PUBLIC_KEY_BYTES:
            raise KeyFault(f"{where} must be the 32 bytes of an Ed25519 public key")
        if not is_public_key(raw):
            raise KeyFault(f"{where} is no Ed25519 public key, or one that anybody signs for")
    elif len(raw) < MIN_SECRET_BYTES[algorithm]:
        raise KeyFault(f"{where} must have at least {MIN_SECRET_BYTES[algorithm]} bytes")
    elif is_known(raw):
        raise KeyFault(f"{where} is one that everybody knows: make it of random bytes")
    return raw


def _grants(scopes: object, where: str) -> Grants:
    if not isinstance(scopes, dict) or not scopes.keys() <= set(Scope):
        raise KeyFault(f"{where} must be an object with members of {', '.join(sorted(Scope))}")
    for patterns in scopes.values():
        listed = isinstance(patterns, list) and all(isinstance(each, str) for each in patterns)
        if not listed or not all(map(PATTERN.fullmatch, patterns)):
            raise KeyFault(f"{where} must list patterns of model digests: hex digits, * and ?")
    return {Scope(scope): tuple(patterns) for scope, patterns in scopes.items()}


def _limits(given: object, where: str) -> Limits:
    if not isinstance(given, dict) or not given.keys() <= _LIMITS:
        raise KeyFault(f"{where} must be an object with members of {sorted(_LIMITS)}")
    for name, value in given.items():
        if type(value) is not int or not 1 <= value <= _MOST:
            raise KeyFault(f"{where}: {name} must be a whole number from 1 to 2^53")
    return Limits(**given)


def _instant(text: object, default: float, where: str) -> float:
    if text is None:
        return default
    try:
        instant = datetime.fromisoformat(text)  # type: ignore[arg-type]  # TypeError is caught
    except (ValueError, TypeError) as error:
        raise KeyFault(f"{where} must be an instant such as 2026-11-26T00:00:00Z") from error
    return instant.replace(tzinfo=instant.tzinfo or UTC).timestamp()


def _version(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
