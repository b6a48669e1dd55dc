"""server/repository/sweep.py on a real disk."""

import asyncio
import logging
import os
import secrets
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from server.digest import Digest
from server.errors import ModelNotFound, Overload, ServerError, StorageFull
from server.repository.registry import State
from tests.repository.conftest import House, digest_of, pieces


def damage(house: House, digest: Digest) -> None:
    house.store.path(digest).unlink()
    house.store.path(digest).write_bytes(b"other bytes")


def refuse_changes(house: House, digest: Digest) -> None:
    """Let the registry's database refuse what would change one model."""
    with closing(sqlite3.connect(house.layout.models / "registry.sqlite3")) as database:
        database.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON model "
            f"WHEN OLD.digest = x'{digest.hex}' BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
        database.commit()


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


async def test_a_signed_upload_is_settled_at_once(house: House) -> None:
    async with house.staging.receive(pieces(b"signed model")) as upload:
        await house.sweeper.settle(upload)
    assert house.store.path(digest_of(b"signed model")).read_bytes() == b"signed model"
    assert house.names() == []


async def test_too_many_sweeps_at_once_are_refused(house: House) -> None:
    sweeps = [house.sweeper.sweep() for _ in range(20)]
    results = await asyncio.gather(*sweeps, return_exceptions=True)
    assert sum(isinstance(result, Overload) for result in results) == 12


async def test_an_upload_mends_a_damaged_model(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    digest = await house.promoted(b"model")
    damage(house, digest)
    await house.upload(b"model")
    report = await house.sweeper.sweep()
    assert (report.promoted, report.discarded) == ([], 1)
    assert house.store.path(digest).read_bytes() == b"model"
    assert "mended" in caplog.text


async def test_a_signed_upload_mends_a_damaged_model(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    digest = await house.promoted(b"model")
    damage(house, digest)
    async with house.staging.receive(pieces(b"model")) as upload:
        await house.sweeper.settle(upload)
    assert house.store.path(digest).read_bytes() == b"model"
    assert "mended" in caplog.text


async def test_a_rejected_model_is_mended_as_well(house: House) -> None:
    digest = await house.promoted(b"model")
    model = await house.registry.get(digest)
    assert model is not None
    await house.registry.reject(model, "its bytes were damaged")
    damage(house, digest)
    await house.upload(b"model")
    await house.sweeper.sweep()
    assert house.store.verify(digest) == 5


@pytest.mark.parametrize("how", ["signed", "swept"])
async def test_wrong_bytes_under_the_name_are_not_promoted(house: House, how: str) -> None:
    digest = digest_of(b"model")
    await house.registry.register(digest)
    house.store.path(digest).write_bytes(b"other bytes")
    if how == "signed":
        async with house.staging.receive(pieces(b"model")) as upload:
            await house.sweeper.settle(upload)
    else:
        await house.upload(b"model")
        assert (await house.sweeper.sweep()).promoted == [digest]
    assert house.store.path(digest).read_bytes() == b"model"
    assert await house.state_of(digest) is State.PROMOTED


async def test_a_name_that_cannot_be_freed_leaves_a_swept_upload(house: House) -> None:
    digest = digest_of(b"model")
    await house.registry.register(digest)
    (house.store.path(digest) / "inside").mkdir(parents=True)
    await house.upload(b"model")
    assert (await house.sweeper.sweep()).left == 1
    assert await house.state_of(digest) is State.REGISTERED


async def test_a_name_that_cannot_be_freed_refuses_a_signed_upload(house: House) -> None:
    digest = digest_of(b"model")
    (house.store.path(digest) / "inside").mkdir(parents=True)
    async with house.staging.receive(pieces(b"model")) as upload:
        with pytest.raises(ServerError, match="could not be written"):
            await house.sweeper.settle(upload)
    assert await house.state_of(digest) is State.REGISTERED


async def test_an_error_of_the_registry_does_not_lose_what_was_promoted(house: House) -> None:
    for name in ("a", "b"):
        (house.layout.uploads / name).write_bytes(name.encode() * 100_000)
        await house.registry.register(digest_of(name.encode() * 100_000))
    refuse_changes(house, digest_of(b"b" * 100_000))
    with pytest.raises(sa.exc.DatabaseError):
        await house.sweeper.sweep()
    assert house.woken == [True]
    assert house.names() == ["b"]
    await house.upload(b"c" * 100_000)
    with pytest.raises(StorageFull):  # "b" still waits, and is counted
        await house.upload(b"d" * 100_000)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("symlink", "symbolic link"),
        ("fifo", "no regular file"),
        ("one link", "hard links"),
        ("two links", "hard links"),
    ],
)
async def test_a_name_that_stays_is_told_once(
    house: House, caplog: pytest.LogCaptureFixture, kind: str, reason: str
) -> None:
    name = house.layout.uploads / "odd"
    match kind:
        case "symlink":
            name.symlink_to("elsewhere")
        case "fifo":
            os.mkfifo(name)
        case _:
            name.write_bytes(b"linked")
            for number in range(1 if kind == "one link" else 2):
                os.link(name, house.layout.models / f"link-{number}")
    for _ in range(3):
        assert (await house.sweeper.sweep()).left == 1
    told = [record for record in caplog.records if record.getMessage() == "upload left alone"]
    assert [vars(record)["reason"] for record in told] == [reason]
    name.unlink()
    await house.sweeper.sweep()
    name.symlink_to("elsewhere")
    await house.sweeper.sweep()
    assert caplog.text.count("upload left alone") == 2


async def test_a_file_that_is_being_written_is_no_news(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    with open(house.layout.uploads / "by-hand.h5", "wb") as file, caplog.at_level(logging.DEBUG):
        file.write(b"first half")
        await house.sweeper.sweep()
    assert "left alone" not in caplog.text


async def test_an_upload_of_a_model_that_was_removed_meanwhile_is_not_kept(house: House) -> None:
    data = b"a model that nobody wants any more"
    async with house.staging.receive(pieces(data)) as upload:
        with pytest.raises(ModelNotFound):
            await house.sweeper.settle(upload, registers=False)
    assert await house.state_of(digest_of(data)) is None
    assert not house.store.holds(digest_of(data))
    await house.registry.register(digest_of(data))
    async with house.staging.receive(pieces(data)) as upload:
        await house.sweeper.settle(upload, registers=False)
    assert await house.state_of(digest_of(data)) is State.PROMOTED


async def test_who_waits_for_the_end_of_a_sweep_is_told_when_it_has_ended(house: House) -> None:
    await house.registry.register(digest_of(b"model"))
    await house.upload(b"model")
    has_begun = threading.Event()

    def look(act: str, _name: Path) -> int:
        if act == "digest":
            has_begun.set()
        return 0

    house.disk.fails = look
    sweep = asyncio.ensure_future(house.sweeper.sweep())
    await asyncio.to_thread(has_begun.wait)
    await house.sweeper.finish()
    assert await house.state_of(digest_of(b"model")) is State.PROMOTED
    await sweep
    await house.sweeper.finish()


async def test_a_rejected_model_that_is_uploaded_again_is_judged_again(house: House) -> None:
    digest = await house.promoted(b"model")
    model = await house.registry.get(digest)
    assert model is not None
    assert await house.registry.reject(model, "no model")
    house.woken.clear()
    async with house.staging.receive(pieces(b"model")) as upload:
        await house.sweeper.settle(upload)
    assert await house.state_of(digest) is State.PROMOTED
    assert house.woken == [True]
