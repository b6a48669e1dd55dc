"""server/extraction/extract.py: what is asked of decoders, and what is believed of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from server.audio.frontends import describe_frontends
from server.errors import MalformedRequest
from server.extraction.extract import Extraction
from server.extraction.journal import Journal, Recipe
from server.extraction.sources import find_sounds
from server.inference.contracts import Contracts
from server.inference.pool import ChildPool
from tests.inference.odd_models import odd_kind

CONTRACTS = Contracts({}, {str(entry["id"]): entry for entry in describe_frontends()})
RECIPE = Recipe("gtzan-58@1", "mel-235x335@1", 2, 3)
ROW, PICTURE = ("value:gtzan-58@1", "float64", [58]), ("spectrogram", "float32", [1, 2, 3, 1])
Pool = Callable[..., ChildPool]


@pytest.fixture
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pool]:
    made: list[ChildPool] = []

    def new(**said: Any) -> ChildPool:
        log = tmp_path_factory.mktemp("odd") / "log"
        kind = odd_kind({"fields": {}, "log": str(log)} | said)
        made.append(ChildPool(kind, size=1, max_queue=8, spawn=asyncio.ensure_future))
        return made[-1]

    yield new
    for one in made:
        await one.close()


async def extract(pool: ChildPool, folder: Path) -> dict[str, tuple[int, str]]:
    """Extract one sound; return how many features it has and what is wrong with it."""
    (folder / "a.wav").write_bytes(b"a sound")
    with Journal(folder, RECIPE) as journal:
        extraction = Extraction(pool, journal, CONTRACTS, progress=lambda *_: None)
        await extraction.run(find_sounds(folder), jobs=1)
        return {name: (len(done.row), done.problem) for name, done in journal.done.items()}


async def test_a_row_and_a_picture_are_kept(pool: Pool, tmp_path: Path) -> None:
    assert await extract(pool(tensors=[ROW, PICTURE]), tmp_path) == {"a.wav": (58, "")}


@pytest.mark.parametrize(
    "tensors",
    [
        [],
        [ROW],
        [PICTURE],
        [("value:gtzan-58@1", "float32", [58]), PICTURE],
        [("value:gtzan-58@1", "float64", [57]), PICTURE],
        [ROW, ("spectrogram", "float32", [1, 2, 4, 1])],
    ],
)
async def test_a_decoder_that_answers_nonsense_has_failed(
    pool: Pool, tmp_path: Path, tensors: list[Any]
) -> None:
    said = await extract(pool(tensors=tensors), tmp_path)
    assert said == {"a.wav": (0, "worker-failed")}


async def test_a_file_that_cannot_be_read_is_bad(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nothing")
    said = await extract(pool(tensors=[ROW, PICTURE]), tmp_path)
    assert said == {"a.wav": (58, ""), "gone.wav": (0, "not-readable")}


async def test_a_file_that_is_too_large_is_bad(pool: Pool, tmp_path: Path) -> None:
    with (tmp_path / "huge.wav").open("wb") as file:
        file.truncate(1 << 30)  # of holes
    said = await extract(pool(tensors=[ROW, PICTURE]), tmp_path)
    assert said == {"a.wav": (58, ""), "huge.wav": (0, "body-too-large")}


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (Recipe("gtzan-58@1", "gtzan-58@1", 2, 3), "there is no picture frontend gtzan-58@1"),
        (Recipe("mel-235x335@1", "mel-235x335@1", 2, 3), "there is no row frontend mel-235x335@1"),
        (Recipe("gtzan-58@1", "mel-235x335@1", 2, 1), "draws pictures 2 to 1024 wide, not 1"),
        (Recipe("gtzan-58@1", "cs467-crop@1", 2, 335), "draws pictures 200 high, not 2"),
    ],
)
async def test_what_no_decoder_can_do_is_told(
    pool: Pool, tmp_path: Path, recipe: Recipe, said: str
) -> None:
    with Journal(tmp_path, recipe) as journal, pytest.raises(MalformedRequest, match=said):
        Extraction(pool(), journal, CONTRACTS, progress=lambda *_: None)
