"""A client that still sends when it is refused reads its answer; `server/web/wire.py` waits."""

import asyncio
from pathlib import Path

import pytest

from server.web import wire
from tests.web.listening import Listening, post, receive

HEAD = b"GET / HTTP/1.1\r\nHost: here\r\n"
MORE = b"X-More: " + b"m" * 1000 + b"\r\n"
PIECES = 400


async def _said_to(listening: Listening, first: bytes, more: bytes) -> tuple[int, str]:
    """Send on for long after the answer must have come, and only then read it."""
    async with listening.connected() as (reader, writer):
        writer.write(first)
        for _ in range(PIECES):
            await writer.drain()
            await asyncio.sleep(0)
            writer.write(more)
        answer = await receive(reader)
        writer.close()
        await asyncio.wait_for(listening.left.wait(), 30)
    assert answer is not None
    return answer[0], answer[1]["connection"]


@pytest.fixture(params=["TCP", "TLS"])
def listening(
    request: pytest.FixtureRequest, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> Listening:
    # the end of a test is that the client leaves; a busy machine must not look like silence
    monkeypatch.setattr(wire, "_SILENCE_S", 20.0)
    return Listening(early=False, certificates=certificates if request.param == "TLS" else None)


async def test_of_a_head_that_is_too_long(listening: Listening) -> None:
    assert await _said_to(listening, HEAD, MORE) == (431, "close")


async def test_of_a_request_that_is_none(listening: Listening) -> None:
    assert await _said_to(listening, b"GET / HTTP/1.1\nHost: here\n\n", MORE) == (400, "close")


async def test_of_a_body_that_was_not_asked_for(listening: Listening) -> None:
    head = post("/v1/things/full", b"", "Expect: 100-continue").replace(b": 0", b": 1000000")
    assert await _said_to(listening, head, MORE) == (503, "close")


async def _sends_for_ever(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(MORE)
        await writer.drain()
        await asyncio.sleep(0)


async def test_who_sends_on_for_ever_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_SILENCE_S", 0.01)
    async with Listening(early=False).connected() as (_, writer):
        writer.write(b"no request\r\n\r\n")
        with pytest.raises(ConnectionError):
            await _sends_for_ever(writer)
