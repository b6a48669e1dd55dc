"""server/jobs/runner.py and files.py: lanes that die, late work, 200 jobs, each once."""

import asyncio
import errno
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from server.errors import Overload, StorageFull, TooLarge, UnusableInput, WorkerFailed
from server.jobs.files import JobFiles
from server.jobs.job import Job, State
from server.jobs.queue import Submission
from server.jobs.runner import Runner
from server.jobs.work import Do, OnProgress, Order
from server.repository.fsops import Disk
from tests.jobs.conftest import KEEP_S, LEASE_S, Office, asked, digest_of

DEADLINE_S = 60


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


class Shop:
    """An office with files, and lanes that do what the test says."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.queue = office.queue
        self.files = JobFiles(
            office.folder / "jobs", Disk(), office.engine, max_file_bytes=1000, max_bytes=100_000
        )

    async def submit(self, sound: bytes, **changed: Any) -> Job:
        """Submit as a route does: the file first, and its name with its record."""
        async with self.files.receive(pieces(sound)) as received, self.files.turn:
            await self.files.keep(received.file, received.digest, received.size)
            job, _ = await self.queue.submit(Submission("one", asked(sound, **changed)))
        return job

    @asynccontextmanager
    async def lanes(self, do: Do, *, count: int = 1, extend_s: float = 5.0) -> AsyncIterator[None]:
        runner = Runner(self.queue, self.files, do, lanes=count, extend_s=extend_s)
        running = asyncio.ensure_future(runner.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.wait({running})
        assert running.cancelled()

    async def ended(self, job: Job, *, hurry: bool = False) -> Job:
        """Wait for the end of a job; `hurry` lets the pauses before further attempts go by."""
        async with asyncio.timeout(DEADLINE_S):
            with self.queue.listening(job.id) as rung, self.queue.listening("") as turn:
                while True:
                    rung.clear()
                    found = await self.queue.get(job.id)
                    assert found is not None
                    if found.ended_at is not None:
                        return found
                    if hurry and found.state is State.QUEUED:
                        self.office.clock.now += 30
                        self.queue._bell.ring("")
                        turn.clear()
                    await rung.wait()

    def stored(self) -> set[str]:
        return set(os.listdir(self.office.folder / "jobs"))


@pytest.fixture
async def shop(office: Office) -> Shop:
    shop = Shop(office)
    await shop.files.load()
    return shop


def reverse(order: Order) -> dict[str, Any]:
    """Write the sound backwards, as a result and as the artifact."""
    data = os.pread(order.sound, 1000, 0)[::-1]
    os.write(order.files["notes"], data)
    return {"backwards": data.decode()}


async def do(order: Order, on_progress: OnProgress) -> dict[str, Any]:
    await on_progress(0.5)
    return reverse(order)


def failing(*errors: Exception) -> Callable[[Order, OnProgress], Awaitable[dict[str, Any]]]:
    """Return what fails once with each error, then does it."""
    left = list(errors)

    async def fail(order: Order, on_progress: OnProgress) -> dict[str, Any]:
        if left:
            raise left.pop(0)
        return await do(order, on_progress)

    return fail


async def test_a_job_is_done_and_its_artifact_kept(shop: Shop) -> None:
    job = await shop.submit(b"abc")
    assert shop.stored() == {digest_of(b"abc").hex}
    async with shop.lanes(do):
        done = await shop.ended(job)
    assert (done.result, done.progress) == ({"backwards": "cba"}, 1.0)
    (kept,) = done.artifacts
    assert (kept.name, kept.digest, kept.size) == ("notes.mid", digest_of(b"cba"), 3)
    assert shop.stored() == {kept.digest.hex}, "its sound is not needed any more"
    assert shop.files.bytes == 3
    path = shop.office.folder / "jobs" / kept.digest.hex
    assert path.read_bytes() == b"cba"
    assert path.stat().st_mode & 0o222 == 0
    assert await shop.office.kinds(job.id) == ["queued", "started", "progress", "done"]


async def test_equal_artifacts_lie_on_disk_once_until_the_last_is_forgotten(shop: Shop) -> None:
    one, two = await shop.submit(b"abc"), await shop.submit(b"abc", version=2)
    async with shop.lanes(do):
        await shop.ended(one)
        await shop.ended(two)
    for job, left in ((one, 1), (two, 0)):
        assert shop.stored() == {digest_of(b"cba").hex}
        await shop.files.release(await shop.queue.remove(job.id))
        assert len(shop.stored()) == left
    assert shop.files.bytes == 0


@pytest.mark.parametrize("error", [UnusableInput("it does not fit"), TooLarge("it is too large")])
async def test_a_fault_of_the_client_fails_at_once(shop: Shop, error: UnusableInput) -> None:
    job = await shop.submit(b"abc")
    async with shop.lanes(failing(error)):
        failed = await shop.ended(job)
    assert failed.problem is not None
    assert (failed.attempts, failed.problem["detail"]) == (1, error.detail)
    assert failed.problem["type"] == f"/problems/{error.slug}"
    assert shop.stored() == set()


@pytest.mark.parametrize("error", [WorkerFailed("died"), Overload("busy"), RuntimeError("bug")])
async def test_what_is_not_the_clients_fault_is_tried_again(shop: Shop, error: Exception) -> None:
    job = await shop.submit(b"abc")
    async with shop.lanes(failing(error, error)):
        done = await shop.ended(job, hurry=True)
    assert (done.state, done.attempts) == (State.DONE, 3)
    kinds = await shop.office.kinds(job.id)
    assert kinds == [*["queued"], *["started", "retry"] * 2, "started", "progress", "done"]


async def test_it_fails_with_its_reason_when_it_was_tried_often_enough(shop: Shop) -> None:
    job = await shop.submit(b"abc")
    async with shop.lanes(failing(*[WorkerFailed("died")] * 9)):
        failed = await shop.ended(job, hurry=True)
    assert (failed.state, failed.attempts) == (State.FAILED, 3)
    assert failed.problem is not None
    assert failed.problem["detail"] == "died"


async def test_cancelling_frees_the_lane_at_once(shop: Shop) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def hang(order: Order, on_progress: OnProgress) -> dict[str, Any]:
        if order.asked.sound != digest_of(b"hangs"):
            return await do(order, on_progress)
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return {}

    job, behind = await shop.submit(b"hangs"), await shop.submit(b"abc")
    async with shop.lanes(hang):
        await asyncio.wait_for(begun.wait(), DEADLINE_S)
        await shop.queue.cancel(job.id)
        assert (await shop.ended(behind)).state is State.DONE
        assert stopped.is_set()
    assert await shop.office.kinds(job.id) == ["queued", "started", "cancelled"]
    assert shop.stored() == {digest_of(b"cba").hex}


async def test_a_stop_puts_jobs_back_as_if_nobody_had_begun(shop: Shop) -> None:
    begun = asyncio.Event()

    async def hang(order: Order, on_progress: OnProgress) -> dict[str, Any]:
        await on_progress(0.5)
        begun.set()
        await asyncio.Event().wait()
        return {}

    job = await shop.submit(b"abc")
    async with shop.lanes(hang):
        await asyncio.wait_for(begun.wait(), DEADLINE_S)
    async with shop.lanes(do):
        done = await shop.ended(job)
    assert (done.state, done.attempts) == (State.DONE, 1)
    kinds = await shop.office.kinds(job.id)
    assert kinds == ["queued", "started", "progress", "queued", "started", "done"]


async def test_a_stalled_job_is_done_by_another_lane_and_the_late_one_is_refused(
    shop: Shop,
) -> None:
    begun, late = asyncio.Event(), asyncio.Event()

    async def stall_once(order: Order, on_progress: OnProgress) -> dict[str, Any]:
        if not begun.is_set():
            begun.set()
            await late.wait()
            os.write(order.files["notes"], b"late")
            return {"backwards": "late"}
        return reverse(order)

    job = await shop.submit(b"abc")
    claims = Runner(shop.queue, shop.files, stall_once, lanes=1)
    claim = await shop.queue.claim("late")
    working = asyncio.ensure_future(claims._attempt(claim))  # nobody extends it
    await asyncio.wait_for(begun.wait(), DEADLINE_S)
    shop.office.clock.now += LEASE_S + 1
    async with shop.lanes(stall_once):
        done = await shop.ended(job, hurry=True)
        late.set()
        await asyncio.wait_for(working, DEADLINE_S)
    assert done.result == {"backwards": "cba"}
    assert shop.stored() == {digest_of(b"cba").hex}, "nothing of the late one is kept"
    assert await shop.office.kinds(job.id) == ["queued", "started", "retry", "started", "done"]


async def test_200_jobs_and_four_lanes_that_are_killed_end_each_once(shop: Shop) -> None:
    begun: Counter[str] = Counter()
    finished = 0

    async def dying(order: Order, on_progress: OnProgress) -> dict[str, Any]:
        nonlocal finished
        sound = order.asked.sound.hex
        begun[sound] += 1
        await on_progress(0.3)
        if sum(begun.values()) % 10 == 0:  # every tenth attempt dies half-way
            raise WorkerFailed("the process died")
        finished += 1
        return reverse(order)

    jobs: list[Job] = []
    async with shop.lanes(dying, count=4):
        for number in range(200):
            while sum(shop.queue.unfinished.values()) >= 15:
                await asyncio.sleep(0.01)
                shop.office.clock.now += 1  # the pauses go by
                shop.queue._bell.ring("")
            jobs.append(await shop.submit(b"job %d" % number))
        done = [await shop.ended(job, hurry=True) for job in jobs]
    assert [job.state for job in done] == [State.DONE] * 200
    results = [job.result["backwards"] for job in done if job.result is not None]
    assert results == [f"job {number}"[::-1] for number in range(200)]
    assert sum(begun.values()) > finished == 200
    for job in jobs:
        kinds = await shop.office.kinds(job.id)
        assert kinds.count("done") == 1
        assert kinds[-1] == "done"
    assert len(shop.stored()) == 200, "the artifacts, and no sound"


# room


async def test_what_does_not_fit_is_refused(shop: Shop, office: Office) -> None:
    with pytest.raises(TooLarge):
        await shop.submit(b"x" * 1001)
    shop.files._max_bytes = 1500
    await shop.submit(b"x" * 1000)
    with pytest.raises(StorageFull):
        await shop.submit(b"y" * 1000)
    assert len(shop.stored()) == 1
    assert shop.files._arriving == 0


async def test_a_full_disk_lets_jobs_wait(office: Office) -> None:
    class Full(Disk):
        is_full = False

        def flush(self, fd: int) -> None:
            if self.is_full:
                raise OSError(errno.ENOSPC, "full")
            super().flush(fd)

    disk, shop = Full(), Shop(office)
    shop.files = JobFiles(
        office.folder / "jobs", disk, office.engine, max_file_bytes=1000, max_bytes=100_000
    )
    await shop.files.load()
    job = await shop.submit(b"abc")
    disk.is_full = True
    async with shop.lanes(do):
        async with asyncio.timeout(DEADLINE_S):
            with shop.queue.listening(job.id) as rung:
                while (await shop.office.kinds(job.id))[-1] != "retry":
                    rung.clear()
                    await rung.wait()
        disk.is_full = False
        done = await shop.ended(job, hurry=True)
    assert (done.state, done.attempts) == (State.DONE, 2)


async def test_a_crash_leaves_nothing_that_nobody_holds(shop: Shop, tmp_path: Path) -> None:
    await shop.submit(b"held")
    folder = tmp_path / "jobs"
    (folder / digest_of(b"orphan").hex).write_bytes(b"orphan")
    (folder / ".part-0123").write_bytes(b"half")
    again = JobFiles(folder, Disk(), shop.office.engine, max_file_bytes=1000, max_bytes=100_000)
    await again.load()
    assert shop.stored() == {digest_of(b"held").hex}
    assert again.bytes == 4


async def test_what_is_kept_too_long_goes_with_its_files(shop: Shop) -> None:
    job = await shop.submit(b"abc")
    async with shop.lanes(do):
        await shop.ended(job)
    shop.office.clock.now += KEEP_S + 1
    await shop.files.release(await shop.queue.expire())
    assert shop.stored() == set()
    assert await shop.queue.get(job.id) is None
