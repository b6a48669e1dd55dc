"""The recipe gtzan-58 in plain librosa 0.11 calls: the oracle of the tests and of the benchmark.

It is written for plainness: every feature from the samples, nothing shared.
"""

from typing import Any

import librosa
import numpy as np
from numpy.typing import NDArray

_REFLECT: dict[str, Any] = {"pad_mode": "reflect"}


def librosa_gtzan58(y: NDArray[np.float32]) -> dict[str, float]:
    """Compute the 58 features of mono samples at 22,050 Hz, by name."""
    sr = 22_050
    tracks: dict[str, NDArray[Any]] = {
        "chroma_stft": librosa.feature.chroma_stft(y=y, sr=sr, **_REFLECT),
        "rms": librosa.feature.rms(y=y, **_REFLECT),
        "spectral_centroid": librosa.feature.spectral_centroid(y=y, sr=sr, **_REFLECT),
        "spectral_bandwidth": librosa.feature.spectral_bandwidth(y=y, sr=sr, **_REFLECT),
        "rolloff": librosa.feature.spectral_rolloff(y=y, sr=sr, **_REFLECT),
        "zero_crossing_rate": librosa.feature.zero_crossing_rate(y),
    }
    tracks["harmony"], tracks["perceptr"] = _hpss(y)
    mfcc = librosa.feature.mfcc(y=y, sr=sr, n_mfcc=20, **_REFLECT)
    tracks |= {f"mfcc{k + 1}": track for k, track in enumerate(mfcc)}
    row = {"length": float(len(y)), "tempo": _tempo(y, sr)}
    for name, track in tracks.items():
        row[f"{name}_mean"] = float(np.mean(track, dtype=np.float64))
        row[f"{name}_var"] = float(np.var(track, dtype=np.float64))
    return row


def _hpss(y: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Separate as librosa 0.7 did: inverse transforms without a length, zeros up to it."""
    parts = librosa.decompose.hpss(librosa.stft(y, **_REFLECT))
    harmonic, percussive = (
        librosa.util.fix_length(librosa.istft(part), size=len(y)) for part in parts
    )
    return harmonic, percussive


def _tempo(y: NDArray[np.float32], sr: int) -> float:
    mel = librosa.feature.melspectrogram(y=y, sr=sr, **_REFLECT)
    onset = librosa.onset.onset_strength(S=librosa.power_to_db(mel), sr=sr, aggregate=np.median)
    tempo, _ = librosa.beat.beat_track(onset_envelope=onset, sr=sr)
    return float(np.atleast_1d(tempo)[0])
