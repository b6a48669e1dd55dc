"""server/web/http2.py on the frames of a client."""

import asyncio
from typing import Any

import h2.connection
import h2.events
import pytest
from h2.errors import ErrorCodes
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.typing import ConnectionState
from hyperframe.frame import DataFrame, RstStreamFrame, SettingsFrame

from server.errors import BadHttp
from server.web import http2
from server.web.body import PROCEED
from server.web.http2 import StreamingH2, _judge

HEADERS = [(":method", "POST"), (":path", "/"), (":authority", "h"), (":scheme", "https")]


class Exchange:
    """A server's side of one connection, and the bodies that its application read."""

    def __init__(self) -> None:
        self.bodies: dict[bytes, list[bytes]] = {}
        self.answered = 0
        self.config = Config()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        name = dict(scope["headers"])[b"name"]
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            self.bodies.setdefault(name, []).append(message.get("body", b""))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        self.answered += 1

    async def send(self, event: Event) -> None:
        """Drop what the server sends."""

    def _begin(self, group: TaskGroup) -> StreamingH2:
        return StreamingH2(
            ASGIWrapper(self.app), self.config, WorkerContext(None), group, ConnectionState({}),
            True, None, None, self.send,
        )  # fmt: skip

    async def run(self, pieces: list[bytes]) -> None:
        loop = asyncio.get_running_loop()
        async with TaskGroup(loop) as group:
            self.protocol = protocol = self._begin(group)
            await protocol.initiate()
            for piece in pieces:
                await protocol.handle(RawData(piece))
            while self.answered < 2:
                await asyncio.sleep(0)
            await protocol.handle(Closed())


def frames() -> bytes:
    """Return two requests whose bodies come in frames, first one by one, then alternating."""
    client = h2.connection.H2Connection()
    client.initiate_connection()
    client.send_headers(1, [*HEADERS, ("name", "first")])
    client.send_headers(3, [*HEADERS, ("name", "second")])
    for k in range(4):
        client.send_data(1, bytes([k]) * 1000, pad_length=k or None)
    for k in range(2):
        client.send_data(3, bytes([10 + k]) * 500)
        client.send_data(1, bytes([20 + k]) * 500)
    client.end_stream(1)
    client.end_stream(3)
    return client.data_to_send()


FIRST = b"".join(bytes([k]) * 1000 for k in range(4)) + bytes([20]) * 500 + bytes([21]) * 500
SECOND = bytes([10]) * 500 + bytes([11]) * 500


async def test_bodies_arrive_as_they_were_sent_however_they_are_cut() -> None:
    stream = frames()
    for size in (100, 999, 5000, len(stream)):
        exchange = Exchange()
        await exchange.run([stream[k : k + size] for k in range(0, len(stream), size)])
        assert {name: b"".join(body) for name, body in exchange.bodies.items()} == {
            b"first": FIRST,
            b"second": SECOND,
        }


async def test_neighbouring_frames_of_one_body_take_one_way_through_the_server() -> None:
    exchange = Exchange()
    await exchange.run([frames()])
    assert [len(piece) for piece in exchange.bodies[b"first"] if piece] == [4000, 500, 500]


class Asking(Exchange):
    """A client that waits to be told to send its body, and sends it then."""

    def __init__(self) -> None:
        super().__init__()
        self.client = h2.connection.H2Connection()
        self.client.initiate_connection()
        self.told: list[type[h2.events.Event]] = []

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        await scope["state"][PROCEED]()
        await super().app(scope, receive, send)

    async def send(self, event: Event) -> None:
        if isinstance(event, RawData):
            found = self.client.receive_data(event.data)
            self.told += [type(one) for one in found if hasattr(one, "stream_id")]

    async def ask(self) -> None:
        """Send the head, and the body once that is asked for."""
        async with asyncio.timeout(10), TaskGroup(asyncio.get_running_loop()) as group:
            protocol = self._begin(group)
            await protocol.initiate()
            fields = [*HEADERS, ("name", "asking"), ("expect", "100-continue")]
            self.client.send_headers(1, fields)
            await protocol.handle(RawData(self.client.data_to_send()))
            while h2.events.InformationalResponseReceived not in self.told:
                await asyncio.sleep(0)
            self.client.send_data(1, b"abc", end_stream=True)
            await protocol.handle(RawData(self.client.data_to_send()))
            while not self.answered:
                await asyncio.sleep(0)
            await protocol.handle(Closed())


async def test_a_client_that_waits_is_told_to_send() -> None:
    asking = Asking()
    await asking.ask()
    assert b"".join(asking.bodies[b"asking"]) == b"abc"
    told = [h2.events.InformationalResponseReceived, h2.events.ResponseReceived]
    assert [one for one in asking.told if one in told] == told


class Cancelling(Exchange):
    """A client that reads so many frames of data, then none until it has reset their stream."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.client = h2.connection.H2Connection()
        self.client.initiate_connection()
        self.frames = frames
        self.reset = 0
        self.is_full, self.reads = asyncio.Event(), asyncio.Event()
        self.ended: set[int] = set()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 20_000, "more_body": False})

    async def send(self, event: Event) -> None:
        found = self.client.receive_data(event.data) if isinstance(event, RawData) else []
        self.ended |= {one.stream_id for one in found if isinstance(one, h2.events.StreamEnded)}
        streams = [one.stream_id for one in found if isinstance(one, h2.events.DataReceived)]
        self.frames -= len(streams)
        if streams and self.frames == 0:
            self.reset = streams[0]
            self.is_full.set()
            await self.reads.wait()

    async def ask(self) -> None:
        """Ask twice, and cancel what is being sent when the connection is full."""
        async with asyncio.timeout(10), TaskGroup(asyncio.get_running_loop()) as group:
            protocol = self._begin(group)
            await protocol.initiate()
            for stream in (1, 3):
                self.client.send_headers(stream, HEADERS, end_stream=True)
            await protocol.handle(RawData(self.client.data_to_send()))
            await self.is_full.wait()
            await protocol.handle(RawData(RstStreamFrame(self.reset, 8).serialize()))
            self.reads.set()
            while not {1, 3} - {self.reset} <= self.ended:
                await asyncio.sleep(0)
            await protocol.handle(Closed())


@pytest.mark.parametrize("frames", range(1, 7))
async def test_a_stream_that_is_reset_while_its_data_waits_leaves_the_others(frames: int) -> None:
    await Cancelling(frames).ask()


class Crowd(Exchange):
    """A client that sends its first requests before it has heard how many there may be at once."""

    def __init__(self, *, answers: bool = True) -> None:
        super().__init__()
        self.config.h2_max_concurrent_streams = 32
        self.answers = answers
        self.client = h2.connection.H2Connection()
        self.client.initiate_connection()
        self.may_answer = asyncio.Event()
        self.ended: set[int] = set()
        self.refused: set[int] = set()
        self.is_sent_away = False

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        if not self.answers:
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": False})

    async def send(self, event: Event) -> None:
        for found in self.client.receive_data(event.data) if isinstance(event, RawData) else []:
            if isinstance(found, h2.events.StreamEnded):
                self.ended.add(found.stream_id)
            elif isinstance(found, h2.events.StreamReset):
                assert found.error_code == ErrorCodes.REFUSED_STREAM
                self.refused.add(found.stream_id)
            self.is_sent_away |= isinstance(found, h2.events.ConnectionTerminated)

    def _flight(self, count: int) -> bytes:
        for _ in range(count):
            self.client.send_headers(
                self.client.get_next_available_stream_id(), HEADERS, end_stream=True
            )
        return self.client.data_to_send()

    async def ask(self, flights: list[int]) -> None:
        """Send so many requests at once, and more when those were answered or refused."""
        async with asyncio.timeout(10), TaskGroup(asyncio.get_running_loop()) as group:
            protocol = self._begin(group)
            sent = [self._flight(count) for count in flights]  # before anything is heard
            await protocol.initiate()
            asked = 0
            for count, flight in zip(flights, sent, strict=True):
                await protocol.handle(RawData(flight))
                self.may_answer.set()
                asked += count
                while self.answers and len(self.ended | self.refused) < asked:
                    await asyncio.sleep(0)
            await protocol.handle(Closed())


@pytest.mark.parametrize("count", [33, 40, 100])
async def test_of_too_many_first_requests_as_many_as_there_may_be_are_answered(count: int) -> None:
    crowd = Crowd()
    await crowd.ask([count, 1])
    assert len(crowd.refused) == count - 32
    assert len(crowd.ended) == 33


async def test_who_does_not_heed_how_many_requests_there_may_be_is_sent_away() -> None:
    crowd = Crowd(answers=False)
    await crowd.ask([50] * 4)
    assert crowd.is_sent_away


async def test_a_client_does_not_choose_how_many_headers_are_remembered() -> None:
    settings = SettingsFrame(0, {SettingsFrame.HEADER_TABLE_SIZE: (1 << 32) - 1}).serialize()
    exchange = Exchange()
    await exchange.run([frames() + settings])
    assert exchange.protocol.connection.remote_settings.header_table_size == (1 << 32) - 1
    assert exchange.protocol.connection.encoder.header_table_size == 4096


@pytest.mark.parametrize(
    "fields",
    [
        {":method": "get"},
        {":method": "pOST"},
        {":method": "CONNECT"},
        {":scheme": "http"},
        {":scheme": "ftp"},
        {":authority": ""},
        {":authority": "a b"},
        {":authority": "a@h"},
        {":authority": "h:8443:443"},
        {":path": "*"},
        {"host": "other"},
        {"content-length": "+5"},
    ],
    ids=lambda fields: "{}={}".format(*next(iter(fields.items()))),
)
def test_a_head_that_others_read_in_another_way_is_refused(fields: dict[str, str]) -> None:
    head = [(name.encode(), value.encode()) for name, value in (dict(HEADERS) | fields).items()]
    assert isinstance(_judge(head), BadHttp)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {":authority": "[::1]:8443"},
        {":authority": "a-b.example:443"},
        {":method": "M-SEARCH"},
        {"host": "H"},
        {":authority": "127.0.0.1:8443", "content-length": "0"},
    ],
    ids=str,
)
def test_a_head_that_is_read_in_one_way_is_taken(fields: dict[str, str]) -> None:
    head = [(name.encode(), value.encode()) for name, value in (dict(HEADERS) | fields).items()]
    assert _judge(head) is None


def test_no_frame_is_written_down_for_a_log() -> None:
    http2.install(lambda _caller: None)
    assert repr(DataFrame(1, b"x" * 1000)).endswith("1000 bytes")
