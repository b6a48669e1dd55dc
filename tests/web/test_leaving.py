"""Clients that leave: nothing of their connections stays, wherever they were in a request."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h2.connection
import pytest
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H11Protocol

from server.web import early as early_module
from server.web.http1 import StreamingH11
from server.web.http2 import StreamingH2
from server.web.leaving import end_at_once
from tests.web.listening import FULL, Listening, post, receive, send, unconnected

RED = post("/v1/things/red", b"\1")


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
        post("/waiting", b"abc") + b"\r\n",
        post("/waiting", b"abc") + b"POST",
        post("/waiting", b"abc") + RED,
        b"POST /v1/things/red HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n",
    ],
    ids=[
        "nothing",
        "head",
        "refused",
        "body",
        "answer",
        "read",
        "more",
        "waiting",
        "line",
        "begun",
        "two",
        "chunks",
    ],
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


@pytest.mark.parametrize("behind", [b"", RED], ids=["nothing", "a request"])
async def test_what_follows_the_last_answer_of_a_server_that_stops_is_no_request(
    behind: bytes,
) -> None:
    listening = Listening(early=True)
    request = post("/v1/things/full", bytes(1000))
    async with listening.connected() as (reader, writer):
        writer.write(request[:-900])
        assert (await receive(reader) or (0,))[0] == 503
        await listening.context.terminated.set()
        writer.write(request[-900:] + behind)
        assert await reader.read() == b""
        await listening.left.wait()
    assert listening.reached == []


@pytest.mark.parametrize(
    "last",
    [
        post("/v1/things/red", b"abc", "Connection: close"),
        post("/v1/things/red", b"abc").replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
    ids=["close", "1.0"],
)
@pytest.mark.parametrize(
    "behind", [b"\r\n", b"POST", RED, b"rubbish\r\n\r\n"], ids=["line", "begun", "two", "rubbish"]
)
@pytest.mark.parametrize("apart", [False, True])
async def test_what_follows_the_last_request_of_a_client_is_no_request(
    last: bytes, behind: bytes, *, apart: bool
) -> None:
    listening = Listening(early=False)
    pieces = [last, behind] if apart else [last + behind]
    answers = await listening.told(pieces, 2)
    assert [(status, told) for status, _, told in answers] == [(200, "red 3 294")]
    assert listening.reached == ["red"]


@pytest.mark.parametrize("early", [False, True])
async def test_who_does_not_read_is_cut_and_no_body_becomes_a_request(
    monkeypatch: pytest.MonkeyPatch, certificates: Path, *, early: bool
) -> None:
    monkeypatch.setattr(early_module, "_ANSWER_S", 0.2)
    listening = Listening(early=early, certificates=certificates)
    async with listening.connected() as (_, writer):
        transport: Any = writer.transport
        transport.pause_reading()
        with pytest.raises(ConnectionError):
            await send(writer, [post("/v1/things/full", FULL + RED) * 1000] * 500)
        transport.resume_reading()
        await listening.left.wait()
    assert listening.reached == []


class Deaf:
    """An application that ends when more has come than it is given, and reads nothing."""

    def __init__(self, kind: type[H11Protocol] | type[H2Protocol]) -> None:
        self._kind = kind
        self._is_full = asyncio.Event()

    async def app(self, _scope: Any, _receive: Any, _send: Any) -> None:
        await self._is_full.wait()

    async def send(self, event: Event) -> None:
        """Drop what the server sends."""

    async def run(self, pieces: list[bytes]) -> None:
        """Return when nothing is left of the connection."""
        loop, config = asyncio.get_running_loop(), Config()
        config.max_app_queue_size = 4
        async with TaskGroup(loop) as group:
            protocol = self._kind(
                ASGIWrapper(self.app), config, WorkerContext(None), group, unconnected(),
                True, None, None, self.send,
            )  # fmt: skip
            await protocol.initiate()
            loop.call_later(0.05, self._is_full.set)
            for piece in pieces:
                await protocol.handle(RawData(piece))
            await protocol.handle(Closed())


async def test_a_body_that_nobody_reads_holds_no_connection_of_http1() -> None:
    whole = post("/", bytes(6000))
    pieces = [whole[k : k + 1000] for k in range(0, len(whole), 1000)]
    async with asyncio.timeout(5):
        await Deaf(StreamingH11).run(pieces)


async def test_a_body_that_nobody_reads_holds_no_connection_of_http2() -> None:
    client = h2.connection.H2Connection()
    client.initiate_connection()
    headers = [(":method", "POST"), (":path", "/"), (":authority", "h"), (":scheme", "https")]
    client.send_headers(1, headers)
    pieces = [client.data_to_send()]
    for _ in range(6):
        client.send_data(1, bytes(1000))
        pieces.append(client.data_to_send())
    async with asyncio.timeout(5):
        await Deaf(StreamingH2).run(pieces)


async def test_what_nobody_reads_any_more_is_no_whole_body() -> None:
    queue: asyncio.Queue[Any] = asyncio.Queue(2)
    stream: Any = SimpleNamespace(app_put=queue.put)
    end_at_once(stream)
    await stream.app_put({"type": "http.request", "body": b"first", "more_body": True})
    await stream.app_put({"type": "http.request", "body": b"", "more_body": False})
    await stream.app_put({"type": "http.disconnect"})
    assert queue.get_nowait() == {"type": "http.disconnect"}
    assert queue.empty()
