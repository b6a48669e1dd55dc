"""HTTP message signatures (RFC 9421) in one strict profile: dialect 2.

::

    Signature-Input: <label>=(<components>);created=1;expires=2;nonce="";keyid="";alg="";tag=""
    Signature:       <label>=:<base64>:

One signature, one label, all six parameters in any order and nothing else. A message with a body
covers seven components in this order: "@method" "@authority" "@path" "@query" "content-digest"
"content-length" "content-type"; one without a body covers the first four, and may say that its
length is 0, as clients do by themselves (RFC 9110 section 8.6). What is signed is the signature
base:

::

    "@method": POST
    ...
    "@signature-params": (<components>);created=...

The head alone decides whether the body is read; the body is held to its digest while it arrives.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from server.errors import BadSignature
from server.signing.algorithms import verify
from server.signing.digests import NOTHING, ContentDigest, decode_base64
from server.signing.keyring import Algorithm, Key, KeyRing

TAG = "spectrogrampredictor"
SKEW_S = 5  # how far the clocks of client and server may be apart
OF_REQUEST = ("@method", "@authority", "@path", "@query")
OF_BODY = ("content-digest", "content-length", "content-type")
FIELDS = (*OF_BODY, "signature-input", "signature")
_MAX_CHARS = 2048
_MIN_NONCE = 22  # characters of base64 for 128 bits
_LABEL = r"[a-z*][a-z0-9_.*-]{0,63}"
# integers without leading zeros and strings without escapes: one spelling for one value
_PARAMETER = r';([a-z]+)=(?:(0|[1-9][0-9]{0,14})|"([ !#-\[\]-~]{1,256})")'
_INPUT = re.compile(rf"({_LABEL})=(\(([^()]*)\)((?:{_PARAMETER})+))")
_EACH_PARAMETER = re.compile(_PARAMETER)
_SIGNATURE = re.compile(rf"({_LABEL})=:([A-Za-z0-9+/]+=*):")


@dataclass(frozen=True, slots=True)
class Message:
    """The head of a request, as it came.

    Attributes
    ----------
    method : str
        In capitals.
    authority : str
        The Host header, or what HTTP/2 has in its place.
    path : str
        As it was sent, nothing decoded.
    query : str
        Behind the question mark.
    fields : mapping
        Values by lower-case names, of those in `FIELDS` that were sent once.
    """

    method: str
    authority: str
    path: str
    query: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """A head that was verified.

    Attributes
    ----------
    key : Key
        Has signed.
    expected : ContentDigest
        What the body must hash to; that of nothing when there is none.
    nonce : str
        Good once for this key; whoever opens a message must remember it.
    nonce_until : float
        When it may be forgotten, in seconds since 1970.
    """

    key: Key
    expected: ContentDigest
    nonce: str
    nonce_until: float


def open_message(
    message: Message,
    keys: KeyRing,
    *,
    now: float,
    max_age_s: float,
    authorities: Collection[str] = (),
) -> SignedMessage:
    """Verify the head of a request.

    Parameters
    ----------
    message : Message
        The head.
    keys : KeyRing
        Finds the key by its id.
    now : float
        Seconds since 1970.
    max_age_s : float
        Longest time between `created` and `expires`.
    authorities : collection of str
        Names under which this server is asked, as `authority_of` gives them; none: any.

    Raises
    ------
    BadSignature
        For whatever reason.
    """
    given = _read_input(message.fields.get("signature-input", ""))
    label, signature = _read_signature(message.fields.get("signature", ""))
    key = keys.find(given.key_id)
    if label != given.label:
        raise BadSignature("two labels")
    if key is None or key.algorithm is Algorithm.ITSDANGEROUS or key.algorithm != given.algorithm:
        raise BadSignature("no such key, or of another algorithm")
    values = ((name, _value(message, name)) for name in given.covered)
    if not verify(key, signature_base(values, given.params), signature):
        raise BadSignature("signature")
    _check_time(given, now=now, max_age_s=max_age_s)
    if given.tag != TAG or len(given.nonce) < _MIN_NONCE:
        raise BadSignature("tag or nonce")
    if authorities and authority_of(message.authority) not in authorities:
        raise BadSignature("meant for another server")
    return SignedMessage(key, _expected(message, given), given.nonce, given.expires + SKEW_S)


def signature_base(values: Iterable[tuple[str, str]], params: str) -> bytes:
    """Join components and parameters to what is signed (RFC 9421 section 2.5).

    Parameters
    ----------
    values : iterable of pairs
        Names and values of the covered components, in their order.
    params : str
        The inner list and its parameters, as in the header.
    """
    lines = [f'"{name}": {value}' for name, value in values]
    return "\n".join([*lines, f'"@signature-params": {params}']).encode()


def authority_of(host: str) -> str:
    """Return the canonical form of a Host header: lower case, without the port of https."""
    return host.lower().removesuffix(":443")


@dataclass(frozen=True, slots=True)
class _Input:
    """The header `Signature-Input`, read."""

    label: str
    params: str
    covered: tuple[str, ...]
    created: int
    expires: int
    nonce: str
    key_id: str
    algorithm: str
    tag: str


def _listed(names: tuple[str, ...]) -> str:
    return " ".join(f'"{name}"' for name in names)


_COVERED = {_listed(names): names for names in (OF_REQUEST, OF_REQUEST + OF_BODY)}


def _read_input(header: str) -> _Input:
    found = _INPUT.fullmatch(header) if len(header) <= _MAX_CHARS else None
    if found is None or found[3] not in _COVERED:
        raise BadSignature("signature-input")
    numbers: dict[str, int] = {}
    texts: dict[str, str] = {}
    given = _EACH_PARAMETER.findall(found[4])
    for name, number, text in given:
        if number:
            numbers[name] = int(number)
        else:
            texts[name] = text
    if (
        len(given) != len(numbers) + len(texts)
        or numbers.keys() != {"created", "expires"}
        or texts.keys() != {"nonce", "keyid", "alg", "tag"}
    ):
        raise BadSignature("parameters")
    return _Input(
        *(found[1], found[2], _COVERED[found[3]], numbers["created"], numbers["expires"]),
        *(texts["nonce"], texts["keyid"], texts["alg"], texts["tag"]),
    )


def _read_signature(header: str) -> tuple[str, bytes]:
    found = _SIGNATURE.fullmatch(header) if len(header) <= _MAX_CHARS else None
    if found is None:
        raise BadSignature("signature")
    return found[1], decode_base64(found[2])


def _value(message: Message, name: str) -> str:
    """Return the value of a component (RFC 9421 sections 2.1 and 2.2)."""
    match name:
        case "@method":
            value = message.method
        case "@authority":
            value = authority_of(message.authority)
        case "@path":
            value = message.path
        case "@query":
            value = "?" + message.query
        case _:
            value = message.fields.get(name, "")
    # what is missing has no value, and no value may end its line of the base
    if not value or value != value.strip() or not (value.isascii() and value.isprintable()):
        raise BadSignature(name)
    return value


def _check_time(given: _Input, *, now: float, max_age_s: float) -> None:
    if not 0 < given.expires - given.created <= max_age_s:
        raise BadSignature("good for too long")
    if not given.created - SKEW_S <= now <= given.expires + SKEW_S:
        raise BadSignature("too old, or from the future")


def _expected(message: Message, given: _Input) -> ContentDigest:
    if given.covered is not OF_REQUEST:
        return ContentDigest.parse(message.fields["content-digest"])
    bodiless = message.fields.keys().isdisjoint(("content-digest", "content-type"))
    if not bodiless or message.fields.get("content-length", "0") != "0":
        raise BadSignature("a body that is not covered")
    return NOTHING
