import numpy as np
import pytest

from server.audio.stretches import Stretches
from server.synthesis.mel_tile import FRAMES, TILE
from server.synthesis.tiles import FRAME_HOP, TILE_HOP, Joiner


@pytest.mark.parametrize("samples", [TILE, TILE + 1, 2 * TILE_HOP, 5 * TILE_HOP + 77])
def test_tiles_that_nobody_changed_join_to_the_sound(samples: int) -> None:
    y = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    stretches, joiner = Stretches(TILE, TILE_HOP), Joiner(TILE_HOP)
    tiles = [*stretches.feed(y[:70_000]), *stretches.feed(y[70_000:]), *stretches.finish()]
    pieces = [joiner.add(tile) for tile in tiles]
    tail = joiner.finish()
    assert tail is not None
    joined = np.concatenate([*pieces, tail])
    np.testing.assert_allclose(joined[:samples], y, atol=1e-6)
    assert not joined[samples:].any()


def test_one_tile_fades_evenly_into_the_next() -> None:
    joiner = Joiner(FRAME_HOP)
    joiner.add(np.zeros((2, FRAMES), np.float32))
    faded = joiner.add(np.ones((2, FRAMES), np.float32))
    shared = FRAMES - FRAME_HOP
    np.testing.assert_allclose(faded[0, :shared], np.arange(1, shared + 1) / (shared + 1))
    assert (faded[:, shared:] == 1).all()


def test_a_tenth_of_a_tile_is_shared() -> None:
    assert pytest.approx(0.1, abs=0.002) == (TILE - TILE_HOP) / TILE
    assert pytest.approx(0.1, abs=0.002) == (FRAMES - FRAME_HOP) / FRAMES


def test_without_tiles_nothing_is_left() -> None:
    assert Joiner(TILE_HOP).finish() is None
