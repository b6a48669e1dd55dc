"""BodyMemory of server/web/body.py: room for all, and no more than a share for who is slow."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from server.errors import IncompleteBody, Overload, TooManyRequests
from server.web.body import BodyMemory, HeldBody

ROOM = 1000


class Sender:
    """A body that arrives as a test says."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()

    def send(self, size: int) -> "Sender":
        self._pieces.put_nowait(bytes(size))
        return self

    def end(self) -> "Sender":
        self._pieces.put_nowait(None)
        return self

    def break_off(self) -> None:
        self._pieces.put_nowait(b"")

    async def chunks(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            if not piece:
                raise IncompleteBody
            yield piece


async def begin(
    memory: BodyMemory, caller: str, size: int
) -> tuple[Sender, asyncio.Task[HeldBody]]:
    """Have a body begin to arrive."""
    sender = Sender().send(size)
    task = asyncio.ensure_future(memory.read(sender.chunks(), caller))
    for _ in range(10):
        await asyncio.sleep(0)
    return sender, task


async def test_bodies_beyond_the_room_are_refused() -> None:
    memory = BodyMemory(ROOM)
    with await memory.read(Sender().send(600).end().chunks(), "a"):
        with pytest.raises(Overload) as refused:
            await memory.read(Sender().send(600).end().chunks(), "b")
        assert refused.value.retry_after_s >= 1
    with await memory.read(Sender().send(600).end().chunks(), "b") as held:
        assert len(held.take()) == 600


async def test_slow_bodies_of_one_caller_leave_room_to_others() -> None:
    memory = BodyMemory(ROOM)
    _, first = await begin(memory, "slow", 200)
    second = (await begin(memory, "slow", 200))[1]
    with pytest.raises(TooManyRequests):
        await second
    with await memory.read(Sender().send(700).end().chunks(), "quick"):
        pass
    first.cancel()


async def test_one_body_alone_may_be_as_large_as_the_room() -> None:
    memory = BodyMemory(ROOM)
    with await memory.read(Sender().send(500).send(500).end().chunks(), "a") as held:
        assert held.size == ROOM


async def test_bodies_that_are_complete_do_not_count_for_the_share() -> None:
    memory = BodyMemory(ROOM)
    first = await memory.read(Sender().send(400).end().chunks(), "a")
    second = await memory.read(Sender().send(400).end().chunks(), "a")
    assert (first.size, second.size) == (400, 400)


async def test_a_body_that_breaks_off_gives_its_room_back() -> None:
    memory = BodyMemory(ROOM)
    for _ in range(10):
        sender, arriving = await begin(memory, "a", 200)
        sender.break_off()
        with pytest.raises(IncompleteBody):
            await arriving
    with await memory.read(Sender().send(ROOM).end().chunks(), "a"):
        pass


async def test_a_caller_that_leaves_gives_its_room_back() -> None:
    memory = BodyMemory(ROOM)
    for _ in range(10):
        _, arriving = await begin(memory, "a", 200)
        arriving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await arriving
    with await memory.read(Sender().send(ROOM).end().chunks(), "a"):
        pass
