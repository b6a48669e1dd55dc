"""Uploads that come in parts: what survives, what is bounded, and what they become."""

import asyncio
import errno
import json
import os
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from server.digest import Digest
from server.errors import (
    BadSignature,
    DigestMismatch,
    Overload,
    ScopeMissing,
    ServerError,
    StorageFull,
    TooLarge,
    TooManyRequests,
)
from server.repository.appending import Appending
from server.repository.partial_files import Partial, PartialFiles
from server.repository.partials import Partials
from server.repository.registry import State
from server.repository.staging import Room
from server.upload_errors import ChecksumMismatch, UploadNotFound, UploadTakenOver
from tests.repository.conftest import House, digest_of, pieces

DATA = bytes(range(256)) * 40


@dataclass
class Uploads:
    """The uploads of a house, as one start of the server sees them."""

    house: House
    partials: Partials
    appending: Appending
    now: list[float]

    async def begin(self, length: int, owner: str = "key", data: bytes | None = None) -> Partial:
        digest = None if data is None else digest_of(data)
        return await self.partials.create(owner, length, digest=digest, metadata="")

    async def add(self, partial: Partial, data: bytes) -> None:
        async with self.partials.holding(partial):
            await self.appending.append(partial, pieces(data), Room())

    async def settle(self, partial: Partial) -> None:
        async with self.partials.holding(partial):
            await self.partials.settle(partial, allow=anyone)


def anyone(_digest: Digest) -> None:
    """Let everybody upload every model."""


async def started(house: House, *, most: int = 4, keep_s: float = 100.0) -> Uploads:
    now = [1e9]
    files = PartialFiles(house.layout)
    partials = Partials(
        files,
        house.staging,
        house.registry,
        house.sweeper,
        most=most,
        keep_s=keep_s,
        clock=lambda: now[0],
    )
    appending = Appending(files, house.staging, clock=lambda: now[0])
    await partials.load()
    return Uploads(house, partials, appending, now)


@pytest.fixture
async def uploads(house: House) -> Uploads:
    return await started(house)


async def broken(data: bytes, error: BaseException) -> AsyncIterator[bytes]:
    async for piece in pieces(data):
        yield piece
    raise error


def on_disk(house: House) -> list[Path]:
    return sorted(house.layout.uploads.iterdir())


async def test_parts_become_a_model(uploads: Uploads, house: House) -> None:
    await house.registry.register(digest_of(DATA))
    partial = await uploads.begin(len(DATA), data=DATA)
    for start in range(0, len(DATA), 3000):
        await uploads.add(partial, DATA[start : start + 3000])
    assert partial.is_whole
    await uploads.settle(partial)
    assert await house.state_of(digest_of(DATA)) is State.PROMOTED
    assert house.layout.model(digest_of(DATA)).read_bytes() == DATA
    assert house.layout.model(digest_of(DATA)).stat().st_mode & 0o777 == 0o440
    assert partial.note.done
    assert [path.suffix for path in on_disk(house)] == [".json"]
    await uploads.settle(partial)  # who did not hear of it asks again


async def test_what_has_come_before_a_cut_stays_to_the_last_byte(
    uploads: Uploads, house: House
) -> None:
    partial = await uploads.begin(len(DATA))
    with pytest.raises(ConnectionResetError):
        async with uploads.partials.holding(partial):
            await uploads.appending.append(
                partial, broken(DATA[:4321], ConnectionResetError()), Room()
            )
    assert partial.offset == 4321
    assert house.layout.partial(partial.id).read_bytes() == DATA[:4321]


async def test_an_upload_goes_on_after_a_restart(house: House) -> None:
    await house.registry.register(digest_of(DATA))
    before = await started(house)
    partial = await before.begin(len(DATA), data=DATA)
    await before.add(partial, DATA[:5000])
    after = await started(house)
    found = after.partials.find(partial.id, "key")
    assert (found.offset, found.note) == (5000, partial.note)
    await after.add(found, DATA[5000:])
    await after.settle(found)
    assert await house.state_of(digest_of(DATA)) is State.PROMOTED
    done = (await started(house)).partials.find(partial.id, "key")
    assert (done.offset, done.note.done) == (len(DATA), True)


async def test_a_whole_upload_that_a_crash_left_is_settled_when_it_is_asked_for(
    house: House,
) -> None:
    await house.registry.register(digest_of(DATA))
    before = await started(house)
    partial = await before.begin(len(DATA))
    await before.add(partial, DATA)
    # the crash comes after the link into models/
    house.layout.model(digest_of(DATA)).hardlink_to(house.layout.partial(partial.id))
    await house.recovery.reconcile()
    after = await started(house)
    found = after.partials.find(partial.id, "key")
    await after.settle(found)
    assert await house.state_of(digest_of(DATA)) is State.PROMOTED
    assert house.layout.model(digest_of(DATA)).stat().st_nlink == 1


async def test_what_is_not_the_announced_model_is_gone(uploads: Uploads, house: House) -> None:
    await house.registry.register(digest_of(DATA))
    partial = await uploads.begin(4, data=DATA)
    await uploads.add(partial, b"junk")
    with pytest.raises(DigestMismatch, match=digest_of(b"junk").hex):
        await uploads.settle(partial)
    other = await uploads.begin(4)
    await uploads.add(other, b"junk")
    with pytest.raises(DigestMismatch, match="never registered"):
        await uploads.settle(other)
    assert on_disk(house) == []
    assert uploads.partials.unfinished == 0


async def test_who_may_not_upload_a_model_does_not(uploads: Uploads, house: House) -> None:
    await house.registry.register(digest_of(DATA))
    partial = await uploads.begin(len(DATA))
    await uploads.add(partial, DATA)

    def nobody(_digest: Digest) -> None:
        raise ScopeMissing

    with pytest.raises(ScopeMissing):
        async with uploads.partials.holding(partial):
            await uploads.partials.settle(partial, allow=nobody)
    assert await house.state_of(digest_of(DATA)) is State.REGISTERED


async def test_a_part_with_a_wrong_checksum_leaves_nothing(uploads: Uploads, house: House) -> None:
    partial = await uploads.begin(len(DATA))
    await uploads.add(partial, DATA[:1000])

    def wrong() -> None:
        raise ChecksumMismatch

    for chunks in (pieces(DATA[1000:2000]), broken(DATA[1000:2000], ConnectionResetError())):
        with pytest.raises((ChecksumMismatch, ConnectionResetError)):
            async with uploads.partials.holding(partial):
                await uploads.appending.append(partial, chunks, Room(), check=wrong)
        assert partial.offset == 1000
        assert house.layout.partial(partial.id).read_bytes() == DATA[:1000]


async def test_an_upload_takes_no_more_than_was_announced(uploads: Uploads) -> None:
    partial = await uploads.begin(1500)
    with pytest.raises(TooLarge):
        await uploads.add(partial, DATA[:1501])
    assert partial.offset <= 1500
    await uploads.add(partial, DATA[partial.offset : 1500])
    assert partial.is_whole


async def test_a_write_that_fails_leaves_no_torn_piece(uploads: Uploads, house: House) -> None:
    partial = await uploads.begin(len(DATA))
    await uploads.add(partial, DATA[:1000])
    house.disk.fails = lambda act, _name: errno.ENOSPC if act == "write" else 0
    with pytest.raises(StorageFull):
        await uploads.add(partial, DATA[1000:2000])
    house.disk.fails = lambda _act, _name: 0
    assert partial.offset == 1000
    await uploads.add(partial, DATA[1000:])
    assert house.layout.partial(partial.id).read_bytes() == DATA


async def test_unfinished_uploads_count_as_staged_bytes(house: House) -> None:
    uploads = await started(house)
    first = await uploads.begin(90_000)
    await uploads.add(first, bytes(90_000))
    await house.upload(b"a" * 100_000)
    second = await uploads.begin(90_000)
    with pytest.raises(StorageFull):
        await uploads.add(second, bytes(70_000))
    await uploads.partials.remove(first)
    await uploads.add(second, bytes(90_000))
    assert second.is_whole


async def test_after_a_restart_they_still_count(house: House, tmp_path: Path) -> None:
    before = await started(house)
    partial = await before.begin(90_000)
    await before.add(partial, bytes(90_000))
    house.staging.give_back(90_000)  # as a new process begins
    await started(house)
    await house.upload(b"a" * 100_000)
    with pytest.raises(StorageFull):
        await house.upload(b"b" * 70_000)


async def test_the_number_of_unfinished_uploads_is_bounded(house: House) -> None:
    uploads = await started(house, most=4)
    for _ in range(3):
        await uploads.begin(10, owner="greedy")
    with pytest.raises(TooManyRequests):
        await uploads.begin(10, owner="greedy")
    await uploads.begin(10, owner="modest")
    with pytest.raises(Overload):
        await uploads.begin(10, owner="another")
    assert uploads.partials.unfinished == 4
    uploads.now[0] += 101
    await uploads.begin(10, owner="another")
    assert uploads.partials.unfinished == 1
    assert len(on_disk(house)) == 2


async def test_what_nobody_goes_on_with_ends(uploads: Uploads, house: House) -> None:
    idle, busy = await uploads.begin(len(DATA)), await uploads.begin(len(DATA))
    uploads.now[0] += 60
    await uploads.add(busy, DATA[:10])
    uploads.now[0] += 60
    with pytest.raises(UploadNotFound):
        uploads.partials.find(idle.id, "key")
    await uploads.partials.expire()
    assert uploads.partials.find(busy.id, "key") is busy
    assert not house.layout.partial(idle.id).exists()


async def test_of_finished_uploads_the_latest_are_remembered(house: House) -> None:
    uploads = await started(house, most=2)
    ids = []
    for k in range(4):
        data = bytes([k]) * 100
        await house.registry.register(digest_of(data))
        partial = await uploads.begin(100)
        await uploads.add(partial, data)
        uploads.now[0] += 1
        await uploads.settle(partial)
        ids.append(partial.id)
    known = [path.stem.removeprefix(".partial-") for path in on_disk(house)]
    assert sorted(known) == sorted(ids[2:])


async def test_an_upload_is_its_owner_s_alone(uploads: Uploads) -> None:
    partial = await uploads.begin(10, owner="one")
    with pytest.raises(UploadNotFound):
        uploads.partials.find(partial.id, "two")
    with pytest.raises(UploadNotFound):
        uploads.partials.find("0" * 32, "one")


async def test_a_later_request_takes_an_upload_over(uploads: Uploads) -> None:
    partial = await uploads.begin(len(DATA))
    hangs = asyncio.Event()

    async def dead_line() -> AsyncIterator[bytes]:
        yield DATA[:700]
        hangs.set()
        await asyncio.Event().wait()

    async def hang() -> None:
        async with uploads.partials.holding(partial):
            await uploads.appending.append(partial, dead_line(), Room())

    first = asyncio.create_task(hang())
    await hangs.wait()
    async with uploads.partials.holding(partial):
        assert partial.offset == 700
    with pytest.raises(UploadTakenOver):
        await first
    await uploads.add(partial, DATA[700:])
    assert partial.is_whole


async def test_a_caller_that_is_cancelled_leaves_what_it_brought(uploads: Uploads) -> None:
    partial = await uploads.begin(len(DATA))
    hangs = asyncio.Event()

    async def dead_line() -> AsyncIterator[bytes]:
        yield DATA[:700]
        hangs.set()
        await asyncio.Event().wait()

    async def hang() -> None:
        async with uploads.partials.holding(partial):
            await uploads.appending.append(partial, dead_line(), Room())

    first = asyncio.create_task(hang())
    await hangs.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert partial.offset == 700


async def test_a_caller_that_is_cancelled_while_the_disk_opens_leaves_nothing_open(
    uploads: Uploads, house: House
) -> None:
    partial = await uploads.begin(len(DATA))
    name = house.layout.partial(partial.id)
    is_opening, may_open = threading.Event(), threading.Event()

    def slowly(act: str, _name: Path) -> int:
        if act == "open growing":
            is_opening.set()
            may_open.wait(10)
        return 0

    house.disk.fails = slowly
    task = asyncio.create_task(uploads.add(partial, DATA))
    await asyncio.to_thread(is_opening.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    may_open.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert str(name) not in [one.path for one in psutil.Process().open_files()]


async def test_who_waits_for_an_upload_that_is_removed_is_told(uploads: Uploads) -> None:
    partial = await uploads.begin(10)
    await uploads.partials.remove(partial)
    with pytest.raises(UploadNotFound):
        async with uploads.partials.holding(partial):
            pytest.fail("it was there")


@pytest.mark.parametrize(
    "note",
    [
        *(b"", b"{", b"[]", b"{}", b'{"owner": 1}', b"\xff", b"[" * 60_000),
        json.dumps({"owner": "k", "length": "9", "digest": None, "metadata": ""}).encode(),
        json.dumps({"owner": "k", "length": 9, "digest": "x", "metadata": ""}).encode(),
        json.dumps({"owner": "k", "length": 2, "digest": None, "metadata": ""}).encode(),
        json.dumps({"owner": "k", "length": 9, "digest": None, "metadata": "", "x": 1}).encode(),
    ],
)
async def test_what_is_no_upload_any_more_is_removed_at_the_start(
    house: House, note: bytes
) -> None:
    upload = "0" * 32
    house.layout.partial(upload).write_bytes(b"abc")
    house.layout.partial_note(upload).write_bytes(note)
    house.layout.partial("1" * 32).write_bytes(b"no note")
    house.layout.partial_note("2" * 32).write_bytes(b'{"no": "bytes"}')
    (house.layout.uploads / ".partial-somebody-else").write_bytes(b"")
    uploads = await started(house)
    assert uploads.partials.unfinished == 0
    assert house.names() == [".partial-somebody-else"]


def _folder(path: Path) -> None:
    (path / "something").mkdir(parents=True)


@pytest.mark.parametrize(
    "place",
    [_folder, os.mkfifo, lambda path: path.symlink_to("/etc/hostname")],
    ids=["folder", "pipe", "link"],
)
@pytest.mark.parametrize("has_other", [True, False], ids=["and its other", "alone"])
@pytest.mark.parametrize("is_note", [True, False], ids=["note", "bytes"])
async def test_what_is_no_file_is_no_upload(
    house: House, place: Callable[[Path], object], has_other: bool, is_note: bool
) -> None:
    before = await started(house)
    honest = await before.begin(10)
    upload = "0" * 32
    paths = [house.layout.partial(upload), house.layout.partial_note(upload)]
    place(paths[is_note])
    if has_other:
        paths[not is_note].write_bytes(house.layout.partial_note(honest.id).read_bytes())
    after = await started(house)
    assert after.partials.unfinished == 1
    assert after.partials.find(honest.id, "key").offset == 0
    assert os.path.lexists(paths[is_note]) == (place is _folder)  # somebody's, with what is in it


async def test_an_upload_that_the_disk_cannot_read_is_left(house: House) -> None:
    before = await started(house)
    spoilt, honest = await before.begin(10), await before.begin(10)
    name = house.layout.partial(spoilt.id)
    house.disk.fails = lambda act, at: errno.EIO if (act, at) == ("status", name) else 0
    after = await started(house)
    assert after.partials.find(honest.id, "key").offset == 0
    assert len(on_disk(house)) == 4


async def test_a_sweep_does_not_see_unfinished_uploads(uploads: Uploads, house: House) -> None:
    await house.registry.register(digest_of(DATA))
    partial = await uploads.begin(len(DATA))
    await uploads.add(partial, DATA)
    report = await house.sweeper.sweep()
    assert (report.promoted, report.discarded, report.left) == ([], 0, 0)
    assert house.layout.partial(partial.id).exists()


async def test_an_upload_that_cannot_be_begun_takes_no_place(
    uploads: Uploads, house: House
) -> None:
    house.disk.fails = lambda act, _name: errno.EIO if act == "link" else 0
    with pytest.raises(ServerError):
        await uploads.begin(10)
    house.disk.fails = lambda _act, _name: 0
    assert uploads.partials.unfinished == 0
    assert on_disk(house) == []


async def test_a_part_that_is_not_what_was_signed_leaves_nothing(
    uploads: Uploads, house: House
) -> None:
    partial = await uploads.begin(len(DATA))
    await uploads.add(partial, DATA[:100])
    async with uploads.partials.holding(partial):
        with pytest.raises(BadSignature):
            await uploads.appending.append(
                partial, broken(DATA[100:3000], BadSignature("digest")), Room()
            )
    assert partial.offset == 100
    assert house.layout.partial(partial.id).read_bytes() == DATA[:100]


async def test_a_part_with_the_right_checksum_stays(uploads: Uploads, house: House) -> None:
    partial = await uploads.begin(len(DATA))
    checked: list[int] = []
    async with uploads.partials.holding(partial):
        await uploads.appending.append(
            partial, pieces(DATA), Room(), check=lambda: checked.append(partial.offset)
        )
    assert checked == [len(DATA)]
    assert house.layout.partial(partial.id).read_bytes() == DATA


async def test_many_small_pieces_and_none_at_all(uploads: Uploads, house: House) -> None:
    partial = await uploads.begin(len(DATA))
    async with uploads.partials.holding(partial):
        await uploads.appending.append(partial, pieces(DATA, size=7), Room())
        await uploads.appending.append(partial, pieces(b""), Room())
    assert house.layout.partial(partial.id).read_bytes() == DATA


async def test_a_crash_before_the_bytes_of_a_finished_upload_are_given_up(house: House) -> None:
    await house.registry.register(digest_of(DATA))
    before = await started(house)
    partial = await before.begin(len(DATA))
    await before.add(partial, DATA)
    await before.settle(partial)
    house.layout.partial(partial.id).write_bytes(DATA)  # the crash came before they were removed
    after = await started(house)
    found = after.partials.find(partial.id, "key")
    assert (found.note.done, found.offset) == (True, len(DATA))
    assert not house.layout.partial(partial.id).exists()


async def test_a_whole_upload_that_the_disk_cannot_flush_may_be_settled_again(
    uploads: Uploads, house: House
) -> None:
    await house.registry.register(digest_of(DATA))
    partial = await uploads.begin(len(DATA))
    await uploads.add(partial, DATA)
    house.disk.fails = lambda act, _name: errno.EIO if act == "flush" else 0
    with pytest.raises(ServerError):
        await uploads.settle(partial)
    house.disk.fails = lambda _act, _name: 0
    await uploads.settle(partial)
    assert await house.state_of(digest_of(DATA)) is State.PROMOTED


async def test_a_note_that_is_a_link_is_no_note(house: House, tmp_path: Path) -> None:
    elsewhere = tmp_path / "note"
    elsewhere.write_text(json.dumps({"owner": "k", "length": 9, "digest": None, "metadata": ""}))
    house.layout.partial("0" * 32).write_bytes(b"abc")
    house.layout.partial_note("0" * 32).symlink_to(elsewhere)
    assert (await started(house)).partials.unfinished == 0
    assert house.names() == []
    assert elsewhere.exists()


async def test_an_upload_is_removed_once(uploads: Uploads, house: House) -> None:
    partial = await uploads.begin(len(DATA))
    await uploads.add(partial, DATA[:100])
    for _ in range(2):
        await uploads.partials.remove(partial)
    assert on_disk(house) == []
    assert house.staging._bytes_in_flight == 0


async def test_only_a_task_can_hold_an_upload(uploads: Uploads) -> None:
    partial = await uploads.begin(len(DATA))
    outcome: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    def hold() -> None:
        try:
            uploads.partials.holding(partial).__aenter__().send(None)
        except RuntimeError as error:
            outcome.set_result(error)

    asyncio.get_running_loop().call_soon(hold)
    assert "held by a task" in str(await outcome)
