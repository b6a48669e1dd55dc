"""server/web/listener.py: a stop lets those end who are under way."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.devcert import make_certificates
from server.web.certificates import Certificates
from server.web.doors import Doors
from server.web.listener import HTTP1, bind, listen
from tests.web.listening import make_site, post

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Port:
    """A port of its own, a connection to it that was accepted, and what stops it."""

    def __init__(self, folder: Path) -> None:
        make_certificates(folder, ["localhost"])
        self.trusted = ssl.create_default_context(cafile=folder / "ca.pem")
        self.context = Certificates(folder, HTTP1).context(HTTP1)
        self.sock = bind("127.0.0.1", 0)
        self.stop = asyncio.Event()

    @asynccontextmanager
    async def accepted(self, graceful_s: float) -> AsyncIterator[Streams]:
        doors = Doors(10, 10)
        listening = asyncio.create_task(
            listen(
                *(make_site([]), self.sock, self.context),
                doors=doors,
                stop=self.stop.wait,
                graceful_s=graceful_s,
            )
        )
        reader, writer = await asyncio.open_connection(*self.sock.getsockname())
        async with asyncio.timeout(10):
            while not doors.inside:
                await asyncio.sleep(0)
            yield reader, writer
            writer.transport.abort()
            await listening

    async def until_it_stops(self) -> None:
        self.stop.set()
        while self.sock.fileno() != -1:
            await asyncio.sleep(0)


async def asked(streams: Streams, trusted: ssl.SSLContext, request: bytes) -> bytes:
    """Shake hands, send a request with the end of that, and return what is answered."""
    reader, writer = streams
    arrived, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusted.wrap_bio(arrived, sent, server_hostname="localhost")
    answer = b""
    is_asked = False
    while True:
        try:
            if not is_asked:
                tls.do_handshake()
                tls.write(request)
                is_asked = True
            while piece := tls.read(1 << 16):
                answer += piece
            return answer
        except ssl.SSLWantReadError:
            writer.write(sent.read())
            received = await reader.read(1 << 16)
            arrived.write(received) if received else arrived.write_eof()
        except ssl.SSLEOFError:
            return answer


async def test_a_connection_in_its_handshake_is_answered_when_the_server_stops(
    tmp_path: Path,
) -> None:
    port = Port(tmp_path)
    async with port.accepted(graceful_s=5) as streams:
        await port.until_it_stops()
        answer = await asked(streams, port.trusted, post("/reading", b"abc"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"3")


@pytest.mark.parametrize("is_stopped", [False, True], ids=["served", "in its handshake"])
async def test_a_request_that_ends_in_no_time_does_not_go_on_without_its_connection(
    tmp_path: Path, *, is_stopped: bool
) -> None:
    port = Port(tmp_path)
    async with port.accepted(graceful_s=0.3) as streams:
        if is_stopped:
            await port.until_it_stops()
        else:
            asyncio.get_running_loop().call_later(0.3, port.stop.set)
        await asked(streams, port.trusted, post("/waiting", b"abc"))
    assert not [task for task in asyncio.all_tasks() if "handle_request" in repr(task)]


async def test_a_connection_that_says_nothing_does_not_hold_a_stop_up(tmp_path: Path) -> None:
    port = Port(tmp_path)
    async with port.accepted(graceful_s=0.2):
        await port.until_it_stops()
