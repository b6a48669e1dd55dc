"""What server/inference/feature_cache.py and feature_files.py keep, and what they let go."""

import asyncio
import hashlib
import logging
import os
from collections import OrderedDict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.digest import Digest
from server.inference.feature_cache import OVERHEAD_BYTES, CachedValue, FeatureCache
from server.inference.frames import Part

WINDOW = {"start_s": 8.0, "stop_s": 38.0, "of_s": 46.0, "repeated": False}
NAME = "gtzan-58@1"
ROOM = 1 << 20


def sound(k: int) -> Digest:
    return Digest(hashlib.sha256(b"sound %d" % k).digest())


def value(size: int = 464, fill: int = 1) -> CachedValue:
    return CachedValue(WINDOW, Part(NAME, bytes([fill]) * size, "uint8", (size,)))


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


async def test_a_value_is_found_with_its_window() -> None:
    cache = FeatureCache(ROOM)
    await cache.put(sound(1), "wav", NAME, value())
    assert await cache.get(sound(1), "wav", NAME) == value()


@pytest.mark.parametrize(
    "key", [(sound(2), "wav", NAME), (sound(1), None, NAME), (sound(1), "wav", "gtzan-58@2")]
)
async def test_another_sound_extension_or_name_is_another_key(
    key: tuple[Digest, str | None, str],
) -> None:
    cache = FeatureCache(ROOM)
    await cache.put(sound(1), "wav", NAME, value())
    assert await cache.get(*key) is None


def test_a_hit_in_memory_does_not_leave_the_loop(folder: Path) -> None:
    cache = FeatureCache(ROOM, folder, ROOM)
    asyncio.run(cache.put(sound(1), None, NAME, value()))
    with pytest.raises(StopIteration) as returned:
        cache.get(sound(1), None, NAME).send(None)
    assert returned.value.value == value()


async def test_who_changes_an_answer_does_not_change_the_cache() -> None:
    cache = FeatureCache(ROOM)
    await cache.put(sound(1), None, NAME, value())
    found = await cache.get(sound(1), None, NAME)
    assert found is not None
    found.window.clear()
    assert await cache.get(sound(1), None, NAME) == value()


async def test_a_value_is_kept_without_the_frame_that_it_came_in() -> None:
    cache = FeatureCache(ROOM)
    part = Part(NAME, memoryview(bytes(100_000))[10:20], "uint8", (10,))
    await cache.put(sound(1), None, NAME, CachedValue(WINDOW, part))
    found = await cache.get(sound(1), None, NAME)
    assert found is not None
    assert isinstance(found.part.data, bytes)


async def test_a_value_over_the_bound_is_not_kept() -> None:
    cache = FeatureCache(2000)
    await cache.put(sound(1), None, NAME, value(100))
    await cache.put(sound(2), None, NAME, value(2000))
    assert len(cache) == 1
    assert await cache.get(sound(1), None, NAME) is not None


async def test_a_value_over_the_bound_takes_the_place_of_its_older_self() -> None:
    cache = FeatureCache(2000)
    await cache.put(sound(1), None, NAME, value(100))
    await cache.put(sound(1), None, NAME, value(2000))
    assert (len(cache), cache.bytes) == (0, 0)


async def test_a_window_that_no_decoder_tells_is_not_kept() -> None:
    cache = FeatureCache(ROOM)
    await cache.put(sound(1), None, NAME, CachedValue({"x": "y" * 2000}, value().part))
    assert len(cache) == 0


async def test_the_least_recently_used_value_goes_first() -> None:
    cache = FeatureCache(3 * 2000)
    for k in range(3):
        await cache.put(sound(k), None, NAME, value(1000))
    await cache.get(sound(0), None, NAME)
    for k in (3, 4):
        await cache.put(sound(k), None, NAME, value(1000))
    kept = [k for k in range(5) if await cache.get(sound(k), None, NAME)]
    assert kept == [0, 3, 4]


async def test_hits_and_misses_are_counted(folder: Path) -> None:
    await FeatureCache(ROOM, folder, ROOM).put(sound(1), None, NAME, value())
    cache = FeatureCache(ROOM, folder, ROOM)
    for k in (1, 1, 2):
        await cache.get(sound(k), None, NAME)
    assert (cache.hits, cache.disk_hits, cache.misses) == (2, 1, 1)


steps = st.lists(
    st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 3000)), min_size=1, max_size=60
)


@given(steps=steps, max_bytes=st.integers(0, 9000))
@settings(deadline=None)
def test_the_account_is_exact_whatever_is_put_and_got(
    steps: list[tuple[bool, int, int]], max_bytes: int
) -> None:
    async def run() -> None:
        cache = FeatureCache(max_bytes)
        model: OrderedDict[int, int] = OrderedDict()
        base = 0
        for is_put, k, size in steps:
            if is_put:
                await cache.put(sound(k), None, NAME, value(size))
                base = base or _cost_of_nothing()
                model.pop(k, None)
                if base + size <= max_bytes:
                    model[k] = base + size
                while sum(model.values()) > max_bytes:
                    model.popitem(last=False)
            else:
                found = await cache.get(sound(k), None, NAME)
                assert (found is not None) == (k in model)
                if k in model:
                    model.move_to_end(k)
            assert cache.bytes == sum(model.values()) <= max_bytes
            assert len(cache) == len(model)

    asyncio.run(run())


def _cost_of_nothing() -> int:
    """Return what an entry with an empty value counts."""
    cache = FeatureCache(ROOM)
    coroutine = cache.put(sound(0), None, NAME, value(0))
    with pytest.raises(StopIteration):
        coroutine.send(None)
    assert cache.bytes > OVERHEAD_BYTES
    return cache.bytes


async def test_files_of_an_earlier_run_are_used(folder: Path) -> None:
    await FeatureCache(ROOM, folder, ROOM).put(sound(1), "mp3", NAME, value())
    found = await FeatureCache(0, folder, ROOM).get(sound(1), "mp3", NAME)
    assert found == value()


@pytest.mark.parametrize("place", [0, 40, 60, -1])
async def test_a_damaged_file_is_removed(folder: Path, place: int) -> None:
    await FeatureCache(0, folder, ROOM).put(sound(1), None, NAME, value())
    (file,) = files(folder)
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    assert await FeatureCache(0, folder, ROOM).get(sound(1), None, NAME) is None
    assert not files(folder)


@given(content=st.binary(max_size=200), is_signed=st.booleans())
@settings(deadline=None, max_examples=100)
def test_a_file_of_any_bytes_is_no_value(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, *, is_signed: bool
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    asyncio.run(FeatureCache(0, folder, ROOM).put(sound(1), None, NAME, value()))
    (file,) = files(folder)
    file.write_bytes(hashlib.sha256(content).digest() + content if is_signed else content)
    assert asyncio.run(FeatureCache(0, folder, ROOM).get(sound(1), None, NAME)) is None
    assert not files(folder)


async def test_a_file_under_the_name_of_another_is_removed(folder: Path) -> None:
    cache = FeatureCache(0, folder, ROOM)
    await cache.put(sound(1), None, NAME, value())
    (first,) = files(folder)
    await cache.put(sound(2), None, NAME, value())
    (second,) = set(files(folder)) - {first}
    second.write_bytes(first.read_bytes())
    assert await cache.get(sound(2), None, NAME) is None
    assert files(folder) == [first]


async def test_a_file_that_has_gone_is_a_miss(folder: Path) -> None:
    cache = FeatureCache(0, folder, ROOM)
    await cache.put(sound(1), None, NAME, value())
    files(folder)[0].unlink()
    assert await cache.get(sound(1), None, NAME) is None
    await cache.put(sound(1), None, NAME, value())
    assert await cache.get(sound(1), None, NAME) == value()


async def test_a_link_or_a_pipe_in_the_place_of_a_file_is_not_followed(folder: Path) -> None:
    cache = FeatureCache(0, folder, ROOM)
    for k, make in ((1, lambda path: path.symlink_to("/dev/zero")), (2, os.mkfifo)):
        before = set(files(folder)) if folder.exists() else set()
        await cache.put(sound(k), None, NAME, value())
        (file,) = set(files(folder)) - before
        file.unlink()
        make(file)
        assert await cache.get(sound(k), None, NAME) is None


async def test_the_least_recently_used_files_go_first(folder: Path) -> None:
    first = FeatureCache(0, folder, 3 * 4096)
    for k in range(3):
        await first.put(sound(k), None, NAME, value())
    await first.get(sound(0), None, NAME)
    again = FeatureCache(0, folder, 3 * 4096)
    for k in (3, 4):
        await again.put(sound(k), None, NAME, value())
    kept = [k for k in range(5) if await again.get(sound(k), None, NAME)]
    assert kept == [0, 3, 4]


async def test_a_smaller_bound_than_the_last_runs_is_kept_at_once(folder: Path) -> None:
    for k in range(5):
        await FeatureCache(0, folder, ROOM).put(sound(k), None, NAME, value())
    assert await FeatureCache(0, folder, 2 * 4096).get(sound(4), None, NAME) is not None
    assert len(files(folder)) == 2


async def test_files_that_are_not_ours_are_left_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / ".part-0123").write_text("left by a crash")
    cache = FeatureCache(0, folder, 4096)
    for k in range(3):
        await cache.put(sound(k), None, NAME, value())
    assert [file.name for file in files(folder) if len(file.name) != 64] == ["notes.txt"]


async def test_a_value_over_the_disks_bound_has_no_file(folder: Path) -> None:
    await FeatureCache(ROOM, folder, 4096).put(sound(1), None, NAME, value(5000))
    assert not files(folder)


async def test_without_room_on_disk_there_is_no_folder(folder: Path) -> None:
    await FeatureCache(ROOM, folder).put(sound(1), None, NAME, value())
    assert not folder.exists()


async def test_a_broken_disk_is_told_once_and_memory_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder can be here")
    cache = FeatureCache(ROOM, tmp_path / "file", ROOM)
    with caplog.at_level(logging.WARNING):
        for k in range(3):
            await cache.put(sound(k), None, NAME, value())
            assert await cache.get(sound(k), None, NAME) == value()
        assert await cache.get(sound(9), None, NAME) is None
    assert len(caplog.records) == 1


async def test_a_disk_that_takes_no_more_leaves_nothing_half_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FeatureCache(0, folder, ROOM)
    await cache.put(sound(1), None, NAME, value())

    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", refuse)
        await cache.put(sound(2), None, NAME, value())
    assert len(files(folder)) == 1
    await cache.put(sound(2), None, NAME, value())
    assert await cache.get(sound(2), None, NAME) == value()


@given(steps=steps, blocks=st.integers(0, 4))
@settings(deadline=None, max_examples=40)
def test_the_folder_stays_within_its_bound(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[bool, int, int]], blocks: int
) -> None:
    async def run() -> None:
        folder = tmp_path_factory.mktemp("cache")
        cache = FeatureCache(0, folder, blocks * 4096)
        for is_put, k, size in steps:
            if is_put:
                await cache.put(sound(k), None, NAME, value(3 * size, fill=k))
            elif found := await cache.get(sound(k), None, NAME):
                assert set(found.part.data) <= {k}
            sizes = [-(-file.stat().st_size // 4096) for file in files(folder)]
            assert sum(sizes) <= blocks

    asyncio.run(run())


async def test_values_put_and_got_at_once_do_not_disturb_each_other(folder: Path) -> None:
    cache = FeatureCache(2000, folder, 10 * 4096)

    async def use(k: int) -> None:
        for _ in range(5):
            await cache.put(sound(k), None, NAME, value(fill=k))
            found = await cache.get(sound(k), None, NAME)
            assert found is None or found == value(fill=k)

    await asyncio.gather(*(use(k) for k in range(20)))
    assert len(files(folder)) <= 10
