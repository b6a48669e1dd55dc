"""server/signing/message.py against an independent library, both ways and on altered messages."""

import datetime
import os
import random
import secrets
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from server.errors import BadSignature
from server.signing.digests import ContentDigest
from server.signing.keyring import Algorithm, Key, KeyRing
from server.signing.message import OF_BODY, OF_REQUEST, TAG, Message, open_message
from tests.signing.messages import (
    PRIVATE,
    PUBLIC,
    SECRET,
    Parameters,
    Request,
    content_digest,
    ed25519_signer,
    hmac_signer,
    signed,
)

library: Any = pytest.importorskip("http_message_signatures", reason="needs the test extra")
http_sf: Any = pytest.importorskip("http_sf")

CASES = int(os.environ.get("SIGNING_CASES", "2000"))
MAX_AGE_S = 300
COVERED = (*OF_REQUEST, *OF_BODY)
RING = KeyRing(
    keys=[
        Key("shared", Algorithm.HMAC_SHA256, SECRET),
        Key("pair", Algorithm.ED25519, PUBLIC),
    ]
)


class _Keys(library.HTTPSignatureKeyResolver):  # type: ignore[misc]  # it has no type here
    def resolve_public_key(self, key_id: str) -> object:
        known = {"shared": SECRET, "pair": Ed25519PublicKey.from_public_bytes(PUBLIC)}
        return known.get(key_id)

    def resolve_private_key(self, key_id: str) -> object:
        return {"shared": SECRET, "pair": PRIVATE}[key_id]


def _algorithm(name: str) -> Any:
    return {
        "hmac-sha256": library.algorithms.HMAC_SHA256,
        "ed25519": library.algorithms.ED25519,
    }[name]


def _library_message(request: Request) -> SimpleNamespace:
    query = f"?{request.query}" if request.query else ""
    url = f"https://{request.authority}{request.path}{query}"
    return SimpleNamespace(method=request.method, url=url, headers=request.headers)


def _we_accept(request: Request) -> bool:
    message = Message(
        request.method, request.authority, request.path, request.query, request.headers
    )
    try:
        found = open_message(message, RING, now=time.time(), max_age_s=MAX_AGE_S)
    except BadSignature:
        return False
    body = request.body or b""
    return found.expected == ContentDigest.parse(content_digest(body, found.expected.algorithm))


def _the_library_accepts(request: Request) -> bool:
    """Judge by the library, and hold what it read to our profile."""
    covered = COVERED if request.body is not None else OF_REQUEST
    name = "hmac-sha256" if 'alg="hmac' in request.headers["signature-input"] else "ed25519"
    verifier = library.HTTPMessageVerifier(
        signature_algorithm=_algorithm(name), key_resolver=_Keys()
    )
    try:
        (found,) = verifier.verify(
            _library_message(request),
            max_age=datetime.timedelta(seconds=MAX_AGE_S),
            expect_tag=TAG,
            require_components=covered,
            body=request.body,
        )
    except (library.InvalidSignature, library.HTTPMessageSignaturesException):
        return False
    return _in_profile(request, found.parameters, [*found.covered_components][:-1], covered)


def _in_profile(
    request: Request, parameters: dict[str, Any], components: list[str], covered: tuple[str, ...]
) -> bool:
    names = [
        "signature-input",
        "signature",
        *(["content-digest"] if request.body is not None else []),
    ]
    canonical = all(_is_canonical(request.headers[name]) for name in names)
    return (
        canonical
        and components == [f'"{name}"' for name in covered]
        and parameters.keys() == {"created", "expires", "nonce", "keyid", "alg", "tag"}
        and len(parameters["nonce"]) >= 22
        and 0 < parameters["expires"] - parameters["created"] <= MAX_AGE_S
        and all(
            request.headers.get(name, "x") == request.headers.get(name, "x").strip()
            for name in OF_BODY
        )
        and "\t" not in "".join(request.headers.values())
    )


def _is_canonical(text: str) -> bool:
    """Tell whether a dictionary has one member, in the one spelling that is ours."""
    if text != text.strip() or "\\" in text:
        return False
    parsed = http_sf.parse(text.encode(), tltype="dictionary")
    return len(parsed) == 1 and bool(http_sf.ser(parsed) == text)


def _signed_by_the_library(request: Request, key_id: str, draw: random.Random) -> Request:
    covered: tuple[str, ...] = OF_REQUEST
    if request.body is not None:
        request.headers |= {
            "content-digest": content_digest(request.body, draw.choice(["sha-256", "sha-512"])),
            "content-length": str(len(request.body)),
            "content-type": request.content_type,
        }
        covered = COVERED
    name = "hmac-sha256" if key_id == "shared" else "ed25519"
    signer = library.HTTPMessageSigner(signature_algorithm=_algorithm(name), key_resolver=_Keys())
    now = datetime.datetime.now(datetime.UTC)
    message = _library_message(request)
    signer.sign(
        message,
        key_id=key_id,
        created=now,
        expires=now + datetime.timedelta(seconds=draw.choice([10, 60, 300])),
        nonce=secrets.token_urlsafe(16),
        label=draw.choice(["sig", "pyhms", "*a.b-c"]),
        tag=TAG,
        use_existing_digest=request.body is not None,
        covered_component_ids=covered,
    )
    request.headers = {name.lower(): value for name, value in message.headers.items()}
    return request


def _request(draw: random.Random) -> Request:
    body = draw.choice([None, b"", b"x", draw.randbytes(draw.randrange(200))])
    return Request(
        method="GET" if body is None else draw.choice(["POST", "PUT"]),
        authority=draw.choice(["localhost:8443", "Example.COM", "example.com:443", "[::1]:8443"]),
        path=draw.choice(["/", "/prediction", "/v1/models/ab%20c/predictions", "/a//b/%2F"]),
        query=draw.choice(["", "a=1", "a=%20&b", "receipt=1&csv=1%2C2", "?"]),
        body=body,
        content_type=draw.choice(["application/json", "audio/wav", 'multipart/x; boundary="a b"']),
    )


def _either_signs(request: Request, draw: random.Random) -> Request:
    if draw.random() < 0.5:
        return _signed_by_the_library(request, draw.choice(["shared", "pair"]), draw)
    names = ["created", "expires", "nonce", "keyid", "alg", "tag"]
    draw.shuffle(names)
    signer = draw.choice([hmac_signer(), ed25519_signer()])
    return signed(request, signer, digest=draw.choice(["sha-256", "sha-512"]), order=names)


# what an attacker, or a careless client, may do to a message

Alter = Callable[[Request, random.Random], None]


def _flip(request: Request, draw: random.Random) -> None:
    name = draw.choice(sorted(request.headers))
    text = request.headers[name]
    at = draw.randrange(len(text))
    request.headers[name] = (
        text[:at] + chr(ord(text[at]) ^ (1 << draw.randrange(7))) + text[at + 1 :]
    )


def _insert(request: Request, draw: random.Random) -> None:
    name = draw.choice(["signature-input", "signature"])
    text = request.headers[name]
    at = draw.randrange(len(text) + 1)
    request.headers[name] = text[:at] + draw.choice(' ;=",:()01aA*\t') + text[at:]


def _drop(request: Request, draw: random.Random) -> None:
    name = draw.choice(["signature-input", "signature"])
    text = request.headers[name]
    at = draw.randrange(len(text))
    request.headers[name] = text[:at] + text[at + draw.randrange(1, 9) :]


def _swap(request: Request, draw: random.Random) -> None:
    place = draw.choice(["method", "path", "query", "authority"])
    other = _request(draw)
    setattr(request, place, getattr(other, place))


def _other_body(request: Request, draw: random.Random) -> None:
    if request.body is not None:
        request.body += b"\0"


def _leave_out(request: Request, draw: random.Random) -> None:
    request.headers.pop(
        draw.choice(sorted(set(request.headers) - {"signature-input", "signature"}) or ["x"]), None
    )


ALTER: list[Alter] = [_flip, _flip, _insert, _drop, _swap, _other_body, _leave_out]


def _signed_oddly(request: Request, draw: random.Random) -> Request:
    """Sign, rightly, what the profile may or may not take."""
    now = int(time.time())
    odds: list[Parameters] = [
        {"created": now - draw.choice([2, 20, 280, 320, 4000])},
        {"created": now + draw.choice([2, 20, 400]), "expires": now + 500},
        {"expires": now + draw.choice([-400, -20, -2, 200, 290, 310, 10**9])},
        {"nonce": "n" * draw.choice([1, 21, 22, 200])},
        {draw.choice(["nonce", "tag", "expires", "keyid", "alg"]): None},
        {"tag": draw.choice(["spectrogrampredictor2", "other"])},
        {"keyid": draw.choice(["nobody", "pair", "shared"])},
        {"alg": draw.choice(["hmac-sha256", "ed25519", "rsa-pss-sha512"])},
        {"extra": 1},
    ]
    return signed(
        request, draw.choice([hmac_signer(), ed25519_signer()]), changed=draw.choice(odds)
    )


@pytest.mark.parametrize("key_id", ["shared", "pair"])
def test_what_the_library_signs_is_taken(key_id: str) -> None:
    draw = random.Random(1)
    for _ in range(50):
        request = _signed_by_the_library(_request(draw), key_id, draw)
        assert _we_accept(request), request


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_library_agrees_on_every_message() -> None:
    draw = random.Random(20261126)
    verdicts = {True: 0, False: 0}
    for case in range(CASES):
        request = _request(draw)
        request = (
            _signed_oddly(request, draw) if draw.random() < 0.2 else _either_signs(request, draw)
        )
        if draw.random() < 0.6:
            draw.choice(ALTER)(request, draw)
        ours = _we_accept(request)
        assert ours == _the_library_accepts(request), (case, request)
        verdicts[ours] += 1
    assert min(verdicts.values()) > CASES // 10
