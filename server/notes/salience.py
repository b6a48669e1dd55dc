"""A stand-in for a model: what harmonics of each pitch are there.

It takes the windows that a model takes and gives the same three outputs, so that everything around
it is the same. It has no weights and was not trained: a demonstration, good for one clear voice at
a time, poor at dense music, at octaves and below 65 Hz.

::

    spectrum (4,096 samples) -> amplitudes in thirds of a semitone
    up to VOICES times: the pitch whose harmonics sum to most; its harmonics are taken away
    strength of each key along time -> note;  how fast it rises -> onset;  the pitches -> contour

Source of the idea: A. Klapuri, "Multiple fundamental frequency estimation by summing harmonic
amplitudes", 2006.
"""

import functools

import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.sparse
from numpy.typing import NDArray

from server.notes.bends import BINS_PER_KEY
from server.notes.decoder import KEYS
from server.notes.windows import FRAMES, HOP, SAMPLE_RATE_HZ, WINDOW

N_FFT = 4096
VOICES = 5
HARMONICS = 10
_LOWEST_HZ = 27.5
_PITCHES = BINS_PER_KEY * KEYS
_OFFSETS = [round(12 * BINS_PER_KEY * np.log2(h)) for h in range(1, HARMONICS + 1)]
_BINS = _PITCHES + _OFFSETS[-1]
_DECAY = 0.8  # weight of a harmonic against the one below
_LOBE_HZ = 2.2 * SAMPLE_RATE_HZ / N_FFT  # half of a Hann window's main lobe, and a little
_LEAST_SHARE = 0.3  # of the strongest voice of the frame
_LEAST_OF_WINDOW = 0.02  # of the strongest voice of the window
_LEAST = 2e-3  # of full scale
_TONAL = 1.5  # times what is around it, or it is noise
_AROUND = 37  # an octave
_AHEAD = 10  # frames in which an attack is over
_RISE = 3  # frames before and after, between which a rise is measured


def salience(windows: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Compute the three outputs of the basic-pitch contract without a model.

    Parameters
    ----------
    windows : np.ndarray, shape (n, 43844, 1), float32
        Mono samples at 22,050 Hz, as `windows.Windower` cuts them.

    Returns
    -------
    dict of str to np.ndarray, float32
        ``note`` and ``onset`` (n, 172, 88), ``contour`` (n, 172, 264), in [0, 1].
    """
    count = len(windows)
    outputs = {
        "note": np.zeros((count, FRAMES, KEYS), np.float32),
        "onset": np.zeros((count, FRAMES, KEYS), np.float32),
        "contour": np.zeros((count, FRAMES, _PITCHES), np.float32),
    }
    for k in range(count):
        strength = _voices(_amplitudes(windows[k, :, 0]))
        note, onset = _note_and_onset(strength)
        outputs["note"][k], outputs["onset"][k] = note, onset
        active = np.repeat(note, BINS_PER_KEY, axis=1)[:, 1:]  # the bins around a key's own
        active = np.concatenate([active, note[:, -1:]], axis=1)
        outputs["contour"][k] = np.where(strength > 0, active, 0)
    return outputs


def _amplitudes(y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return amplitudes in thirds of a semitone: (172, bins), 1.0 for a sine of full scale."""
    half = N_FFT // 2
    padded = np.zeros(max(WINDOW, (FRAMES - 1) * HOP + half) + half, np.float32)
    padded[half : half + len(y)] = y
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP][:FRAMES]
    window = _hann()
    spectrum = np.abs(scipy.fft.rfft(frames * window, axis=1)) * (2 / window.sum())
    amplitudes: NDArray[np.float32] = (_bank() @ spectrum.T).T
    return amplitudes


def _voices(amplitudes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the strength of the pitches that are there: (172, 264), 0 for the others."""
    strength = np.zeros((FRAMES, _PITCHES), np.float32)
    rows = np.arange(FRAMES)
    left, least = amplitudes.copy(), np.full(FRAMES, _LEAST, np.float32)
    for voice in range(VOICES):
        summed = sum(
            (
                np.float32(_DECAY**h) * left[:, offset : offset + _PITCHES]
                for h, offset in enumerate(_OFFSETS)
            ),
            start=np.zeros((FRAMES, _PITCHES), np.float32),
        )
        best = summed.argmax(axis=1)
        most = summed[rows, best]
        if voice == 0:
            floor = max(_LEAST, _LEAST_OF_WINDOW * float(most.max()))
            least = np.maximum(floor, _LEAST_SHARE * most)
        around = scipy.ndimage.uniform_filter1d(summed, _AROUND, axis=1, mode="nearest")[rows, best]
        there = most >= np.maximum(least, _TONAL * around)
        if not there.any():
            break
        strength[rows[there], best[there]] = most[there]
        left[there] *= _remainders()[best[there]]
    return strength


def _note_and_onset(
    strength: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return how far each key has risen to what it becomes, and how fast it rises."""
    around = np.pad(strength, ((0, 0), (1, 1)))[:, : BINS_PER_KEY * KEYS]
    keys = around.reshape(FRAMES, KEYS, BINS_PER_KEY).max(axis=2)
    keys = scipy.ndimage.median_filter(keys, size=(5, 1), mode="nearest")
    peak = scipy.ndimage.maximum_filter1d(
        keys, 2 * _AHEAD + 1, axis=0, mode="constant", origin=-_AHEAD
    )
    sounding = peak > 0
    note = np.divide(keys, peak, out=np.zeros_like(keys), where=sounding)
    before = np.pad(keys, ((_RISE, 0), (0, 0)))[:FRAMES]
    after = np.pad(keys, ((0, _RISE), (0, 0)))[_RISE:]
    rise = np.maximum(after - before, 0)
    onset = np.divide(rise, peak, out=np.zeros_like(keys), where=sounding)
    return note, np.minimum(onset, 1)


@functools.cache
def _hann() -> NDArray[np.float32]:
    values = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    return values.astype(np.float32)


def _centres_hz() -> NDArray[np.float64]:
    steps = np.arange(_BINS) / (12 * BINS_PER_KEY)
    centres: NDArray[np.float64] = _LOWEST_HZ * 2.0**steps
    return centres


@functools.cache
def _bank() -> scipy.sparse.csr_array:
    """Return triangles around each pitch, as wide as its neighbours or one bin of the spectrum."""
    hz = np.arange(N_FFT // 2 + 1) * SAMPLE_RATE_HZ / N_FFT
    centres = _centres_hz()
    width = np.maximum(centres * (2 ** (1 / (12 * BINS_PER_KEY)) - 1), SAMPLE_RATE_HZ / N_FFT)
    weight = np.maximum(0, 1 - np.abs(hz[None, :] - centres[:, None]) / width[:, None])
    return scipy.sparse.csr_array(weight.astype(np.float32))


@functools.cache
def _remainders() -> NDArray[np.float32]:
    """Return what each pitch leaves of the amplitudes when it is taken away: (264, bins)."""
    centres = _centres_hz()
    harmonics = np.arange(1, 2 * HARMONICS + 1)
    step = 2 ** (1.6 / (12 * BINS_PER_KEY)) - 1
    left = np.ones((_PITCHES, _BINS), np.float32)
    for pitch in range(_PITCHES):
        of_pitch = harmonics * centres[pitch]
        reach = np.maximum(_LOBE_HZ, of_pitch * step)
        taken = (np.abs(centres[None, :] - of_pitch[:, None]) < reach[:, None]).any(axis=0)
        left[pitch, taken] = 0.03
    return left
