"""The stems of a song: their names, what is left for the rest, and their files."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from server.separation.held import Held
from server.separation.stft import SAMPLE_RATE_HZ

STEMS = ("bass", "drums", "other", "vocals")
REST = "other"
FORMATS = {"wav": ("WAV", "FLOAT"), "flac": ("FLAC", "PCM_24"), "mp3": ("MP3", None)}
CHANNELS = 2
Part = dict[str, NDArray[np.float32]]


def with_rest(made: Part, mix: Held) -> Part:
    """Add what some stems leave of the song, and silence for those that there are not.

    Parameters
    ----------
    made : dict of str to np.ndarray, shape (n, 2), float32
        The next samples of stems, at least of one, and not of the rest.
    mix : Held
        The song from there on; as much is taken from it.

    Returns
    -------
    dict
        Every stem; their sum is the song.
    """
    count = len(next(iter(made.values())))
    song = mix.take(count) if count else np.zeros((0, CHANNELS), np.float32)
    rest = (song - sum(made.values())).astype(np.float32, copy=False)
    silent = np.zeros_like(rest)
    return {stem: rest if stem == REST else made.get(stem, silent) for stem in STEMS}


class StemFiles:
    """Writes stems as they come, and says how loud they are.

    Parameters
    ----------
    files : mapping of str to int
        An open file for each stem.
    format_ : str
        One of `FORMATS`.
    """

    def __init__(self, files: Mapping[str, int], format_: str) -> None:
        kind, subtype = FORMATS[format_]
        self._stack = ExitStack()
        self._files = {
            stem: self._stack.enter_context(
                soundfile.SoundFile(
                    files[stem],
                    "w",
                    SAMPLE_RATE_HZ,
                    CHANNELS,
                    format=kind,
                    subtype=subtype,
                    closefd=False,
                )
            )
            for stem in STEMS
        }
        self._peak = dict.fromkeys(STEMS, 0.0)
        self._power = dict.fromkeys(STEMS, 0.0)
        self._values = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def write(self, part: Part) -> None:
        """Write the next samples of every stem."""
        self._values += part[REST].size
        for stem, y in part.items():
            self._files[stem].write(y)
            if y.size:
                self._peak[stem] = max(self._peak[stem], float(np.abs(y).max()))
                self._power[stem] += float(np.square(y, dtype=np.float64).sum())

    def describe(self) -> dict[str, dict[str, float]]:
        """Return peak and root mean square of each stem, 1 is full scale."""
        return {
            stem: {
                "peak": round(self._peak[stem], 6),
                "rms": round((self._power[stem] / max(1, self._values)) ** 0.5, 6),
            }
            for stem in STEMS
        }
