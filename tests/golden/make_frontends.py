"""Write frontends.npz: a generated sound and what every frontend makes of it.

Run it only when a new version of a frontend is added; a changed number behind an old name is a
fault. The file holds ``pcm16`` (2 s at 22,050 Hz, 16-bit), and for each frontend its row, or its
picture under ``<id> <height>x<width>`` without the trailing axis.

    python -m tests.golden.make_frontends
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.audio.frontends import FRONTENDS, RowFrontend

_SIZES = {
    "mel-235x335@1": [(235, 335)],
    "kaggle-gtzan@1": [(235, 335), (200, 335), (217, 334), (96, 128)],
    "cs467-crop@1": [(200, 335)],
}


def sound() -> NDArray[np.int16]:
    """Make a chord that fades, a rising tone, clicks and noise."""
    time_s = np.arange(44_100) / 22_050
    hz = np.array([[220], [277.2], [329.6]])
    chord = np.sin(2 * np.pi * hz * time_s).sum(axis=0)
    rising = np.sin(2 * np.pi * (300 * time_s + 1200 * time_s**2))
    clicks = np.exp(-200 * np.mod(time_s, 0.25)) * np.sin(2 * np.pi * 3000 * time_s)
    noise = np.random.default_rng(58).standard_normal(len(time_s))
    y = 0.15 * chord * np.exp(-time_s) + 0.1 * rising + 0.2 * clicks + 0.005 * noise
    pcm16: NDArray[np.int16] = np.rint(y * 32_767).astype(np.int16)
    return pcm16


def main() -> None:
    """Compute and write everything."""
    pcm16 = sound()
    y = pcm16.astype(np.float32) / np.float32(32_768)
    arrays: dict[str, NDArray[Any]] = {"pcm16": pcm16}
    for name, frontend in FRONTENDS.items():
        if isinstance(frontend, RowFrontend):
            arrays[name] = frontend.compute(y)
            continue
        for height, width in _SIZES[name]:
            picture = frontend.compute(y, height, width)[..., 0]
            is_grey = frontend.values == (0, 255)
            arrays[f"{name} {height}x{width}"] = picture.astype(np.uint8) if is_grey else picture
    np.savez_compressed(Path(__file__).with_name("frontends.npz"), allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
