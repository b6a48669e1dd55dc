from typing import Literal

import numpy as np
import pytest
import scipy.signal
from numpy.typing import NDArray

from server.audio.spectrum import N_FFT, Frames, hann, require, spectra
from server.sound_errors import SoundTooShort


@pytest.mark.parametrize("length", [344, 2048])
def test_the_window_is_scipys_to_the_last_bit(length: int) -> None:
    expected = scipy.signal.get_window("hann", length, fftbins=True).astype(np.float32)
    assert np.array_equal(hann(length), expected)


def test_the_window_cannot_be_written_to() -> None:
    assert not hann(2048).flags.writeable


def _all(frames: Frames) -> NDArray[np.float32]:
    out = np.empty((frames.count, N_FFT), np.float32)
    frames.windowed(0, out)
    return out


@pytest.mark.parametrize("padding", ["constant", "reflect"])
@pytest.mark.parametrize("hop_length", [512, 1024, 1980, 3000])
@pytest.mark.parametrize("samples", [1025, 1535, 1536, 2048, 2049, 3000, 4096, 5119, 5120, 9000])
def test_frames_are_those_of_the_padded_sound(
    padding: Literal["constant", "reflect"], hop_length: int, samples: int
) -> None:
    y = np.random.default_rng(samples).random(samples, dtype=np.float32)
    padded = np.pad(y, 1024, mode=padding)
    rows = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::hop_length]
    found = _all(Frames(y, hop_length, padding=padding))
    assert np.array_equal(found, rows[: 1 + samples // hop_length] * hann(N_FFT))


@pytest.mark.parametrize("samples", [1, 2, 511, 1024])
def test_a_sound_shorter_than_half_a_frame_has_silence_around_it(samples: int) -> None:
    frames = Frames(np.ones(samples, np.float32), 512, padding="constant")
    assert _all(frames).shape == (1 + samples // 512, N_FFT)
    assert not frames.inner


def test_inner_frames_do_not_depend_on_the_padding() -> None:
    y = np.random.default_rng(0).random(9000, dtype=np.float32)
    silent, mirrored = (Frames(y, 512, padding=p) for p in ("constant", "reflect"))
    assert silent.inner == mirrored.inner == range(2, 16)
    differ = np.any(_all(silent) != _all(mirrored), axis=1)
    assert np.flatnonzero(~differ).tolist() == list(silent.inner)


def test_the_blocks_of_spectra_cover_all_frames_in_order() -> None:
    frames = Frames(
        np.random.default_rng(0).random(512 * 200, dtype=np.float32), 512, padding="constant"
    )
    found = np.concatenate([spectrum for _, spectrum in spectra(frames)])
    assert np.allclose(found, np.fft.rfft(_all(frames)), atol=1e-3)


def test_some_of_the_frames_can_be_transformed_alone() -> None:
    frames = Frames(
        np.random.default_rng(0).random(512 * 200, dtype=np.float32), 512, padding="constant"
    )
    whole = np.concatenate([spectrum for _, spectrum in spectra(frames)])
    for wanted in (range(2), range(60, 140), range(199, 201), range(5, 5)):
        parts = [spectrum for _, spectrum in spectra(frames, wanted)]
        assert np.array_equal(
            np.concatenate([whole[:0], *parts]), whole[wanted.start : wanted.stop]
        )


def test_a_short_sound_is_told_how_long_it_must_be() -> None:
    with pytest.raises(SoundTooShort, match=r"needs at least 22050 \(1\.000 s\)") as caught:
        require(np.zeros(11_025, np.float32), 22_050, what="the task")
    assert caught.value.members == {"samples": 11_025, "needed_samples": 22_050}
