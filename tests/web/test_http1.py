"""server/web/http1.py does what Hypercorn's own protocol does, on requests in any pieces."""

import asyncio
import hashlib
import re
from typing import Any

import pytest
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h11 import H11Protocol
from hypothesis import given, settings
from hypothesis import strategies as st

from server.web.body import PROCEED
from server.web.http1 import StreamingH11
from tests.web.listening import unconnected

BODIES = st.binary(max_size=200)


def known_length(body: bytes) -> bytes:
    return b"POST /known HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def chunked(body: bytes) -> bytes:
    chunks = [body[k : k + 60] for k in range(0, len(body), 60)]
    lines = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return (
        b"POST /chunked HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n"
        % lines
    )


def expecting(body: bytes) -> bytes:
    return known_length(body).replace(b"Host: h", b"Host: h\r\nExpect: 100-continue")


REQUESTS = st.lists(
    st.one_of(
        st.just(b"GET /empty HTTP/1.1\r\nHost: h\r\n\r\n"),
        BODIES.map(known_length),
        BODIES.map(chunked),
        BODIES.map(expecting),
    ),
    min_size=1,
    max_size=5,
).map(b"".join)
CUTS = st.lists(st.integers(1, 80), max_size=60)


class Exchange:
    """What one connection's bytes led to: requests, answers, and how their bodies came."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, bytes, bool]] = []
        self.pieces: list[int] = []
        self.answers = b""

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        body, more, gone = b"", True, False
        while more:
            message = await receive()
            gone = message["type"] == "http.disconnect"
            more = not gone and message["more_body"]
            body += message.get("body", b"")
            self.pieces.append(len(message.get("body", b"")))
        self.requests.append((scope["path"], body, gone))
        text = hashlib.sha256(body).hexdigest().encode()
        headers = [(b"content-length", b"64")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text, "more_body": False})

    async def send(self, event: Event) -> None:
        if isinstance(event, RawData):
            self.answers += event.data
        elif isinstance(event, Closed):
            self.answers += b"<closed>"

    async def run(self, kind: type[H11Protocol], pieces: list[bytes]) -> "Exchange":
        config = Config()
        config.include_date_header = False
        loop = asyncio.get_running_loop()
        async with TaskGroup(loop) as group:
            protocol = kind(
                ASGIWrapper(self.app), config, WorkerContext(None), group, unconnected(),
                True, None, None, self.send,
            )  # fmt: skip
            for piece in pieces:
                await protocol.handle(RawData(piece))
            await protocol.handle(Closed())
        return self


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in cuts:
        pieces.append(stream[at : at + size])
        at += size
    return [piece for piece in [*pieces, stream[at:]] if piece]


async def both(pieces: list[bytes]) -> Exchange:
    """Run both protocols, check that they agree, and return what ours did."""
    ours = await Exchange().run(StreamingH11, pieces)
    theirs = await Exchange().run(H11Protocol, pieces)
    assert ours.requests == theirs.requests
    assert _told(ours.answers) == _told(theirs.answers)
    return ours


_GO_ON = re.compile(rb"HTTP/1.1 100 .*?\r\n\r\n", re.S)
_REFUSAL = re.compile(rb"HTTP/1.1 400 .*?(?=<closed>)", re.S)


def _told(answers: bytes) -> bytes:
    """Leave out when a client is told to go on, and what a refusal says."""
    return _REFUSAL.sub(b"HTTP/1.1 400", _GO_ON.sub(b"", answers))


@settings(max_examples=300, deadline=None)
@given(REQUESTS, CUTS)
async def test_requests_and_answers_are_those_of_hypercorn(stream: bytes, cuts: list[int]) -> None:
    await both(cut(stream, cuts))


@settings(max_examples=200, deadline=None)
@given(REQUESTS, CUTS, st.data())
async def test_a_connection_that_ends_early_ends_as_with_hypercorn(
    stream: bytes, cuts: list[int], data: st.DataObject
) -> None:
    end = data.draw(st.integers(0, len(stream)))
    await both([*cut(stream[:end], cuts), b""])


async def test_the_inside_of_a_body_is_given_as_it_came() -> None:
    request = known_length(bytes(3000))
    head = request[:-3000]
    ours = await both([head, bytes(1000), bytes(1500), bytes(500)])
    assert [size for size in ours.pieces if size] == [1000, 1500, 500]


async def test_a_request_behind_a_body_in_the_same_piece_is_answered() -> None:
    stream = known_length(b"a" * 100) + known_length(b"b" * 10)
    ours = await both([stream[:80], stream[80:]])
    assert [body for _, body, _ in ours.requests] == [b"a" * 100, b"b" * 10]


class Waiting(Exchange):
    """As `Exchange`, but nobody reads a body before `go_on`; then the client is told."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        await self.go_on.wait()
        await scope["state"][PROCEED]()
        await super().app(scope, receive, send)

    async def run(self, kind: type[H11Protocol], pieces: list[bytes]) -> "Exchange":
        asyncio.get_running_loop().call_later(0.05, self.go_on.set)
        return await super().run(kind, pieces)


async def test_a_client_is_told_to_go_on_once_its_body_is_read() -> None:
    head = expecting(b"abc")[:-3]
    ours = await Waiting().run(StreamingH11, [head])
    assert ours.answers.startswith(b"HTTP/1.1 100 ")


async def test_a_client_that_did_not_wait_is_not_told() -> None:
    head = expecting(b"abc")[:-3]
    ours = await Waiting().run(StreamingH11, [head, b"abc"])
    assert b"HTTP/1.1 100 " not in ours.answers


class Refusing(Exchange):
    """Answers 413 without reading."""

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def test_a_client_that_is_refused_is_not_told_to_go_on() -> None:
    ours = await Refusing().run(StreamingH11, [expecting(b"abc")[:-3]])
    assert ours.answers.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in ours.answers
    assert ours.answers.endswith(b"<closed>")


async def test_a_refused_request_gets_a_problem() -> None:
    head = b"POST /known HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"
    ours = await Exchange().run(StreamingH11, [head])
    assert ours.answers.startswith(b"HTTP/1.1 400 ")
    assert b"/problems/bad-http-request" in ours.answers
    assert ours.answers.endswith(b"<closed>")


@pytest.mark.parametrize("method", [b"HEAD", b"GET"])
async def test_a_refused_request_for_the_head_gets_no_body(method: bytes) -> None:
    ours = await Exchange().run(StreamingH11, [method + b" /a#b HTTP/1.1\r\nHost: h\r\n\r\n"])
    head, _, rest = ours.answers.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-length: " in head
    assert (rest == b"<closed>") == (method == b"HEAD")


@pytest.mark.parametrize("behind", [b"rubbish\r\n\r\n", b"\x16\x03\x01"])
async def test_rubbish_behind_a_body_is_refused_as_by_hypercorn(behind: bytes) -> None:
    stream = known_length(b"a" * 100)
    ours = await both([stream[:80], stream[80:] + behind])
    assert ours.answers.endswith(b"<closed>")
