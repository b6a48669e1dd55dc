"""A server of one application on real connections, and a client that sends what it likes."""

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.typing import ConnectionState
from quart import Blueprint, Response, request

from server.errors import Overload
from server.web import http1
from server.web.body import Pace
from server.web.connection import StreamedRequest
from server.web.direct import DirectRoutes
from server.web.site import Site, build_site
from server.web.wire import Buffers, Wire
from server.web.wire_server import WireServer

Answer = tuple[int, dict[str, str], Any]
MIB = 1 << 20


def make_site(reached: list[str]) -> Site:
    def check_room(_address: str, name: str) -> None:
        if name == "full":
            raise Overload("all places are taken", retry_after_s=7)

    routes = DirectRoutes("things", check_room)

    @routes.post("/v1/things/<name>")
    async def answer(asked: StreamedRequest, name: str) -> Response:
        reached.append(name)
        body = b"".join([piece async for piece in asked.stream_body])
        return Response(f"{name} {len(body)} {sum(body)}", content_type="text/plain")

    plain = Blueprint("plain", __name__)

    @plain.post("/reading")
    async def read() -> Response:
        return Response(str(len(b"".join([piece async for piece in request.body]))))

    @plain.post("/waiting")
    async def wait() -> Response:
        await read()
        await asyncio.Event().wait()
        return Response()

    return build_site("things", [routes, plain], pace=Pace(5, 1, 5), legacy_status=False)


class Listening:
    """A server of one site, and what of its requests reached the application.

    Parameters
    ----------
    early : bool
        Whether it refuses without h11.
    certificates : Path, optional
        Holds `ca.pem`, `server.crt` and `server.key`; without them it speaks no TLS.
    patience_s : float
        How long it waits for the next request.

    Attributes
    ----------
    asked, served : int
        How many requests came to the application, and how many connections are served.
    reached : list of str
        The things that a request found room for.
    """

    def __init__(
        self, *, early: bool, certificates: Path | None = None, patience_s: float = 5.0
    ) -> None:
        self._patience_s = patience_s
        self.reached: list[str] = []
        self.site = make_site(self.reached)
        self._certificates = certificates
        self.asked = 0
        self.served = 0
        self.left = asyncio.Event()
        self.context = WorkerContext(None)
        self._early = early
        if early:
            self.site.early._busy_until = float("inf")

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += scope["type"] == "http"
        await self.site(scope, receive, send)

    async def _serve(self, wire: Wire) -> None:
        config = Config()
        config.include_date_header = False
        config.keep_alive_timeout = self._patience_s
        config.keep_alive_max_requests = sys.maxsize  # as the listener has it
        state: dict[str, Any] = {http1.WIRE: wire}
        if self._early:
            state[http1.REFUSING] = self.site.early
        loop = asyncio.get_running_loop()
        app: Any = self._app
        self.served += 1
        await WireServer(ASGIWrapper(app), loop, config, self.context, wire, state=state)
        self.served -= 1
        self.left.set()

    @asynccontextmanager
    async def connected(
        self,
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Run it, with one client that has a minute."""
        http1.install()
        buffers = Buffers()
        loop = asyncio.get_running_loop()
        serving, trusting = self._tls()
        server = await loop.create_server(
            lambda: Wire(self._serve, buffers),
            *("127.0.0.1", 0),
            ssl=serving,
            ssl_shutdown_timeout=0.1 if serving else None,
        )
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address, ssl=trusting)
        try:
            async with asyncio.timeout(60):
                yield reader, writer
        finally:
            server.close()
            await self.context.terminated.set()
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def _tls(self) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
        if self._certificates is None:
            return None, None
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(
            self._certificates / "server.crt", self._certificates / "server.key"
        )
        return serving, ssl.create_default_context(cafile=self._certificates / "ca.pem")

    async def told(self, pieces: Sequence[bytes], answers: int) -> list[Answer]:
        """Return the answers to what is sent, at most so many; fewer when the server closes."""
        async with self.connected() as (reader, writer):
            sending = asyncio.create_task(send(writer, pieces))
            found: list[Answer] = []
            while len(found) < answers and (answer := await receive(reader)):
                found.append(answer)
            sending.cancel()
            await asyncio.wait([sending])
        return found


async def send(writer: asyncio.StreamWriter, pieces: Sequence[bytes]) -> None:
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)


async def receive(reader: asyncio.StreamReader) -> Answer | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return None
    first, *lines = head.split("\r\n")[:-2]
    headers = {name: value for name, _, value in (line.partition(": ") for line in lines)}
    body = (await reader.readexactly(int(headers["content-length"]))).decode()
    told = body
    if headers["content-type"] == "application/problem+json":
        told = json.loads(body)
        assert told.pop("instance") == f"urn:request:{headers['x-request-id']}"
    headers.pop("x-request-id")
    return int(first.split()[1]), headers, told


async def _never(_: Wire) -> None:
    raise RuntimeError("this connection is not served")


def unconnected() -> ConnectionState:
    """Return what a protocol of HTTP/1.1 is told of a connection that there is not."""
    return ConnectionState({http1.WIRE: Wire(_never, Buffers())})


def post(path: str, body: bytes, *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: here", f"Content-Length: {len(body)}", *more]
    return "\r\n".join([*lines, "", ""]).encode() + body


FULL = post("/v1/things/full", b"abc")
