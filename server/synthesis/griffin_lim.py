"""A sound whose spectrum has given magnitudes: the Griffin-Lim iteration, with momentum.

The start is a phase for each bin: random, or that of another sound. Then transform and inverse take
turns, and of each spectrum only the phase is kept.

Sources: D. Griffin and J. Lim, "Signal estimation from modified short-time Fourier transform",
1984; N. Perraudin, P. Balazs and P. Sondergaard, "A fast Griffin-Lim algorithm", 2013. Frames,
window and momentum are those of librosa 0.11 (``librosa.griffinlim``).
"""

import functools

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from server.audio.spectrum import BINS, BLOCK, HOP_LENGTH, N_FFT, Frames, hann, spectra

MOMENTUM = 0.99
_HOPS = N_FFT // HOP_LENGTH
_TINY = np.float32(1e-20)  # squared magnitudes below it have no phase


def stft(y: NDArray[np.float32]) -> NDArray[np.complex64]:
    """Compute the Fourier transforms of overlapping frames, with silence around the sound.

    Parameters
    ----------
    y : np.ndarray, shape (n,), float32
        Mono samples, n >= 1.

    Returns
    -------
    np.ndarray, shape (1 + n // 512, 1025), complex64
        Frames are rows; the first is centred on the first sample.
    """
    frames = Frames(y, HOP_LENGTH, padding="constant")
    whole = np.empty((frames.count, BINS), np.complex64)
    for at, spectrum in spectra(frames):
        whole[at] = spectrum
    return whole


def istft(spectrum: NDArray[np.complex64], length: int) -> NDArray[np.float32]:
    """Compute the sound whose transform comes closest to a spectrum.

    Parameters
    ----------
    spectrum : np.ndarray, shape (frames, 1025), complex64
        As `stft` lays it out.
    length : int
        Samples wanted, at most half a frame more than ``512 (frames - 1)``.

    Returns
    -------
    np.ndarray, shape (length,), float32
        Samples.
    """
    count = len(spectrum)
    added = np.zeros((count + _HOPS - 1, HOP_LENGTH), np.float32)
    window = hann(N_FFT)
    for first in range(0, count, BLOCK):
        block = scipy.fft.irfft(spectrum[first : first + BLOCK], N_FFT, axis=1)
        block *= window
        parts = block.reshape(-1, _HOPS, HOP_LENGTH)
        for k in range(_HOPS):
            added[first + k : first + k + len(parts)] += parts[:, k]
    half = N_FFT // 2
    y = added.reshape(-1)[half : half + length]
    return y * _inverse_weight(count)[half : half + length]


@functools.lru_cache(maxsize=4)
def _inverse_weight(count: int) -> NDArray[np.float32]:
    """Return one over the squared windows of so many frames, added up."""
    parts = np.square(hann(N_FFT)).reshape(_HOPS, HOP_LENGTH)
    weight = np.zeros((count + _HOPS - 1, HOP_LENGTH), np.float32)
    for k in range(_HOPS):
        weight[k : k + count] += parts[k]
    flat = weight.reshape(-1)
    return np.divide(1, flat, out=np.ones_like(flat), where=flat > np.finfo(np.float32).tiny)


def random_phase(frames: int, seed: list[int]) -> NDArray[np.complex64]:
    """Draw a phase for every bin.

    Parameters
    ----------
    frames : int
        How many frames.
    seed : list of int
        Not negative; equal seeds give equal phases.

    Returns
    -------
    np.ndarray, shape (frames, 1025), complex64
        Numbers of magnitude 1.
    """
    turns = np.random.default_rng(seed).random((frames, BINS), np.float32)
    angle = turns * np.float32(2 * np.pi)
    phase = np.empty(angle.shape, np.complex64)
    np.cos(angle, out=phase.real)
    np.sin(angle, out=phase.imag)
    return phase


def griffin_lim(
    magnitude: NDArray[np.float32],
    start: NDArray[np.complex64],
    *,
    iterations: int,
    length: int,
) -> NDArray[np.float32]:
    """Find a sound whose spectrum has these magnitudes.

    Parameters
    ----------
    magnitude : np.ndarray, shape (frames, 1025), float32
        Not negative.
    start : np.ndarray, shape (frames, 1025), complex64
        The first phases; magnitudes do not count.
    iterations : int
        From 0; each is an inverse and a transform.
    length : int
        Samples wanted, with as many frames as there are.

    Returns
    -------
    np.ndarray, shape (length,), float32
        Samples.
    """
    spectrum = start.copy()
    before = np.zeros_like(spectrum)
    _set_magnitude(spectrum, magnitude)
    share = np.float32(MOMENTUM / (1 + MOMENTUM))
    for iteration in range(iterations):
        frames = Frames(istft(spectrum, length), HOP_LENGTH, padding="constant")
        for at, now in spectra(frames):
            target = spectrum[at]
            np.multiply(before[at], -share if iteration else 0, out=target)
            target += now
            before[at] = now
            _set_magnitude(target, magnitude[at])
    return istft(spectrum, length)


def _set_magnitude(spectrum: NDArray[np.complex64], magnitude: NDArray[np.float32]) -> None:
    """Give numbers another magnitude and leave their phase."""
    squared = np.square(spectrum.real)
    squared += np.square(spectrum.imag)
    squared += _TINY
    np.sqrt(squared, out=squared)
    spectrum *= np.divide(magnitude, squared, out=squared)
