"""server/repository/threads.py: what is opened for somebody who has left is closed."""

import asyncio
import threading

import pytest

from server.errors import ServerError
from server.repository.threads import open_on_disk


async def test_what_is_opened_is_had() -> None:
    closed: list[int] = []
    assert await open_on_disk(lambda: 7, closed.append) == 7
    assert closed == []


async def test_what_cannot_be_opened_is_not_closed() -> None:
    closed: list[int] = []

    def fail() -> int:
        raise OSError(5, "Input/output error")

    with pytest.raises(ServerError):
        await open_on_disk(fail, closed.append)
    assert closed == []


@pytest.mark.parametrize("times", [1, 3])
async def test_what_nobody_waits_for_any_more_is_closed(times: int) -> None:
    closed: list[int] = []
    is_opening, may_open = threading.Event(), threading.Event()

    def open_slowly() -> int:
        is_opening.set()
        may_open.wait(10)
        return 7

    task = asyncio.create_task(open_on_disk(open_slowly, closed.append))
    await asyncio.to_thread(is_opening.wait, 10)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    may_open.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed == [7]
