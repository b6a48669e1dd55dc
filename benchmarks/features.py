"""Measure the feature row gtzan-58 against the same recipe in plain librosa calls.

    python -m benchmarks.features

Both sides go from the bytes of a file to the 58 numbers, on one BLAS thread, in turns over the
same clips, so that noise of the machine hits both. CPU seconds of the process are compared. Clips
are those of SHARED_DATA (gtzan/wav), else three generated ones. Exits with 1 if the median ratio
is below 10.
"""

import os

os.environ |= {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL", "NUMBA")}

import io
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import soundfile

from server.audio.decode import decode
from server.audio.feature_names import FEATURE_NAMES
from server.audio.gtzan58 import gtzan58
from tests.audio.librosa_recipe import librosa_gtzan58

ROUNDS = 5
CLIPS = 4
LEAST_RATIO = 10.0


def main() -> int:
    """Run all rounds, print a table and return the exit status."""
    clips = _clips()
    print(f"{len(clips)} clips, {ROUNDS} rounds; the first run of each side is not counted")
    sides: dict[str, Callable[[bytes], dict[str, float]]] = {"ours": _ours, "librosa": _librosa}
    rows = {name: compute(clips[0]) for name, compute in sides.items()}
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for k in range(ROUNDS):
        for clip in clips:
            for name, compute in sides.items():
                started = time.process_time()
                compute(clip)
                spent[name].append(time.process_time() - started)
        medians = "  ".join(f"{name} {_ms(spent[name]):.0f} ms" for name in sides)
        print(f"round {k + 1} of {ROUNDS}: {medians}", flush=True)
    return _report(spent, rows)


def _ours(clip: bytes) -> dict[str, float]:
    row = gtzan58(decode(clip, ext="wav").y)
    return dict(zip(FEATURE_NAMES, row.tolist(), strict=True))


def _librosa(clip: bytes) -> dict[str, float]:
    y, _ = librosa.load(io.BytesIO(clip), sr=22_050)
    return librosa_gtzan58(y)


def _report(spent: dict[str, list[float]], rows: dict[str, dict[str, float]]) -> int:
    ratio = statistics.median(
        theirs / ours for ours, theirs in zip(spent["ours"], spent["librosa"], strict=True)
    )
    print(f"\n{'':10}{'median':>10}{'best':>10}   CPU ms a clip")
    for name, seconds in spent.items():
        print(f"{name:10}{_ms(seconds):10.1f}{min(seconds) * 1e3:10.1f}")
    print(f"{'ratio':10}{ratio:10.1f}   median over pairs; must be at least {LEAST_RATIO:g}")
    worst, name = max(
        (abs(rows["ours"][name] / rows["librosa"][name] - 1), name)
        for name in FEATURE_NAMES
        if name not in ("harmony_mean", "perceptr_mean")  # close to zero
    )
    print(f"largest relative difference on the first clip: {worst:.1e} ({name})")
    return 0 if ratio >= LEAST_RATIO else 1


def _ms(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1e3


def _clips() -> list[bytes]:
    """Return the bytes of a few clips, generated where the shared data is not at hand."""
    default = Path(__file__).parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("SHARED_DATA", default)) / "gtzan" / "wav"
    paths = sorted(folder.glob("*.wav"))
    if paths:
        step = max(1, len(paths) // CLIPS)
        return [path.read_bytes() for path in paths[::step][:CLIPS]]
    print(f"no clips under {folder.name}/ of SHARED_DATA; measuring generated ones")
    return [_generated(seed) for seed in range(3)]


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
