"""Who asks: one `httpx.Auth` for each way to say it.

::

    http = httpx.Client(auth=HmacKey("notebook", secret))
    http.post(url, json={"digest": digest})        signed: method, host, path, query and body

A request is signed anew each time that it is sent. A body is read into memory to be hashed, unless
the request says what it hashes to: ``extensions={"sha256": <64 hexadecimal digits>}``, for files
that are streamed.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from abc import abstractmethod
from collections.abc import AsyncGenerator, Generator

import httpx
import itsdangerous

SHA256 = "sha256"
_JSON, _BYTES = "application/json", "application/octet-stream"
_TAG = "spectrogrampredictor"
_VALID_S = 60
_OF_REQUEST = ("@method", "@authority", "@path", "@query")
_OF_BODY = ("content-digest", "content-length", "content-type")
_ED25519_BYTES = 32
_OPTIONS = {"receipt", "top", "features"}  # how an answer is wanted: never signed


class _SigningAuth(httpx.Auth):
    """Signs a request when it is sent, with its body at hand where its digest is not."""

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign."""
        if SHA256 not in request.extensions:
            request.read()
        yield self._signed(request)

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Sign."""
        if SHA256 not in request.extensions:
            await request.aread()
        yield self._signed(request)

    @abstractmethod
    def _signed(self, request: httpx.Request) -> httpx.Request: ...


class SigningToken(_SigningAuth):
    """Dialect 1: one secret that all share, `SIGNING_TOKEN` of the server.

    JSON gets its signature behind it, anything else is signed by its digest in a header; both hold
    the path, the time, and a text that counts once. Not for the forms of the original paths, whose
    files are signed one by one.

    Parameters
    ----------
    token : str
        The secret.
    """

    def __init__(self, token: str) -> None:
        self._serializer = itsdangerous.Serializer(token)

    def _signed(self, request: httpx.Request) -> httpx.Request:
        bound = {
            "_path": request.url.path,
            "_ts": time.time(),
            "_nonce": secrets.token_urlsafe(16),
        }
        kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind == _JSON:
            signed = self._serializer.dumps(json.loads(request.content) | bound)
            return _with_body(request, signed)
        said = {
            name: value for name, value in request.url.params.multi_items() if name not in _OPTIONS
        }
        told = self._serializer.dumps(said | {"sha256": _sha256(request).hex()} | bound)
        request.headers["Signed-Request"] = told if isinstance(told, str) else told.decode()
        return request


class _MessageAuth(_SigningAuth):
    """Dialect 2: HTTP message signatures (RFC 9421) with Content-Digest (RFC 9530).

    Parameters
    ----------
    key_id : str
        The key's name in the server's file of keys.
    """

    algorithm: str

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id

    @abstractmethod
    def _signature(self, base: bytes) -> bytes: ...

    def _signed(self, request: httpx.Request) -> httpx.Request:
        components: tuple[str, ...] = _OF_REQUEST
        if "Content-Length" in request.headers or "Transfer-Encoding" in request.headers:
            components += _OF_BODY
            request.headers.setdefault("Content-Type", _BYTES)
            digest = base64.b64encode(_sha256(request)).decode()
            request.headers["Content-Digest"] = f"sha-256=:{digest}:"
        created = int(time.time())
        names = " ".join(f'"{name}"' for name in components)
        params = (
            f"({names});created={created};expires={created + _VALID_S}"
            f';nonce="{secrets.token_urlsafe(16)}";keyid="{self.key_id}"'
            f';alg="{self.algorithm}";tag="{_TAG}"'
        )
        lines = [f'"{name}": {_value(request, name)}' for name in components]
        base = "\n".join([*lines, f'"@signature-params": {params}'])
        signature = base64.b64encode(self._signature(base.encode())).decode()
        request.headers["Signature-Input"] = f"sig={params}"
        request.headers["Signature"] = f"sig=:{signature}:"
        return request


class HmacKey(_MessageAuth):
    """Dialect 2 with a secret that client and server share.

    Parameters
    ----------
    key_id : str
        The key's name in the server's file of keys.
    secret : str or bytes
        In base64, as `python -m server keys make` prints it; or the bytes themselves.
    """

    algorithm = "hmac-sha256"

    def __init__(self, key_id: str, secret: str | bytes) -> None:
        super().__init__(key_id)
        try:
            self._secret = (
                base64.b64decode(secret, validate=True) if isinstance(secret, str) else secret
            )
        except binascii.Error as error:
            raise ValueError("the secret is not base64") from error

    def _signature(self, base: bytes) -> bytes:
        return hmac.digest(self._secret, base, "sha256")


class Ed25519Key(_MessageAuth):
    """Dialect 2 with a key pair: what the server knows signs nothing.

    Parameters
    ----------
    key_id : str
        The key's name in the server's file of keys.
    private_key : str or bytes
        In PEM (PKCS 8), as `python -m server keys make` prints it; or 32 bytes.

    Raises
    ------
    ImportError
        If `cryptography` is not installed.
    """

    algorithm = "ed25519"

    def __init__(self, key_id: str, private_key: str | bytes) -> None:
        super().__init__(key_id)
        try:
            from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
                Ed25519PrivateKey,  # an extra: only who signs so has it
            )
            from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
                load_pem_private_key,
            )
        except ImportError as error:
            raise ImportError(
                "signing with Ed25519 needs: pip install 'spectrogrampredictor[ed25519]'"
            ) from error
        raw = private_key.encode() if isinstance(private_key, str) else private_key
        if len(raw) == _ED25519_BYTES:
            self._key = Ed25519PrivateKey.from_private_bytes(raw)
            return
        key = load_pem_private_key(raw, password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("the PEM holds no Ed25519 key")
        self._key = key

    def _signature(self, base: bytes) -> bytes:
        return self._key.sign(base)


class BearerToken(httpx.Auth):
    """A token that was minted by a signed call; it signs nothing, and ends by itself.

    Parameters
    ----------
    token : str
        Of `Client.mint_token`, or `python -m server token`.
    """

    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Show the token."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


def _sha256(request: httpx.Request) -> bytes:
    if SHA256 in request.extensions:
        return bytes.fromhex(request.extensions[SHA256])
    return hashlib.sha256(request.content).digest()


def _with_body(request: httpx.Request, content: str | bytes) -> httpx.Request:
    """Return the same request with another body."""
    headers = request.headers.copy()
    del headers["Content-Length"]
    return httpx.Request(
        request.method, request.url, headers=headers, content=content, extensions=request.extensions
    )


def _value(request: httpx.Request, name: str) -> str:
    path, _, query = request.url.raw_path.partition(b"?")
    match name:
        case "@method":
            return request.method
        case "@authority":
            return request.headers["Host"].lower().removesuffix(":443")
        case "@path":
            return path.decode("ascii")
        case "@query":
            return "?" + query.decode("ascii")
        case _:
            return request.headers[name]
