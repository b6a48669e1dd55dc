"""server/repository/recovery.py: records and files agree, whatever interrupted the last run."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from server.repository.registry import State
from tests.repository.conftest import House, digest_of


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
