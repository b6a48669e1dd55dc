import numpy as np
import pytest

from server.audio.tones import GREYS, MAGMA


# Red, green and blue in 0..1 of matplotlib's magma, from its published table.
@pytest.mark.parametrize(
    ("index", "rgb"),
    [
        (0, (0.001462, 0.000466, 0.013866)),
        (64, (0.316654, 0.071690, 0.485380)),
        (128, (0.716387, 0.214982, 0.475290)),
        (255, (0.987053, 0.991438, 0.749504)),
    ],
)
def test_magma_is_the_luma_of_the_colour_map(index: int, rgb: tuple[float, float, float]) -> None:
    luma = 255 * float(np.dot(rgb, (0.299, 0.587, 0.114)))
    assert abs(int(MAGMA[index]) - luma) < 1


def test_magma_never_gets_darker() -> None:
    assert len(MAGMA) == 256
    assert np.all(np.diff(MAGMA.astype(int)) >= 0)


@pytest.mark.parametrize(("index", "grey"), [(0, 255), (64, 217), (128, 150), (191, 82), (255, 0)])
def test_greys_goes_from_white_to_black_by_its_anchors(index: int, grey: int) -> None:
    assert abs(int(GREYS[index]) - grey) <= 1
    assert len(GREYS) == 256
