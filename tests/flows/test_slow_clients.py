"""Clients that are slow, idle or gone, and the sweeps that run meanwhile."""

import ssl
from collections.abc import Callable

import pytest

from tests.flows.running import (
    FORM_TYPE,
    Server,
    digest_of,
    file_part,
    multipart,
    request_head,
    sign_file,
    sign_payload,
    wait_until,
)

pytestmark = pytest.mark.timeout(120)
Noise = Callable[[int], bytes]
UPLOAD = "/nodemodeluploads"


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"SWEEP_INTERVAL_S": "0.3", "BODY_IDLE_S": "3", "INTAKE_TIMEOUT_S": "0.1"}


def _answer(connection: ssl.SSLSocket) -> bytes:
    """Read until the server has said all that its Content-Length promises, or closed."""
    read = b""
    while b"\r\n\r\n" not in read and (piece := connection.recv(65536)):
        read += piece
    head, _, body = read.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            while len(body) < int(value) and (piece := connection.recv(65536)):
                body += piece
    return head + b"\r\n\r\n" + body


def _sweep_passes(server: Server, decoy: bytes) -> Callable[[], bool]:
    """Stage an unregistered file; the returned condition holds when a sweep has discarded it."""
    server.upload(decoy)
    return lambda: server.staged() == []


def _trickle(
    server: Server, connection: ssl.SSLSocket, noise: Noise, *, sweeps: int, piece: int
) -> bytes:
    """Send random bytes slowly until several sweeps have passed; return what was sent."""
    sent = b""
    for _ in range(sweeps):
        passed = _sweep_passes(server, noise(100))

        def moved(passed: Callable[[], bool] = passed) -> bool:
            nonlocal sent
            sent += (content := noise(piece))
            connection.sendall(content)
            return passed()

        wait_until(moved, "a sweep discards the decoy")
    return sent


def test_a_slow_unsigned_upload_survives_the_sweeps_meanwhile(server: Server, noise: Noise) -> None:
    start = noise(5000)
    head, tail = multipart(file_part(start)).split(start)
    size = 200_000
    with server.connect(server.uploads) as connection:
        length = len(head) + size + len(tail)
        connection.sendall(request_head(UPLOAD, length, content_type=FORM_TYPE) + head + start)
        content = start + _trickle(server, connection, noise, sweeps=4, piece=10)
        content += (rest := noise(size - len(content)))
        assert server.register(digest_of(content)).status_code == 200
        connection.sendall(rest + tail)
        assert b" 200 " in _answer(connection).split(b"\r\n")[0]
    wait_until(lambda: digest_of(content) in server.stored(), "the timer's sweep promotes it")
    assert (server.models / digest_of(content)).read_bytes() == content


def test_a_slow_signed_upload_is_stored(server: Server, noise: Noise) -> None:
    content = noise(100_000)
    body = multipart(file_part(sign_file(content)))
    with server.connect() as connection:
        connection.sendall(request_head("/uploadmodel", len(body), content_type=FORM_TYPE))
        for start in range(0, 50_000, 10_000):
            connection.sendall(body[start : start + 10_000])
            wait_until(_sweep_passes(server, noise(100)), "a sweep discards the decoy")
        connection.sendall(body[50_000:])
        assert b" 200 " in _answer(connection).split(b"\r\n")[0]
    assert (server.models / digest_of(content)).read_bytes() == content


def test_a_registered_upload_is_promoted_without_any_call(server: Server, noise: Noise) -> None:
    content = noise(1000)
    server.register(digest_of(content))
    server.upload(content)
    wait_until(lambda: digest_of(content) in server.stored(), "the timer's sweep promotes it")


def test_a_file_that_somebody_still_writes_is_left_alone(server: Server, noise: Noise) -> None:
    content = noise(1000)
    by_hand = server.uploads_tmp / "copied-by-hand.h5"
    server.register(digest_of(content))
    with by_hand.open("wb") as file:
        file.write(content[:500])
        file.flush()
        server.upload(noise(100))
        wait_until(lambda: server.staged() == [by_hand.name], "a sweep passes")
        file.write(content[500:])
    wait_until(lambda: digest_of(content) in server.stored(), "the whole file is promoted")


@pytest.mark.parametrize("path", ["/prediction", "/registermodelhash", "/uploadmodel"])
def test_an_idle_body_is_cut_with_408(server: Server, path: str) -> None:
    with server.connect() as connection:
        head = request_head(path, 5000, content_type=FORM_TYPE)
        connection.sendall(head + multipart(file_part(b"x" * 2000))[:1000])
        answer = _answer(connection)
    assert answer.startswith(b"HTTP/1.1 408"), answer
    assert b"/problems/body-too-slow" in answer


def test_an_idle_upload_on_the_upload_port_is_cut_with_408(server: Server) -> None:
    with server.connect(server.uploads) as connection:
        head = request_head(UPLOAD, 5000, content_type=FORM_TYPE)
        connection.sendall(head + multipart(file_part(b"x" * 2000))[:1000])
        answer = _answer(connection)
    assert answer.startswith(b"HTTP/1.1 408"), answer


def test_a_client_that_disconnects_leaves_no_upload(server: Server, noise: Noise) -> None:
    body = multipart(file_part(noise(3 << 20)))
    connection = server.connect(server.uploads)
    try:
        connection.sendall(request_head(UPLOAD, len(body), content_type=FORM_TYPE))
        connection.sendall(body[: 2 << 20])
        wait_until(server.writing, "the upload is being written")
        assert server.staged() == []  # it has no name
    finally:
        connection.close()
    wait_until(lambda: not server.writing(), "the unfinished upload is dropped")
    wait_until(_sweep_passes(server, noise(100)), "a sweep passes")


def test_a_client_that_disconnects_while_it_signs_leaves_no_model(
    server: Server, noise: Noise
) -> None:
    content = noise(1 << 20)
    body = multipart(file_part(sign_file(content)))
    connection = server.connect()
    try:
        connection.sendall(request_head("/uploadmodel", len(body), content_type=FORM_TYPE))
        connection.sendall(body[:-40])  # all but the signature's end
        wait_until(server.writing, "the upload is being written")
    finally:
        connection.close()
    wait_until(lambda: not server.writing(), "the unfinished upload is dropped")
    assert digest_of(content) not in server.stored()


def test_a_client_that_disconnects_harms_nobody_else(server: Server, noise: Noise) -> None:
    for path in ("/prediction", "/uploadmodel", "/nowhere"):
        connection = server.connect()
        connection.sendall(request_head(path, 1 << 20, content_type=FORM_TYPE) + noise(1000))
        connection.close()
    assert server.register(digest_of(noise(10))).status_code == 200
    assert "Traceback" not in server.log()


def test_a_body_in_single_bytes_is_read(server: Server, noise: Noise) -> None:
    body = sign_payload({"hash": digest_of(noise(10))}).encode()
    with server.connect() as connection:
        head = request_head("/registermodelhash", len(body), content_type="text/plain")
        connection.sendall(head)
        for byte in body:
            connection.sendall(bytes([byte]))
        assert _answer(connection).endswith(b'{"msg":"model hash stored"}')
