"""server/repository/recovery.py: records and files agree, whatever interrupted the last run."""

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from server.digest import Digest
from server.repository.registry import State
from server.repository.switching import removing
from tests.repository.conftest import House, digest_of, pieces


def link_nowhere(name: Path) -> None:
    name.symlink_to(name.parent / "nowhere")


def link_to_itself(name: Path) -> None:
    name.symlink_to(name)


def nothing(_name: Path) -> None:
    pass


def other_bytes(name: Path) -> None:
    name.write_bytes(b"other bytes")


async def test_a_crash_before_the_record_is_repaired_at_the_next_start(house: House) -> None:
    digest = digest_of(b"model")
    await house.registry.register(digest)
    house.store.path(digest).write_bytes(b"model")
    await house.recovery.reconcile()
    model = await house.registry.get(digest)
    assert model is not None
    assert model.state is State.PROMOTED


async def test_a_damaged_file_is_not_recovered_at_the_start(house: House) -> None:
    digest = digest_of(b"model")
    await house.registry.register(digest)
    house.store.path(digest).write_bytes(b"mode!")
    await house.recovery.reconcile()
    assert not house.store.holds(digest)


async def test_a_missing_file_may_be_uploaded_again(house: House) -> None:
    digest = digest_of(b"model")
    await house.registry.register(digest)
    await house.upload(b"model")
    await house.sweeper.sweep()
    house.store.remove(digest)
    await house.recovery.reconcile()
    await house.upload(b"model")
    assert (await house.sweeper.sweep()).promoted == [digest]


async def test_a_file_that_nobody_registered_is_not_adopted_at_the_start(house: House) -> None:
    digest = digest_of(b"stranger")
    house.store.path(digest).write_bytes(b"stranger")
    await house.recovery.reconcile()
    assert await house.registry.get(digest) is None


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, link_nowhere, link_to_itself])
async def test_garbage_in_the_store_does_not_stop_the_start(
    house: House, make: Callable[[Path], None]
) -> None:
    garbage, known = digest_of(b"garbage"), digest_of(b"model")
    for digest in (garbage, known):
        await house.registry.register(digest)
    make(house.store.path(garbage))
    make(house.store.path(digest_of(b"never registered")))
    (house.layout.models / ".part-folder").mkdir()
    house.store.path(known).write_bytes(b"model")
    await house.recovery.reconcile()
    assert await house.state_of(garbage) is State.REGISTERED
    assert await house.state_of(known) is State.PROMOTED


async def test_a_stored_file_is_adopted_when_its_digest_is_registered(house: House) -> None:
    digest = digest_of(b"model")
    house.store.path(digest).write_bytes(b"model")
    assert not await house.recovery.adopt_stored(digest)
    await house.registry.register(digest)
    assert await house.recovery.adopt_stored(digest)
    assert await house.state_of(digest) is State.PROMOTED
    assert not await house.recovery.adopt_stored(digest)
    assert house.woken == [True]


@pytest.mark.parametrize("make", [nothing, other_bytes, os.mkdir, os.mkfifo, link_nowhere])
async def test_what_is_not_intact_is_not_adopted(
    house: House, make: Callable[[Path], None]
) -> None:
    digest = digest_of(b"model")
    await house.registry.register(digest)
    make(house.store.path(digest))
    assert not await house.recovery.adopt_stored(digest)
    assert await house.state_of(digest) is State.REGISTERED
    assert house.woken == []


async def rejected(house: House, data: bytes) -> Digest:
    digest = await house.promoted(data)
    model = await house.registry.get(digest)
    assert model is not None
    assert await house.registry.reject(model, "no model")
    return digest


async def test_a_rejected_file_is_removed_with_its_state(house: House) -> None:
    digest = await rejected(house, b"model")
    assert await house.recovery.remove_rejected(digest)
    assert not house.store.holds(digest)
    assert await house.state_of(digest) is State.REGISTERED


async def test_a_rejected_file_that_was_declared_anew_stays(house: House) -> None:
    digest = await rejected(house, b"model")
    await house.registry.register(digest)
    assert not await house.recovery.remove_rejected(digest)
    assert house.store.holds(digest)


async def test_an_upload_waits_while_its_rejected_file_is_removed(house: House) -> None:
    digest = await rejected(house, b"model")
    async with house.staging.receive(pieces(b"model")) as upload:
        await asyncio.gather(house.recovery.remove_rejected(digest), house.sweeper.settle(upload))
    assert house.store.verify(digest) == 5
    assert await house.state_of(digest) is State.PROMOTED


async def test_a_rejected_file_is_not_removed_between_its_arrival_and_its_record(
    house: House,
) -> None:
    """An upload comes when the removal is recorded, and the file is still there."""
    digest = await rejected(house, b"model")
    loop = asyncio.get_running_loop()
    found = threading.Event()
    uploads: list[asyncio.Task[None]] = []

    async def upload() -> None:
        async with house.staging.receive(pieces(b"model")) as received:
            await house.sweeper.settle(received)

    def look(act: str, name: Path) -> int:
        if act == "unlink" and name == house.store.path(digest):
            loop.call_soon_threadsafe(lambda: uploads.append(loop.create_task(upload())))
            found.wait(0.5)  # so long an upload that takes no turn has to trust the old file
        elif act == "flush folder":
            found.set()
        return 0

    house.disk.fails = look
    assert await house.recovery.remove_rejected(digest)
    await uploads[0]
    assert house.store.verify(digest) == 5
    assert await house.state_of(digest) is State.PROMOTED


async def test_a_derived_file_that_no_model_uses_concerns_none(house: House) -> None:
    name = house.layout.derived(digest_of(b"made"))
    name.write_bytes(b"made")
    assert not await house.recovery.forget_derived(digest_of(b"made"))
    assert not name.exists()
    assert house.woken == []


async def ready(house: House, data: bytes, record: dict[str, object]) -> Digest:
    digest = await house.promoted(data)
    model = await house.registry.get(digest)
    assert model is not None
    assert await house.registry.make_ready(model, record)
    return digest


async def remove(house: House, digest: Digest) -> bool:
    return await house.recovery.remove(digest, removing(digest, at=1.0, by="ann"))


async def test_a_derived_file_goes_with_the_last_model_that_has_it(house: House) -> None:
    made = digest_of(b"made")
    name = house.layout.derived(made)
    name.write_bytes(b"made")
    kept = await ready(house, b"kept as it is", {"version": 1})
    one, two = [await ready(house, data, {"derived": made.hex}) for data in (b"one", b"two")]
    for digest, stays in ((one, True), (kept, True), (two, False)):
        assert await remove(house, digest)
        assert not house.store.holds(digest)
        assert name.exists() is stays
    assert not await remove(house, two)


async def test_a_derived_file_of_the_only_model_goes_beside_others_that_have_none(
    house: House,
) -> None:
    made = digest_of(b"made")
    house.layout.derived(made).write_bytes(b"made")
    await ready(house, b"kept as it is", {"version": 1})
    digest = await ready(house, b"one", {"derived": made.hex})
    assert await remove(house, digest)
    assert not house.layout.derived(made).exists()
