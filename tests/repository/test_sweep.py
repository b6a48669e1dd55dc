"""server/repository/sweep.py on a real disk."""

import asyncio
import os
import secrets

import pytest

from server.errors import Overload
from server.repository.registry import State
from tests.repository.conftest import House, digest_of, pieces


async def test_a_registered_upload_is_promoted(house: House) -> None:
    data = secrets.token_bytes(5000)
    await house.registry.register(digest_of(data))
    await house.upload(data)
    report = await house.sweeper.sweep()
    assert report.promoted == [digest_of(data)]
    assert house.store.path(digest_of(data)).read_bytes() == data
    assert house.names() == []
    assert house.woken == [True]


async def test_a_second_sweep_promotes_nothing_again(house: House) -> None:
    data = secrets.token_bytes(50)
    await house.registry.register(digest_of(data))
    await house.upload(data)
    await house.sweeper.sweep()
    assert (await house.sweeper.sweep()).promoted == []


async def test_an_unregistered_upload_is_discarded(house: House) -> None:
    digest = await house.upload(b"nobody registered this")
    report = await house.sweeper.sweep()
    assert (report.promoted, report.discarded) == ([], 1)
    assert not house.store.holds(digest)
    assert house.names() == []


async def test_a_second_upload_of_a_stored_model_is_discarded(house: House) -> None:
    digest = digest_of(b"model")
    await house.registry.register(digest)
    for _ in range(2):
        await house.upload(b"model")
    report = await house.sweeper.sweep()
    assert (report.promoted, report.discarded) == ([digest], 1)


async def test_a_file_that_is_open_for_writing_is_left(house: House) -> None:
    digest = digest_of(b"first half, second half")
    await house.registry.register(digest)
    with open(house.layout.uploads / "by-hand.h5", "wb") as file:
        file.write(b"first half, ")
        file.flush()
        assert (await house.sweeper.sweep()).left == 1
        file.write(b"second half")
    assert (await house.sweeper.sweep()).promoted == [digest]


async def test_a_stored_model_is_read_only(house: House) -> None:
    digest = digest_of(b"model")
    await house.registry.register(digest)
    await house.upload(b"model")
    await house.sweeper.sweep()
    assert house.store.path(digest).stat().st_mode & 0o777 == 0o440


@pytest.mark.parametrize("kind", ["symlink", "fifo", "folder", "hard link"])
async def test_what_is_no_plain_file_is_left(house: House, kind: str) -> None:
    target = house.layout.models / "elsewhere"
    target.write_bytes(b"registered bytes")
    await house.registry.register(digest_of(b"registered bytes"))
    name = house.layout.uploads / "odd"
    match kind:
        case "symlink":
            name.symlink_to(target)
        case "fifo":
            os.mkfifo(name)
        case "folder":
            name.mkdir()
        case _:
            os.link(target, name)
    report = await house.sweeper.sweep()
    assert (report.promoted, report.left) == ([], 1)


async def test_a_name_that_begins_with_a_dot_is_never_touched(house: House) -> None:
    (house.layout.uploads / ".note").write_text("kept")
    assert (await house.sweeper.sweep()).discarded == 0
    assert house.names() == [".note"]


async def test_a_crash_between_link_and_record_is_repaired_at_the_next_sweep(house: House) -> None:
    digest = digest_of(b"model")
    await house.registry.register(digest)
    await house.upload(b"model")
    (name,) = house.names()
    os.link(house.layout.uploads / name, house.store.path(digest))
    assert (await house.sweeper.sweep()).promoted == [digest]
    assert house.names() == []


async def test_a_crash_before_the_record_is_repaired_at_the_next_start(house: House) -> None:
    digest = digest_of(b"model")
    await house.registry.register(digest)
    house.store.path(digest).write_bytes(b"model")
    await house.sweeper.reconcile()
    model = await house.registry.get(digest)
    assert model is not None
    assert model.state is State.PROMOTED


async def test_a_damaged_file_is_not_recovered_at_the_start(house: House) -> None:
    digest = digest_of(b"model")
    await house.registry.register(digest)
    house.store.path(digest).write_bytes(b"mode!")
    await house.sweeper.reconcile()
    assert not house.store.holds(digest)


async def test_a_missing_file_may_be_uploaded_again(house: House) -> None:
    digest = digest_of(b"model")
    await house.registry.register(digest)
    await house.upload(b"model")
    await house.sweeper.sweep()
    house.store.remove(digest)
    await house.sweeper.reconcile()
    await house.upload(b"model")
    assert (await house.sweeper.sweep()).promoted == [digest]


async def test_a_file_that_nobody_registered_is_not_adopted_at_the_start(house: House) -> None:
    digest = digest_of(b"stranger")
    house.store.path(digest).write_bytes(b"stranger")
    await house.sweeper.reconcile()
    assert await house.registry.get(digest) is None


async def test_a_signed_upload_is_settled_at_once(house: House) -> None:
    async with house.staging.receive(pieces(b"signed model")) as upload:
        await house.sweeper.settle(upload)
    assert house.store.path(digest_of(b"signed model")).read_bytes() == b"signed model"
    assert house.names() == []


async def test_too_many_sweeps_at_once_are_refused(house: House) -> None:
    sweeps = [house.sweeper.sweep() for _ in range(20)]
    results = await asyncio.gather(*sweeps, return_exceptions=True)
    assert sum(isinstance(result, Overload) for result in results) == 12
