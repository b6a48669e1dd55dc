import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from server.audio.frontends import FRONTENDS, PictureFrontend, RowFrontend, describe_frontends
from server.errors import UnusableInput
from server.sound_errors import SoundTooShort

_GOLDEN = Path(__file__).parents[1] / "golden" / "frontends.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, NDArray[np.float64]]:
    with np.load(_GOLDEN) as file:
        return {name: file[name] for name in file.files}


def _sound(golden: dict[str, NDArray[np.float64]]) -> NDArray[np.float32]:
    return golden["pcm16"].astype(np.float32) / np.float32(32_768)


def _picture(name: str) -> PictureFrontend:
    frontend = FRONTENDS[name]
    assert isinstance(frontend, PictureFrontend)
    return frontend


def _row(name: str) -> RowFrontend:
    frontend = FRONTENDS[name]
    assert isinstance(frontend, RowFrontend)
    return frontend


def _compute(name: str, y: NDArray[np.float32]) -> NDArray[np.float64]:
    """Run a frontend of either kind, pictures at 200 x 335."""
    frontend = FRONTENDS[name]
    if isinstance(frontend, RowFrontend):
        return frontend.compute(y)
    return frontend.compute(y, 200, 335).astype(np.float64)


def test_the_row_holds_its_golden_vector(golden: dict[str, NDArray[np.float64]]) -> None:
    row = _row("gtzan-58@1").compute(_sound(golden))
    near_zero = [_row("gtzan-58@1").names.index(f"{name}_mean") for name in ("harmony", "perceptr")]
    expected = golden["gtzan-58@1"]
    assert np.allclose(row[near_zero], expected[near_zero], atol=1e-8)
    rest = np.delete(np.arange(58), near_zero)
    assert np.allclose(row[rest], expected[rest], rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "size", "worst", "mean"),
    [
        ("mel-235x335@1", (235, 335), 1e-3, 1e-6),
        ("kaggle-gtzan@1", (235, 335), 2, 0.01),
        ("kaggle-gtzan@1", (200, 335), 2, 0.01),
        ("kaggle-gtzan@1", (217, 334), 2, 0.01),
        ("kaggle-gtzan@1", (96, 128), 2, 0.01),
        ("cs467-crop@1", (200, 335), 5, 0.05),
    ],
)
def test_each_picture_holds_its_golden_vector(
    golden: dict[str, NDArray[np.float64]],
    name: str,
    size: tuple[int, int],
    worst: float,
    mean: float,
) -> None:
    found = _picture(name).compute(_sound(golden), *size)
    expected = golden[f"{name} {size[0]}x{size[1]}"].astype(np.float32)
    difference = np.abs(found[..., 0] - expected)
    assert difference.max() <= worst
    assert difference.mean() <= mean


@pytest.mark.parametrize("name", ["mel-235x335@1", "kaggle-gtzan@1", "cs467-crop@1"])
def test_pictures_stay_within_their_values(
    golden: dict[str, NDArray[np.float64]], name: str
) -> None:
    frontend = _picture(name)
    x = frontend.compute(_sound(golden), 200, 335)
    assert x.dtype == np.float32
    assert frontend.values[0] <= x.min() < x.max() <= frontend.values[1]


@pytest.mark.parametrize("name", FRONTENDS)
def test_one_sample_less_than_the_minimum_is_too_short(name: str) -> None:
    frontend = FRONTENDS[name]
    y = np.zeros(frontend.min_samples - 1, np.float32)
    with pytest.raises(SoundTooShort, match=f"at least {frontend.min_samples}"):
        _compute(name, y)


@pytest.mark.parametrize("name", FRONTENDS)
def test_the_minimum_is_enough(name: str) -> None:
    frontend = FRONTENDS[name]
    y = np.full(frontend.min_samples, 0.1, np.float32)
    assert np.isfinite(_compute(name, y)).all()


@pytest.mark.parametrize(
    ("name", "size", "axis"),
    [
        ("cs467-crop@1", (235, 335), "height"),
        ("cs467-crop@1", (200, 334), "width"),
        ("mel-235x335@1", (618, 335), "height"),
        ("mel-235x335@1", (235, 1), "width"),
        ("kaggle-gtzan@1", (0, 335), "height"),
        ("kaggle-gtzan@1", (235, 1025), "width"),
    ],
)
def test_a_size_that_cannot_be_drawn_is_refused_by_its_axis(
    name: str, size: tuple[int, int], axis: str
) -> None:
    assert not _picture(name).allows(*size)
    with pytest.raises(UnusableInput, match=axis) as caught:
        _picture(name).compute(np.zeros(30_000, np.float32), *size)
    assert caught.value.members["axis"] == axis


@pytest.mark.parametrize("size", [(235, 335), (200, 335), (217, 334), (128, 128)])
def test_the_usual_sizes_are_allowed(size: tuple[int, int]) -> None:
    assert _picture("mel-235x335@1").allows(*size)
    assert _picture("kaggle-gtzan@1").allows(*size)


def test_the_description_is_json() -> None:
    described = describe_frontends()
    assert json.loads(json.dumps(described)) == described
    assert [entry["id"] for entry in described] == list(FRONTENDS)


def test_the_largest_sizes_can_be_drawn() -> None:
    frontend = _picture("mel-235x335@1")
    height, width = frontend.heights[1], frontend.widths[1]
    x = frontend.compute(np.full(5000, 0.1, np.float32), height, width)
    assert x.shape == (height, width, 1)
