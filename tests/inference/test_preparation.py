"""server/inference/preparation.py: tensors of a sound, from a decoder or from what is known."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from server.digest import Digest
from server.errors import WorkerFailed
from server.inference.child_kind import ChildKind
from server.inference.feature_cache import FeatureCache
from server.inference.pool import ChildPool
from server.inference.preparation import Preparation, Sound
from server.sound_errors import BadFeatureRow, UnreadableSound
from server.tasks.contract import Signature, TensorSpec
from server.tasks.genre import bind
from tests.inference.odd_models import lines, odd_kind

ROW = TensorSpec("row", (None, 58), "float32")
PICTURE = TensorSpec("picture", (None, 235, 335, 1), "float32")
GENRE = (TensorSpec("genre", (None, 10), "float32"),)
BINDING = bind(Signature((ROW, PICTURE), GENRE), {})
SCALED = bind(Signature((PICTURE,), GENRE), {"inputs": {"picture": {"scale": 255.0}}})
WINDOW = {"start_s": 0.0, "stop_s": 2.0, "of_s": 2.0, "repeated": True}
Make = Callable[..., Preparation]


@pytest.fixture(scope="module")
def wav() -> bytes:
    y = 0.1 * np.random.default_rng(0).standard_normal(2 * 22_050)
    file = io.BytesIO()
    soundfile.write(file, y, 22_050, format="WAV")
    return file.getvalue()


class House:
    """A preparation, its cache, and what it started in the background."""

    def __init__(self, kind: ChildKind, cache: FeatureCache | None) -> None:
        self.tasks: list[asyncio.Task[None]] = []
        self.pool = ChildPool(kind, size=1, max_queue=8, spawn=self._spawn)
        self.preparation = Preparation(self.pool, cache, spawn=self._spawn)
        self._lanes = len(self.tasks)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self.tasks.append(asyncio.ensure_future(work))
        return self.tasks[-1]

    async def tensors(self, sound: Sound, binding: dict[str, Any] = BINDING) -> list[bytes]:
        """Prepare a sound, and wait until what is kept of it is kept."""
        prepared = await self.preparation.prepare(sound, binding)
        await asyncio.gather(*self.tasks[self._lanes :])
        return [bytes(part.data) for part in prepared.tensors]


@pytest.fixture
async def house() -> AsyncIterator[Callable[..., House]]:
    made: list[House] = []

    def new(kind: ChildKind | None = None, cache: FeatureCache | None = None) -> House:
        decoder = ChildKind("server.inference.decoder_child", {}, 60, 60)
        made.append(House(kind or decoder, cache))
        return made[-1]

    yield new
    for one in made:
        await one.pool.close()


New = Callable[..., House]


async def test_a_known_sound_gives_the_same_numbers(house: New, wav: bytes) -> None:
    cache = FeatureCache(10 << 20)
    new = house(cache=cache)
    first = await new.tensors(Sound(wav, "wav", b""))
    assert (cache.hits, cache.misses) == (0, 2)
    assert await new.tensors(Sound(wav, "wav", b"")) == first
    assert (cache.hits, cache.misses) == (2, 2)


async def test_a_sound_whose_digest_is_known_is_the_same_sound(house: New, wav: bytes) -> None:
    cache = FeatureCache(10 << 20)
    new = house(cache=cache)
    await new.tensors(Sound(wav, "wav", b""))
    digest = Digest(hashlib.sha256(wav).digest())
    await new.tensors(Sound(wav, "wav", b"", digest))
    assert cache.hits == 2


async def test_another_model_uses_what_was_kept_for_the_first(house: New, wav: bytes) -> None:
    cache = FeatureCache(10 << 20)
    new = house(cache=cache)
    (_, picture) = await new.tensors(Sound(wav, "wav", b""))
    (scaled,) = await new.tensors(Sound(wav, "wav", b""), SCALED)
    assert cache.hits == 1
    expected = np.frombuffer(picture, np.float32) / 255
    np.testing.assert_allclose(np.frombuffer(scaled, np.float32), expected, rtol=1e-6)


async def test_without_a_cache_the_numbers_are_the_same(house: New, wav: bytes) -> None:
    sound = Sound(wav, "wav", b"")
    assert await house().tensors(sound) == await house(cache=FeatureCache(1 << 20)).tensors(sound)


async def test_the_wrong_extension_of_a_known_sound_is_refused_as_before(
    house: New, wav: bytes
) -> None:
    new = house(cache=FeatureCache(10 << 20))
    await new.tensors(Sound(wav, "wav", b""))
    with pytest.raises(UnreadableSound):
        await new.tensors(Sound(wav, "mp3", b""))


async def test_a_bad_row_beside_a_known_sound_is_refused_as_before(house: New, wav: bytes) -> None:
    new = house(cache=FeatureCache(10 << 20))
    await new.tensors(Sound(wav, "wav", b""))
    with pytest.raises(BadFeatureRow):
        await new.tensors(Sound(wav, "wav", b"tempo\n1\n"))


# with a child that logs what it is asked, and answers anything

INPUTS = {
    "inputs": [
        {"tensor": "a", "shape": [1, 2], "value": "va", "kind": "picture"},
        {"tensor": "b", "shape": [1, 3], "value": "vb", "kind": "row"},
    ]
}
FIELDS: dict[str, Any] = {"told": {"window": WINDOW, "features": "derived"}, "same": {"va": "a"}}
PARTS = [("a", "float32", [1, 2]), ("b", "float32", [1, 3]), ("value:vb", "float64", [5])]


def odd(log: Path, **changed: object) -> ChildKind:
    return odd_kind({"log": str(log), "fields": FIELDS, "tensors": PARTS} | changed)


async def test_the_sound_is_not_sent_again_when_everything_is_known(
    house: New, tmp_path: Path
) -> None:
    new = house(odd(tmp_path / "log"), FeatureCache(1 << 20))
    for _ in range(2):
        await new.tensors(Sound(b"a song", None, b""), INPUTS)
    first, second = lines(tmp_path / "log")
    assert first == {"parts": ["csv", "sound"], "window": None}
    assert set(second["parts"]) == {"csv", "known:va", "known:vb"}
    assert second["window"] == WINDOW


async def test_a_row_that_the_caller_brings_is_not_looked_for(house: New, tmp_path: Path) -> None:
    cache = FeatureCache(1 << 20)
    new = house(odd(tmp_path / "log"), cache)
    await new.tensors(Sound(b"a song", None, b"a\n1\n"), INPUTS)
    assert (cache.hits, cache.misses) == (0, 1)


async def test_the_sound_is_sent_when_a_value_is_missing(house: New, tmp_path: Path) -> None:
    new = house(odd(tmp_path / "log", tensors=PARTS[:2]), FeatureCache(1 << 20))
    for _ in range(2):
        await new.tensors(Sound(b"a song", None, b""), INPUTS)
    assert lines(tmp_path / "log")[1]["parts"] == ["csv", "known:va", "sound"]


async def test_the_answer_says_what_was_used(house: New, tmp_path: Path) -> None:
    new = house(odd(tmp_path / "log"))
    prepared = await new.preparation.prepare(Sound(b"a song", None, b""), INPUTS)
    assert prepared.window == "0-2 s of 2 s, repeated"
    assert prepared.features == "derived"
    assert [part.name for part in prepared.tensors] == ["a", "b"]


def told(**changed: object) -> dict[str, Any]:
    return {"told": FIELDS["told"] | changed, "same": {}}


@pytest.mark.parametrize(
    "fields",
    [
        *({}, {"told": None}, {"told": []}, {"told": {}}, told(window=None), told(window=[])),
        *(told(window={}), told(window=WINDOW | {"start_s": "x"}), told(window={"start_s": 1})),
        *(told(window={k: v for k, v in WINDOW.items() if k != "repeated"}),),
        *(told(features="guessed"), told(features=[]), told(features={})),
    ],
    ids=ascii,
)
async def test_a_decoder_that_tells_nonsense_has_failed(
    house: New, tmp_path: Path, fields: dict[str, Any]
) -> None:
    new = house(odd(tmp_path / "log", fields=fields), FeatureCache(1 << 20))
    with pytest.raises(WorkerFailed, match="nonsense"):
        await new.tensors(Sound(b"a song", None, b""), INPUTS)


@pytest.mark.parametrize(
    "parts",
    [
        [],
        PARTS[1:],
        [("a", "float32", [1, 3]), *PARTS[1:]],
        [("a", "float32", [2]), *PARTS[1:]],
        [("a", "float64", [1, 2]), *PARTS[1:]],
        [("a", "float32", [2, 1]), *PARTS[1:]],
    ],
    ids=ascii,
)
async def test_a_decoder_that_answers_other_tensors_has_failed(
    house: New, tmp_path: Path, parts: list[Any]
) -> None:
    cache = FeatureCache(1 << 20)
    new = house(odd(tmp_path / "log", tensors=parts), cache)
    with pytest.raises(WorkerFailed, match="nonsense"):
        await new.tensors(Sound(b"a song", None, b""), INPUTS)
    assert len(cache) == 0


@pytest.mark.parametrize("same", [None, [], {"va": "nothing"}, {"va": None}, {"va": []}, {"": "a"}])
async def test_nonsense_for_keeping_is_not_kept_as_a_needed_value(
    house: New, tmp_path: Path, same: object
) -> None:
    cache = FeatureCache(1 << 20)
    new = house(odd(tmp_path / "log", fields=FIELDS | {"same": same}, tensors=PARTS[:2]), cache)
    for _ in range(2):
        await new.tensors(Sound(b"a song", None, b""), INPUTS)
    assert cache.hits == 0


# windows


ROWS = [("a", "float32", [8, 2]), ("b", "float32", [8, 3])]


def windows_told(**changed: object) -> dict[str, Any]:
    return {"told": FIELDS["told"] | {"count": 10} | changed}


async def test_the_tensors_of_windows_are_cut_into_rows(house: New, tmp_path: Path) -> None:
    cache = FeatureCache(1 << 20)
    new = house(odd(tmp_path / "log", fields=windows_told(), tensors=ROWS), cache)
    made = await new.preparation.prepare_windows(Sound(b"a song", None, b""), INPUTS, 0)
    assert (made.count, made.window, made.features) == (10, "0-2 s of 2 s, repeated", "derived")
    assert [[part.shape for part in row] for row in made.rows] == 8 * [[(1, 2), (1, 3)]]
    a, b = made.rows[7]
    assert np.frombuffer(a.data, np.float32).tolist() == [14, 15]
    assert np.frombuffer(b.data, np.float32).tolist() == [21, 22, 23]
    assert lines(tmp_path / "log")[0]["parts"] == ["sound"]
    assert len(cache) == 0


COUNTS: list[object] = [None, "x", 0, -1, 1001, 7, []]


@pytest.mark.parametrize(
    ("fields", "parts", "first"),
    [
        ({}, ROWS, 0),
        *((windows_told(count=count), ROWS, 0) for count in COUNTS),
        (windows_told(window=None), ROWS, 0),
        (windows_told(features="guessed"), ROWS, 0),
        (windows_told(), ROWS, 8),
        (windows_told(), ROWS, 10),
        (windows_told(), ROWS[:1], 0),
        (windows_told(), [ROWS[0], ("b", "float32", [7, 3])], 0),
        (windows_told(), [ROWS[0], ("b", "float64", [8, 3])], 0),
    ],
    ids=range(15),
)
async def test_a_decoder_that_tells_nonsense_of_windows_has_failed(
    house: New, tmp_path: Path, fields: dict[str, Any], parts: list[Any], first: int
) -> None:
    new = house(odd(tmp_path / "log", fields=fields, tensors=parts))
    with pytest.raises(WorkerFailed, match="nonsense"):
        await new.preparation.prepare_windows(Sound(b"a song", None, b""), INPUTS, first)
