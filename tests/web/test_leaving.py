"""Clients that leave: nothing of their connections stays, wherever they were in a request."""

import asyncio

import pytest

from tests.web.listening import FULL, Listening, post


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
