"""server/repository/staging.py: bounds, and nothing left behind."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from server.errors import Overload, StorageFull, TooLarge, TooManyRequests
from server.repository import fsops
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


def test_a_name_appears_whole_by_a_link(tmp_path: Path) -> None:
    file = fsops.NewFile(tmp_path)
    file.write(b"content")
    assert list(tmp_path.iterdir()) == []
    assert file.link(tmp_path / "name")
    file.close()
    assert (tmp_path / "name").read_bytes() == b"content"


def test_a_name_that_is_taken_keeps_its_content(tmp_path: Path) -> None:
    (tmp_path / "name").write_bytes(b"first")
    file = fsops.NewFile(tmp_path)
    file.write(b"second")
    assert not file.link(tmp_path / "name")
    file.close()
    assert (tmp_path / "name").read_bytes() == b"first"


def test_without_unnamed_files_a_dotted_name_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.O_TMPFILE")
    file = fsops.NewFile(tmp_path)
    file.write(b"content")
    (part,) = tmp_path.iterdir()
    assert part.name.startswith(".")
    file.link(tmp_path / "name")
    file.close()
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


def test_a_stand_in_that_a_crash_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.O_TMPFILE")
    file = fsops.NewFile(tmp_path)
    fsops.remove_parts(tmp_path)
    assert list(tmp_path.iterdir()) == []
    file.close()


def test_a_stand_in_that_is_a_folder_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / ".part-a").mkdir()
    (tmp_path / ".part-b").write_bytes(b"half")
    fsops.remove_parts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".part-a"]


async def test_what_is_published_during_a_sweep_stays_counted(house: House) -> None:
    before = house.staging.bytes_published
    for letter in (b"a", b"b"):
        await house.upload(letter * 100_000)
    house.staging.count_waiting(0, since=before)
    with pytest.raises(StorageFull):
        await house.upload(b"c" * 100_000)
