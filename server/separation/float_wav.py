"""A WAV file of floats, written as the sound comes.

::

    RIFF size WAVE | fmt  18: 3 (floats), channels, rate, bytes a second, bytes a frame, 32, 0
                   | fact 4: frames | data size: frames, float32, little-endian

libsndfile would add a chunk with the time of writing: the same stems would be other bytes with
every second, and artifacts go by the digest of their bytes.

Source: IBM and Microsoft, "Multimedia Programming Interface and Data Specifications 1.0", 1991,
and its revision of 1994.
"""

import os
import struct

import numpy as np
from numpy.typing import NDArray

_FLOATS = 3
_BITS = 32
_HEAD = struct.Struct("<4sI4s 4sIHHIIHHH 4sII 4sI")
_MOST = 0xFFFFFFFF  # readers take the sizes of larger files from the end of the file


class FloatWav:
    """Writes one.

    Parameters
    ----------
    fd : int
        Open for writing, and empty; it stays open.
    rate_hz, channels : int
        Of the sound.
    """

    def __init__(self, fd: int, rate_hz: int, channels: int) -> None:
        self._file = os.fdopen(fd, "wb", closefd=False)
        self._rate_hz, self._channels = rate_hz, channels
        self._bytes = 0
        self._file.write(self._head())

    def write(self, y: NDArray[np.float32]) -> None:
        """Take the next samples, shape (n, channels)."""
        data = np.ascontiguousarray(y, dtype="<f4")
        self._file.write(data.reshape(-1).view(np.uint8).data)
        self._bytes += data.nbytes

    def close(self) -> None:
        """Write how long the sound is."""
        self._file.seek(0)
        self._file.write(self._head())
        self._file.close()

    def _head(self) -> bytes:
        frame = self._channels * _BITS // 8
        return _HEAD.pack(
            b"RIFF",
            min(_MOST, _HEAD.size - 8 + self._bytes),
            b"WAVE",
            b"fmt ",
            18,
            _FLOATS,
            self._channels,
            self._rate_hz,
            self._rate_hz * frame,
            frame,
            _BITS,
            0,
            b"fact",
            4,
            self._bytes // frame,
            b"data",
            min(_MOST, self._bytes),
        )
