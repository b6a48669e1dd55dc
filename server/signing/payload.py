"""Read a signed JSON payload, strictly.

::

    <JSON object> "." <signature>                    itsdangerous.Serializer(token).dumps(...)
    <JSON object> "." <timestamp> "." <signature>    itsdangerous.TimedSerializer(token).dumps(...)

The signature is judged before a byte of the JSON is read. A timed payload must be young. Two
optional fields tighten a plain one: `_ts` (seconds since 1970) is held to the same age, `_path` to
the path asked. Routes take closed schemas, because one signature is good on every route; those that
ask for a bound payload take none that leaves these two out.
"""

import json
import math
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from server.errors import BadSignature, MalformedRequest
from server.signing.keyring import (
    PAYLOAD_SALT,
    TRAILER_BYTES,
    Key,
    KeyRing,
    check_trailer,
    decode_canonical,
)

# No JSON text ends so: after a closing bracket or quote nothing but a timestamp can follow.
_TIMESTAMP = re.compile(rb'[}\]"]\.([A-Za-z0-9_-]{1,11})\Z')
_TIMESTAMP_TAIL = 14
_ESCAPE = re.compile(rb"\\")
_LONG_TEXT_BYTES = 64 << 10
_MAX_PLAIN = 1 << 20  # of a payload beside the long texts that are left in the body
_MAX_STRINGS = 64
_MAX_NONCE = 256

Parse = Callable[[bytes | memoryview], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Payload:
    """What a signed body says.

    Attributes
    ----------
    fields : dict
        The fields of the route.
    nonce : str or None
        A text that may be used once; whoever opens the payload must remember it.
    nonce_until : float
        When it may be forgotten, in seconds since 1970: the payload is too old then.
    key : Key
        Has signed.
    """

    fields: dict[str, Any]
    nonce: str | None
    nonce_until: float
    key: Key


def open_payload(
    body: bytes,
    keys: KeyRing,
    *,
    path: str,
    now: float,
    max_age_s: float,
    parse: Parse | None = None,
    bound: bool = False,
) -> Payload:
    """Return the fields of a signed payload without the optional ones that were enforced here.

    Parameters
    ----------
    body : bytes
        The whole request body.
    keys : KeyRing
        Any of its tokens may have signed.
    path : str
        The path that was asked.
    now : float
        Seconds since 1970.
    max_age_s : float
        Oldest timestamp accepted, in seconds; none may lie in the future.
    parse : callable, optional
        Reads the JSON in place of `parse_fields`; must be as strict.
    bound : bool
        Whether the payload must say when it was made and for which path.

    Raises
    ------
    BadSignature
        Unsigned, altered, too old, or meant for another path.
    MalformedRequest
        Signed, but not one JSON object without duplicate keys and without NaN or infinity; or one
        that is not bound where it must be.
    """
    text, timed, key = _verified(body, keys, now=now, max_age_s=max_age_s)
    fields = (parse or parse_fields)(text)
    if bound and not ("_path" in fields and (timed or "_ts" in fields)):
        raise MalformedRequest("on this path a signed payload holds `_path` and `_ts`")
    stamped = None
    if "_ts" in fields:
        stamped = fields.pop("_ts")
        _check_age(stamped, now=now, max_age_s=max_age_s)
    if "_path" in fields and fields.pop("_path") != path:
        raise BadSignature
    if "_nonce" not in fields:
        return Payload(fields, None, 0.0, key)
    nonce = fields.pop("_nonce")
    if not isinstance(nonce, str) or not 0 < len(nonce) <= _MAX_NONCE or stamped is None:
        raise MalformedRequest("a '_nonce' is a text of 1 to 256 characters, and needs a '_ts'")
    return Payload(fields, nonce, stamped + max_age_s, key)


def _verified(
    body: bytes, keys: KeyRing, *, now: float, max_age_s: float
) -> tuple[memoryview, bool, Key]:
    """Return the JSON before a good signature, whether a timestamp went with it, and the key."""
    value = memoryview(body)[: max(0, len(body) - TRAILER_BYTES)]
    codes = keys.codes(PAYLOAD_SALT)
    for code in codes:
        code.mac.update(value)
    key = check_trailer(body[len(value) :], codes)
    stamp = _TIMESTAMP.search(bytes(value[-_TIMESTAMP_TAIL:]))
    if stamp is None:
        return value, False, key
    _check_age(int.from_bytes(decode_canonical(stamp[1])), now=now, max_age_s=max_age_s)
    return value[: -len(stamp[1]) - 1], True, key


def take_fields(
    fields: dict[str, Any], *, required: dict[str, type], optional: dict[str, type] | None = None
) -> dict[str, Any]:
    """Hold a payload to a closed schema: these fields, of these types, and no others.

    Raises
    ------
    MalformedRequest
        Naming the field that is missing, unknown or of another type.
    """
    known = required | (optional or {})
    for name in fields:
        if name not in known:
            raise MalformedRequest(f"unknown field {name[:40]!r}; known are {sorted(known)}")
    for name in required:
        if name not in fields:
            raise MalformedRequest(f"the field {name!r} is missing")
    for name, value in fields.items():
        if type(value) is not known[name] and not isinstance(value, memoryview):
            raise MalformedRequest(f"the field {name!r} must be {_JSON_NAMES[known[name]]}")
    return fields


_JSON_NAMES: dict[type, str] = {
    str: "a string",
    dict: "an object",
    list: "a list",
    int: "a whole number",
    bool: "true or false",
}


def _check_age(stamp: object, *, now: float, max_age_s: float) -> None:
    if not isinstance(stamp, int | float) or isinstance(stamp, bool):
        raise MalformedRequest("the field '_ts' must be a number of seconds since 1970")
    # itsdangerous counts whole seconds, so a stamp of this very second may seem to lie ahead;
    # compared, not subtracted: JSON may hold an integer that is no float
    if not now - max_age_s <= stamp <= now + 1:
        raise BadSignature


def parse_fields(payload: bytes | memoryview, raw: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Read one JSON object without duplicate keys and without NaN or infinity.

    Parameters
    ----------
    payload : bytes or memoryview
        JSON in UTF-8; a view holds the first bytes of a request's body.
    raw : frozenset of str
        Fields whose text, where it is long, is left as it lies in the body: a memoryview of its
        bytes, unchecked, for a reader who checks every byte. All others are str as ever.

    Raises
    ------
    MalformedRequest
        If it is not that, or takes over 1 MiB beside the long texts of these fields.
    """
    # parsed without the long texts where that is safe: scanning 26 MB stops a process for 40 ms
    text = memoryview(payload)
    escaped = cast(bytes, text.obj).find(b"\\", 0, len(text)) >= 0
    short, cut = _cut_long_texts(text, escaped=escaped) if raw else (_whole(text), {})
    fields = _parse_object(short)
    marks = {name: mark for name in raw & fields.keys() if isinstance(mark := fields[name], str)}
    long = {name: cut.pop(mark) for name, mark in marks.items() if mark in cut}
    if cut:
        if len(short) + sum(map(len, cut.values())) > _MAX_PLAIN:
            raise _too_long()
        for mark, view in cut.items():
            short = short.replace(mark.encode(), bytes(view))
        fields = _parse_object(short)
    return fields | {name: _unescaped(view) if escaped else view for name, view in long.items()}


def _whole(text: memoryview) -> bytes:
    if len(text) > _MAX_PLAIN:
        raise _too_long()
    return bytes(text)


def _too_long() -> MalformedRequest:
    return MalformedRequest("the signed payload is too long for what the path takes")


def _cut_long_texts(text: memoryview, *, escaped: bool) -> tuple[bytes, dict[str, memoryview]]:
    """Put a name in every long string's place; nothing is cut where a quote could be escaped."""
    body, size = cast(bytes, text.obj), len(text)
    if escaped and (body.find(b'\\"', 0, size) >= 0 or body.find(b"\\\\", 0, size) >= 0):
        return _whole(text), {}
    kept: list[bytes | memoryview] = []
    cut: dict[str, memoryview] = {}
    start = at = 0
    for _ in range(_MAX_STRINGS):
        opening = body.find(b'"', at, size)
        if opening < 0:
            return b"".join([*kept, _whole(text[start:])]), cut
        closing = body.find(b'"', opening + 1, size)
        if closing < 0:
            break
        if closing - opening > _LONG_TEXT_BYTES:
            name = secrets.token_hex(16)
            kept += [_whole(text[start : opening + 1]), name.encode()]
            cut[name] = text[opening + 1 : closing]
            start = closing
        at = closing + 1
    return _whole(text), {}


def _unescaped(text: memoryview) -> memoryview | str:
    """Return a long text as it lies in the body, unless it is written with escapes."""
    if not _ESCAPE.search(text):
        return text
    return cast(str, _json(b'"' + bytes(text) + b'"'))


def _parse_object(text: bytes) -> dict[str, Any]:
    value = _json(text)
    if not isinstance(value, dict):
        raise MalformedRequest("the signed payload must be a JSON object")
    return value


def _json(text: bytes) -> Any:
    try:
        return json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except MalformedRequest:
        raise
    except (ValueError, RecursionError) as error:
        raise MalformedRequest("the signed payload is not JSON in UTF-8") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedRequest("the signed payload names a field twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedRequest(f"the signed payload holds {name}, which is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise MalformedRequest("the signed payload holds a number that is too large")
    return value
