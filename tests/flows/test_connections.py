"""How many connections are open at once, and how long one may say nothing."""

import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack, suppress

import httpx
import pytest

from tests.flows.bystander import bystander
from tests.flows.running import Server, wait_until

pytestmark = pytest.mark.timeout(120)
NewServer = Callable[..., Server]


def _is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False


def test_300_idle_connections_keep_nobody_out(server: Server) -> None:
    with bystander(server) as others, ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(server.connect())
        before = len(others.seconds)
        wait_until(lambda: len(others.seconds) > before + 50, "others are answered")


def _hello(name: bytes) -> bytes:
    """Return the first message of a handshake that names a server."""
    sent = ssl.MemoryBIO()
    stand_in = "a" * len(name)
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname=stand_in)
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return sent.read().replace(stand_in.encode(), name)


@pytest.mark.parametrize("name", [b"\xff" * 40, b"\xc3\xbc" * 20], ids=["bytes", "letters"])
def test_a_handshake_with_a_name_that_is_not_ascii_writes_nothing(
    server: Server, name: bytes
) -> None:
    before = server.log()
    with server.connect_plain() as connection:
        connection.sendall(_hello(name))
        while connection.recv(1 << 16):
            pass
    assert server.get("/test").status_code == 200
    assert not server.log().removeprefix(before)


def test_connections_beyond_the_share_of_one_address_are_closed(new_server: NewServer) -> None:
    server = new_server(MAX_CONNECTIONS_PER_ADDRESS="8").start()
    with ExitStack() as stack:
        held = [stack.enter_context(server.connect_plain()) for _ in range(12)]
        wait_until(lambda: sum(map(_is_closed, held)) >= 4, "four are closed", deadline_s=5)
        assert sum(map(_is_closed, held)) < 8
    wait_until(lambda: _turned_away(server) >= 4, "they were counted")


def _turned_away(server: Server) -> int:
    """Ask how many were; none, while the places of those that left are still being freed."""
    try:
        return int(server.get("/readyz").json()["turned_away"])
    except httpx.ConnectError:
        return 0


def test_connections_beyond_the_share_of_all_wait_for_their_turn(new_server: NewServer) -> None:
    server = new_server(MAX_CONNECTIONS="4").start()
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(server.connect_plain())
        waiting = stack.enter_context(server.connect_plain())
        assert not _is_closed(waiting)
        waiting.settimeout(30)
        assert server.get("/test").status_code == 200  # when the first four have been cut


def test_a_half_open_handshake_is_cut(server: Server) -> None:
    with server.connect_plain() as connection:
        connection.settimeout(15)
        assert connection.recv(1) == b""


def test_places_of_closed_connections_are_free_again(new_server: NewServer) -> None:
    server = new_server(MAX_CONNECTIONS_PER_ADDRESS="4").start()
    for _ in range(20):
        server.connect().close()
        server.connect_plain().close()
        wait_until(
            lambda: server.get("/readyz").json()["connections"] == 1, "only this one is open"
        )
