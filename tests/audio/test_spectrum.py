import numpy as np
import pytest
import scipy.signal

from server.audio.spectrum import N_FFT, frames, hann, require, spectra
from server.errors import SoundTooShort


@pytest.mark.parametrize("length", [344, 2048])
def test_the_window_is_scipys_to_the_last_bit(length: int) -> None:
    expected = scipy.signal.get_window("hann", length, fftbins=True).astype(np.float32)
    assert np.array_equal(hann(length), expected)


def test_the_window_cannot_be_written_to() -> None:
    assert not hann(2048).flags.writeable


@pytest.mark.parametrize(("samples", "count"), [(1, 1), (511, 1), (512, 2), (661_504, 1293)])
def test_there_is_a_frame_at_every_hop(samples: int, count: int) -> None:
    padded = np.zeros(samples + N_FFT, np.float32)
    assert frames(padded, 512, length=samples).shape == (count, N_FFT)


def test_the_blocks_of_spectra_cover_all_frames_in_order() -> None:
    rows = np.random.default_rng(0).random((130, N_FFT), dtype=np.float32)
    found = np.concatenate([spectrum for _, spectrum in spectra(rows)])
    expected = np.fft.rfft(rows * hann(N_FFT))
    assert np.allclose(found, expected, atol=1e-3)


def test_a_short_sound_is_told_how_long_it_must_be() -> None:
    with pytest.raises(SoundTooShort, match=r"needs at least 22050 \(1\.000 s\)") as caught:
        require(np.zeros(11_025, np.float32), 22_050, what="the task")
    assert caught.value.members == {"samples": 11_025, "needed_samples": 22_050}
