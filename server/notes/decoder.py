"""From what a model heard in each frame to notes with a beginning and an end.

First every peak of the onsets begins a note, the latest first; it lasts until its key is silent for
11 frames, and takes what was heard of it and of both neighbouring keys. Then what is left over is
searched from its loudest cell outwards, both ways ("melodia trick").

Source of the method and of the defaults: Bittner and others, 2022 (see `windows`); J. Salamon and
E. Gomez, "Melody extraction from polyphonic music signals using pitch contour characteristics",
2012. Cells are looked at in order of loudness by one sort instead of one search of everything for
each note, so the time does not grow with the square of the length; and what sounds is a line of
bytes for each key, in which silence is found as a text is.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.notes.windows import HOP, SAMPLE_RATE_HZ

KEYS = 88
LOWEST_PITCH = 21
_SILENT_FRAMES = 11
_SILENCE = bytes(_SILENT_FRAMES)
_A4_HZ, _A4_PITCH = 440.0, 69


@dataclass(frozen=True, slots=True)
class Options:
    """How sure a model must be, and which notes are wanted.

    Attributes
    ----------
    onset_threshold, frame_threshold : float
        In (0, 1): what begins a note, and what keeps it sounding.
    min_note_ms : float
        Notes that are no longer are left out.
    min_hz, max_hz : float or None
        The keys nearest to them and all between are wanted.
    infers_onsets : bool
        Whether a key that grows suddenly louder counts as an onset too.
    melodia : bool
        Whether notes without an onset are searched for.
    whole : bool
        Whether the sound is heard to its end; basic-pitch 0.4.0 leaves the last 0.7 % out.
    """

    onset_threshold: float = 0.5
    frame_threshold: float = 0.3
    min_note_ms: float = 127.7
    min_hz: float | None = None
    max_hz: float | None = None
    infers_onsets: bool = True
    melodia: bool = True
    whole: bool = True

    @property
    def min_frames(self) -> int:
        """The length in frames that a note must exceed."""
        return round(self.min_note_ms / 1000 * SAMPLE_RATE_HZ / HOP)

    @property
    def keys(self) -> slice:
        """The keys that are wanted, of 88."""
        low = 0 if self.min_hz is None else _key(self.min_hz)
        high = KEYS - 1 if self.max_hz is None else _key(self.max_hz)
        return slice(max(0, low), max(0, high + 1))


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A note in frames.

    Attributes
    ----------
    start, stop : int
        Frames ``start <= k < stop``.
    key : int
        From 0 for A0 to 87 for C8.
    amplitude : float
        How sure the model was on average, in [0, 1].
    """

    start: int
    stop: int
    key: int
    amplitude: float


def _key(hz: float) -> int:
    return round(12 * math.log2(hz / _A4_HZ) + _A4_PITCH) - LOWEST_PITCH


def spans(note: NDArray[np.float32], onset: NDArray[np.float32], options: Options) -> list[Span]:
    """Find the notes of a stretch of frames.

    Parameters
    ----------
    note : np.ndarray, shape (frames, 88), float32
        How sure the model is that a key sounds, in [0, 1].
    onset : np.ndarray, shape (frames, 88), float32
        How sure it is that a key begins.
    options : Options
        Thresholds and range.

    Returns
    -------
    list of Span
        In order of their beginning.
    """
    count = len(note)
    if count < 3 or options.keys.start >= options.keys.stop:
        return []
    heard = np.zeros((KEYS, count), np.float32)  # keys are rows: notes are searched along time
    heard[options.keys] = note.T[options.keys]
    begins = np.zeros((KEYS, count), np.float64)
    begins[options.keys] = onset.T[options.keys]
    if options.infers_onsets:
        begins = _with_inferred(begins, heard)
    sounding = [bytearray(line) for line in heard >= options.frame_threshold]
    found = _from_onsets(begins, heard, sounding, options)
    if options.melodia:
        found += _from_loudest(heard, sounding, options)
    return sorted(found)


def _with_inferred(begins: NDArray[np.float64], heard: NDArray[np.float32]) -> NDArray[np.float64]:
    """Add sudden rises, over one and over two frames, as loud as the loudest onset."""
    wide = heard.astype(np.float64)
    rise = np.zeros_like(begins)
    np.minimum(wide[:, 2:] - wide[:, 1:-1], wide[:, 2:] - wide[:, :-2], out=rise[:, 2:])
    np.maximum(rise, 0, out=rise)
    most = rise.max()
    if most > 0:
        rise = begins.max() * rise / most
    return np.maximum(begins, rise)


def _from_onsets(
    begins: NDArray[np.float64],
    heard: NDArray[np.float32],
    sounding: list[bytearray],
    options: Options,
) -> list[Span]:
    inner = begins[:, 1:-1]
    peaks = (inner > begins[:, :-2]) & (inner > begins[:, 2:])
    peaks &= inner >= options.onset_threshold
    times, keys = np.nonzero(peaks.T)
    found = []
    for start, key in zip((times[::-1] + 1).tolist(), keys[::-1].tolist(), strict=True):
        stop = _last_sounding(sounding[key], start) + 1
        if stop - start > options.min_frames:
            _silence(sounding[max(0, key - 1) : key + 2], start, stop)
            found.append(_span(heard, start, stop, key))
    return found


def _from_loudest(
    heard: NDArray[np.float32], sounding: list[bytearray], options: Options
) -> list[Span]:
    last = heard.shape[1] - 2
    left = np.frombuffer(b"".join(sounding), np.bool_).reshape(heard.shape)
    times, keys = np.nonzero(((heard > options.frame_threshold) & left).T)
    order = np.argsort(-heard[keys, times], kind="stable")
    found = []
    for middle, key in zip(times[order].tolist(), keys[order].tolist(), strict=True):
        line = sounding[key]
        if not line[middle]:
            continue  # it went with a louder one
        stop, start = _last_sounding(line, middle), _first_sounding(line, middle)
        line[middle] = 0
        near = sounding[max(0, key - 1) : key + 2]
        _silence(near, middle + 1, min(stop + _SILENT_FRAMES, last) + 1)
        _silence(near, max(start - _SILENT_FRAMES, 1), middle)
        if stop - start > options.min_frames:
            found.append(_span(heard, start, stop, key))
    return found


def _last_sounding(line: bytearray, start: int) -> int:
    """Return the last frame before the next silence; the last of all frames is not looked at."""
    silence = line.find(_SILENCE, start + 1, len(line) - 1)
    if silence >= 0:
        return silence - 1
    return max(start, line.rfind(1, start + 1, len(line) - 1))


def _first_sounding(line: bytearray, stop: int) -> int:
    """Return the first frame after the silence before; the first of all is not looked at."""
    silence = line.rfind(_SILENCE, 1, stop)
    if silence >= 0:
        return silence + _SILENT_FRAMES
    first = line.find(1, 1, stop)
    return first if first >= 0 else stop


def _silence(lines: list[bytearray], start: int, stop: int) -> None:
    for line in lines:
        line[start:stop] = bytes(max(0, stop - start))


def _span(heard: NDArray[np.float32], start: int, stop: int, key: int) -> Span:
    return Span(start, stop, key, float(heard[key, start:stop].mean()))
