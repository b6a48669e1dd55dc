"""Requests that find no room, on real connections: answers are the same with and without h11."""

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st
from quart import Blueprint, Response, request

from server.errors import Overload
from server.metrics import REQUESTS
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
            sending = asyncio.create_task(_send(writer, pieces))
            found: list[Answer] = []
            while len(found) < answers and (answer := await _receive(reader)):
                found.append(answer)
            sending.cancel()
            await asyncio.wait([sending])
        return found


async def _send(writer: asyncio.StreamWriter, pieces: Sequence[bytes]) -> None:
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)


async def _receive(reader: asyncio.StreamReader) -> Answer | None:
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


def refused() -> float:
    """Return how many refusals were counted."""
    counter = REQUESTS.labels("things", "POST", "/v1/things/<name>", "503")
    return float(counter._value.get())


def post(path: str, body: bytes, *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: here", f"Content-Length: {len(body)}", *more]
    return "\r\n".join([*lines, "", ""]).encode() + body


STREAMS = st.lists(
    st.one_of(
        st.builds(
            post,
            st.sampled_from(["/v1/things/full", "/v1/things/red", "/v1/things/full?receipt=1"]),
            st.binary(max_size=300),
        ),
        st.sampled_from(
            [
                post("/v1/things/full", b"abc", "Connection: keep-alive"),
                post("/v1/things/f%75ll", b"abc"),
                post("/v1/things/full/", b"abc"),
                post("https://here/v1/things/full", b"abc"),
                post("/v1/things/full", b"abc").replace(b"Content-L", b"content-l"),
                b"GET /v1/things/full HTTP/1.1\r\nHost: here\r\n\r\n",
                b"POST /v1/things/full HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n"
                b"\r\n3\r\nabc\r\n0\r\n\r\n",
            ]
        ),
    ),
    min_size=1,
    max_size=5,
)
FULL = post("/v1/things/full", b"abc")
LAST = {  # after these the connection is closed
    "closing": post("/v1/things/full", b"abc", "Connection: close"),
    "old": FULL.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "two lengths": post("/v1/things/full", b"abc", "Content-Length: 3"),
    "length and chunks": post("/v1/things/full", b"abc", "Transfer-Encoding: chunked"),
    "upgrade": post("/v1/things/full", b"abc", "Upgrade: websocket"),
    "folded": post("/v1/things/full", b"abc", " folded"),
    "no host": FULL.replace(b"Host: here\r\n", b""),
    "another host": post("https://there/v1/things/full", b"abc"),
    "signed length": FULL.replace(b": 3", b": +3"),
    "many headers": post("/v1/things/full", b"abc", *(f"X-{k}: y" for k in range(101))),
    "large head": post("/v1/things/full", b"abc", "X: " + "y" * 17_000),
    "line feeds": FULL.replace(b"\r\n", b"\n"),
    "zero": FULL.replace(b"here", b"he\0re"),
}


def cut(stream: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = [0, *itertools.accumulate(cuts), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(places) if start < end]


@settings(max_examples=200, deadline=None)
@given(STREAMS, st.lists(st.integers(1, 200), max_size=12))
async def test_answers_are_those_of_the_long_way(requests: list[bytes], cuts: list[int]) -> None:
    pieces = cut(b"".join(requests), cuts)
    early = await Listening(early=True).told(pieces, len(requests))
    late = await Listening(early=False).told(pieces, len(requests))
    assert early == late
    assert early


@pytest.mark.parametrize("request_", LAST.values(), ids=LAST.keys())
async def test_what_ends_a_connection_ends_it_as_the_long_way_does(request_: bytes) -> None:
    early = await Listening(early=True).told([request_], 2)
    late = await Listening(early=False).told([request_], 2)
    assert early == late
    assert len(early) == 1


async def test_what_finds_no_room_reaches_no_application() -> None:
    listening = Listening(early=True)
    counted = refused()
    requests = [post("/v1/things/full", bytes(MIB)) for _ in range(3)]
    answers = await listening.told([*requests, post("/v1/things/red", b"\1\2")], 4)
    assert [status for status, _, _ in answers] == [503, 503, 503, 200]
    assert answers[0][1]["retry-after"] == "7"
    assert answers[3][2] == "red 2 3"
    assert listening.asked == 1
    assert refused() == counted + 3


async def test_the_answer_comes_before_the_body() -> None:
    listening = Listening(early=True)
    request = post("/v1/things/full", bytes(1000))
    async with listening.connected() as (reader, writer):
        writer.write(request[:-900])
        answer = await _receive(reader)
        assert answer is not None
        assert answer[0] == 503
        writer.write(request[-900:] + post("/v1/things/red", b"\1"))
        assert (await _receive(reader) or (0,))[0] == 200
    assert listening.asked == 1


async def test_a_client_that_leaves_in_its_body_ends_the_connection() -> None:
    listening = Listening(early=True)
    async with listening.connected() as (reader, writer):
        writer.write(post("/v1/things/full", bytes(1000))[:-900])
        assert (await _receive(reader) or (0,))[0] == 503
        writer.write_eof()
        assert await reader.read() == b""


async def test_a_client_that_never_ends_its_body_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "DRAIN_S", 0.05)
    listening = Listening(early=True)
    async with listening.connected() as (reader, writer):
        writer.write(post("/v1/things/full", bytes(1000))[:-900])
        assert (await _receive(reader) or (0,))[0] == 503
        assert await reader.read() == b""


async def test_a_client_that_never_reads_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "DRAIN_S", 0.2)
    listening = Listening(early=True)
    async with listening.connected() as (_, writer):
        transport: Any = writer.transport
        transport.pause_reading()
        with pytest.raises(ConnectionError):
            await _send(writer, [FULL * 1000] * 1000)
        transport.resume_reading()


async def test_requests_behind_each_other_leave_turns_to_others() -> None:
    listening, count = Listening(early=True), 500
    async with listening.connected() as (reader, writer):
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        other = asyncio.create_task(others())
        writer.write(FULL * count)
        for _ in range(count):
            assert (await _receive(reader) or (0,))[0] == 503
        other.cancel()
    assert turns >= count


async def test_a_body_that_is_too_long_to_skip_is_refused_the_long_way() -> None:
    listening = Listening(early=True)
    head = re.sub(rb"Length: \d+", b"Length: 999999999999", post("/v1/things/full", b""))
    answers = await listening.told([head], 1)
    assert answers[0][0] == 503
    assert listening.asked == 1


async def test_a_server_that_stops_closes_after_the_body() -> None:
    listening = Listening(early=True)
    request = post("/v1/things/full", bytes(1000))
    async with listening.connected() as (reader, writer):
        writer.write(request[:-900])
        assert (await _receive(reader) or (0,))[0] == 503
        await listening.context.terminated.set()
        writer.write(request[-900:])
        assert await reader.read() == b""


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        FULL[:20],
        FULL[:-1],
        post("/v1/things/red", b"abc")[:-1],
        post("/v1/things/red", b"abc"),
        post("/reading", b"abc")[:-1],
        post("/waiting", b"abc")[:-1],
        post("/waiting", b"abc"),
        b"POST /v1/things/red HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n",
    ],
    ids=["nothing", "head", "refused", "body", "answer", "read", "more", "waiting", "chunks"],
)
@pytest.mark.parametrize("abort", [False, True])
async def test_a_client_that_is_gone_leaves_nothing(
    sent: bytes, *, early: bool, abort: bool
) -> None:
    listening = Listening(early=early)
    async with listening.connected() as (_, writer):
        writer.write(sent)
        await writer.drain()
        if abort:
            writer.transport.abort()
        else:
            writer.close()
        async with asyncio.timeout(3):  # sooner than a connection is closed that is idle
            await listening.left.wait()
        assert listening.served == 0
