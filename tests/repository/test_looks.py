"""server/repository/looks.py: files that no lease tells of, in staging and through a sweep."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from server.repository.fsops import Disk
from server.repository.looks import Looks
from server.repository.quiet import Left, Quiet, open_quiet
from server.repository.registry import State
from server.repository.sweep import Sweeper
from tests.repository.conftest import House, digest_of
from tests.repository.disks import always

MODEL = b"a model" * 1000
OTHER = 12345
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")


def put(house: House, *, foreign: bool, data: bytes = MODEL) -> Path:
    """Put a file into staging that no lease tells of."""
    path = house.layout.uploads / "by-hand.h5"
    path.write_bytes(data)
    if foreign:
        os.chown(path, OTHER, OTHER)
    else:
        house.disk.fails = always("lease", errno.EINVAL)
    return path


def sweeper(house: House, *, apart_s: float) -> Sweeper:
    return Sweeper(
        layout=house.layout,
        registry=house.registry,
        staging=house.staging,
        store=house.store,
        on_promoted=lambda: None,
        looks=Looks(apart_s),
    )


def seen(house: House, looks: Looks) -> Left | bool:
    """Open the file; say whether it is kept as it is, or why it is left."""
    found = open_quiet(house.layout, "by-hand.h5", looks)
    if isinstance(found, Left):
        return found
    os.close(found.fd)
    assert found.digest == digest_of(MODEL)
    return found.is_ours


BOTH = pytest.mark.parametrize(
    "foreign", [pytest.param(True, marks=needs_root, id="foreign"), pytest.param(False, id="ours")]
)


@BOTH
async def test_a_file_is_hashed_at_the_second_look_that_is_far_enough(
    house: House, foreign: bool
) -> None:
    put(house, foreign=foreign)
    hashed: list[str] = []
    before = house.disk.fails

    def watch(act: str, name: Path) -> int:
        hashed.extend([act] if act == "digest" else [])
        return before(act, name)

    house.disk.fails = watch
    soon, far = Looks(60.0), Looks(0.0)
    assert [seen(house, soon) for _ in range(3)] == [Left.BUSY] * 3
    assert seen(house, far) is Left.BUSY
    assert hashed == []
    assert seen(house, far) is False
    assert hashed == ["digest"]


def appended(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"!")


def rewritten(path: Path) -> None:
    status = path.stat()
    path.write_bytes(bytes(len(MODEL)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replaced(path: Path) -> None:
    status = path.stat()
    path.rename(path.with_name(".old"))
    path.write_bytes(MODEL)
    os.chown(path, status.st_uid, status.st_gid)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@BOTH
@pytest.mark.parametrize("change", [appended, rewritten, replaced])
async def test_a_change_between_two_looks_is_seen(
    house: House, foreign: bool, change: Callable[[Path], None]
) -> None:
    path = put(house, foreign=foreign)
    looks = Looks(0.0)
    assert seen(house, looks) is Left.BUSY
    change(path)
    assert seen(house, looks) is Left.BUSY


@BOTH
@pytest.mark.parametrize("change", [appended, rewritten])
async def test_a_change_while_it_is_hashed_is_seen(
    house: House, foreign: bool, change: Callable[[Path], None]
) -> None:
    path = put(house, foreign=foreign)
    looks, before = Looks(0.0), house.disk.fails

    def meanwhile(act: str, name: Path) -> int:
        if act == "digest":
            change(path)
        return before(act, name)

    assert seen(house, looks) is Left.BUSY
    house.disk.fails = meanwhile
    assert seen(house, looks) is Left.BUSY


@BOTH
async def test_what_is_stored_is_a_copy_that_only_the_server_may_write(
    house: House, foreign: bool
) -> None:
    path = put(house, foreign=foreign)
    digest = digest_of(MODEL)
    await house.registry.register(digest)
    with path.open("r+b") as writer:  # opened long before, and not closed for long after
        sweeps = sweeper(house, apart_s=0.0)
        assert (await sweeps.sweep()).left == 1
        assert (await sweeps.sweep()).promoted == [digest]
        writer.write(b"something else")
    stored = house.store.path(digest)
    assert stored.read_bytes() == MODEL
    assert (stored.stat().st_uid, stored.stat().st_mode & 0o777) == (os.geteuid(), 0o440)
    assert house.names() == []
    assert await house.state_of(digest) is State.PROMOTED


@BOTH
async def test_what_nobody_registered_is_discarded_after_the_second_look(
    house: House, foreign: bool
) -> None:
    put(house, foreign=foreign)
    patient, quick = sweeper(house, apart_s=60.0), sweeper(house, apart_s=0.0)
    for _ in range(3):
        assert (await patient.sweep()).left == 1
    assert house.names() == ["by-hand.h5"]
    await quick.sweep()
    assert (await quick.sweep()).discarded == 1
    assert house.names() == []


@needs_root
async def test_a_change_while_it_is_copied_stores_nothing(house: House) -> None:
    path = put(house, foreign=True)
    await house.registry.register(digest_of(MODEL))
    sweeps = sweeper(house, apart_s=0.0)
    await sweeps.sweep()

    def meanwhile(act: str, _name: Path) -> int:
        if act == "read":
            house.disk.fails = lambda _act, _name: 0
            path.write_bytes(b"another model")
        return 0

    house.disk.fails = meanwhile
    assert (await sweeps.sweep()).left == 1
    assert not house.store.holds(digest_of(MODEL))
    assert house.names() == ["by-hand.h5"]


@needs_root
async def test_a_disk_that_is_full_leaves_it_for_later(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    put(house, foreign=True)
    await house.registry.register(digest_of(MODEL))
    sweeps = sweeper(house, apart_s=0.0)
    await sweeps.sweep()
    house.disk.fails = always("write", errno.ENOSPC)
    assert (await sweeps.sweep()).left == 1
    assert "upload could not be settled" in caplog.text
    house.disk.fails = lambda _act, _name: 0
    assert (await sweeps.sweep()).promoted == [digest_of(MODEL)]


@needs_root
async def test_a_file_that_is_given_away_while_it_is_hashed_is_left(house: House) -> None:
    path = house.layout.uploads / "by-hand.h5"
    path.write_bytes(MODEL)

    def meanwhile(act: str, _name: Path) -> int:
        if act == "digest":
            os.chown(path, OTHER, -1)
        return 0

    house.disk.fails = meanwhile
    assert open_quiet(house.layout, path.name, Looks()) is Left.BUSY


async def test_a_name_that_is_gone_is_forgotten(house: House) -> None:
    looks = Looks(0.0)
    path = put(house, foreign=False)
    assert seen(house, looks) is Left.BUSY
    looks.keep_only({path.name})
    assert seen(house, looks) is False
    looks.keep_only(set())
    assert seen(house, looks) is Left.BUSY


async def test_a_lease_needs_no_second_look(house: House) -> None:
    path = house.layout.uploads / "by-hand.h5"
    path.write_bytes(MODEL)
    found = await asyncio.to_thread(open_quiet, house.layout, path.name, Looks())
    assert isinstance(found, Quiet)
    assert found.is_ours
    assert not Disk().is_written(found.fd)
    os.close(found.fd)
