"""server/repository/batch.py and the sweep by the batch: order, crashes, files that go wrong."""

import asyncio
import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from server.digest import Digest
from server.repository.batch import MAX_FILES, Batches
from server.repository.looks import Looks
from server.repository.quiet import Left, Quiet
from server.repository.registry import State
from server.repository.staging import Staging
from server.repository.sweep import Sweeper
from tests.repository.conftest import House, digest_of

FILES = 5


class PowerCut(BaseException):
    """Nothing after this happens."""


def stage(house: House, count: int) -> dict[str, bytes]:
    """Put files into staging by hand; return their names, in order, and bytes."""
    files = {f"{number:05}": secrets.token_bytes(100) for number in range(count)}
    for name, data in files.items():
        (house.layout.uploads / name).write_bytes(data)
    return files


async def register(house: House, files: dict[str, bytes]) -> list[Digest]:
    digests = [digest_of(data) for data in files.values()]
    await asyncio.gather(*map(house.registry.register, digests))
    return digests


def watch(house: House, monkeypatch: pytest.MonkeyPatch, seen: Callable[[str], None]) -> None:
    """Tell of each link, flush and unlink, and of each commit, before it happens."""
    for called in ("link", "fsync", "unlink"):
        real = getattr(os, called)

        def told(
            *arguments: object, what: str = called, real: object = real, **named: object
        ) -> object:
            is_folder = what == "fsync" and Path(f"/proc/self/fd/{arguments[0]}").is_dir()
            seen("flush of a folder" if is_folder else what)
            assert callable(real)
            return real(*arguments, **named)

        monkeypatch.setattr(os, called, told)
    sa.event.listen(house.engine._engine, "commit", lambda _connection: seen("commit"))


async def test_files_of_many_batches_are_promoted_in_the_order_of_their_names(
    house: House,
) -> None:
    files = stage(house, 3 * MAX_FILES)
    registered = dict(list(files.items())[::2])
    digests = await register(house, registered)
    report = await house.sweeper.sweep()
    assert report.promoted == digests
    assert report.discarded == len(files) - len(registered)
    assert house.names() == []
    assert house.layout.stored() == sorted(digests, key=lambda digest: digest.raw)


async def test_a_batch_shares_a_flush_and_a_commit(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(house, stage(house, FILES))
    seen: list[str] = []
    watch(house, monkeypatch, seen.append)
    await house.sweeper.sweep()
    assert sorted(seen[: 2 * FILES]) == ["fsync"] * FILES + ["link"] * FILES
    assert seen[2 * FILES :] == ["flush of a folder", "commit", *["unlink"] * FILES]


# flushes of files, links, the flush of the folder, the commit, the names in staging
@pytest.mark.parametrize("survived", range(3 * FILES + 3))
async def test_a_power_cut_at_any_point_loses_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    files = stage(house, FILES)
    digests = await register(house, files)
    steps = 0

    def count(_what: str) -> None:
        nonlocal steps
        steps += 1
        if steps > survived:
            raise PowerCut

    with monkeypatch.context() as patched:
        watch(house, patched, count)
        try:
            await house.sweeper.sweep()
        except PowerCut:
            assert survived < 3 * FILES + 2
        steps = -1_000_000
    recorded = set(await house.registry.with_files())
    assert recorded <= set(house.layout.stored())
    assert {digest_of(files[name]) for name in files if name not in house.names()} <= recorded
    await house.recovery.reconcile()
    await after_restart(house).sweep()
    assert set(await house.registry.with_files()) == set(house.layout.stored()) == set(digests)
    assert house.names() == []


def after_restart(house: House) -> Sweeper:
    staging = Staging(house.layout, max_file_bytes=100, max_bytes=1000, max_uploads=1)
    return Sweeper(
        layout=house.layout,
        registry=house.registry,
        staging=staging,
        store=house.store,
        on_promoted=lambda: None,
    )


async def test_a_file_that_cannot_be_stored_keeps_nobody_waiting(house: House) -> None:
    files = stage(house, FILES)
    digests = await register(house, files)
    (house.store.path(digests[2]) / "inside").mkdir(parents=True)
    report = await house.sweeper.sweep()
    assert report.promoted == [*digests[:2], *digests[3:]]
    assert (report.left, house.names()) == (1, ["00002"])


async def test_a_file_that_cannot_be_flushed_keeps_nobody_waiting(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = stage(house, FILES)
    digests = await register(house, files)
    broken, real = (house.layout.uploads / "00001").stat().st_ino, os.fsync

    def flush(fd: int) -> None:
        if os.fstat(fd).st_ino == broken:
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", flush)
    report = await house.sweeper.sweep()
    assert report.promoted == [digests[0], *digests[2:]]
    assert not house.store.holds(digests[1])


async def test_what_is_not_on_disk_is_not_recorded(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(house, stage(house, FILES))
    models, real = house.layout.models.stat().st_ino, os.fsync

    def flush(fd: int) -> None:
        if os.fstat(fd).st_ino == models:
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", flush)
        report = await house.sweeper.sweep()
    assert (report.promoted, report.left, len(house.names())) == ([], FILES, FILES)
    assert len((await house.sweeper.sweep()).promoted) == FILES


async def test_names_of_the_same_bytes_are_one_model(house: House) -> None:
    files = dict.fromkeys(("a", "b", "c"), b"model")
    for name, data in files.items():
        (house.layout.uploads / name).write_bytes(data)
    (digest, *_) = await register(house, files)
    report = await house.sweeper.sweep()
    assert (report.promoted, report.discarded, house.names()) == ([digest], 2, [])


async def test_a_caller_that_leaves_a_sweep_leaves_it_whole(house: House) -> None:
    digests = await register(house, stage(house, 2 * MAX_FILES))
    sweeping = asyncio.create_task(house.sweeper.sweep())
    while not house.store.holds(digests[0]):
        await asyncio.sleep(0)
    sweeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sweeping
    assert set(await house.registry.with_files()) == set(digests)
    assert house.names() == []


def write_again(path: Path) -> None:
    path.write_bytes(b"other bytes")


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"!")


@pytest.mark.parametrize("change", [write_again, append])
async def test_a_file_that_changes_before_it_is_stored_is_left(
    house: House, change: Callable[[Path], None]
) -> None:
    files = stage(house, 2)
    batches = Batches(house.layout, house.store, Looks())
    opened = batches.open_some([*files])
    quiet = {name: file for name, file in opened.items() if isinstance(file, Quiet)}
    change(house.layout.uploads / "00000")
    assert batches.adopt(quiet) == {"00000": Left.BUSY, "00001": True}
    batches.close(quiet)


async def test_a_file_that_is_opened_for_writing_before_it_is_stored_is_left(
    house: House,
) -> None:
    files = stage(house, 2)
    batches = Batches(house.layout, house.store, Looks())
    opened = batches.open_some([*files])
    quiet = {name: file for name, file in opened.items() if isinstance(file, Quiet)}
    with (house.layout.uploads / "00001").open("ab"):
        assert batches.adopt(quiet) == {"00000": True, "00001": Left.BUSY}
    batches.close(quiet)


@pytest.mark.parametrize(("size", "batch"), [(10, MAX_FILES), (40 << 20, 2), (80 << 20, 1)])
def test_a_batch_is_bounded_in_files_and_bytes(house: House, size: int, batch: int) -> None:
    names = [*stage(house, MAX_FILES + 1)]
    for name in names:
        os.truncate(house.layout.uploads / name, size)
    batches = Batches(house.layout, house.store, Looks())
    opened = batches.open_some(names)
    assert [*opened] == names[:batch]
    batches.close({name: file for name, file in opened.items() if isinstance(file, Quiet)})


async def test_what_goes_wrong_stays_what_it_was(house: House) -> None:
    """A digest whose file could not be stored may be uploaded again."""
    digests = await register(house, stage(house, 1))
    (house.store.path(digests[0]) / "inside").mkdir(parents=True)
    await house.sweeper.sweep()
    model = await house.registry.get(digests[0])
    assert model is not None
    assert model.state is State.REGISTERED


async def test_a_name_that_is_swapped_after_it_was_hashed_stores_what_was_hashed(
    house: House,
) -> None:
    (data,) = stage(house, 1).values()
    batches = Batches(house.layout, house.store, Looks())
    opened = batches.open_some(["00000"])
    quiet = {name: file for name, file in opened.items() if isinstance(file, Quiet)}
    (house.layout.uploads / "00000").rename(house.layout.uploads / "kept")
    (house.layout.uploads / "00000").write_bytes(b"other bytes")
    assert batches.adopt(quiet) == {"00000": True}
    assert batches.drop(quiet) == {"00000": None}
    batches.close(quiet)
    assert house.store.path(digest_of(data)).read_bytes() == data
    assert (house.layout.uploads / "00000").read_bytes() == b"other bytes"
