"""Measure separation: how good the baseline is, and the transforms beside librosa's.

    python -m benchmarks.separation [FOLDER ...]

Each FOLDER has `mixture.flac` and the stems beside it; without one, `stems/*` of SHARED_DATA. Told
are SI-SDR of each stem, and that of the mixture taken for it; how far the stems are from the
mixture when they are added; the error of our transforms against librosa's, and their processor
time as a share of librosa's, in one run. What a job takes is measured by `benchmarks.tasks`.
"""

import os

os.environ |= {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")}

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import soundfile

from server.separation.si_sdr import si_sdr
from server.separation.stem_files import STEMS
from server.separation.stft import HOP, N_FFT, SAMPLE_RATE_HZ, Istft, Stft
from server.tasks.separation import SEPARATION
from tests.tasks.working import do, noise

MOST_OFF = 1e-4
_ROUNDS = 5
_SECONDS = 30


def main() -> int:
    """Print the figures, and say whether a bar is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.separation")
    parser.add_argument("folders", nargs="*", type=Path)
    shared = Path(os.environ.get("SHARED_DATA", "../shared/data")) / "stems"
    folders = parser.parse_args().folders or sorted(shared.glob("*"))
    off = max((_song(folder) for folder in folders), default=0.0)
    _transforms()
    return 1 if off > MOST_OFF else 0


def _song(folder: Path) -> float:
    mix, _ = soundfile.read(folder / "mixture.flac", dtype="float32")
    print(f"| {folder.name} | SI-SDR dB | the mixture taken for it |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as made:
        do(SEPARATION, (folder / "mixture.flac").read_bytes(), Path(made))
        total = np.zeros_like(mix)
        for stem in STEMS:
            found, _ = soundfile.read(Path(made) / f"{stem}.wav", dtype="float32")
            meant, _ = soundfile.read(folder / f"{stem}.flac", dtype="float32")
            print(f"| {stem} | {si_sdr(found, meant):.1f} | {si_sdr(mix, meant):.1f} |")
            total += found
    off = float(np.abs(total - mix).max())
    print(f"stems added are within {off:.1e} of the mixture\n")
    return off


def _transforms() -> None:
    y = noise(_SECONDS * SAMPLE_RATE_HZ, 2)
    theirs = librosa.stft(y.T, n_fft=N_FFT, hop_length=HOP, pad_mode="constant")
    ours = _ours(y)
    error = np.abs(ours.transpose(0, 2, 1) - theirs).max() / np.abs(theirs).max()
    back = np.abs(_back(ours, len(y)) - y).max()
    print(f"STFT within {error:.1e} of librosa's largest value; back within {back:.1e}")
    pairs: list[tuple[str, Callable[[], Any], Callable[[], Any]]] = [
        (
            "STFT",
            lambda: _ours(y),
            lambda: librosa.stft(y.T, n_fft=N_FFT, hop_length=HOP, pad_mode="constant"),
        ),
        (
            "inverse",
            lambda: _back(ours, len(y)),
            lambda: librosa.istft(theirs, n_fft=N_FFT, hop_length=HOP, length=len(y)),
        ),
    ]
    for name, own, other in pairs:
        shares = sorted(_cpu_s(own) / _cpu_s(other) for _ in range(_ROUNDS))
        print(f"{name}: {shares[_ROUNDS // 2]:.2f} of librosa's processor time")


def _ours(y: Any) -> Any:
    stft = Stft(2)
    parts = [stft.feed(y[k : k + 65_536]) for k in range(0, len(y), 65_536)]
    return np.concatenate([*parts, stft.finish()], axis=1)


def _back(frames: Any, samples: int) -> Any:
    inverse = Istft(2)
    parts = [inverse.feed(frames[:, k : k + 256].copy()) for k in range(0, frames.shape[1], 256)]
    return np.concatenate([*parts, inverse.finish(samples)])


def _cpu_s(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    sys.exit(main())
