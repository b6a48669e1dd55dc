"""server/web/spec2spec.py and time_codes.py: what is forgotten, and when, with a queue of jobs."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from server.errors import Overload, StorageFull, UnusableInput
from server.inference.contracts import Contracts
from server.inference.predictor import Predictor
from server.jobs.desk import Desk
from server.jobs.job import Job, Kept, State
from server.jobs.work import OnProgress, Order
from server.repository.aliases import Aliases
from server.tasks.spec2spec import SPEC2SPEC
from server.web.demonstration import OWNER, Demonstration, Terms
from server.web.time_codes import KEEP_S, TimeCodes
from server.web.v1.job_requests import JobRequests
from tests.jobs.conftest import Clock, asked, digest_of, office
from tests.jobs.test_runner import Shop, pieces, shop
from tests.tasks.working import describe

__all__ = ["office", "shop"]


def job(name: str, size: int = 10) -> Job:
    given = (name, OWNER, asked(), State.DONE, 0)
    kept = Kept("out.wav", digest_of(name.encode()), size)
    return Job(*given, attempts=1, fence=1, progress=1.0, created_at=0.0, artifacts=(kept,))


def test_a_code_is_good_for_900_seconds() -> None:
    clock = Clock()
    codes = TimeCodes(clock)
    code = codes.add(job("one"))
    assert KEEP_S == 900
    clock.now += 899.9
    assert codes.job(code) == "one"
    clock.now += 0.1
    assert codes.job(code) is None


def test_codes_of_one_second_differ() -> None:
    codes = TimeCodes()
    assert len({codes.add(job("one")) for _ in range(100)}) == 100


async def test_a_job_is_over_with_the_last_of_its_codes() -> None:
    codes = TimeCodes(keep_s=0.2)
    first = codes.add(job("one"))
    await asyncio.sleep(0.05)
    second = codes.add(job("one"))
    codes.add(job("two", 5))
    assert codes.kept_bytes == 15
    over = codes.over()
    async with asyncio.timeout(10):
        assert await anext(over) == "one"
        assert (codes.job(first), codes.job(second)) == (None, None)
        assert await anext(over) == "two"
        waiting = asyncio.ensure_future(anext(over))
        await asyncio.sleep(0)
        codes.add(job("three"))
        assert await waiting == "three"
    assert (codes.kept_bytes, len(codes)) == (0, 0)


async def make(order: Order, _: OnProgress) -> dict[str, Any]:
    """Write the sound into every file."""
    for fd in order.files.values():
        os.write(fd, os.pread(order.sound, 1000, 0))
    return {}


async def wait(_order: Order, _: OnProgress) -> dict[str, Any]:
    await asyncio.Event().wait()
    return {}


async def refuse(_order: Order, _: OnProgress) -> dict[str, Any]:
    raise UnusableInput("not this one")


def demonstration(shop: Shop, *, keep_s: float = KEEP_S, **changed: Any) -> Demonstration:
    async def contracts() -> Contracts:
        return Contracts({"spec2spec": describe(SPEC2SPEC)}, {})

    nobody: Any = None  # no model is named
    requests = JobRequests(contracts, cast(Aliases, nobody), cast(Predictor, nobody))
    given = {"model": None, "is_fetched": False, "max_bytes": 1000, "max_kept_bytes": 1000}
    terms = Terms(**{**given, "wait_s": 30.0, **changed})
    return Demonstration(Desk(shop.queue, shop.files), requests, terms, TimeCodes(keep_s=keep_s))


async def code_for(demo: Demonstration, sound: bytes) -> str:
    async with demo.desk.files.receive(pieces(sound)) as received:
        return await demo.make(received, {})


@asynccontextmanager
async def running(demo: Demonstration) -> AsyncIterator[None]:
    task = asyncio.ensure_future(demo.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
    assert task.cancelled()


async def emptied(shop: Shop) -> None:
    async with asyncio.timeout(10):
        while shop.stored():
            await asyncio.sleep(0.02)


async def test_files_are_forgotten_by_a_timer(shop: Shop) -> None:
    demo = demonstration(shop, keep_s=0.3)
    async with shop.lanes(make), running(demo):
        code = await code_for(demo, b"a sound")
        name = demo.codes.job(code)
        assert name is not None
        assert shop.stored() == {digest_of(b"a sound").hex}
        await emptied(shop)
        assert demo.codes.job(code) is None
        assert await shop.queue.get(name) is None


async def test_one_sound_is_one_job_for_all(shop: Shop) -> None:
    demo = demonstration(shop)
    async with shop.lanes(make):
        codes = await asyncio.gather(*(code_for(demo, b"a sound") for _ in range(5)))
    assert len(set(codes)) == 5
    assert len({demo.codes.job(code) for code in codes}) == 1


async def test_who_leaves_leaves_nothing(shop: Shop) -> None:
    demo = demonstration(shop)
    async with shop.lanes(wait):
        one = asyncio.ensure_future(code_for(demo, b"a sound"))
        while not (begun := await shop.queue.page(OWNER, limit=9, state=State.RUNNING)):
            await asyncio.sleep(0.01)
        two = asyncio.ensure_future(code_for(demo, b"a sound"))
        while demo._awaited[begun[0].asked.content] < 2:
            await asyncio.sleep(0.01)
        one.cancel()
        await asyncio.wait({one})
        assert await shop.queue.page(OWNER, limit=9, state=State.RUNNING)  # two waits for it
        two.cancel()
        await asyncio.wait({two})
        assert await shop.queue.page(OWNER, limit=9) == []
        await emptied(shop)


@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_who_leaves_at_any_moment_leaves_nothing(shop: Shop, turns: int) -> None:
    demo = demonstration(shop)
    async with shop.lanes(wait):
        hasty = asyncio.ensure_future(code_for(demo, b"a sound"))
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        hasty.cancel()
        await asyncio.wait({hasty})
        await emptied(shop)
    assert await shop.queue.page(OWNER, limit=9) == []


async def test_what_failed_is_told_and_forgotten(shop: Shop) -> None:
    demo = demonstration(shop)
    async with shop.lanes(refuse):
        with pytest.raises(UnusableInput, match="not this one"):
            await code_for(demo, b"a sound")
    assert await shop.queue.page(OWNER, limit=9) == []
    assert shop.stored() == set()


async def test_an_earlier_process_leaves_nothing(shop: Shop) -> None:
    async with shop.lanes(make):
        await code_for(demonstration(shop), b"a sound")
    assert shop.stored()
    await demonstration(shop).load()
    assert shop.stored() == set()


async def test_there_is_no_room_without_end(shop: Shop) -> None:
    demo = demonstration(shop, max_kept_bytes=20)
    demo.check_room()
    demo.codes.add(job("one", 20))
    with pytest.raises(StorageFull):
        demo.check_room()
    many = demonstration(shop)
    for _ in range(1000):
        many.codes.add(job("one", 1))
    with pytest.raises(Overload):
        many.check_room()
