"""Model files that come in parts, by tus 1.0.0: over a line that is cut, and past a kill."""

import base64
import hashlib
import io
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.flows.cutting import CuttingProxy
from tests.flows.messages import key, sign, write_keys
from tests.flows.running import (
    Server,
    digest_of,
    once_at,
    problem_of,
    sign_payload,
    wait_until,
)
from tests.signing.messages import Request, hmac_signer

client = pytest.importorskip("tusclient.client", reason="needs the test extra")

pytestmark = pytest.mark.timeout(240)
New = Callable[..., Server]
Noise = Callable[[int], bytes]
Headers = dict[str, str]
CUTS = 20
PART = {"Content-Type": "application/offset+octet-stream"}


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"MAX_MODEL_BYTES": str(64 << 20), "INTAKE_TIMEOUT_S": "5"}


def mint(server: Server, *scopes: str, **more: Any) -> Headers:
    fields = {"scopes": list(scopes)} | once_at("/v1/tokens") | more
    answer = server.post("/v1/tokens", sign_payload(fields))
    assert answer.status_code == 200, answer.text
    return {
        "Authorization": f"Bearer {answer.json()['token']}",
        "Tus-Resumable": "1.0.0",
    }


@pytest.fixture(scope="module")
def bearer(server: Server) -> Headers:
    return mint(server, "upload")


@pytest.fixture
def ask(server: Server, bearer: Headers) -> Callable[..., httpx.Response]:
    def send(method: str, path: str, content: bytes = b"", **headers: str) -> httpx.Response:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        with server.client() as http:
            return http.request(method, path, content=content or None, headers=bearer | told)

    return send


def metadata(data: bytes) -> str:
    return "filename eA==,sha256 " + base64.b64encode(digest_of(data).encode()).decode()


def begin(server: Server, ask: Any, data: bytes, **headers: str) -> str:
    server.register(digest_of(data))
    begun = ask(
        "POST",
        "/v1/uploads",
        Upload_Length=str(len(data)),
        Upload_Metadata=metadata(data),
        **headers,
    )
    assert begun.status_code == 201, begun.text
    return str(begun.headers["Location"])


def add(ask: Any, path: str, offset: int, part: bytes, **headers: str) -> httpx.Response:
    answer: httpx.Response = ask(
        "PATCH", path, part, Upload_Offset=str(offset), **{**PART, **headers}
    )
    return answer


def offset_of(ask: Any, path: str) -> int:
    answer = ask("HEAD", path)
    assert answer.status_code == 200
    return int(answer.headers["Upload-Offset"])


# stock clients


def cut_lines(server: Server, size: int) -> CuttingProxy:
    address = httpx.URL(server.api)
    target = (address.host, address.port or 443)
    return CuttingProxy(target, cut_after=size // (CUTS + 2), cuts=CUTS)


@pytest.mark.parametrize("checked", [False, True], ids=["whole", "with checksums"])
def test_tuspy_gets_a_model_through_a_line_that_is_cut(
    server: Server, noise: Noise, monkeypatch: pytest.MonkeyPatch, checked: bool
) -> None:
    data = noise(20 << 20)
    server.register(digest_of(data))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca))
    headers = mint(server, "upload")
    with cut_lines(server, len(data)) as proxy:
        tus = client.TusClient(f"https://127.0.0.1:{proxy.port}/v1/uploads", headers=headers)
        uploader = tus.uploader(
            file_stream=io.BytesIO(data),
            # a part with a checksum counts whole or not at all: it must fit between two cuts
            chunk_size=len(data) // (4 * CUTS) if checked else len(data),
            metadata={"sha256": digest_of(data)},
            upload_checksum=checked,
            retries=3 * CUTS,
            retry_delay=0,
        )
        uploader.upload()
        assert proxy.cuts == 0
    assert uploader.offset == len(data)
    assert (server.models / digest_of(data)).read_bytes() == data


# what a restart leaves


def test_an_upload_goes_on_after_a_kill(new_server: New, noise: Noise) -> None:
    server = new_server(INTAKE_TIMEOUT_S="5").start()
    data = noise(3 << 20)
    headers = mint(server, "upload")

    def ask(method: str, path: str, content: bytes = b"", **more: str) -> httpx.Response:
        told = {name.replace("_", "-"): value for name, value in more.items()}
        with server.client() as http:
            return http.request(method, path, content=content or None, headers=headers | told)

    path = begin(server, ask, data)
    half = len(data) // 2
    assert add(ask, path, 0, data[:half]).status_code == 204
    hanging = _hang(server, path, headers, offset=half, part=data[half:], sent=100_000)
    upload = path.rpartition("/")[2]
    part = server.uploads_tmp / f".partial-{upload}"
    with hanging:
        wait_until(lambda: part.stat().st_size >= half, "the parts are there")
        server.kill()
    server.start()
    offset = offset_of(ask, path)
    assert offset >= half
    assert part.stat().st_size == offset
    server.sweep()
    last = add(ask, path, offset, data[offset:])
    assert last.status_code == 204, last.text
    assert last.headers["Upload-Offset"] == str(len(data))
    assert (server.models / digest_of(data)).read_bytes() == data
    server.kill()
    server.start()
    assert offset_of(ask, path) == len(data)
    assert not part.exists()


def _hang(
    server: Server, path: str, headers: Headers, *, offset: int, part: bytes, sent: int
) -> socket.socket:
    """Begin a part on a connection that then says nothing more."""
    line = server.connect()
    told = headers | PART | {"Upload-Offset": str(offset), "Content-Length": str(len(part))}
    lines = [f"PATCH {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in told.items()]
    line.sendall("\r\n".join([*lines, "", ""]).encode() + part[:sent])
    return line


def test_a_line_that_hangs_keeps_nobody_from_going_on(
    server: Server, ask: Any, bearer: Headers, noise: Noise
) -> None:
    data = noise(1 << 20)
    path = begin(server, ask, data)
    with _hang(server, path, bearer, offset=0, part=data, sent=300_000):
        wait_until(lambda: offset_of(ask, path) > 0, "some of it is there")
        offset = offset_of(ask, path)
        assert add(ask, path, offset, data[offset:]).status_code == 204
    assert (server.models / digest_of(data)).read_bytes() == data


# by hand


def test_the_server_says_what_it_can_do(server: Server) -> None:
    with server.client() as http:
        told = http.options("/v1/uploads")
    assert told.status_code == 204
    assert told.headers["Tus-Version"] == "1.0.0"
    extensions = set(told.headers["Tus-Extension"].split(","))
    assert extensions == {
        *("creation", "creation-with-upload", "checksum", "expiration", "termination")
    }
    assert set(told.headers["Tus-Checksum-Algorithm"].split(",")) == {"sha1", "sha256"}
    assert told.headers["Tus-Max-Size"] == str(64 << 20)


def test_an_upload_says_where_it_stands(server: Server, ask: Any, noise: Noise) -> None:
    data = noise(5000)
    path = begin(server, ask, data)
    told = ask("HEAD", path).headers
    assert (told["Upload-Offset"], told["Upload-Length"]) == ("0", "5000")
    assert told["Upload-Metadata"] == metadata(data)
    assert told["Tus-Resumable"] == "1.0.0"
    assert told["Upload-Expires"].endswith("GMT")
    assert told["Cache-Control"] == "no-store"
    first = add(ask, path, 0, data[:2000])
    assert (first.status_code, first.headers["Upload-Offset"]) == (204, "2000")
    assert problem_of(add(ask, path, 0, data[:2000]), 409) == "wrong-offset"
    assert offset_of(ask, path) == 2000
    assert add(ask, path, 2000, data[2000:]).status_code == 204
    assert digest_of(data) in server.stored()


def test_an_upload_may_begin_with_its_bytes(server: Server, ask: Any, noise: Noise) -> None:
    data = noise(5000)
    server.register(digest_of(data))
    told = {"Upload_Length": "5000", "Upload_Metadata": metadata(data), **PART}
    some = ask("POST", "/v1/uploads", data[:3000], **told)
    assert (some.status_code, some.headers["Upload-Offset"]) == (201, "3000")
    path = some.headers["Location"]
    assert add(ask, path, 3000, data[3000:]).status_code == 204
    other = noise(100)
    server.register(digest_of(other))
    whole = ask("POST", "/v1/uploads", other, Upload_Length="100", **PART)
    assert (whole.status_code, whole.headers["Upload-Offset"]) == (201, "100")
    assert {digest_of(data), digest_of(other)} <= server.stored()


@pytest.mark.parametrize("name", ["sha1", "sha256"])
def test_a_part_is_held_to_its_checksum(server: Server, ask: Any, noise: Noise, name: str) -> None:
    data = noise(4000)
    path = begin(server, ask, data)
    right = base64.b64encode(hashlib.new(name, data[:1000]).digest()).decode()
    refused = add(ask, path, 0, data[1:1001], Upload_Checksum=f"{name} {right}")
    assert problem_of(refused, 460) == "checksum-mismatch"
    assert offset_of(ask, path) == 0
    taken = add(ask, path, 0, data[:1000], Upload_Checksum=f"{name} {right}")
    assert taken.headers["Upload-Offset"] == "1000"


def test_an_upload_that_is_given_up_is_gone(server: Server, ask: Any, noise: Noise) -> None:
    path = begin(server, ask, noise(5000))
    assert ask("DELETE", path).status_code == 204
    assert ask("HEAD", path).status_code == 404
    assert problem_of(ask("DELETE", path), 404) == "upload-not-found"
    assert problem_of(add(ask, path, 0, b"x"), 404) == "upload-not-found"


def test_other_methods_may_be_sent_as_a_post(server: Server, ask: Any, noise: Noise) -> None:
    data = noise(3000)
    path = begin(server, ask, data)
    override = {"X_HTTP_Method_Override": "PATCH", **PART}
    part = ask("POST", path, data[:10], Upload_Offset="0", **override)
    assert (part.status_code, part.headers["Upload-Offset"]) == (204, "10")
    assert ask("POST", path, X_HTTP_Method_Override="DELETE").status_code == 204
    assert problem_of(ask("POST", path), 405) == "method-not-allowed"


def test_bytes_of_another_model_are_refused_at_the_end(
    server: Server, ask: Any, noise: Noise
) -> None:
    data = noise(1000)
    path = begin(server, ask, data)
    other = add(ask, path, 0, data[:-1] + bytes([data[-1] ^ 1]))
    assert problem_of(other, 422) == "digest-mismatch"
    assert ask("HEAD", path).status_code == 404
    assert not list(server.uploads_tmp.glob(f".partial-{path.rpartition('/')[2]}*"))


@pytest.mark.parametrize(
    ("headers", "status", "slug"),
    [
        ({}, 400, "malformed-request"),
        ({"Upload_Length": "-1"}, 400, "malformed-request"),
        ({"Upload_Length": "1e3"}, 400, "malformed-request"),
        ({"Upload_Length": "9" * 30}, 400, "malformed-request"),
        ({"Upload_Length": str(1 << 40)}, 413, "body-too-large"),
        ({"Upload_Length": "5", "Upload_Defer_Length": "1"}, 400, "malformed-request"),
        ({"Upload_Length": "5", "Upload_Metadata": "sha256 eA=="}, 400, "bad-digest"),
        ({"Upload_Length": "5", "Upload_Metadata": "sha256"}, 400, "bad-digest"),
        ({"Upload_Length": "5", "Upload_Metadata": "a ?"}, 400, "malformed-request"),
        ({"Upload_Length": "5", "Upload_Metadata": "a,a"}, 400, "malformed-request"),
        ({"Upload_Length": "5", "Upload_Metadata": ","}, 400, "malformed-request"),
        ({"Upload_Length": "5", "Upload_Metadata": "a " + "A" * 5000}, 400, "malformed-request"),
        ({"Upload_Length": "5", "Upload_Metadata": metadata(b"?")}, 404, "model-not-found"),
        ({"Upload_Length": "5", "Tus_Resumable": "0.2.2"}, 412, "unknown-tus-version"),
        ({"Upload_Length": "0"}, 422, "digest-mismatch"),
    ],
    ids=str,
)
def test_what_is_no_upload_is_refused(
    ask: Any, headers: dict[str, str], status: int, slug: str
) -> None:
    refused = ask("POST", "/v1/uploads", **headers)
    assert problem_of(refused, status) == slug
    assert refused.headers["Tus-Resumable"] == "1.0.0"
    assert ("Tus-Version" in refused.headers) == (status == 412)


def test_a_part_that_is_none_is_refused(server: Server, ask: Any, noise: Noise) -> None:
    data = noise(1000)
    path = begin(server, ask, data)
    for offset in ("", "-1", "x", "1.0"):
        refused = ask("PATCH", path, b"x", Upload_Offset=offset, **PART)
        assert problem_of(refused, 400) == "malformed-request"
    other = {"Upload_Offset": "0", "Content_Type": "application/octet-stream"}
    assert problem_of(ask("PATCH", path, b"x", **other), 415) == "wrong-media-type"
    assert problem_of(add(ask, path, 0, data + b"x"), 413) == "body-too-large"
    for checksum in ("md5 eA==", "sha1", "sha1 eA==", "sha1 ?", ""):
        refused = add(ask, path, 0, b"x", Upload_Checksum=checksum)
        assert problem_of(refused, 400) == "malformed-request"
    assert offset_of(ask, path) == 0


def test_an_upload_is_no_use_to_others(new_server: New, tmp_path: Any, noise: Noise) -> None:
    entries = [key("one", "upload"), key("two", "upload"), key("reader", "read")]
    keys = write_keys(tmp_path / "keys.json", *entries)
    server = new_server(KEYS_FILE=str(keys)).start()
    data = noise(1000)
    server.register(digest_of(data))

    def send(name: str, method: str, path: str, body: bytes = b"", **more: str) -> httpx.Response:
        request = Request(method, "", path, "", body, PART["Content-Type"])
        signed = sign(server, request, hmac_signer(name))
        told = {"Tus-Resumable": "1.0.0"}
        told |= {header.replace("_", "-"): value for header, value in more.items()}
        with server.client() as http:
            return http.request(method, path, content=body or None, headers=signed.headers | told)

    refused = send("reader", "POST", "/v1/uploads", Upload_Length="1000")
    assert problem_of(refused, 403) == "scope-missing"
    begun = send("one", "POST", "/v1/uploads", data[:10], Upload_Length="1000")
    assert begun.status_code == 201, begun.text
    path = begun.headers["Location"]
    refused = send("two", "PATCH", path, data[10:], Upload_Offset="10")
    assert problem_of(refused, 404) == "upload-not-found"
    assert send("one", "PATCH", path, data[10:], Upload_Offset="10").status_code == 204
    assert digest_of(data) in server.stored()
    with server.client() as http:
        bare = http.post("/v1/uploads", headers={"Tus-Resumable": "1.0.0", "Upload-Length": "5"})
    assert problem_of(bare, 401) == "bad-signature"


def test_a_signed_part_that_was_altered_is_forgotten(
    server: Server, ask: Any, noise: Noise
) -> None:
    data = noise(1000)
    path = begin(server, ask, data)
    fields = {"sha256": digest_of(data[:500]), "_path": path, "_ts": time.time()}
    told = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", **PART}
    told["Signed-Request"] = sign_payload(fields)
    with server.client() as http:
        refused = http.patch(path, content=data[1:501], headers=told)
    assert problem_of(refused, 401) == "bad-signature"
    assert offset_of(ask, path) == 0
