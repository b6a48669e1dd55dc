"""A client of dialect 2, written from docs/signing.md and RFC 9421 alone: nothing of the server."""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SECRET = hashlib.sha256(b"shared by the tests").digest()
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
PUBLIC = PRIVATE.public_key().public_bytes_raw()
TAG = "spectrogrampredictor"
OF_REQUEST = ("@method", "@authority", "@path", "@query")
OF_BODY = ("content-digest", "content-length", "content-type")
Sign = Callable[[bytes], bytes]
Parameters = Mapping[str, str | int | None]


@dataclass
class Request:
    """What a client is about to send."""

    method: str = "POST"
    authority: str = "localhost:8443"
    path: str = "/registermodelhash"
    query: str = ""
    body: bytes | None = b'{"hash":"00"}'
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Signer:
    """A key of a client, by its id."""

    key_id: str
    algorithm: str
    sign: Sign


def hmac_signer(key_id: str = "shared", secret: bytes = SECRET) -> Signer:
    return Signer(key_id, "hmac-sha256", lambda base: hmac.digest(secret, base, "sha256"))


def ed25519_signer(key_id: str = "pair", private: Ed25519PrivateKey = PRIVATE) -> Signer:
    return Signer(key_id, "ed25519", private.sign)


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def content_digest(body: bytes, algorithm: str = "sha-256") -> str:
    return f"{algorithm}=:{b64(hashlib.new(algorithm.replace('-', ''), body).digest())}:"


def signed(
    request: Request,
    signer: Signer,
    *,
    now: float | None = None,
    label: str = "sig1",
    digest: str = "sha-256",
    order: Sequence[str] = (),
    changed: Parameters | None = None,
) -> Request:
    """Add the headers that sign a request; parameters may be changed, or left out with None."""
    covered: tuple[str, ...] = OF_REQUEST
    if request.body is not None:
        request.headers |= {
            "content-digest": content_digest(request.body, digest),
            "content-length": str(len(request.body)),
            "content-type": request.content_type,
        }
        covered += OF_BODY
    created = int(time.time() if now is None else now)
    parameters: dict[str, str | int | None] = {
        "created": created,
        "expires": created + 60,
        "nonce": secrets.token_urlsafe(16),
        "keyid": signer.key_id,
        "alg": signer.algorithm,
        "tag": TAG,
        **(changed or {}),
    }
    for name in order:
        parameters[name] = parameters.pop(name)
    params = f"({' '.join(map(quoted, covered))})" + "".join(
        f";{name}={value if isinstance(value, int) else quoted(value)}"
        for name, value in parameters.items()
        if value is not None
    )
    signature = signer.sign(base_of(request, covered, params))
    request.headers |= {
        "signature-input": f"{label}={params}",
        "signature": f"{label}=:{b64(signature)}:",
    }
    return request


def quoted(text: str) -> str:
    return f'"{text}"'


def base_of(request: Request, covered: tuple[str, ...], params: str) -> bytes:
    derived: Mapping[str, str] = {
        "@method": request.method,
        "@authority": request.authority.lower().removesuffix(":443"),
        "@path": request.path,
        "@query": "?" + request.query,
    }
    lines = [f'"{name}": {derived.get(name) or request.headers[name]}' for name in covered]
    return "\n".join([*lines, f'"@signature-params": {params}']).encode()
