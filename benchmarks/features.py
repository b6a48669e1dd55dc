"""Measure the frontends against plain librosa calls, and what they share.

    python -m benchmarks.features [--rounds 5] [--clips 20]

Everything goes from the bytes of a file to numbers, on one BLAS thread, in turns over the same
clips, so that noise of the machine hits all sides. CPU seconds of the process are compared. Clips
are those of SHARED_DATA (gtzan/wav, 20 of them: about 4 minutes), else three generated ones. Exits
with 1 if the median ratio of the row is below 15.
"""

import os

os.environ |= {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL", "NUMBA")}

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import soundfile

from server.audio.analysis import Analysis
from server.audio.decode import decode
from server.audio.feature_names import FEATURE_NAMES
from server.audio.gtzan58 import gtzan58
from server.audio.kaggle import kaggle_picture
from server.audio.spectrogram import mel_spectrogram
from tests.audio.librosa_recipe import librosa_gtzan58

LEAST_RATIO = 15.0
_SIDE = 235, 335

Side = Callable[[bytes], object]


def main() -> int:
    """Run all rounds, print a table and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.features")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clips", type=int, default=20)
    asked = parser.parse_args()
    clips = _clips(asked.clips)
    print(f"{len(clips)} clips, {asked.rounds} rounds; the first run of each side is not counted")
    for compute in SIDES.values():
        compute(clips[0])
    spent: dict[str, list[float]] = {name: [] for name in SIDES}
    for k in range(asked.rounds):
        for clip in clips:
            for name, compute in SIDES.items():
                started = time.process_time()
                compute(clip)
                spent[name].append(time.process_time() - started)
        medians = "  ".join(f"{name} {_ms(spent[name]):.1f}" for name in ("row", "librosa row"))
        print(f"round {k + 1} of {asked.rounds}: {medians} CPU ms", flush=True)
    return _report(spent, clips[0])


def _row(clip: bytes) -> dict[str, float]:
    row = gtzan58(Analysis(_samples(clip)))
    return dict(zip(FEATURE_NAMES, row.tolist(), strict=True))


def _picture(clip: bytes) -> object:
    return kaggle_picture(Analysis(_samples(clip)), *_SIDE)


def _spectrogram(clip: bytes) -> object:
    return mel_spectrogram(_samples(clip), *_SIDE)


def _together(clip: bytes) -> object:
    sound = Analysis(_samples(clip))
    return gtzan58(sound), kaggle_picture(sound, *_SIDE)


def _separately(clip: bytes) -> object:
    return _row(clip), _picture(clip)


def _samples(clip: bytes) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return decode(clip, ext="wav").y


def _librosa_row(clip: bytes) -> dict[str, float]:
    y, _ = librosa.load(io.BytesIO(clip), sr=22_050)
    return librosa_gtzan58(y)


SIDES: dict[str, Side] = {
    "decoding": _samples,
    "row": _row,
    "librosa row": _librosa_row,
    "picture": _picture,
    "spectrogram": _spectrogram,
    "row + picture": _together,
    "one by one": _separately,
}
_RATIOS = (
    ("librosa row", "row", f"must be at least {LEAST_RATIO:g}"),
    ("one by one", "row + picture", "what sharing saves"),
)


def _report(spent: dict[str, list[float]], clip: bytes) -> int:
    print(f"\n{'':16}{'median':>10}{'best':>10}{'all':>10}")
    print(f"{'':16}{'CPU ms':>10}{'CPU ms':>10}{'CPU s':>10}")
    for name, seconds in spent.items():
        print(f"{name:16}{_ms(seconds):10.1f}{min(seconds) * 1e3:10.1f}{sum(seconds):10.2f}")
    print()
    ratios = []
    for slow, fast, says in _RATIOS:
        pairs = zip(spent[slow], spent[fast], strict=True)
        ratios.append(statistics.median(theirs / ours for theirs, ours in pairs))
        print(f"{slow} / {fast}: {ratios[-1]:.1f} (median over pairs; {says})")
    ours, theirs = _row(clip), _librosa_row(clip)
    worst, name = max(
        (abs(ours[name] / theirs[name] - 1), name)
        for name in FEATURE_NAMES
        if name not in ("harmony_mean", "perceptr_mean")  # close to zero
    )
    print(f"largest relative difference on the first clip: {worst:.1e} ({name})")
    return 0 if ratios[0] >= LEAST_RATIO else 1


def _ms(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1e3


def _clips(most: int) -> list[bytes]:
    """Return the bytes of a few clips, generated where the shared data is not at hand."""
    default = Path(__file__).parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("SHARED_DATA", default)) / "gtzan" / "wav"
    paths = sorted(folder.glob("*.wav"))
    if paths:
        step = max(1, len(paths) // most)
        return [path.read_bytes() for path in paths[::step][:most]]
    print(f"no clips under {folder.name}/ of SHARED_DATA; measuring generated ones")
    return [_generated(seed) for seed in range(min(3, most))]


def _generated(seed: int) -> bytes:
    """Make 30 s of decaying tones, clicks and noise."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(661_794) / 22_050
    y = 0.01 * rng.standard_normal(len(time_s))
    for hz in rng.uniform(100, 2000, 12):
        beat_s = rng.uniform(0.2, 1.0)
        y += 0.05 * np.exp(-5 * np.mod(time_s, beat_s)) * np.sin(2 * np.pi * hz * time_s)
    file = io.BytesIO()
    soundfile.write(file, y, 22_050, format="WAV")
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main())
