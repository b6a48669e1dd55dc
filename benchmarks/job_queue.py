"""What the queue of jobs costs by itself: no sound is decoded and nothing is computed.

    python -m benchmarks.job_queue --jobs 100 --events 20

Every job is submitted, claimed, told of so many times, and ended, each a durable commit on the disk
of `--folder`; then a reader follows every job from its first event to its last.
"""

import argparse
import asyncio
import hashlib
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from server import database
from server.digest import Digest
from server.jobs.book import Terms
from server.jobs.desk import Desk
from server.jobs.embedded import EmbeddedQueue
from server.jobs.files import JobFiles
from server.jobs.job import Asked
from server.jobs.queue import Submission
from server.repository.fsops import Disk

_BASELINE = "none"


def main() -> None:
    """Print a line for each step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--events", type=int, default=20)
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--folder", type=Path, default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        asyncio.run(measure(Path(folder), asked.jobs, asked.events, asked.lanes))


async def measure(folder: Path, jobs: int, events: int, lanes: int) -> None:
    """Take jobs through the queue."""
    url = f"sqlite:///{folder / 'registry.sqlite3'}"
    database.migrate(url)
    engine = database.open_engine(url)
    queue = EmbeddedQueue(engine, Terms(attempts=3, keep_s=3600, most=2 * jobs))
    files = JobFiles(folder / "jobs", Disk(), engine, max_file_bytes=1, max_bytes=1)
    desk = Desk(queue, files)
    await desk.load()
    ids: list[str] = []

    async def submit() -> None:
        for number in range(jobs):
            job, _ = await queue.submit(Submission("owner", _asked(number)))
            ids.append(job.id)

    async def lane(name: str) -> None:
        for _ in range(jobs // lanes):
            claim = await queue.claim(name)
            for step in range(events):
                await queue.progress(claim, (step + 1) / events)
            await queue.finish(claim, {}, [])

    async def work() -> None:
        await asyncio.gather(*(lane(f"lane {number}") for number in range(lanes)))

    async def read() -> None:
        for job in ids[: jobs // lanes * lanes]:
            seen = [event async for event in desk.follow(job, 0, beat_s=60)]
            if len(seen) != events + 3:
                raise RuntimeError(f"{len(seen)} events of {job}")

    await _timed("submitted", jobs, submit)
    await _timed(f"done by {lanes} lanes, {events} events each", jobs, work)
    await _timed("read from the first event to the last", jobs, read)
    await engine.dispose()


async def _timed(what: str, count: int, work: Callable[[], Awaitable[None]]) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    await work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{what}: {count / wall:.0f} jobs a second, {1e3 * cpu / count:.2f} ms of CPU a job")


def _asked(number: int) -> Asked:
    sound = Digest(hashlib.sha256(b"%d" % number).digest())
    return Asked("none", 1, None, None, _BASELINE, {}, sound, 0, None, {})


if __name__ == "__main__":
    main()
