"""server/inference/channel.py against a child that is a hostile test."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from server.errors import WorkerFailed
from server.inference.channel import Channel
from server.inference.frames import Message, Part
from server.inference.mailbox import HALF_BYTES, Mailbox

IN_MAILBOX, SECOND_HALF = 1 << 63, 1 << 62


class Ends:
    """A channel, the socket of its child, and the outbox as the child has it."""

    def __init__(self, channel: Channel, child: socket.socket, outbox: Mailbox | None) -> None:
        self.channel = channel
        self.child = child
        self.outbox = outbox

    async def told(self, size: int, head: bytes, payload: bytes = b"") -> Message:
        """Ask, and have the child answer with such a frame."""
        asked = asyncio.ensure_future(self.channel.ask(Message({"op": "x"}), timeout_s=10))
        self.child.sendall(struct.pack("<IQ", len(head), size) + head + payload)
        return await asked


@pytest.fixture(params=[True, False], ids=["outbox", "no outbox"])
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    outbox = Mailbox.make(child_writes=True) if request.param else None
    channel = Channel(*await asyncio.open_connection(sock=ours), None, outbox)
    yield Ends(channel, theirs, outbox)
    channel.close()
    theirs.close()
    await asyncio.sleep(0)  # asyncio closes a socket one turn later


def head_of(size: int) -> bytes:
    listed = [{"name": "y", "size": size, "dtype": None, "shape": []}]
    return json.dumps({"parts": listed}).encode()


async def test_an_answer_behind_its_head_is_read(ends: Ends) -> None:
    answer = await ends.told(3, head_of(3), b"abc")
    assert answer.parts == [Part("y", b"abc")]


@pytest.mark.parametrize("mark", [IN_MAILBOX, IN_MAILBOX | SECOND_HALF])
async def test_an_answer_in_an_outbox_is_read_where_there_is_one(ends: Ends, mark: int) -> None:
    if ends.outbox is None:
        with pytest.raises(WorkerFailed, match="nonsense"):
            await ends.told(mark | 3, head_of(3))
        return
    half = int(bool(mark & SECOND_HALF))
    ends.outbox.get(half, 3)[:] = b"abc"
    answer = await ends.told(mark | 3, head_of(3))
    ends.outbox.get(half, 3)[:] = b"xyz"  # too late: a copy was taken
    assert answer.parts == [Part("y", b"abc")]


@pytest.mark.parametrize("size", [HALF_BYTES + 1, (1 << 61) + 1, 1 << 62])
@pytest.mark.parametrize("mark", [0, IN_MAILBOX, IN_MAILBOX | SECOND_HALF])
async def test_an_answer_that_cannot_be_is_nonsense(ends: Ends, mark: int, size: int) -> None:
    if mark == 0 and size == HALF_BYTES + 1:
        return  # that is a payload on its way
    with pytest.raises(WorkerFailed, match="nonsense"):
        await ends.told(mark | size, head_of(5))


async def test_an_end_instead_of_an_answer_is_told(ends: Ends) -> None:
    asked = asyncio.ensure_future(ends.channel.ask(Message({"op": "x"}), timeout_s=10))
    ends.child.close()
    with pytest.raises(WorkerFailed, match="ended"):
        await asked


async def test_two_questions_are_answered_in_their_order(ends: Ends) -> None:
    asked = [ends.channel.ask(Message({"op": "x"}), timeout_s=10) for _ in range(2)]
    for letter in (b"a", b"b"):
        head = head_of(1)
        ends.child.sendall(struct.pack("<IQ", len(head), 1) + head + letter)
    answers = await asyncio.gather(*asked)
    assert [bytes(answer.parts[0].data) for answer in answers] == [b"a", b"b"]
