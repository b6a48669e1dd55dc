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

from server.audio.analysis import N_MELS, Analysis
from server.audio.chroma import chroma_bank, tuning_of
from server.audio.feature_names import FEATURE_NAMES
from server.audio.harmonic import Separator
from server.audio.mel import decibels, mel_bands
from server.audio.spectral import (
    block_sums,
    centroid_and_bandwidth,
    moments,
    rms,
    rolloff,
    zero_crossing_rate,
)
from server.audio.spectrum import (
    BLOCK,
    HOP_LENGTH,
    N_FFT,
    Frames,
    require,
    spectra,
    square_magnitude,
)
from server.audio.tempo import onset_strength, tempo_of

MIN_SAMPLES = N_FFT // 2 + 1  # reflection needs more samples than it adds
_N_MFCC = 20
_TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True, slots=True)
class _Tracks:
    """What one pass over the spectra leaves; rows are frames."""

    power: NDArray[np.float32]
    peak: NDArray[np.float32]
    mel: NDArray[np.float32]
    sums: NDArray[np.float32]
    harmonic: NDArray[np.float32]


def gtzan58(sound: Analysis) -> NDArray[np.float64]:
    """Compute the 58 features of a clip.

    Parameters
    ----------
    sound : Analysis
        At least 1025 finite samples in [-1, 1]. The table's clips last 30 s. Its `mel` is left
        behind for other frontends.

    Returns
    -------
    np.ndarray, shape (58,), float64
        In the order of `server.audio.feature_names.FEATURE_NAMES`.

    Raises
    ------
    SoundTooShort
        If there are fewer than 1025 samples.
    """
    y = sound.y
    require(y, MIN_SAMPLES, what="the feature row gtzan-58")
    seen = _pass(y)
    sound.mel = seen.mel
    count = len(seen.power)
    centroid_hz, bandwidth_hz = centroid_and_bandwidth(moments(seen.power, seen.sums))
    mel_db = decibels(seen.mel)
    mfcc = scipy.fft.dct(mel_db, axis=1, type=2, norm="ortho")[:, :_N_MFCC]
    row = {"length": float(len(y)), "tempo": tempo_of(onset_strength(mel_db))}
    chroma = _chroma(seen)
    row["chroma_stft_mean"], row["chroma_stft_var"] = (
        float(chroma.mean(dtype=np.float64)),
        float(chroma.var(dtype=np.float64)),
    )
    tracks = {
        "rms": rms(y, count),
        "spectral_centroid": centroid_hz,
        "spectral_bandwidth": bandwidth_hz,
        "rolloff": rolloff(seen.power, seen.sums),
        "zero_crossing_rate": zero_crossing_rate(y, count),
        **{f"mfcc{k + 1}": mfcc[:, k] for k in range(_N_MFCC)},
    }
    stacked = np.array(list(tracks.values()), np.float64)
    for name, mean, variance in zip(tracks, stacked.mean(axis=1), stacked.var(axis=1), strict=True):
        row |= {f"{name}_mean": float(mean), f"{name}_var": float(variance)}
    row |= _waveform_statistics(y, seen.harmonic)
    return np.array([row[name] for name in FEATURE_NAMES])


def _pass(y: NDArray[np.float32]) -> _Tracks:
    """Transform all frames once and take from each block what needs it while it is in the cache."""
    frames = Frames(y, HOP_LENGTH, padding="reflect")
    count = frames.count
    separator = Separator(count)
    peak = np.empty(count, np.float32)
    mel = np.empty((count, N_MELS), np.float32)
    sums = np.empty((count, 32, 3), np.float32)
    for at, spectrum in spectra(frames):
        power = square_magnitude(spectrum, separator.power[at])
        power.max(axis=1, out=peak[at])
        mel_bands(power, N_MELS, mel[at])
        sums[at] = block_sums(np.sqrt(power))
        separator.add(at, spectrum)
    return _Tracks(separator.power, peak, mel, sums, separator.harmonic())


def _chroma(seen: _Tracks) -> NDArray[np.float32]:
    """Return pitch classes over time, the strongest of each frame scaled to 1."""
    chroma = seen.power @ chroma_bank(tuning_of(seen.power, seen.peak))
    largest = chroma.max(axis=1, keepdims=True)
    largest[largest < _TINY] = 1
    scaled: NDArray[np.float32] = chroma / largest
    return scaled


def _waveform_statistics(y: NDArray[np.float32], harmonic: NDArray[np.float32]) -> dict[str, float]:
    """Return mean and variance of both parts, zeros counted from where they end up to the end."""
    sound = y[: harmonic.size].reshape(harmonic.shape)
    sums = np.zeros((2, 2))
    for first in range(0, len(sound), BLOCK):
        part = harmonic[first : first + BLOCK]
        for k, values in enumerate((part, sound[first : first + BLOCK] - part)):
            energy = np.einsum("ij,ij->i", values, values)
            sums[k] += [track.sum(dtype=np.float64) for track in (values.sum(axis=1), energy)]
    row: dict[str, float] = {}
    for name, (total, energy) in zip(("harmony", "perceptr"), sums / len(y), strict=True):
        row |= {f"{name}_mean": total, f"{name}_var": energy - total**2}
    return row
