"""A body over a route's limit is answered, whatever the client: no connection just breaks."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import requests

from tests.flows.running import FORM_TYPE, Server, file_part, multipart

pytestmark = pytest.mark.timeout(180)
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client saw: the status, and the problem."""

    status: int
    body: dict[str, Any]

    @property
    def slug(self) -> str:
        return str(self.body["type"]).removeprefix("/problems/")


Send = Callable[[Server, str, bytes], Answer]


def _httpx(http2: bool) -> Send:
    def send(server: Server, url: str, body: bytes) -> Answer:
        # in pieces, because httpcore 1.0 copies the rest of the body for each HTTP/2 frame
        head = {"Content-Type": FORM_TYPE, "Content-Length": str(len(body))}
        with server.client(http2=http2) as http:
            answer = http.post(url, content=_pieces(body) if http2 else body, headers=head)
        return Answer(answer.status_code, answer.json())

    return send


def _pieces(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 1 << 16):
        yield body[start : start + (1 << 16)]


def _httpx_chunked(server: Server, url: str, body: bytes) -> Answer:
    with server.client() as http:
        answer = http.post(url, content=_pieces(body), headers={"Content-Type": FORM_TYPE})
    return Answer(answer.status_code, answer.json())


def _requests(server: Server, url: str, body: bytes) -> Answer:
    whole = url if url.startswith("https") else server.api + url
    head = {"Content-Type": FORM_TYPE}
    with requests.post(whole, data=body, headers=head, verify=str(server.ca), timeout=110) as got:
        return Answer(got.status_code, got.json())


def _curl(*options: str) -> Send:
    def send(server: Server, url: str, body: bytes) -> Answer:
        whole = url if url.startswith("https") else server.api + url
        with tempfile.NamedTemporaryFile() as file:
            file.write(body)
            file.flush()
            fixed = ["curl", "-sS", "--cacert", str(server.ca), "-w", "\n%{http_code}"]
            sent = ["-H", f"Content-Type: {FORM_TYPE}", "--data-binary", f"@{file.name}", whole]
            done = subprocess.run(
                [*fixed, *options, *sent], capture_output=True, text=True, check=False, timeout=110
            )
        assert done.returncode == 0, done.stderr
        text, _, status = done.stdout.rpartition("\n")
        return Answer(int(status), json.loads(text))

    return send


SENDERS: dict[str, Send] = {
    "httpx": _httpx(http2=False),
    "httpx-http2": _httpx(http2=True),
    "httpx-chunked": _httpx_chunked,
    "requests": _requests,
    "curl": _curl("--http1.1"),
    "curl-http2": _curl("--http2"),
    "curl-chunked": _curl("--http1.1", "-H", "Transfer-Encoding: chunked"),
}
every_sender = pytest.mark.parametrize("sender", SENDERS)
senders_of_http1 = pytest.mark.parametrize("sender", [name for name in SENDERS if "2" not in name])


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"MAX_PREDICTION_BYTES": str(MIB), "MAX_MODEL_BYTES": str(MIB)}


def _zeros(size: int) -> bytes:
    return multipart(file_part(bytes(size)))


@pytest.fixture(scope="module")
def large() -> bytes:
    """Return a form of 17 MB: more than the limit of every route, and than Quart's own."""
    return _zeros(17_000_000)


@pytest.fixture(scope="module")
def huge() -> bytes:
    """Return a form of 100 MB."""
    return _zeros(100_000_000)


@every_sender
@pytest.mark.parametrize("path", ["/prediction", "/registermodelhash", "/uploadmodel"])
def test_17_mb_over_a_limit_are_answered_413(
    server: Server, large: bytes, path: str, sender: str
) -> None:
    answer = SENDERS[sender](server, path, large)
    assert (answer.status, answer.slug) == (413, "body-too-large")


@every_sender
def test_17_mb_of_signed_uploads_are_answered_413(
    server: Server, large: bytes, sender: str
) -> None:
    answer = SENDERS[sender](server, "/nodemodeluploads", large)
    assert (answer.status, answer.slug) == (413, "body-too-large")


@senders_of_http1
def test_17_mb_on_the_upload_port_are_answered_413(
    server: Server, large: bytes, sender: str
) -> None:
    answer = SENDERS[sender](server, server.uploads + "/nodemodeluploads", large)
    assert (answer.status, answer.slug) == (413, "body-too-large")


@every_sender
def test_100_mb_over_a_limit_are_answered_413(server: Server, huge: bytes, sender: str) -> None:
    answer = SENDERS[sender](server, "/prediction", huge)
    assert (answer.status, answer.slug) == (413, "body-too-large")


@senders_of_http1
def test_100_mb_on_the_upload_port_are_answered_413(
    server: Server, huge: bytes, sender: str
) -> None:
    answer = SENDERS[sender](server, server.uploads + "/nodemodeluploads", huge)
    assert (answer.status, answer.slug) == (413, "body-too-large")


@every_sender
def test_a_large_body_for_an_unknown_path_is_answered_404(
    server: Server, large: bytes, sender: str
) -> None:
    answer = SENDERS[sender](server, "/nowhere", large)
    assert (answer.status, answer.slug) == (404, "not-found")


@senders_of_http1
def test_a_large_body_for_an_unknown_path_of_the_upload_port_is_answered_404(
    server: Server, large: bytes, sender: str
) -> None:
    answer = SENDERS[sender](server, server.uploads + "/prediction", large)
    assert (answer.status, answer.slug) == (404, "not-found")


@every_sender
def test_a_large_body_for_a_wrong_method_is_answered_405(
    server: Server, large: bytes, sender: str
) -> None:
    answer = SENDERS[sender](server, "/hashmodels", large)
    assert (answer.status, answer.slug) == (405, "method-not-allowed")


def test_a_wrong_method_names_the_right_ones(server: Server) -> None:
    with server.client() as http:
        answer = http.put("/prediction", content=b"x")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_a_refusal_tells_the_limit(server: Server, http2: bool) -> None:
    with server.client(http2=http2) as http:
        answer = http.post("/prediction", content=bytes(MIB + 1))
    assert (answer.status_code, answer.json()["limit"]) == (413, MIB)


@pytest.mark.parametrize("size", [MIB, MIB - 1])
def test_a_body_at_its_limit_is_read(server: Server, size: int) -> None:
    answer = server.post("/prediction", bytes(size))
    assert answer.status_code == 401  # no signature: it was read and judged


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_a_body_without_a_declared_length_is_counted(server: Server, http2: bool) -> None:
    with server.client(http2=http2) as http:
        answer = http.post("/prediction", content=_pieces(bytes(MIB + 1)))
    assert "content-length" not in answer.request.headers
    assert (answer.status_code, answer.json()["limit"]) == (413, MIB)


def test_one_file_over_the_limit_is_refused_within_a_form_that_is_not(server: Server) -> None:
    server.sweep()
    answer = server.upload(bytes(10), bytes(MIB + 1))
    assert answer.status_code == 413
    assert server.staged() == []


def test_a_file_at_the_limit_is_taken(server: Server) -> None:
    assert server.upload(bytes(MIB)).status_code == 200


def test_a_connection_serves_on_after_a_refused_body(server: Server) -> None:
    with server.client() as http:
        refused = http.post("/prediction", content=bytes(3 * MIB))
        served = http.get("/test")
    assert (refused.status_code, served.status_code) == (413, 200)


def test_an_http2_connection_serves_others_during_a_refused_body(server: Server) -> None:
    with server.client(http2=True) as http:
        refused = http.post("/prediction", content=bytes(3 * MIB))
        served = [http.get("/test").status_code for _ in range(3)]
    assert refused.status_code == 413
    assert served == [200] * 3


def test_a_refused_upload_leaves_no_open_file(server: Server) -> None:
    with httpx.Client(verify=server.tls()) as http:
        url = server.uploads + "/nodemodeluploads"
        answer = http.post(url, content=_zeros(2 * MIB), headers={"Content-Type": FORM_TYPE})
    assert answer.status_code == 413
    assert server.writing() == []
