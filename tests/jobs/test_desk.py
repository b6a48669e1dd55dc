"""server/jobs/desk.py: jobs handed in with their files, and followed to their end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from server.jobs.desk import Desk
from server.jobs.files import JobFiles
from server.jobs.job import Event, Job, Kind, State
from server.jobs.queue import Submission
from server.repository.fsops import Disk
from tests.jobs.conftest import Office, asked, digest_of

DEADLINE_S = 60


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.fixture
async def desk(office: Office) -> Desk:
    files = JobFiles(
        office.folder / "jobs", Disk(), office.engine, max_file_bytes=1000, max_bytes=100_000
    )
    desk = Desk(office.queue, files)
    await desk.load()
    return desk


async def hand_in(desk: Desk, sound: bytes, owner: str = "one") -> tuple[Job, bool]:
    async with desk.files.receive(pieces(sound)) as received:
        return await desk.submit(received, Submission(owner, asked(sound)))


async def read(desk: Desk, job: str, after: int, *, at_most: int = 10_000) -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(DEADLINE_S), aclosing(desk.follow(job, after, beat_s=60)) as events:
        async for event in events:
            assert event is not None
            found.append(event)
            if len(found) == at_most:
                break
    return found


async def test_a_sound_that_comes_again_lies_here_once(desk: Desk, office: Office) -> None:
    folder = office.folder / "jobs"
    (first, is_new), (again, is_new_again) = [await hand_in(desk, b"abc") for _ in range(2)]
    assert (is_new, is_new_again, again.id) == (True, False, first.id)
    other, _ = await hand_in(desk, b"abc", "two")
    assert [path.name for path in folder.iterdir()] == [digest_of(b"abc").hex]
    await desk.cancel(first)
    assert len(list(folder.iterdir())) == 1, "the other job has it"
    await desk.cancel(other)
    assert list(folder.iterdir()) == []
    for job in (first, other):
        await desk.remove(job)
        assert await desk.queue.get(job.id) is None


async def test_what_is_answered_from_a_job_that_is_done_leaves_no_sound(
    desk: Desk, office: Office
) -> None:
    await hand_in(desk, b"abc")
    await desk.queue.finish(await desk.queue.claim("w"), {}, [])
    await desk.files.release([digest_of(b"abc")])
    job, is_new = await hand_in(desk, b"abc")
    assert (job.state, is_new) == (State.DONE, False)
    assert list((office.folder / "jobs").iterdir()) == []
    assert desk.files.bytes == 0


async def test_readers_that_drop_out_through_100_events_miss_and_repeat_nothing(
    desk: Desk,
) -> None:
    job, _ = await hand_in(desk, b"abc")

    async def work() -> None:
        claim = await desk.queue.claim("w")
        for percent in range(1, 101):
            await desk.queue.progress(claim, percent / 100)
        await desk.queue.finish(claim, {}, [])

    async def reading(at_most: int) -> list[Event]:
        found: list[Event] = []
        while not found or found[-1].kind is not Kind.DONE:
            found += await read(desk, job.id, len(found), at_most=at_most)
        return found

    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(reading(at_most)) for at_most in (1, 3, 7, 10_000)]
        group.create_task(work())
    for reader in readers:
        events = reader.result()
        assert [event.number for event in events] == list(range(1, 104))
        assert [event.data["progress"] for event in events[2:-1]] == [
            percent / 100 for percent in range(1, 101)
        ]


async def test_who_hears_nothing_hears_that(desk: Desk) -> None:
    job, _ = await hand_in(desk, b"abc")
    async with asyncio.timeout(DEADLINE_S), aclosing(desk.follow(job.id, 1, beat_s=0.01)) as told:
        assert [await anext(told) for _ in range(3)] == [None, None, None]


async def test_a_stream_ends_with_its_job_with_its_record_and_with_the_server(
    desk: Desk,
) -> None:
    job, _ = await hand_in(desk, b"abc")
    following = asyncio.ensure_future(read(desk, job.id, 1))
    await asyncio.sleep(0)
    await desk.cancel(job)
    assert [event.kind for event in await following] == [Kind.CANCELLED]
    assert await read(desk, job.id, 2) == [], "its end was told before"
    await desk.remove(job)
    assert await read(desk, job.id, 0) == []
    other, _ = await hand_in(desk, b"other")
    following = asyncio.ensure_future(read(desk, other.id, 1))
    await asyncio.sleep(0)
    desk.stop()
    assert await following == []


async def test_who_waits_hears_of_the_end_or_how_it_stands(desk: Desk) -> None:
    job, _ = await hand_in(desk, b"abc")
    assert (await desk.ended(job, 0.01)).state is State.QUEUED
    waiting = asyncio.ensure_future(desk.ended(job, DEADLINE_S))
    await asyncio.sleep(0)
    await desk.queue.finish(await desk.queue.claim("w"), {"count": 1}, [])
    done = await waiting
    assert (done.state, done.result) == (State.DONE, {"count": 1})
