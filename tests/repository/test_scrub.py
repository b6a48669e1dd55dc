"""server/repository/scrub.py: what the disk changed by itself is found in the background."""

import asyncio
import errno
import os

import pytest

from server.digest import Digest
from server.repository.registry import State
from server.repository.scrub import Scrub
from tests.repository.conftest import House, digest_of
from tests.repository.disks import always
from tests.repository.test_fsck import flip, ready

SIZE = 3 << 20


def scrub_of(house: House) -> Scrub:
    return Scrub(house.layout, house.recovery, interval_s=60, sleep=lambda _s: asyncio.sleep(0))


async def test_sound_files_are_counted(house: House) -> None:
    await ready(house, b"model", b"made of it")
    scrub = scrub_of(house)
    await scrub.look_through()
    wanted = {"passes": 1, "files": 2, "bytes": 15, "damaged": 0, "unreadable": 0}
    assert scrub.counts == wanted


async def test_a_flipped_byte_sends_a_model_back(house: House) -> None:
    digest = await house.promoted(b"model")
    flip(house.store.path(digest))
    scrub = scrub_of(house)
    await scrub.look_through()
    assert scrub.counts["damaged"] == 1
    assert await house.state_of(digest) is State.REGISTERED
    assert not house.store.holds(digest)


async def test_a_flipped_byte_in_a_derived_file_has_it_made_again(house: House) -> None:
    digest, made = await ready(house, b"model", b"made of it")
    flip(house.layout.derived(made))
    house.woken.clear()
    scrub = scrub_of(house)
    await scrub.look_through()
    assert scrub.counts["damaged"] == 1
    assert (await house.state_of(digest), house.woken) == (State.PROMOTED, [True])


async def test_a_file_that_nobody_registered_is_left(house: House) -> None:
    house.store.path(digest_of(b"orphan")).write_bytes(b"other bytes")
    scrub = scrub_of(house)
    await scrub.look_through()
    assert scrub.counts["damaged"] == 0
    assert house.store.path(digest_of(b"orphan")).read_bytes() == b"other bytes"


async def test_a_model_that_was_mended_meanwhile_is_left(house: House) -> None:
    digest = await house.promoted(b"model")
    assert not await house.recovery.condemn(digest)
    assert await house.state_of(digest) is State.PROMOTED


async def test_a_file_that_cannot_be_read_is_only_told_of(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    digest = await house.promoted(b"model")
    house.disk.fails = always("read")
    scrub = scrub_of(house)
    await scrub.look_through()
    assert (scrub.counts["unreadable"], scrub.counts["files"]) == (1, 0)
    assert await house.state_of(digest) is State.PROMOTED
    assert "stored file cannot be read" in caplog.text


async def test_a_file_that_went_meanwhile_is_no_news(house: House) -> None:
    await house.promoted(b"model")
    house.disk.fails = always("open", errno.ENOENT)
    scrub = scrub_of(house)
    await scrub.look_through()
    assert (scrub.counts["unreadable"], scrub.counts["files"]) == (0, 0)


async def test_the_pace_is_kept(house: House) -> None:
    data = os.urandom(SIZE)
    house.store.path(Digest.parse(digest_of(data).hex)).write_bytes(data)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    await Scrub(house.layout, house.recovery, interval_s=60, sleep=sleep).look_through()
    assert sum(slept) == pytest.approx(SIZE / (8 << 20))
    assert len(slept) == 3


async def test_one_pass_follows_another(house: House) -> None:
    await house.promoted(b"model")
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if slept.count(60) > 3:
            raise asyncio.CancelledError

    scrub = Scrub(house.layout, house.recovery, interval_s=60, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        await scrub.run()
    assert scrub.counts["passes"] == 3


async def test_a_pass_that_fails_is_not_the_last(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.disk.fails = always("names")
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) > 2:
            raise asyncio.CancelledError

    scrub = Scrub(house.layout, house.recovery, interval_s=60, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        await scrub.run()
    assert "scrub failed" in caplog.text
