"""Make a small labelled folder of sounds: `python examples/own_model/make_sounds.py FOLDER`.

Three kinds that a small model learns to tell apart, ten of each, three seconds long: drums, an
organ, plucked strings. In their place may stand any folder with one folder of sounds for each
label.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE_HZ = 22_050
SECONDS = 3
EACH = 10
Samples = NDArray[np.float64]
TIME_S = np.arange(SECONDS * RATE_HZ) / RATE_HZ


def drums(rng: np.random.Generator) -> Samples:
    """Make bursts of noise on a beat."""
    since = TIME_S % rng.uniform(0.25, 0.5)
    thump = np.sin(2 * np.pi * rng.uniform(50, 90) * since) * np.exp(-12 * since)
    return thump + np.exp(-40 * since) * rng.standard_normal(len(TIME_S))


def organ(rng: np.random.Generator) -> Samples:
    """Make a chord that is held."""
    root = rng.uniform(110, 220)
    chord = [root, root * 5 / 4, root * 3 / 2]
    return sum(
        (np.sin(2 * np.pi * hz * k * TIME_S) / k for hz in chord for k in (1, 2, 3)),
        np.zeros_like(TIME_S),
    )


def plucked(rng: np.random.Generator) -> Samples:
    """Make notes that die away."""
    step_s = rng.uniform(0.2, 0.4)
    since, note = TIME_S % step_s, (TIME_S // step_s).astype(np.intp)
    hz = 220 * 2 ** (rng.choice([0, 2, 4, 7, 9], note.max() + 1)[note] / 12)
    y: Samples = np.exp(-6 * since) * np.sign(np.sin(2 * np.pi * hz * since))
    return y


KINDS: dict[str, Callable[[np.random.Generator], Samples]] = {
    "drums": drums,
    "organ": organ,
    "plucked": plucked,
}


def main(folder: Path) -> None:
    """Write every sound."""
    rng = np.random.default_rng(2020)
    for label, make in KINDS.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(EACH):
            y = make(rng) + 0.002 * rng.standard_normal(len(TIME_S))
            path = folder / label / f"{label}{number:02}.wav"
            soundfile.write(path, 0.8 * y / np.abs(y).max(), RATE_HZ)
    print(f"{len(KINDS) * EACH} sounds in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
