"""Requests that no honest client sends, over TLS: refused, closed, and nobody else suffers."""

import json
import ssl
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from tests.flows.bystander import Bystander, bystander
from tests.flows.running import (
    FORM_TYPE,
    Server,
    file_part,
    multipart,
    request_head,
    sign_payload,
    wait_until,
)
from tests.web.smuggling import CHUNK_FAULTS, SMUGGLING

pytestmark = pytest.mark.timeout(120)
TIB = 1 << 40


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"BODY_IDLE_S": "3"}


@pytest.fixture(scope="module", autouse=True)
def others(server: Server) -> Iterator[Bystander]:
    """Have somebody else ask during the whole module."""
    with bystander(server) as one:
        yield one


def _read_to_end(connection: ssl.SSLSocket) -> bytes:
    connection.settimeout(20)
    read = b""
    with suppress(ConnectionError, ssl.SSLError):  # closed without TLS's goodbye
        while piece := connection.recv(65536):
            read += piece
    return read


def _refused(answer: bytes, status: int) -> str:
    """Check that an answer is one problem with its own slug, and return the slug."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0].startswith(b"http/1.1 %d" % status), answer
    assert b"content-type: application/problem+json" in lines
    assert b"connection: close" in lines
    assert any(line.startswith(b"strict-transport-security: ") for line in lines)
    assert not any(line.startswith(b"server:") for line in lines)
    problem = json.loads(body)
    assert problem["status"] == status
    return str(problem["type"]).removeprefix("/problems/")


@pytest.mark.parametrize("name", SMUGGLING)
def test_a_smuggling_form_is_refused_with_the_connection(server: Server, name: str) -> None:
    with server.connect() as connection:
        connection.sendall(SMUGGLING[name] + b"GET /test HTTP/1.1\r\nHost: h\r\n\r\n")
        answer = _read_to_end(connection)
    assert _refused(answer, 400) == "bad-http-request"
    assert b"hey there" not in answer


@pytest.mark.parametrize("name", CHUNK_FAULTS)
def test_faulty_chunks_are_refused_with_the_connection(server: Server, name: str) -> None:
    head = b"POST /prediction HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    with server.connect() as connection:
        connection.sendall(head + CHUNK_FAULTS[name])
        answer = _read_to_end(connection)
    assert _refused(answer, 400) == "bad-http-request"


@pytest.mark.parametrize("port", ["api", "uploads"])
def test_http2_without_its_handshake_is_refused(server: Server, port: str) -> None:
    with server.connect(getattr(server, port)) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        assert _refused(_read_to_end(connection), 400) == "bad-http-request"


def test_too_many_headers_are_refused_however_fast_they_come(server: Server) -> None:
    flood = b"".join(b"X-%d: v\r\n" % k for k in range(5000))
    with server.connect() as connection:
        connection.sendall(b"GET /test HTTP/1.1\r\nHost: h\r\n" + flood + b"\r\n")
        assert _refused(_read_to_end(connection), 431) == "headers-too-large"


def test_101_headers_are_refused(server: Server) -> None:
    fields = b"".join(b"X-%d: v\r\n" % k for k in range(100))
    with server.connect() as connection:
        connection.sendall(b"GET /test HTTP/1.1\r\nHost: h\r\n" + fields + b"\r\n")
        assert _refused(_read_to_end(connection), 431) == "headers-too-large"


def test_a_header_of_a_megabyte_is_refused(server: Server) -> None:
    with server.connect() as connection:
        head = b"GET /test HTTP/1.1\r\nHost: h\r\nX: "
        with suppress(ConnectionError, ssl.SSLError):  # it was refused before it was sent
            connection.sendall(head + b"v" * (1 << 20) + b"\r\n\r\n")
        assert _refused(_read_to_end(connection), 431) == "headers-too-large"


def test_a_terabyte_that_asks_first_is_refused_before_it_is_sent(server: Server) -> None:
    for path in ("/registermodelhash", "/prediction", "/uploadmodel", "/nodemodeluploads"):
        with server.connect() as connection:
            head = request_head(path, TIB, content_type=FORM_TYPE)
            connection.sendall(head.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
            answer = _read_to_end(connection)
        assert b" 100 " not in answer
        assert _refused(answer, 413) == "body-too-large"


def test_an_unknown_path_is_refused_before_the_body_is_sent(server: Server) -> None:
    with server.connect() as connection:
        head = request_head("/nowhere", 1000, content_type=FORM_TYPE)
        connection.sendall(head.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        assert _refused(_read_to_end(connection), 404) == "not-found"


def test_a_body_that_asks_first_is_told_to_come(server: Server) -> None:
    body = sign_payload({"hash": "0" * 64}).encode()
    with server.connect() as connection:
        head = request_head("/registermodelhash", len(body), content_type="text/plain")
        asking = head.replace(b"\r\n\r\n", b"\r\nExpect: 100-Continue\r\n\r\n")
        connection.sendall(asking)
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        last = b"GET /test HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        connection.sendall(body + last)  # the connection serves on
        answers = _read_to_end(connection)
    assert answers.count(b"HTTP/1.1 200 ") == 2
    assert b"model hash stored" in answers


def test_chunks_of_single_bytes_cost_little(server: Server) -> None:
    web = psutil.Process(server.process.pid)
    before = web.cpu_times().user
    head = b"POST /prediction HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    with server.connect() as connection:
        with suppress(ConnectionError, ssl.SSLError):  # it was refused before all of it was sent
            connection.sendall(head + b"1\r\na\r\n" * 1_000_000)
        assert _refused(_read_to_end(connection), 400) == "bad-http-request"
    assert web.cpu_times().user - before < 5


@pytest.mark.parametrize(
    "part",
    [
        b"X: " + b"v" * 1_000_000,
        b"\r\n".join(b"X-%d: v" % k for k in range(5000)) + b"\r\n\r\nx",
        b"Content-Disposition: form-data" + b"; a=b" * 200_000,
        b"Content-Disposition: form-data; name=" + b'"' * 100_000 + b"\r\n\r\nx",
    ],
    ids=["one long header", "many headers", "many parameters", "open quotes"],
)
def test_a_part_with_a_header_bomb_is_refused(server: Server, part: bytes) -> None:
    body = multipart(part)
    with server.client() as http:
        answer = http.post(
            server.uploads + "/nodemodeluploads",
            content=body,
            headers={"Content-Type": FORM_TYPE},
        )
    assert answer.status_code == 400
    assert answer.json()["type"] == "/problems/malformed-form"


def test_ten_thousand_parts_are_refused(server: Server) -> None:
    body = multipart(*[file_part(b"")] * 10_000)
    with server.client() as http:
        answer = http.post(
            server.uploads + "/nodemodeluploads", content=body, headers={"Content-Type": FORM_TYPE}
        )
    assert answer.status_code == 400


def test_a_slow_head_is_cut(server: Server) -> None:
    with server.connect() as connection:
        connection.settimeout(20)
        connection.sendall(b"GET /test HTTP/1.1\r\nHost: h\r\n")
        closed = False

        def is_closed() -> bool:
            nonlocal closed
            try:
                connection.sendall(b"X: v\r\n")
                connection.settimeout(0.3)
                closed = connection.recv(1) == b""
            except TimeoutError:
                return False
            except (ConnectionError, ssl.SSLError):
                return True
            return closed

        wait_until(is_closed, "the connection is cut", deadline_s=12)


def test_a_connection_that_says_nothing_is_cut(server: Server) -> None:
    with server.connect() as connection:
        connection.settimeout(12)
        assert _read_to_end(connection) == b""
