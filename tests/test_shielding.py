"""server/shielding.py: what was begun ends, however often somebody stops waiting for it."""

import asyncio

import pytest

from server.shielding import run_to_end


@pytest.mark.parametrize("times", [1, 2, 5])
async def test_work_ends_before_its_cancellations_take_effect(times: int) -> None:
    go_on, done = asyncio.Event(), []

    async def work() -> None:
        await go_on.wait()
        done.append(True)

    waiting = asyncio.ensure_future(run_to_end(work()))
    for _ in range(times):
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        assert not waiting.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert done == [True]


async def test_work_that_fails_after_a_cancellation_still_ends_in_it() -> None:
    go_on = asyncio.Event()

    async def work() -> None:
        await go_on.wait()
        raise ValueError("it failed")

    waiting = asyncio.ensure_future(run_to_end(work()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_what_work_returns_and_raises_is_handed_on() -> None:
    async def work(value: int) -> int:
        if value < 0:
            raise ValueError("negative")
        return value

    assert await run_to_end(work(5)) == 5
    with pytest.raises(ValueError, match="negative"):
        await run_to_end(work(-1))
