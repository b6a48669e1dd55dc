"""Bytes of a sound file in, mono samples at 22,050 Hz out.

Only the samples of the window are kept, so an hour of MP3 never stands in memory as an hour of
float32. No header is believed: what it says is checked before decoding (format, rate, channels,
length) and counted while decoding.

Whatever the bytes are, nothing but a `server.errors.ServerError` leaves `decode`. libsndfile itself
is native code that reads hostile bytes: it belongs into a sandboxed child. Its MP3 part writes
notes to standard error.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.audio.container import inspect
from server.audio.sniff import check_extension, sniff
from server.audio.source import Shape, SoundBudget, Source
from server.audio.spectrum import SAMPLE_RATE_HZ
from server.audio.window import Window, WindowRule, repeat, window_of, windows_of
from server.sound_errors import EmptySound

_ALL = 1 << 62


@dataclass(frozen=True, slots=True)
class Waveform:
    """The samples of a sound that a model looks at.

    Attributes
    ----------
    y : np.ndarray, shape (window.length,), float32
        Mono samples, as a rule in [-1, 1]; finite.
    sample_rate_hz : int
        Always 22,050.
    source_samples : int
        Samples of the whole sound at that rate.
    window : Window
        Which of them are used.
    """

    y: NDArray[np.float32]
    sample_rate_hz: int
    source_samples: int
    window: Window


def decode(
    data: bytes,
    *,
    ext: str | None = None,
    rule: WindowRule | None = None,
    budget: SoundBudget | None = None,
) -> Waveform:
    """Decode a sound file.

    Parameters
    ----------
    data : bytes
        A whole WAV, AIFF, AU, FLAC, Ogg Vorbis, Opus or MP3 file.
    ext : str, optional
        The extension that the sender named; must be of the content's family.
    rule : WindowRule, optional
        Which samples to keep; the whole sound without one.
    budget : SoundBudget, optional
        Limits; the defaults of `SoundBudget` without one.

    Returns
    -------
    Waveform
        Mono float32 at 22,050 Hz.

    Raises
    ------
    BadExtension, WrongExtension
        If `ext` is no format we read, or not that of the content.
    EmptySound, LfsPointer, UnreadableSound, TruncatedSound
        If the bytes cannot be decoded whole.
    BadSampleRate, TooManyChannels
        If the sound is outside 8 to 192 kHz, or has more than 8 channels.
    SoundTooLong, SoundTooShort, SoundNotFinite, UnusableInput
        If it can be decoded, but not used.
    """
    source = _source(data, ext, budget)
    excerpt = source.read(*_span(source, rule))
    window = window_of(excerpt.source_samples, rule)
    y = excerpt.y[window.start - excerpt.start : window.stop - excerpt.start]
    if window.start < excerpt.start or len(y) < window.stop - window.start:
        y = source.read(window.start, window.stop).y
    return Waveform(repeat(y, window), SAMPLE_RATE_HZ, excerpt.source_samples, window)


def decode_windows(
    data: bytes,
    *,
    rule: WindowRule,
    first: int,
    most: int,
    ext: str | None = None,
    budget: SoundBudget | None = None,
) -> tuple[list[Waveform], int]:
    """Decode some of the windows that cover a sound file; only their samples are kept.

    Parameters
    ----------
    data : bytes
        As in `decode`.
    rule : WindowRule
        How long a window is; see `windows_of`.
    first, most : int
        The first window, from 0 on, and how many of them at most.
    ext : str, optional
        As in `decode`.
    budget : SoundBudget, optional
        As in `decode`.

    Returns
    -------
    tuple
        The windows, as `decode` returns one, and how many cover the whole sound.

    Raises
    ------
    ServerError
        As `decode`.
    """
    source = _source(data, ext, budget)
    expected = source.expected_samples
    part = [] if expected is None else windows_of(expected, rule)[first : first + most]
    excerpt = source.read(*_hull(part))
    windows = windows_of(excerpt.source_samples, rule)
    part = windows[first : first + most]
    start, stop = _hull(part)
    if start < excerpt.start or excerpt.start + len(excerpt.y) < stop:
        excerpt = source.read(start, stop)
    waveforms = []
    for window in part:
        y = excerpt.y[window.start - excerpt.start : window.stop - excerpt.start]
        samples = excerpt.source_samples
        waveforms.append(Waveform(repeat(y, window), SAMPLE_RATE_HZ, samples, window))
    return waveforms, len(windows)


def open_sound(
    data: bytes,
    *,
    shape: Shape,
    ext: str | None = None,
    budget: SoundBudget | None = None,
) -> Source:
    """Open a sound file for reading it block by block.

    Parameters
    ----------
    data : bytes
        As in `decode`.
    shape : Shape
        The rate and the channels that are wanted.
    ext : str, optional
        As in `decode`.
    budget : SoundBudget, optional
        As in `decode`.

    Raises
    ------
    ServerError
        As `decode`, where the header shows it.
    """
    return _source(data, ext, budget, shape)


def _source(
    data: bytes, ext: str | None, budget: SoundBudget | None, shape: Shape | None = None
) -> Source:
    if ext is not None:
        check_extension(ext)
    if not data:
        raise EmptySound("The sound has 0 bytes.")
    found = sniff(data, ext=ext)
    return Source(data, found, inspect(data, found), budget or SoundBudget(), shape or Shape())


def _hull(windows: Sequence[Window]) -> tuple[int, int]:
    return (windows[0].start, windows[-1].stop) if windows else (0, 0)


def _span(source: Source, rule: WindowRule | None) -> tuple[int, int]:
    """Return the samples to keep at the first reading; none where the length must be counted."""
    if rule is None:
        return 0, _ALL
    if source.expected_samples is None:
        return 0, 0
    window = window_of(source.expected_samples, rule)
    return window.start, window.stop
