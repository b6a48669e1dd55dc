"""The 58 features of the GTZAN table ``features_30_sec.csv``: recipe ``gtzan-58@1``.

The table was made with librosa 0.7: 22,050 Hz, frames of 2048 every 512 samples, centred,
*reflected* at the ends; harmonic and percussive waveforms from an inverse transform that was not
told a length, so they end up to 511 samples early and count as zero from there. Each track of
numbers is given as mean and population variance.

========================================  ========================================================
length                                    samples
chroma_stft                               12 pitch classes, tuning estimated, largest of a frame = 1
rms, zero_crossing_rate                   of the waveform
spectral_centroid, _bandwidth, rolloff    Hz, of the magnitude spectrum
harmony, perceptr                         samples of the harmonic and the percussive part
tempo                                     beats per minute
mfcc1 .. mfcc20                           cosine transform (II, orthonormal) of 128 mel bands in dB
========================================  ========================================================

Agreement with the table: relative 1e-4 or better, but for ``harmony_mean`` and ``perceptr_mean``,
which are close to zero and agree to 2e-9 absolute (tests/audio/test_gtzan58.py). Cost:
benchmarks/features.py.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from server.audio.chroma import chroma_bank, tuning_of
from server.audio.feature_names import FEATURE_NAMES
from server.audio.harmonic import Parts, separate
from server.audio.mel import decibels, mel_bank
from server.audio.spectral import (
    centroid_and_bandwidth,
    moments,
    rms,
    rolloff,
    zero_crossing_rate,
)
from server.audio.spectrum import (
    BINS,
    HOP_LENGTH,
    N_FFT,
    frames,
    require,
    spectra,
    square_magnitude,
)
from server.audio.tempo import onset_strength, tempo_of

MIN_SAMPLES = N_FFT // 2 + 1  # reflection needs more samples than it adds
_N_MELS = 128
_N_MFCC = 20
_TINY = np.finfo(np.float32).tiny

_Track = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Analysis:
    """What one pass over the spectra leaves; rows are frames."""

    spectrum: NDArray[np.complex64]
    power: NDArray[np.float32]
    power_by_bin: NDArray[np.float32]
    peak: NDArray[np.float32]
    mel: NDArray[np.float32]
    moments: NDArray[np.float64]
    rolloff_hz: NDArray[np.float64]


def gtzan58(y: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compute the 58 features of a clip.

    Parameters
    ----------
    y : np.ndarray, shape (n,), float32
        Mono samples at 22,050 Hz in [-1, 1], finite; n >= 1025. The table's clips last 30 s.

    Returns
    -------
    np.ndarray, shape (58,), float64
        In the order of `server.audio.feature_names.FEATURE_NAMES`.

    Raises
    ------
    SoundTooShort
        If there are fewer than 1025 samples.
    """
    require(y, MIN_SAMPLES, what="the feature row gtzan-58")
    padded = np.pad(y, N_FFT // 2, mode="reflect")
    seen = _analyse(frames(padded, HOP_LENGTH, length=len(y)))
    count = len(seen.power)
    centroid_hz, bandwidth_hz = centroid_and_bandwidth(seen.moments)
    mel_db = decibels(seen.mel)
    mfcc = scipy.fft.dct(mel_db, axis=1, type=2, norm="ortho")[:, :_N_MFCC]
    row = {"length": float(len(y)), "tempo": tempo_of(onset_strength(mel_db))}
    tracks: dict[str, _Track] = {
        "chroma_stft": _chroma(seen),
        "rms": rms(padded, count),
        "spectral_centroid": centroid_hz,
        "spectral_bandwidth": bandwidth_hz,
        "rolloff": seen.rolloff_hz,
        "zero_crossing_rate": zero_crossing_rate(y, count),
    }
    tracks |= {f"mfcc{k + 1}": mfcc[:, k] for k in range(_N_MFCC)}
    for name, values in tracks.items():
        row[f"{name}_mean"] = float(np.mean(values, dtype=np.float64))
        row[f"{name}_var"] = float(np.var(values, dtype=np.float64))
    row |= _waveform_statistics(
        separate(y, spectrum=seen.spectrum, power=seen.power, power_by_bin=seen.power_by_bin),
        len(y),
    )
    return np.array([row[name] for name in FEATURE_NAMES])


def _analyse(rows: NDArray[np.float32]) -> _Analysis:
    """Transform all frames once and take from each block what needs it while it is in the cache."""
    count = len(rows)
    seen = _Analysis(
        spectrum=np.empty((count, BINS), np.complex64),
        power=np.empty((count, BINS), np.float32),
        power_by_bin=np.empty((BINS, count), np.float32),
        peak=np.empty(count, np.float32),
        mel=np.empty((count, _N_MELS), np.float32),
        moments=np.empty((count, 3)),
        rolloff_hz=np.empty(count),
    )
    bank = mel_bank(_N_MELS)
    for at, spectrum in spectra(rows):
        seen.spectrum[at] = spectrum
        power = square_magnitude(spectrum, seen.power[at])
        magnitude = np.sqrt(power)
        seen.power_by_bin[:, at] = power.T
        power.max(axis=1, out=seen.peak[at])
        seen.moments[at] = moments(magnitude)
        seen.rolloff_hz[at] = rolloff(magnitude)
        np.dot(power, bank, out=seen.mel[at])
    return seen


def _chroma(seen: _Analysis) -> NDArray[np.float32]:
    """Return pitch classes over time, the strongest of each frame scaled to 1."""
    chroma = seen.power @ chroma_bank(tuning_of(seen.power, seen.peak))
    largest = chroma.max(axis=1, keepdims=True)
    largest[largest < _TINY] = 1
    scaled: NDArray[np.float32] = chroma / largest
    return scaled


def _waveform_statistics(parts: Parts, length: int) -> dict[str, float]:
    """Return mean and variance of both parts, zeros counted from where they end up to `length`."""
    row: dict[str, float] = {}
    for name, part in (("harmony", parts.harmonic), ("perceptr", parts.percussive)):
        mean = float(part.sum(axis=1).sum(dtype=np.float64)) / length
        power = float(np.einsum("ij,ij->i", part, part).sum(dtype=np.float64)) / length
        row |= {f"{name}_mean": mean, f"{name}_var": power - mean**2}
    return row
