"""server/repository/fsck.py: what is wrong is found, named and mended."""

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from server import database
from server.digest import Digest
from server.repository.derived import DerivedFiles
from server.repository.fsck import Fault, Finding, Fsck
from server.repository.recovery import DAMAGED, MISSING
from server.repository.registry import State
from server.repository.switching import disabling, enabling
from tests.repository.conftest import House, digest_of
from tests.repository.disks import always


async def checked(house: House, *, repair: bool = False) -> list[Finding]:
    fsck = Fsck(
        layout=house.layout,
        engine=house.engine,
        registry=house.registry,
        recovery=house.recovery,
        repair=repair,
        progress=lambda _done, _total: None,
    )
    return await fsck.run()


async def ready(house: House, data: bytes, made: bytes) -> tuple[Digest, Digest]:
    """Promote a model and make it ready with a derived file; return the digests of both."""
    digest = await house.promoted(data)
    derived = DerivedFiles(house.layout)
    file = derived.new()
    file.write([made])
    made_digest = derived.keep(file)
    file.close()
    model = await house.registry.get(digest)
    assert model is not None
    assert await house.registry.make_ready(model, {"derived": made_digest.hex})
    return digest, made_digest


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.chmod(0o640)
    path.write_bytes(data)


def link_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


async def test_a_sound_repository_has_no_faults(house: House) -> None:
    await ready(house, b"model", b"made of it")
    await house.promoted(b"another")
    await house.registry.register(digest_of(b"to come"))
    assert await checked(house, repair=True) == []


@pytest.mark.parametrize("damage", [flip, link_nowhere, pipe])
async def test_a_damaged_model_is_found(house: House, damage: Callable[[Path], None]) -> None:
    digest = await house.promoted(b"model")
    await house.promoted(b"another")
    damage(house.store.path(digest))
    assert await checked(house) == [Finding(Fault.DAMAGED, digest.hex, mended=False)]
    assert await house.state_of(digest) is State.PROMOTED


@pytest.mark.parametrize(("damage", "reason"), [(flip, DAMAGED), (pipe, MISSING)])
async def test_a_damaged_model_must_be_uploaded_again(
    house: House, damage: Callable[[Path], None], reason: str
) -> None:
    digest, _ = await ready(house, b"model", b"made of it")
    damage(house.store.path(digest))
    found = await checked(house, repair=True)
    assert Finding(Fault.DAMAGED, digest.hex, mended=True) in found
    model = await house.registry.get(digest)
    assert model is not None
    assert (model.state, model.record, model.reason) == (State.REGISTERED, None, reason)
    assert not house.store.path(digest).exists()
    await house.upload(b"model")
    assert (await house.sweeper.sweep()).promoted == [digest]
    promoted = await house.registry.get(digest)
    assert promoted is not None
    assert promoted.reason is None
    assert await checked(house) == []


async def test_a_missing_model_must_be_uploaded_again(house: House) -> None:
    digest = await house.promoted(b"model")
    house.store.path(digest).unlink()
    assert await checked(house) == [Finding(Fault.MISSING, digest.hex, mended=False)]
    assert await checked(house, repair=True) == [Finding(Fault.MISSING, digest.hex, mended=True)]
    model = await house.registry.get(digest)
    assert model is not None
    assert (model.state, model.reason) == (State.REGISTERED, MISSING)


async def test_a_file_without_its_record_is_promoted(house: House) -> None:
    digest = digest_of(b"model")
    await house.registry.register(digest)
    house.store.path(digest).write_bytes(b"model")
    assert await checked(house) == [Finding(Fault.UNRECORDED, digest.hex, mended=False)]
    assert await checked(house, repair=True) == [Finding(Fault.UNRECORDED, digest.hex, mended=True)]
    assert await house.state_of(digest) is State.PROMOTED


async def test_a_whole_file_that_nobody_registered_is_no_fault(house: House) -> None:
    house.store.path(digest_of(b"orphan")).write_bytes(b"orphan")
    assert await checked(house, repair=True) == []
    assert house.store.holds(digest_of(b"orphan"))


async def test_what_is_no_model_and_was_never_registered_is_set_aside(house: House) -> None:
    digest = digest_of(b"orphan")
    house.store.path(digest).write_bytes(b"other bytes")
    assert await checked(house, repair=True) == [Finding(Fault.STRANGER, digest.hex, mended=True)]
    assert (house.layout.quarantine / digest.hex).read_bytes() == b"other bytes"
    assert await checked(house) == []


@pytest.mark.parametrize("damage", [flip, link_nowhere, pipe, Path.unlink])
async def test_a_derived_file_that_is_not_as_it_was_is_made_again(
    house: House, damage: Callable[[Path], None]
) -> None:
    digest, made = await ready(house, b"model", b"made of it")
    damage(house.layout.derived(made))
    name = f"{made}.onnx"
    assert await checked(house) == [Finding(Fault.DERIVED, name, mended=False)]
    house.woken.clear()
    assert await checked(house, repair=True) == [Finding(Fault.DERIVED, name, mended=True)]
    assert (await house.state_of(digest), house.woken) == (State.PROMOTED, [True])
    assert not house.layout.derived(made).is_symlink()
    assert await checked(house) == []


async def test_a_derived_file_of_a_model_that_is_disabled_stays(house: House) -> None:
    digest, made = await ready(house, b"model", b"made of it")
    change = disabling(digest, "it is looked at", at=1.0, by="ann")
    assert await house.registry.apply(digest, change)
    assert await checked(house, repair=True) == []
    assert house.layout.derived(made).read_bytes() == b"made of it"
    assert await house.registry.apply(digest, enabling(digest, at=2.0, by="ann"))
    assert await checked(house) == []


async def test_a_derived_file_that_no_model_uses_is_removed(house: House) -> None:
    name = house.layout.derived(digest_of(b"unused"))
    name.write_bytes(b"unused")
    assert await checked(house) == [Finding(Fault.UNUSED, name.name, mended=False)]
    assert await checked(house, repair=True) == [Finding(Fault.UNUSED, name.name, mended=True)]
    assert not name.exists()


@pytest.mark.parametrize("folder", ["models", "uploads"])
async def test_what_a_crash_left_is_removed(house: House, folder: str) -> None:
    (house.layout.models.parent / folder / ".part-0123").write_bytes(b"half")
    assert await checked(house) == [Finding(Fault.LITTER, ".part-0123", mended=False)]
    assert await checked(house, repair=True) == [Finding(Fault.LITTER, ".part-0123", mended=True)]
    assert await checked(house) == []


async def test_a_file_that_the_disk_cannot_read_is_left(house: House) -> None:
    digest = await house.promoted(b"model")
    house.disk.fails = always("read")
    found = await checked(house, repair=True)
    assert found == [Finding(Fault.UNREADABLE, digest.hex, mended=False)]
    assert await house.state_of(digest) is State.PROMOTED


async def test_what_cannot_be_mended_is_said_to_remain(house: House) -> None:
    name = house.layout.derived(digest_of(b"unused"))
    name.mkdir()
    assert await checked(house, repair=True) == [Finding(Fault.UNUSED, name.name, mended=False)]
    digest = await house.promoted(b"model")
    flip(house.store.path(digest))
    house.disk.fails = always("unlink", errno.EROFS)
    found = await checked(house, repair=True)
    assert Finding(Fault.DAMAGED, digest.hex, mended=False) in found


async def test_a_damaged_database_is_found(house: House) -> None:
    digest = await house.promoted(b"model")
    path = house.layout.models / "registry.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE INDEX wrong ON model (size); PRAGMA writable_schema=ON;"
            "UPDATE sqlite_schema SET sql='CREATE INDEX wrong ON model (reason)' "
            "WHERE name='wrong';"
        )
    engine = database.open_engine(f"sqlite:///{path}")
    found = await checked(replace(house, engine=engine), repair=True)
    await engine.dispose()
    assert {finding.fault for finding in found} == {Fault.DATABASE}
    assert not any(finding.mended for finding in found)
    assert house.store.holds(digest)


async def test_the_progress_ends_where_all_bytes_are_hashed(house: House) -> None:
    await ready(house, b"model", b"made of it")
    seen: list[tuple[int, int]] = []
    fsck = Fsck(
        layout=house.layout,
        engine=house.engine,
        registry=house.registry,
        recovery=house.recovery,
        repair=False,
        progress=lambda done, total: seen.append((done, total)),
    )
    await fsck.run()
    assert seen == [(5, 15), (15, 15)]
