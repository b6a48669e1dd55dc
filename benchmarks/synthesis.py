"""Measure sound from mel spectrograms beside librosa, and one hour of it.

    python -m benchmarks.synthesis [--hours 1] [SOUND...]

Without sounds, generated chords. Of each sound the first 5.94 s: CPU time of the inverse and of
Griffin-Lim, what is left of the mel bands (residual), and how far the magnitudes of the sound are
from those wanted (convergence). Exits with 1 if a bar is missed.
"""

import os

os.environ |= {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")}

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import librosa
import numpy as np
from numpy.typing import NDArray

from server.audio.decode import decode
from server.audio.mel import mel_bank
from server.audio.source import Source
from server.audio.spectrum import SAMPLE_RATE_HZ
from server.synthesis.griffin_lim import griffin_lim, random_phase, stft
from server.synthesis.inverse import magnitudes
from server.synthesis.mel_tile import BANDS, FRAMES, TILE, mel_power
from server.tasks.spec2spec import SPEC2SPEC, baseline, work
from server.tasks.task import Assignment, Tensors
from tests.audio.conftest import _melody

MOST_TIME = 0.25  # of librosa's
MOST_RESIDUAL = 2.0
MOST_CONVERGENCE = 1.0
MOST_HOUR_MB = 300
ITERATIONS = 32
Samples = NDArray[np.float32]


def main() -> int:
    """Run what is asked for, print the figures and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.synthesis")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("sounds", nargs="*")
    asked = parser.parse_args()
    sounds = {Path(name).name: decode(Path(name).read_bytes()).y for name in asked.sounds}
    # first what is measured by the peak of memory
    good = [_long(asked.hours, phase, n) for phase, n in (("input", 8), ("griffin-lim", 32))]
    good.append(_beside_librosa(sounds or {"chords": _melody(6)}))
    return 0 if all(good) else 1


def _beside_librosa(sounds: dict[str, Samples]) -> bool:
    _ours(mel_power(_melody(6)[:TILE]))
    _theirs(mel_power(_melody(6)[:TILE]))
    rows = []
    for name, y in sounds.items():
        tile = np.pad(y[:TILE], (0, max(0, TILE - len(y))))
        mel = mel_power(tile)
        ours, theirs = _ours(mel), _theirs(mel)
        rows.append([*ours, *theirs])
        for who, (inverse, search, residual, convergence) in (("ours", ours), ("librosa", theirs)):
            print(
                f"{name}, {who}: inverse {inverse * 1e3:.0f} ms, Griffin-Lim {search * 1e3:.0f} ms;"
                f" residual {residual:.2%}, convergence {convergence:.4f}",
                flush=True,
            )
        print(f"{name}, input's phase: {_with_input(mel, tile)}")
    means = np.mean(rows, axis=0)
    time_ratio = (means[0] + means[1]) / (means[4] + means[5])
    print(f"CPU time of librosa's: {time_ratio:.3f} (inverse {means[0] / means[4]:.3f}, ", end="")
    print(f"Griffin-Lim {means[1] / means[5]:.3f})")
    residual, convergence = means[2] / means[6], means[3] / means[7]
    print(f"residual of librosa's: {residual:.2f}; convergence of librosa's: {convergence:.2f}")
    return bool(
        time_ratio <= MOST_TIME and residual <= MOST_RESIDUAL and convergence <= MOST_CONVERGENCE
    )


def _ours(mel: Samples) -> tuple[float, float, float, float]:
    inverse, magnitude = _timed(lambda: magnitudes(mel))
    search, y = _timed(
        lambda: griffin_lim(
            magnitude, random_phase(FRAMES, [0]), iterations=ITERATIONS, length=TILE
        )
    )
    return inverse, search, _residual(magnitude, mel), _convergence(y, magnitude)


def _theirs(mel: Samples) -> tuple[float, float, float, float]:
    inverse, found = _timed(lambda: librosa.feature.inverse.mel_to_stft(mel, sr=SAMPLE_RATE_HZ))
    search, y = _timed(
        lambda: librosa.griffinlim(found, n_iter=ITERATIONS, random_state=0, length=TILE)
    )
    magnitude = np.ascontiguousarray(found.T)
    return inverse, search, _residual(magnitude, mel), _convergence(y, magnitude)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    done = work()
    return time.process_time() - started, done


def _residual(magnitude: Samples, mel: Samples) -> float:
    power = np.square(magnitude.astype(np.float64))
    return float(np.linalg.norm(power @ mel_bank(BANDS) - mel.T) / np.linalg.norm(mel))


def _convergence(y: Samples, magnitude: Samples) -> float:
    found = np.abs(stft(y))[: len(magnitude)]
    return float(np.linalg.norm(found - magnitude[: len(found)]) / np.linalg.norm(magnitude))


def _with_input(mel: Samples, tile: Samples) -> str:
    magnitude, start = magnitudes(mel), stft(tile)
    told = []
    for iterations in (0, 4, 8):
        search = partial(griffin_lim, magnitude, start, iterations=iterations, length=TILE)
        spent, y = _timed(search)
        told.append(f"{iterations}: {spent * 1e3:.0f} ms, {_convergence(y, magnitude):.4f}")
    return "; ".join(told)


class _Endless:
    """Chords again and again."""

    def __init__(self, hours: float) -> None:
        self._y = _melody(60)
        self._times = round(hours * 60)
        self.expected_samples = self._times * len(self._y)

    def blocks(self) -> Iterator[Samples]:
        """Yield them in pieces of 3 s."""
        for _ in range(self._times):
            for first in range(0, len(self._y), 3 * SAMPLE_RATE_HZ):
                yield self._y[first : first + 3 * SAMPLE_RATE_HZ]


def _long(hours: float, phase: str, iterations: int) -> bool:
    """Do the task on a long sound, and see how much memory that takes."""
    parameters = {"extent": "whole", "phase": phase, "iterations": iterations, "seed": 0}
    _do(_Endless(1 / 60), parameters)
    before, started = _peak_mb(), time.process_time()
    longest = _do(_Endless(hours), parameters)
    grown, spent = _peak_mb() - before, time.process_time() - started
    print(
        f"{hours:g} h, phase {phase}, {iterations} iterations: {spent:.0f} CPU s, "
        f"{grown:.0f} MB more at most, longest step {longest:.2f} CPU s",
        flush=True,
    )
    return grown <= MOST_HOUR_MB


def _do(sound: _Endless, parameters: dict[str, Any]) -> float:
    """Do the task without a model; return the CPU time of its longest step."""
    names = [item.name for item in SPEC2SPEC.contract.artifacts]
    with tempfile.TemporaryDirectory() as folder:
        files = {n: os.open(Path(folder) / n, os.O_RDWR | os.O_CREAT) for n in names}
        job = work(Assignment(cast(Source, sound), "mel", {}, parameters, files))
        outputs: Tensors | None = None
        longest, started = 0.0, time.process_time()
        try:
            while True:
                step = next(job) if outputs is None else job.send(outputs)
                outputs = baseline(step.tensors, parameters) if step.tensors else {}
                longest = max(longest, time.process_time() - started)
                started = time.process_time()
        except StopIteration:
            return max(longest, time.process_time() - started)
        finally:
            for fd in files.values():
                os.close(fd)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
