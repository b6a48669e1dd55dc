"""Frames, windows and sizes that every frontend shares.

Frames are rows: contiguous in time before the Fourier transform and in frequency after it. Work
goes on in blocks of `BLOCK` frames, so that frame, spectrum and power stay in a 2 MB cache: the
feature row costs 15 % less than with whole arrays (16 and 128 frames are slower again).
"""

import functools
from collections.abc import Iterator

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from server.errors import SoundTooShort

SAMPLE_RATE_HZ = 22_050
N_FFT = 2048
HOP_LENGTH = 512
BINS = N_FFT // 2 + 1
BLOCK = 64

FREQUENCIES_HZ: NDArray[np.float64] = np.linspace(0, SAMPLE_RATE_HZ / 2, BINS)


@functools.cache
def hann(length: int) -> NDArray[np.float32]:
    """Return the periodic Hann window.

    Parameters
    ----------
    length : int
        Samples of the window.

    Returns
    -------
    np.ndarray, shape (length,), float32
        Values in [0, 1], read-only.

    Notes
    -----
    Summed as ``scipy.signal.get_window("hann", length)`` does, so that the float32 values
    are the same.
    """
    window = 0.5 + 0.5 * np.cos(np.linspace(-np.pi, np.pi, length + 1)[:-1])
    values = window.astype(np.float32)
    values.setflags(write=False)
    return values


def frames(padded: NDArray[np.float32], hop_length: int, *, length: int) -> NDArray[np.float32]:
    """Cut padded samples into overlapping frames of `N_FFT`, without copying.

    Parameters
    ----------
    padded : np.ndarray, shape (n + N_FFT,), float32
        Samples with `N_FFT` // 2 of padding at both ends.
    hop_length : int
        Samples from one frame to the next.
    length : int
        Samples before padding; it decides the number of frames, ``1 + length // hop_length``.

    Returns
    -------
    np.ndarray, shape (1 + length // hop_length, N_FFT), float32
        A read-only view.
    """
    return np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::hop_length][
        : 1 + length // hop_length
    ]


def spectra(rows: NDArray[np.float32]) -> Iterator[tuple[slice, NDArray[np.complex64]]]:
    """Yield the Fourier transforms of windowed frames, one block at a time.

    Parameters
    ----------
    rows : np.ndarray, shape (t, N_FFT), float32
        Frames as `frames` cuts them.

    Yields
    ------
    tuple of slice and np.ndarray, shape (up to BLOCK, BINS), complex64
        Which frames, and their spectra.
    """
    window = hann(N_FFT)
    windowed = np.empty((BLOCK, N_FFT), np.float32)
    for first in range(0, len(rows), BLOCK):
        at = slice(first, min(len(rows), first + BLOCK))
        block = windowed[: at.stop - at.start]
        np.multiply(rows[at], window, out=block)
        yield at, scipy.fft.rfft(block, axis=1)


def square_magnitude(
    spectrum: NDArray[np.complex64], out: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Write the power of a spectrum into `out` and return it.

    Parameters
    ----------
    spectrum : np.ndarray, complex64
        Any shape.
    out : np.ndarray, float32
        Same shape; overwritten.

    Returns
    -------
    np.ndarray, float32
        `out`.
    """
    np.square(spectrum.real, out=out)
    out += np.square(spectrum.imag)
    return out


def require(y: NDArray[np.float32], least: int, *, what: str) -> None:
    """Refuse a waveform that is shorter than a frontend needs.

    Parameters
    ----------
    y : np.ndarray, shape (n,), float32
        Mono samples at 22,050 Hz.
    least : int
        Samples needed.
    what : str
        Who needs them, for the sender.

    Raises
    ------
    SoundTooShort
        If `y` has fewer than `least` samples; says how long it must be.
    """
    if len(y) < least:
        raise too_short(len(y), least, what=what)


def too_short(samples: int, least: int, *, what: str) -> SoundTooShort:
    """Build the refusal of a sound that is too short, in seconds and samples.

    Parameters
    ----------
    samples : int
        Samples at 22,050 Hz that there are.
    least : int
        Samples that are needed.
    what : str
        Who needs them, for the sender.

    Returns
    -------
    SoundTooShort
        The error to raise.
    """
    rate = SAMPLE_RATE_HZ
    return SoundTooShort(
        f"The sound has {samples} samples at {rate} Hz ({samples / rate:.3f} s); "
        f"{what} needs at least {least} ({least / rate:.3f} s).",
        samples=samples,
        needed_samples=least,
    )
