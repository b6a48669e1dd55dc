"""spectrogrampredictor/auth.py: what it signs, the server's own code reads."""

import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import itsdangerous
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from server.signing.header import open_header
from server.signing.keyring import Algorithm, Key, KeyRing
from server.signing.message import Message, SignedMessage, open_message
from server.signing.payload import open_payload
from spectrogrampredictor import BearerToken, Ed25519Key, HmacKey, SigningToken
from tests.signing.messages import PRIVATE, PUBLIC, SECRET

TOKEN = "correct horse battery staple"
KEYS = [
    Key("shared", Algorithm.HMAC_SHA256, SECRET),
    Key("pair", Algorithm.ED25519, PUBLIC),
]
SECRET_TEXT = base64.b64encode(SECRET).decode()
PEM = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
BOTH = [HmacKey("shared", SECRET_TEXT), Ed25519Key("pair", PEM)]
both = pytest.mark.parametrize("auth", BOTH, ids=["hmac", "ed25519"])
URL = "https://Models.Example:8443"


class Line(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[httpx.Request, bytes]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append((request, request.read()))
        return httpx.Response(200)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append((request, await request.aread()))
        return httpx.Response(200)


def send(auth: httpx.Auth, method: str, url: str, **options: Any) -> tuple[httpx.Request, bytes]:
    line = Line()
    with httpx.Client(transport=line, auth=auth) as http:
        http.request(method, url, **options)
    return line.sent[0]


def opened(request: httpx.Request, body: bytes) -> SignedMessage:
    """Have the server's code judge a request of dialect 2, and the body by its digest."""
    path, _, query = request.url.raw_path.decode().partition("?")
    fields = {name.lower(): value for name, value in request.headers.items()}
    message = Message(request.method, fields["host"], path, query, fields)
    signed = open_message(message, KeyRing(keys=KEYS), now=time.time(), max_age_s=300)
    assert signed.expected is not None
    if signed.expected.sha256 is not None and body:
        assert signed.expected.sha256.hex == hashlib.sha256(body).hexdigest()
    return signed


# dialect 2


@both
@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", "/v1/models", {}),
        ("GET", "/v1/models?limit=3&after=aa", {}),
        ("HEAD", "/v1/models/x/file", {}),
        ("DELETE", "/v1/models/x", {}),
        ("POST", "/v1/models", {"json": {"digest": "00", "text": "\u00e4"}}),
        ("POST", "/v1/sweeps", {}),
        ("POST", "/v1/models/x/predictions?receipt=1", {"content": b"a song"}),
        (
            "POST",
            "/v1/models/x%2Fy/predictions",
            {"params": {"csv": "a,b\n1,2\n"}, "content": b"s"},
        ),
        ("PUT", "/v1/models/x/file", {"content": b"", "headers": {"Content-Type": "audio/wav"}}),
        ("POST", "/uploadmodel", {"files": {"model": b"a model"}}),
    ],
)
def test_the_server_reads_a_signed_request(
    auth: HmacKey, method: str, path: str, options: dict[str, Any]
) -> None:
    request, body = send(auth, method, URL + path, **options)
    assert opened(request, body).key.id == auth.key_id


@both
def test_the_usual_port_is_not_signed(auth: HmacKey) -> None:
    request, body = send(auth, "GET", "https://models.example:443/v1/models")
    assert opened(request, body).key.id == auth.key_id


@both
def test_the_same_request_is_signed_anew(auth: HmacKey) -> None:
    line = Line()
    with httpx.Client(transport=line, auth=auth) as http:
        for _ in range(2):
            http.post(URL, json={})
    nonces = {opened(request, body).nonce for request, body in line.sent}
    assert len(nonces) == 2


@both
async def test_asynchronous_clients_sign_too(auth: HmacKey) -> None:
    line = Line()
    async with httpx.AsyncClient(transport=line, auth=auth) as http:
        await http.post(URL + "/v1/models", json={"digest": "00"})
        await http.get(URL + "/v1/models")
    assert [opened(*sent).key.id for sent in line.sent] == [auth.key_id] * 2


@both
def test_a_file_whose_digest_is_known_is_streamed(auth: HmacKey) -> None:
    read: list[bytes] = []

    class Transport(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            assert not read, "the body was read before it was sent"
            body = request.read()
            assert opened(request, body).expected is not None
            return httpx.Response(200)

    def pieces() -> Iterator[bytes]:
        for piece in (b"a ", b"model"):
            read.append(piece)
            yield piece

    known = hashlib.sha256(b"a model").hexdigest()
    with httpx.Client(transport=Transport(), auth=auth) as http:
        answer = http.put(
            URL, content=pieces(), headers={"Content-Length": "7"}, extensions={"sha256": known}
        )
    assert answer.status_code == 200
    assert read == [b"a ", b"model"]


@both
async def test_a_stream_without_a_digest_is_read_first(auth: HmacKey) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"a "
        yield b"model"

    line = Line()
    headers = {"Content-Length": "7"}
    async with httpx.AsyncClient(transport=line, auth=auth) as http:
        await http.put(URL, content=pieces(), headers=headers)
    ((request, body),) = line.sent
    assert body == b"a model"
    assert opened(request, body).key.id == auth.key_id


def test_a_key_may_be_given_as_its_bytes() -> None:
    for auth in (HmacKey("shared", SECRET), Ed25519Key("pair", PRIVATE.private_bytes_raw())):
        assert opened(*send(auth, "GET", URL)).key.id == auth.key_id


@pytest.mark.parametrize("text", ["no PEM", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END"])
def test_a_text_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the words are the library's
        Ed25519Key("pair", text)


def test_a_key_of_another_kind_is_refused() -> None:
    other = generate_private_key(SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    with pytest.raises(ValueError, match="no Ed25519 key"):
        Ed25519Key("pair", other)


def test_a_secret_that_is_not_base64_is_refused() -> None:
    with pytest.raises(ValueError, match="not base64"):
        HmacKey("shared", "what?")


# dialect 1


def test_json_gets_its_signature_behind_it() -> None:
    request, body = send(SigningToken(TOKEN), "POST", URL + "/v1/models?x=1", json={"digest": "00"})
    assert request.headers["Content-Length"] == str(len(body))
    keys, now = KeyRing([TOKEN]), time.time()
    payload = open_payload(body, keys, path="/v1/models", now=now, max_age_s=300, bound=True)
    assert payload.fields == {"digest": "00"}
    assert payload.nonce is not None


def test_anything_else_is_signed_in_a_header() -> None:
    url = URL + "/v1/models/best/predictions?receipt=1&ext=wav&csv=a%0A1"
    request, body = send(SigningToken(TOKEN), "POST", url, content=b"a song")
    assert body == b"a song"
    signed = open_header(
        request.headers["Signed-Request"],
        KeyRing([TOKEN]),
        path="/v1/models/best/predictions",
        now=time.time(),
        max_age_s=300,
    )
    assert signed.digest.hex == hashlib.sha256(b"a song").hexdigest()
    assert signed.fields == {"ext": "wav", "csv": "a\n1"}
    assert signed.nonce is not None


def test_each_request_of_the_shared_secret_counts_once() -> None:
    line = Line()
    with httpx.Client(transport=line, auth=SigningToken(TOKEN)) as http:
        for _ in range(2):
            http.get(URL)
    heads = {request.headers["Signed-Request"] for request, _ in line.sent}
    said = [itsdangerous.Serializer(TOKEN).loads(head) for head in heads]
    assert len({one["_nonce"] for one in said}) == 2


# tokens


async def test_a_token_is_shown() -> None:
    line = Line()
    with httpx.Client(transport=line, auth=BearerToken("abc")) as http:
        http.get(URL)
    async with httpx.AsyncClient(transport=line, auth=BearerToken("abc")) as asynchronous:
        await asynchronous.post(URL, json={})
    assert [request.headers["Authorization"] for request, _ in line.sent] == ["Bearer abc"] * 2
    assert json.loads(line.sent[1][1]) == {}
