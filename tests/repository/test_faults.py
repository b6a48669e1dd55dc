"""A disk that fails or is full, at every act of receive, settle and sweep; needs no privilege."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.errors import ServerError, StorageFull
from server.repository.layout import Layout
from server.repository.registry import State
from server.repository.staging import Staging
from tests.repository.conftest import House, digest_of, pieces
from tests.repository.disks import FailingDisk, always

DATA = b"model" * 1000
DIGEST = digest_of(DATA)
ACTS = ("create", "write", "flush", "link", "flush folder", "status", "free")
CODES = (errno.EIO, errno.ENOSPC, errno.EINTR)


def once(act: str, number: int, code: int) -> Callable[[str, Path], int]:
    """Return what makes one act of a kind fail, by its number."""
    count = 0

    def fails(done: str, _name: Path) -> int:
        nonlocal count
        count += done == act
        return code if done == act and count == number else 0

    return fails


async def settle(house: House) -> None:
    async with house.staging.receive(pieces(DATA)) as upload:
        await house.sweeper.settle(upload)


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("act", ACTS)
async def test_a_signed_upload_that_fails_is_told_and_can_be_sent_again(
    house: House, act: str, number: int, code: int
) -> None:
    house.disk.fails = once(act, number, code)
    try:
        await settle(house)
    except (ServerError, OSError):
        assert await house.state_of(DIGEST) is not State.PROMOTED
    else:
        assert await house.state_of(DIGEST) is State.PROMOTED
    assert house.names() == []
    house.disk.fails = lambda _act, _name: 0
    await settle(house)
    assert house.store.verify(DIGEST) == len(DATA)
    assert await house.state_of(DIGEST) is State.PROMOTED


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("act", [*ACTS, "open", "unlink", "lease"])
async def test_an_upload_that_cannot_be_swept_waits_for_the_next_sweep(
    house: House, act: str, code: int
) -> None:
    await house.registry.register(DIGEST)
    await house.upload(DATA)
    house.disk.fails = always(act, code)
    await house.sweeper.sweep()
    house.disk.fails = lambda _act, _name: 0
    await house.sweeper.sweep()
    assert house.store.verify(DIGEST) == len(DATA)
    assert (await house.state_of(DIGEST), house.names()) == (State.PROMOTED, [])


async def test_a_file_whose_flush_failed_is_never_trusted_again(house: House) -> None:
    await house.registry.register(DIGEST)
    (house.layout.uploads / "by-hand.h5").write_bytes(DATA)
    house.disk.fails = once("flush", 1, errno.EIO)
    assert (await house.sweeper.sweep()).promoted == []
    assert house.names() == []
    assert (await house.sweeper.sweep()).promoted == []
    assert await house.state_of(DIGEST) is State.REGISTERED


async def test_a_name_whose_folder_could_not_be_flushed_is_flushed_before_the_answer(
    house: House,
) -> None:
    house.disk.fails = always("flush folder")
    with pytest.raises(ServerError):
        await settle(house)
    with pytest.raises(ServerError):
        await settle(house)  # the name is there, and not yet for good
    assert await house.state_of(DIGEST) is State.REGISTERED


async def test_what_a_killed_process_linked_is_flushed_before_it_is_recorded(house: House) -> None:
    await house.registry.register(DIGEST)
    house.store.path(DIGEST).write_bytes(DATA)
    for act in ("flush", "flush folder"):
        house.disk.fails = always(act)
        await house.recovery.reconcile()
        assert await house.state_of(DIGEST) is State.REGISTERED
    house.disk.fails = lambda _act, _name: 0
    await house.recovery.reconcile()
    assert await house.state_of(DIGEST) is State.PROMOTED


@pytest.mark.parametrize("act", ["create", "write", "flush", "link"])
async def test_a_full_disk_is_told_as_such(house: House, act: str) -> None:
    house.disk.fails = always(act, errno.ENOSPC)
    with pytest.raises(StorageFull):
        await settle(house)


async def test_a_disk_that_fails_is_not_told_as_full(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.disk.fails = always("write")
    with pytest.raises(ServerError) as told:
        await settle(house)
    assert not isinstance(told.value, StorageFull)
    assert "disk failed" in caplog.text


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 512 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_file_system_that_is_really_full_keeps_nothing(small_disk: Path) -> None:
    disk = FailingDisk()
    disk.free = 1 << 40  # no admission shall save it
    layout = Layout(small_disk / "models", small_disk / "uploads", disk)
    assert layout.faults() == []
    staging = Staging(layout, max_file_bytes=1 << 20, max_bytes=1 << 22, max_uploads=2)
    free = os.statvfs(small_disk).f_bavail
    for size in (600_000, 1_000_000):
        with pytest.raises(StorageFull):
            async with staging.receive(pieces(b"x" * size, 50_000)):
                pytest.fail("it was taken")
        assert os.statvfs(small_disk).f_bavail == free
    async with staging.receive(pieces(b"x" * 300_000, 50_000)) as upload:
        assert upload.size == 300_000


async def test_a_start_on_a_disk_that_cannot_be_read_names_the_model(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    await house.registry.register(DIGEST)
    house.store.path(DIGEST).write_bytes(DATA)
    house.disk.fails = always("open")
    await house.recovery.reconcile()
    assert "could not be settled" in caplog.text
    assert not await house.recovery.adopt_stored(DIGEST)
    assert "could not be read" in caplog.text


async def test_a_store_that_is_swapped_under_an_upload_is_noticed(house: House) -> None:
    def swap(act: str, name: Path) -> int:
        if act == "flush folder" and name == house.layout.models:
            (name / DIGEST.hex).unlink()
            (name / DIGEST.hex).write_bytes(b"other bytes")
            house.disk.fails = lambda _act, _name: 0
        return 0

    house.disk.fails = swap
    with pytest.raises(ServerError):
        await settle(house)
    assert await house.state_of(DIGEST) is State.REGISTERED
