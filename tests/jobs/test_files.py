"""server/jobs/files.py: no descriptor is left for somebody who has gone away."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from server.job_errors import ArtifactNotFound
from server.jobs.files import JobFiles
from tests.jobs.conftest import Office, digest_of
from tests.repository.disks import FailingDisk

Ask = Callable[[JobFiles], Awaitable[object]]


def open_below(folder: Path) -> list[str]:
    """List what this process has open in a folder."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue  # the one that listed them
        found += [name] if name.startswith(f"{folder}/") else []
    return found


async def sound() -> AsyncIterator[bytes]:
    yield b"sound"


async def receive(files: JobFiles) -> None:
    async with files.receive(sound()):
        pass


@pytest.mark.parametrize(
    ("act", "ask"),
    [("open", lambda files: files.open(digest_of(b"kept"))), ("create", receive)],
    ids=["a file is opened", "a sound arrives"],
)
async def test_who_leaves_while_the_disk_opens_leaves_nothing_open(
    office: Office, act: str, ask: Ask
) -> None:
    folder = office.folder / "jobs"
    is_opening, may_open = threading.Event(), threading.Event()

    def slowly(done: str, _name: Path) -> int:
        if done == act:
            is_opening.set()
            may_open.wait(10)
        return 0

    files = JobFiles(
        folder, FailingDisk(slowly), office.engine, max_file_bytes=1000, max_bytes=1000
    )
    await files.load()
    (folder / digest_of(b"kept").hex).write_bytes(b"kept")

    async def asking() -> None:
        await ask(files)

    task = asyncio.create_task(asking())
    await asyncio.to_thread(is_opening.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    may_open.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert open_below(folder) == []


async def test_a_file_that_is_gone_is_told(office: Office) -> None:
    files = JobFiles(
        office.folder / "jobs", FailingDisk(), office.engine, max_file_bytes=1000, max_bytes=1000
    )
    await files.load()
    with pytest.raises(ArtifactNotFound):
        await files.open(digest_of(b"gone"))
