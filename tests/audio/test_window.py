import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.audio.window import Window, WindowRule, repeat, window_of, windows_of
from server.sound_errors import SoundTooShort

_RULE = WindowRule()


@pytest.mark.parametrize("samples", [659_295, 660_000, 661_504, 661_794, 675_808, 676_935])
def test_a_clip_of_about_thirty_seconds_is_used_whole(samples: int) -> None:
    assert window_of(samples, _RULE) == Window(0, samples, samples)


def test_a_longer_sound_is_used_by_its_middle() -> None:
    assert window_of(676_936, _RULE) == Window(7571, 669_365, 661_794)


@pytest.mark.parametrize("samples", [22_050, 264_600, 659_294])
def test_a_shorter_sound_is_repeated(samples: int) -> None:
    window = window_of(samples, _RULE)
    assert window == Window(0, samples, 661_794)
    assert window.is_repeated


def test_a_sound_below_a_second_is_too_short() -> None:
    with pytest.raises(SoundTooShort, match=r"22049 samples .* 22050 \(1\.000 s\)"):
        window_of(22_049, _RULE)


@pytest.mark.parametrize("samples", [1, 1000, 10_000_000])
def test_without_a_rule_any_sound_is_used_whole(samples: int) -> None:
    assert window_of(samples, None) == Window(0, samples, samples)


@given(st.integers(22_050, 80_000_000))
def test_every_window_is_inside_the_sound_with_a_usual_length(samples: int) -> None:
    window = window_of(samples, _RULE)
    assert 0 <= window.start < window.stop <= samples
    assert 659_295 <= window.length <= 676_935
    assert abs((samples - window.stop) - window.start) <= 1


def test_repeating_starts_over_until_the_window_is_full() -> None:
    y = np.arange(3, dtype=np.float32)
    assert repeat(y, Window(0, 3, 8)).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_a_full_window_is_not_copied() -> None:
    y = np.arange(3, dtype=np.float32)
    assert repeat(y, Window(0, 3, 3)) is y


@given(st.integers(22_050, 80_000_000))
def test_all_windows_together_cover_the_sound(samples: int) -> None:
    windows = windows_of(samples, _RULE)
    assert windows[0].start == 0
    assert windows[-1].stop == samples
    for one, next_one in itertools.pairwise(windows):
        assert one.start < next_one.start <= one.stop
    if samples <= _RULE.whole_max:
        assert windows == [window_of(samples, _RULE)]
    else:
        assert {window.length for window in windows} == {_RULE.length}
        assert len(windows) == -(-samples // _RULE.length)
