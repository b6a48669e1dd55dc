"""A server of one application on real connections, and a client that sends what it likes."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from quart import Blueprint, Response, request

from server.errors import Overload
from server.web import http1
from server.web.body import Pace
from server.web.connection import StreamedRequest
from server.web.direct import DirectRoutes
from server.web.site import Site, build_site
from server.web.wire import BUFFER_BYTES, Wire, WireServer

Answer = tuple[int, dict[str, str], Any]
MIB = 1 << 20


def make_site() -> Site:
    def check_room(_address: str, name: str) -> None:
        if name == "full":
            raise Overload("all places are taken", retry_after_s=7)

    routes = DirectRoutes("things", check_room)

    @routes.post("/v1/things/<name>")
    async def answer(asked: StreamedRequest, name: str) -> Response:
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
    """A server of one site, and what of its requests reached the application."""

    def __init__(self, *, early: bool) -> None:
        self.site = make_site()
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
        state = {http1.REFUSING: http1.Refusing(self.site.early, wire.skip)} if self._early else {}
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
        """Run it, with one client that has 20 s."""
        http1.install()
        buffer = memoryview(bytearray(BUFFER_BYTES))
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Wire(self._serve, buffer), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            async with asyncio.timeout(20):
                yield reader, writer
        finally:
            server.close()
            await self.context.terminated.set()
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

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


def post(path: str, body: bytes, *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: here", f"Content-Length: {len(body)}", *more]
    return "\r\n".join([*lines, "", ""]).encode() + body


FULL = post("/v1/things/full", b"abc")
