"""server/signing/message.py: what a signed head says, and everything that is refused."""

import base64
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from server.digest import Digest
from server.errors import BadSignature
from server.signing.algorithms import verify
from server.signing.digests import ContentDigest, HashedBody
from server.signing.keyring import Algorithm, Key, KeyRing
from server.signing.message import Message, SignedMessage, open_message, signature_base
from tests.signing.messages import (
    PUBLIC,
    SECRET,
    Parameters,
    Request,
    Signer,
    content_digest,
    ed25519_signer,
    hmac_signer,
    signed,
)

NOW = 1_800_000_000.0
KEYS = [
    Key("shared", Algorithm.HMAC_SHA256, SECRET),
    Key("pair", Algorithm.ED25519, PUBLIC),
    Key("old", Algorithm.ITSDANGEROUS, SECRET),
    Key("off", Algorithm.HMAC_SHA256, SECRET, disabled=True),
    Key("later", Algorithm.HMAC_SHA256, SECRET, not_before=NOW + 1),
    Key("over", Algorithm.HMAC_SHA256, SECRET, not_after=NOW),
]
RING = KeyRing(keys=KEYS, clock=lambda: NOW)
SIGNERS = [hmac_signer(), ed25519_signer()]
both = pytest.mark.parametrize("signer", SIGNERS, ids=["hmac", "ed25519"])


def message_of(request: Request) -> Message:
    return Message(request.method, request.authority, request.path, request.query, request.headers)


def opened(
    request: Request, *, now: float = NOW, authorities: tuple[str, ...] = ()
) -> SignedMessage:
    return open_message(message_of(request), RING, now=now, max_age_s=300, authorities=authorities)


def refused(request: Request, *, now: float = NOW, authorities: tuple[str, ...] = ()) -> str:
    with pytest.raises(BadSignature) as caught:
        opened(request, now=now, authorities=authorities)
    return caught.value.reason


async def read(request: Request, expected: ContentDigest | None, size: int = 5) -> bytes:
    async def pieces() -> AsyncIterator[bytes]:
        body = request.body or b""
        for start in range(0, len(body), size):
            yield body[start : start + size]

    return b"".join([piece async for piece in HashedBody(pieces(), expected)])


# what is taken


@both
async def test_a_signed_message_says_its_key_body_and_nonce(signer: Signer) -> None:
    request = signed(Request(query="a=%20b"), signer, now=NOW, changed={"nonce": "n" * 22})
    message = opened(request)
    assert message.key.id == signer.key_id
    assert (message.nonce, message.nonce_until) == ("n" * 22, NOW + 60 + 5)
    assert await read(request, message.expected) == request.body


@both
@pytest.mark.parametrize("body", [b"", b"x", b"x" * 1000])
@pytest.mark.parametrize("digest", ["sha-256", "sha-512"])
async def test_a_body_of_either_digest_is_read(signer: Signer, body: bytes, digest: str) -> None:
    request = signed(Request(body=body), signer, now=NOW, digest=digest)
    assert await read(request, opened(request).expected) == body


@both
async def test_a_message_without_a_body_covers_four_components(signer: Signer) -> None:
    request = signed(Request("GET", path="/v1/audit", query="limit=2", body=None), signer, now=NOW)
    expected = opened(request).expected
    assert await read(request, expected) == b""
    with pytest.raises(BadSignature):
        await read(replace(request, body=b"x"), expected)


@pytest.mark.parametrize("authority", ["EXAMPLE.com", "example.COM:443"])
def test_the_authority_is_normalized(authority: str) -> None:
    request = signed(Request(authority="example.com"), hmac_signer(), now=NOW)
    assert opened(replace(request, authority=authority)).key.id == "shared"


@given(st.permutations(["created", "expires", "nonce", "keyid", "alg", "tag"]))
def test_the_parameters_may_come_in_any_order(order: list[str]) -> None:
    request = signed(Request(), hmac_signer(), now=NOW, order=order)
    assert opened(request).key.id == "shared"


@pytest.mark.parametrize("now", [NOW - 5, NOW, NOW + 65])
def test_clocks_may_differ_a_little(now: float) -> None:
    assert opened(signed(Request(), hmac_signer(), now=NOW), now=now).key.id == "shared"


@pytest.mark.parametrize("authorities", [(), ("localhost:8443",), ("x", "localhost:8443")])
def test_the_server_may_go_by_several_names(authorities: tuple[str, ...]) -> None:
    request = signed(Request(), hmac_signer(), now=NOW)
    assert opened(request, authorities=authorities).key.id == "shared"


# who has signed, and when


@pytest.mark.parametrize("key_id", ["off", "later", "over", "old", "nobody", "Shared", "shared "])
def test_a_key_that_is_not_good_now_or_for_messages_is_refused(key_id: str) -> None:
    assert "key" in refused(signed(Request(), hmac_signer(key_id), now=NOW))


def test_another_secret_is_refused() -> None:
    assert refused(signed(Request(), hmac_signer(secret=SECRET[::-1]), now=NOW)) == "signature"


def test_another_private_key_is_refused() -> None:
    signer = ed25519_signer(private=Ed25519PrivateKey.generate())
    assert refused(signed(Request(), signer, now=NOW)) == "signature"


def test_the_algorithm_is_the_keys_and_not_the_messages() -> None:
    # the public key as the secret of a code: the classic confusion of algorithms
    forged = Signer("pair", "hmac-sha256", hmac_signer(secret=PUBLIC).sign)
    assert "algorithm" in refused(signed(Request(), forged, now=NOW))
    named = Signer("pair", "ed25519", hmac_signer(secret=PUBLIC).sign)
    assert refused(signed(Request(), named, now=NOW)) == "signature"


@pytest.mark.parametrize(
    ("created", "expires"),
    [(-400, -300), (-100, -6), (6, 60), (0, 301), (-10, 291), (0, 0), (10, -10), (0, 10**12)],
)
def test_a_time_that_is_over_or_to_come_or_too_long_is_refused(created: int, expires: int) -> None:
    times = {"created": int(NOW) + created, "expires": int(NOW) + expires}
    request = signed(Request(), hmac_signer(), now=NOW, changed=times)
    refused(request)


@pytest.mark.parametrize("authorities", [("localhost",), ("localhost:8444", "x")])
def test_a_message_for_another_server_is_refused(authorities: tuple[str, ...]) -> None:
    request = signed(Request(), hmac_signer(), now=NOW)
    assert "server" in refused(request, authorities=authorities)


# the form of the headers


@pytest.mark.parametrize("name", ["created", "expires", "nonce", "keyid", "alg", "tag"])
def test_a_parameter_that_is_missing_is_refused(name: str) -> None:
    refused(signed(Request(), hmac_signer(), now=NOW, changed={name: None}))


@pytest.mark.parametrize(
    "changed",
    [
        *({"created": "1800000000"}, {"expires": "1800000060"}, {"nonce": 10**14}, {"keyid": 5}),
        *({"nonce": "n" * 21}, {"nonce": "n" * 257}, {"nonce": ""}, {"tag": "another"}),
        *({"alg": "HMAC-SHA256"}, {"alg": "ed25519"}, {"surprise": 1}, {"keyid": 'a"b'}),
        *({"tag": "spectrogrampredictor\n"}, {"nonce": "\u00e9" * 22}, {"created": -5}),
    ],
    ids=ascii,
)
def test_a_parameter_of_another_form_is_refused(changed: Parameters) -> None:
    refused(signed(Request(), hmac_signer(), now=NOW, changed=changed))


RESPELLED: dict[str, Callable[[str], str]] = {
    "space": lambda text: text.replace(";keyid", "; keyid"),
    "no space": lambda text: text.replace('" "', '""', 1),
    "two spaces": lambda text: text.replace('" "', '"  "', 1),
    "other order": lambda text: text.replace('"@method" "@authority"', '"@authority" "@method"'),
    "twice": lambda text: text.replace('"@method"', '"@method" "@method"'),
    "one less": lambda text: text.replace(' "@query"', ""),
    "no body": lambda text: text.replace(' "content-digest"', ""),
    "one more": lambda text: text.replace('"content-type"', '"content-type" "date"'),
    "component parameter": lambda text: text.replace('"content-type"', '"content-type";sf'),
    "two signatures": lambda text: f"{text}, sig2={text.partition('=')[2]}",
    "two labels": lambda text: f"{text}, {text}",
    "another label": lambda text: "x" + text,
    "capital label": lambda text: "S" + text[1:],
    "parameter twice": lambda text: text + text[text.index(";created") : text.index(";expires")],
    "leading zero": lambda text: text.replace("created=", "created=0"),
    "plus": lambda text: text.replace("created=", "created=+"),
    "decimal": lambda text: text.replace(";expires", ".0;expires"),
    "escape": lambda text: text.replace('alg="h', 'alg="\\h'),
    "token": lambda text: text.replace('"hmac-sha256"', "hmac-sha256"),
    "cut": lambda text: text[:-1],
    "newline": lambda text: text + "\n",
    "before": lambda text: " " + text,
    "behind": lambda text: text + " ",
    "empty": lambda text: "",
    "long": lambda text: text + ";" + "x" * 3000,
}


@pytest.mark.parametrize("name", RESPELLED)
def test_another_spelling_of_the_input_is_refused(name: str) -> None:
    request = signed(Request(), hmac_signer(), now=NOW)
    request.headers["signature-input"] = RESPELLED[name](request.headers["signature-input"])
    refused(request)


@pytest.mark.parametrize(
    "respell",
    [
        *(lambda text: "", lambda text: text[:-1], lambda text: text + ", b=:AA==:"),
        *(lambda text: text.replace("sig1", "sig2"), lambda text: text.replace("=:", "=: ")),
        *(lambda text: text.replace(":", ""), lambda text: text + ";a=1", lambda text: text + "\n"),
        *(lambda text: text.replace("=:", "=::", 1), lambda text: "sig1=:" + "A" * 3000 + ":"),
        *(lambda text: text.replace("=:", "=:AAAA", 1), lambda text: "sig1=:A:"),
    ],
    ids=range(12),
)
def test_another_spelling_of_the_signature_is_refused(respell: object) -> None:
    assert callable(respell)
    request = signed(Request(), hmac_signer(), now=NOW)
    request.headers["signature"] = respell(request.headers["signature"])
    refused(request)


def test_spare_bits_of_the_signature_are_refused() -> None:
    request = signed(Request(), hmac_signer(), now=NOW)
    text = request.headers["signature"].removesuffix("=:")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    respelled = text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1] + "="
    assert base64.b64decode(respelled[6:]) == base64.b64decode(text[6:] + "=")
    request.headers["signature"] = respelled + ":"
    refused(request)


@pytest.mark.parametrize("name", ["content-digest", "content-length", "content-type"])
def test_a_covered_header_that_is_missing_is_refused(name: str) -> None:
    request = signed(Request(), hmac_signer(), now=NOW)
    del request.headers[name]
    assert refused(request) == name


@pytest.mark.parametrize("value", [" text/plain", "text/plain ", "a\nb", "a\tb", "\u00e9"])
def test_a_covered_value_that_could_be_read_twice_is_refused(value: str) -> None:
    assert refused(signed(Request(content_type=value), hmac_signer(), now=NOW)) == "content-type"


@pytest.mark.parametrize("name", ["content-digest", "content-length", "content-type"])
def test_a_body_that_is_not_covered_is_refused(name: str) -> None:
    request = signed(Request("GET", body=None), hmac_signer(), now=NOW)
    request.headers[name] = content_digest(b"")
    assert "body" in refused(request)


@pytest.mark.parametrize("length", ["1", "00", "", "-0", "0, 0", "0 "])
def test_a_length_that_is_not_0_is_that_of_a_body(length: str) -> None:
    request = signed(Request(body=None), hmac_signer(), now=NOW)
    request.headers["content-length"] = length
    assert "body" in refused(request)


async def test_a_message_without_a_body_may_say_so() -> None:
    request = signed(Request(body=None), hmac_signer(), now=NOW)
    request.headers["content-length"] = "0"
    assert await read(request, opened(request).expected) == b""
    with pytest.raises(BadSignature):
        await read(replace(request, body=b"x"), opened(request).expected)


@pytest.mark.parametrize(
    "text",
    [
        *("", "sha-256", "sha-256=::", "md5=:AAAA:", content_digest(b"") + ","),
        content_digest(b"").replace("sha-256", "sha-512"),
        content_digest(b"", "sha-512").replace("sha-512", "sha-256"),
        f"{content_digest(b'')}, {content_digest(b'', 'sha-512')}",
        content_digest(b"").replace("=:", "=:=", 1),
        content_digest(b"").replace("SHA", "sha").upper(),
        "sha-256=:" + "A" * 42 + "B=:",  # spare bits
    ],
)
def test_a_digest_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(BadSignature):
        ContentDigest.parse(text)


def test_only_a_digest_of_sha_256_names_the_body() -> None:
    assert ContentDigest.parse(content_digest(b"a")).sha256 == Digest(sha256(b"a").digest())
    assert ContentDigest.parse(content_digest(b"a", "sha-512")).sha256 is None


@given(st.text(max_size=120), st.text(max_size=60))
def test_nothing_but_a_refusal_comes_of_other_headers(given_input: str, signature: str) -> None:
    request = signed(Request(), hmac_signer(), now=NOW)
    request.headers |= {"signature-input": given_input, "signature": signature}
    refused(request)


@given(st.data())
def test_a_piece_of_another_text_in_a_header_is_refused(data: st.DataObject) -> None:
    request = signed(Request(), hmac_signer(), now=NOW)
    name = data.draw(st.sampled_from(sorted(request.headers)))
    text = request.headers[name]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    changed = text[:start] + data.draw(st.text(max_size=4)) + text[end:]
    if changed != text:
        request.headers[name] = changed
        refused(request)


# one flipped bit


def flipped(raw: str | bytes, draw: random.Random) -> str:
    data = bytearray(raw.encode("latin-1") if isinstance(raw, str) else raw)
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return data.decode("latin-1")


PLACES = ["method", "authority", "path", "query", "body"]
HEADERS = ["content-digest", "content-length", "content-type", "signature-input", "signature"]


@both
async def test_of_10000_flipped_bits_none_is_accepted(signer: Signer) -> None:
    draw = random.Random(9421)
    good = signed(
        Request(path="/v1/models/ab/predictions", query="receipt=1&ext=wav"), signer, now=NOW
    )
    assert good.body is not None
    accepted = []
    for case in range(10_000):
        place = draw.choice(PLACES + HEADERS)
        request = replace(good, headers=dict(good.headers))
        if place == "body":
            request.body = flipped(good.body, draw).encode("latin-1")
        elif place in HEADERS:
            request.headers[place] = flipped(good.headers[place], draw)
        else:
            setattr(request, place, flipped(getattr(good, place), draw))
        if request.authority != good.authority and request.authority.lower() == good.authority:
            continue  # the same name: letters of a host have no case
        try:
            assert await read(request, opened(request).expected) == request.body
            accepted.append((case, place))
        except BadSignature:
            continue
    assert accepted == []


# vectors of RFC 9421

SHARED = base64.b64decode(
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
)
PAIR = base64.b64decode("JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=")
DATE = "Tue, 20 Apr 2021 02:07:55 GMT"


def test_vector_b_2_5_of_the_rfc_verifies() -> None:
    base = signature_base(
        [("date", DATE), ("@authority", "example.com"), ("content-type", "application/json")],
        '("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"',
    )
    assert base.decode().splitlines() == [
        '"date": Tue, 20 Apr 2021 02:07:55 GMT',
        '"@authority": example.com',
        '"content-type": application/json',
        '"@signature-params": ("date" "@authority" "content-type")'
        ';created=1618884473;keyid="test-shared-secret"',
    ]
    signature = base64.b64decode("pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=")
    key = Key("test-shared-secret", Algorithm.HMAC_SHA256, SHARED)
    assert verify(key, base, signature)
    assert not verify(key, base + b"\n", signature)


def test_vector_b_2_6_of_the_rfc_verifies() -> None:
    covered = ["date", "@method", "@path", "@authority", "content-type", "content-length"]
    values = [DATE, "POST", "/foo", "example.com", "application/json", "18"]
    base = signature_base(
        zip(covered, values, strict=True),
        '("date" "@method" "@path" "@authority" "content-type" "content-length")'
        ';created=1618884473;keyid="test-key-ed25519"',
    )
    signature = base64.b64decode(
        "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
    )
    key = Key("test-key-ed25519", Algorithm.ED25519, PAIR)
    assert verify(key, base, signature)
    assert not verify(key, base + b"\n", signature)
    assert not verify(key, base, signature[:-1])


def test_the_content_digest_of_the_rfc_is_read() -> None:
    body = b'{"hello": "world"}'
    text = (
        "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHW"
        "XvJwew==:"
    )
    assert ContentDigest.parse(text) == ContentDigest.parse(content_digest(body, "sha-512"))
