"""Requests of dialect 2 and of bearer tokens, sent to a server of the tests."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx

from tests.flows.running import Server
from tests.signing.messages import PUBLIC, SECRET, Parameters, Request, Signer, signed

SCOPES = ("register", "upload", "sweep", "predict", "read", "admin")


def key(name: str, *scopes: str, models: str = "*", **changed: Any) -> dict[str, Any]:
    """Return an entry of the file of keys, for the secret that `hmac_signer` uses."""
    granted = {scope: [models] for scope in scopes or SCOPES}
    secret = base64.b64encode(SECRET).decode()
    entry = {"id": name, "algorithm": "hmac-sha256", "secret": secret, "scopes": granted}
    return entry | changed


def pair(name: str = "pair", *scopes: str) -> dict[str, Any]:
    """Return an entry for the key pair of `ed25519_signer`."""
    entry = key(name, *scopes, algorithm="ed25519", public_key=base64.b64encode(PUBLIC).decode())
    del entry["secret"]
    return entry


def write_keys(path: Path, *entries: dict[str, Any]) -> Path:
    """Put a file of keys in its place, whole."""
    partial = path.with_name(path.name + ".new")
    partial.write_text(json.dumps({"keys": entries}))
    partial.chmod(0o600)
    partial.replace(path)
    return path


def authority(server: Server) -> str:
    return httpx.URL(server.api).netloc.decode()


def sign(
    server: Server, request: Request, signer: Signer, changed: Parameters | None = None
) -> Request:
    """Sign a request for a server."""
    request.authority = authority(server)
    return signed(request, signer, changed=changed)


def deliver(
    server: Server, request: Request, *, http2: bool = False, base: str = ""
) -> httpx.Response:
    """Send a request as it is, however it was signed."""
    query = f"?{request.query}" if request.query else ""
    with server.client(http2=http2) as http:
        return http.request(
            request.method,
            (base or server.api) + request.path + query,
            content=request.body,
            headers=request.headers | ({"host": request.authority} if not http2 else {}),
        )


def send(
    server: Server,
    path: str,
    body: Any,
    signer: Signer,
    *,
    method: str = "POST",
    query: str = "",
    content_type: str = "application/json",
    http2: bool = False,
) -> httpx.Response:
    """Sign and send a body, or an object as JSON."""
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    request = Request(method, "", path, query, data, content_type)
    return deliver(server, sign(server, request, signer), http2=http2)


def with_token(
    server: Server, token: str, path: str, body: Any = None, *, content_type: str | None = None
) -> httpx.Response:
    """Send a request with a bearer token; a GET when there is no body."""
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    headers = {"Authorization": f"Bearer {token}"}
    if content_type is not None:
        headers["Content-Type"] = content_type
    with server.client() as http:
        return http.request("GET" if data is None else "POST", path, content=data, headers=headers)
