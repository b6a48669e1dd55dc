"""The stems of a song: their names, what is left for the rest, and their files."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from server.separation.float_wav import FloatWav
from server.separation.held import Held
from server.separation.stft import SAMPLE_RATE_HZ

STEMS = ("bass", "drums", "other", "vocals")
REST = "other"
FORMATS = ("wav", "flac", "mp3")
CHANNELS = 2
_SUBTYPES = {"flac": "PCM_24", "mp3": None}
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
        self._stack = ExitStack()
        self._files = {stem: _opened(files[stem], format_) for stem in STEMS}
        for file in self._files.values():
            self._stack.callback(file.close)
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
            samples = np.ascontiguousarray(y)
            self._files[stem].write(samples)
            if y.size:
                peak = max(float(samples.max()), -float(samples.min()))
                self._peak[stem] = max(self._peak[stem], peak)
                self._power[stem] += float(np.vdot(samples, samples))

    def describe(self) -> dict[str, dict[str, float]]:
        """Return peak and root mean square of each stem, 1 is full scale."""
        return {
            stem: {
                "peak": round(self._peak[stem], 6),
                "rms": round((self._power[stem] / max(1, self._values)) ** 0.5, 6),
            }
            for stem in STEMS
        }


def _opened(fd: int, format_: str) -> Any:
    """Open a file that has `write` and `close`."""
    if format_ == "wav":
        return FloatWav(fd, SAMPLE_RATE_HZ, CHANNELS)
    return soundfile.SoundFile(
        fd,
        "w",
        SAMPLE_RATE_HZ,
        CHANNELS,
        format=format_.upper(),
        subtype=_SUBTYPES[format_],
        closefd=False,
    )
