"""server/repository/staging.py: bounds, and nothing left behind."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest

from server.errors import Overload, StorageFull, TooLarge, TooManyRequests
from server.repository.fsops import Disk, NewFile
from server.repository.staging import Staging
from tests.repository.conftest import House, digest_of, pieces


async def broken(data: bytes) -> AsyncIterator[bytes]:
    async for piece in pieces(data):
        yield piece
    raise ConnectionResetError


async def test_an_upload_that_breaks_leaves_nothing(house: House) -> None:
    with pytest.raises(ConnectionResetError):
        async with house.staging.receive(broken(b"x" * 5000)):
            pytest.fail("an incomplete upload was handed out")
    assert house.names() == []


async def test_an_upload_that_is_not_published_leaves_nothing(house: House) -> None:
    async with house.staging.receive(pieces(b"x" * 5000)) as upload:
        assert upload.digest == digest_of(b"x" * 5000)
    assert house.names() == []


async def test_a_file_over_the_limit_is_refused(house: House) -> None:
    with pytest.raises(TooLarge):
        async with house.staging.receive(pieces(b"x" * 100_001)):
            pytest.fail("it was taken")


async def test_waiting_uploads_have_a_quota(house: House) -> None:
    for letter in (b"a", b"b"):
        await house.upload(letter * 100_000)
    with pytest.raises(StorageFull):
        await house.upload(b"c" * 100_000)


async def test_a_sweep_frees_the_quota(house: House) -> None:
    for letter in (b"a", b"b"):
        await house.upload(letter * 100_000)
    await house.sweeper.sweep()
    await house.upload(b"c" * 100_000)
    assert len(house.names()) == 1


async def test_uploads_in_flight_are_bounded(house: House) -> None:
    async with house.staging.admit(None), house.staging.admit(None):
        with pytest.raises(Overload):
            async with house.staging.admit(None):
                pytest.fail("a third was let in")
    async with house.staging.admit(None):
        assert house.names() == []


async def test_one_caller_leaves_places_for_uploads_to_others(house: House) -> None:
    staging = Staging(house.layout, max_file_bytes=1000, max_bytes=10_000, max_uploads=4)
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(staging.admit(None, "greedy"))
        with pytest.raises(TooManyRequests):
            await stack.enter_async_context(staging.admit(None, "greedy"))
        await stack.enter_async_context(staging.admit(None, "modest"))


async def test_a_declared_size_that_cannot_fit_is_refused_before_reading(house: House) -> None:
    with pytest.raises(StorageFull):
        async with house.staging.admit(10**15):
            pytest.fail("it was let in")


async def test_what_is_published_during_a_sweep_stays_counted(house: House) -> None:
    before = house.staging.bytes_published
    for letter in (b"a", b"b"):
        await house.upload(letter * 100_000)
    house.staging.count_waiting(0, since=before)
    with pytest.raises(StorageFull):
        await house.upload(b"c" * 100_000)


async def test_uploads_that_fit_one_by_one_are_not_all_admitted(house: House) -> None:
    await house.upload(b"a" * 100_000)
    async with house.staging.admit(100_000):
        with pytest.raises(StorageFull):
            async with house.staging.admit(100_000):
                pytest.fail("it was let in")
    async with house.staging.admit(100_000) as room:
        assert room.left == 100_000


async def test_what_is_reserved_is_used_up_by_its_own_bytes(house: House) -> None:
    await house.upload(b"a" * 100_000)
    async with (
        house.staging.admit(100_000) as room,
        house.staging.receive(pieces(b"b" * 90_000), room) as upload,
    ):
        assert (room.left, upload.size) == (10_000, 90_000)
        async with house.staging.admit(50_000) as another:
            assert another.left == 50_000
        with pytest.raises(StorageFull):
            async with house.staging.admit(50_001):
                pytest.fail("it was let in")
    async with house.staging.admit(150_000) as again:
        assert again.left == 125_000


async def test_a_declared_length_reserves_no_more_than_a_fair_share(house: House) -> None:
    async with house.staging.admit(250_000) as room:
        assert room.left == 125_000
        async with house.staging.admit(125_000):
            assert room.left == 125_000


async def test_a_disk_that_others_fill_refuses_also_what_was_reserved(house: House) -> None:
    async with house.staging.admit(50_000) as room:
        house.disk.free = 100 << 20
        with pytest.raises(StorageFull):
            async with house.staging.receive(pieces(b"b" * 50_000), room):
                pytest.fail("it was taken")


async def test_the_last_bytes_of_a_disk_are_kept_for_the_registry(house: House) -> None:
    house.disk.free = (256 << 20) + 100_000
    async with house.staging.admit(50_000):
        with pytest.raises(StorageFull):
            async with house.staging.admit(50_001):
                pytest.fail("it was let in")
        async with house.staging.admit(50_000):
            assert house.names() == []


async def test_a_write_that_is_cut_short_goes_on(house: House) -> None:
    class ShortDisk(Disk):
        def write(self, fd: int, pieces: Sequence[bytes | memoryview]) -> int:
            return super().write(fd, [bytes(b"".join(pieces)[:700])])

    file = NewFile(ShortDisk(), house.layout.uploads)
    file.write([b"a" * 500, b"b" * 500, b"c" * 2000])
    assert house.disk.digest(file.fd) == digest_of(b"a" * 500 + b"b" * 500 + b"c" * 2000)
    file.close()


@pytest.mark.parametrize("count", [0, 1, 512, 513, 1024])
async def test_pieces_of_any_number_are_one_file(house: House, count: int) -> None:
    data = bytes(range(256)) * 4
    async with house.staging.receive(pieces(data[:count], 1)) as upload:
        assert (upload.size, upload.digest) == (count, digest_of(data[:count]))


async def test_the_largest_file_is_known(house: House) -> None:
    assert house.staging.max_file_bytes == 100_000
