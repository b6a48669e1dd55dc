"""A sound file read block by block, as often as needed, as mono or stereo at any rate.

libsndfile decodes from memory, the channels are mixed, then soxr HQ resamples the stream; the
result equals resampling the whole sound at once, bit for bit. Every block is checked: the number
of samples against the budget, their values against what a sound can hold, and at the end their
count against what the header said.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from server.audio.container import Declared
from server.audio.limits import check_channels, check_rate, check_values
from server.audio.mp3 import with_length
from server.audio.spectrum import SAMPLE_RATE_HZ
from server.sound_errors import EmptySound, SoundTooLong, TruncatedSound, UnreadableSound

_BLOCK_FRAMES = 65_536
_INT16_STEP = np.float32(1 / 32_768)
_DECODERS = {
    "wav": {"WAV", "WAVEX"},
    "aiff": {"AIFF"},
    "au": {"AU"},
    "flac": {"FLAC"},
    "ogg": {"OGG"},
    "mp3": {"MP3"},
}
_UNKNOWN = 1 << 62  # libsndfile reports 2**63 - 1 frames for a FLAC stream of unknown length

# Encoder delay and gapless trimming make an MP3 up to two frames shorter than it says.
_MP3_SLACK_FRAMES = 2 * 1152


@dataclass(frozen=True, slots=True)
class SoundBudget:
    """How much sound is decoded for one call.

    Attributes
    ----------
    max_seconds : float
        Playing time.
    max_values : int
        Frames times channels, before resampling: an hour of stereo at 48 kHz has 345,600,000.
    """

    max_seconds: float = 3600.0
    max_values: int = 400_000_000


@dataclass(frozen=True, slots=True)
class Shape:
    """What a sound is brought to.

    Attributes
    ----------
    rate_hz : int
        Its sample rate.
    channels : int
        1: all of its channels averaged; 2: those of stereo, or the average of others twice.
    """

    rate_hz: int = SAMPLE_RATE_HZ
    channels: int = 1


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some samples of a sound, and how many the sound has.

    Attributes
    ----------
    start : int
        Index of the first sample that was kept.
    y : np.ndarray, shape (m,), float32
        Mono samples at the source's rate.
    source_samples : int
        Samples of the whole sound at that rate.
    """

    start: int
    y: NDArray[np.float32]
    source_samples: int


class Source:
    """A sound that can be decoded from its start, more than once.

    Parameters
    ----------
    data : bytes
        The whole file.
    found : str
        Its format, as `server.audio.sniff.sniff` names it.
    declared : Declared
        What its container says.
    budget : SoundBudget
        How much is decoded at most.
    shape : Shape
        What it is brought to.

    Attributes
    ----------
    expected_samples : int or None
        Samples at the wanted rate that the header promises; None where a FLAC stream does not say.

    Raises
    ------
    UnreadableSound, EmptySound, BadSampleRate, TooManyChannels, SoundTooLong
        If the header alone shows that the sound cannot be used.
    """

    def __init__(
        self,
        data: bytes,
        found: str,
        declared: Declared,
        budget: SoundBudget,
        shape: Shape,
    ) -> None:
        if declared.sample_rate_hz is not None:
            check_rate(declared.sample_rate_hz)
        if declared.channels is not None:
            check_channels(declared.channels)
        # libsndfile guesses the length of an MP3 that does not state it, and stops there
        self._data = with_length(data) if found == "mp3" else data
        self._found = found
        self._budget = budget
        self._shape = shape
        with self._open() as sound:
            self._rate_hz: int = sound.samplerate
            self._channels: int = sound.channels
            frames: int = sound.frames
        check_rate(self._rate_hz)
        check_channels(self._channels)
        self._stated_frames = frames if 0 <= frames < _UNKNOWN else None
        self.expected_samples: int | None = None
        if self._stated_frames is not None:
            self._check_budget(frames)
            if frames == 0:
                raise EmptySound("The sound file holds no samples.")
            self.expected_samples = self._resampled_count(frames)

    def read(self, start: int, stop: int) -> Excerpt:
        """Decode the whole sound and keep a part of it.

        Parameters
        ----------
        start, stop : int
            Samples ``start <= k < stop`` are kept, as far as the sound goes.

        Returns
        -------
        Excerpt
            The part, and the length of the whole.

        Raises
        ------
        TruncatedSound, EmptySound, SoundTooLong, SoundNotFinite, UnusableInput
            If the samples are not what the header promised, or no sound.
        """
        kept: list[NDArray[np.float32]] = []
        samples = 0
        for piece in self.blocks():
            inside = piece[max(0, start - samples) : max(0, stop - samples)]
            if len(inside):
                kept.append(inside.copy() if len(inside) < len(piece) else inside)
            samples += len(piece)
        if samples == 0:
            raise EmptySound("The sound file holds no samples.")
        y = np.concatenate(kept) if kept else np.zeros(0, np.float32)
        return Excerpt(start, y, samples)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Decode the whole sound from its start.

        Yields
        ------
        np.ndarray, shape (n,) or (n, 2), float32
            The next samples; n differs, and may be 0.

        Raises
        ------
        TruncatedSound, SoundTooLong, SoundNotFinite, UnusableInput
            As `read`.
        """
        if self._rate_hz == self._shape.rate_hz:
            yield from self._mixed()
            return
        channels = self._shape.channels
        stream = soxr.ResampleStream(
            self._rate_hz, self._shape.rate_hz, channels, dtype="float32", quality="HQ"
        )
        for block in self._mixed():
            yield stream.resample_chunk(block)
        rest = np.zeros(0 if channels == 1 else (0, channels), np.float32)
        yield stream.resample_chunk(rest, last=True)

    def _resampled_count(self, frames: int) -> int:
        """Return how many samples soxr makes of so many frames; it rounds half up."""
        return (2 * frames * self._shape.rate_hz + self._rate_hz) // (2 * self._rate_hz)

    def _mixed(self) -> Iterator[NDArray[np.float32]]:
        """Decode in blocks, check what comes out, and mix the channels."""
        mix = _mean if self._shape.channels == 1 else _stereo
        frames = 0
        with self._open() as sound:
            while True:
                block = self._next_block(sound, frames)
                if not len(block):
                    break
                frames += len(block)
                self._check_budget(frames)
                check_values(block)
                yield mix(block)
        self._check_count(frames)

    def _open(self) -> "_Stream":
        try:
            sound = _Stream(io.BytesIO(self._data))
        except (soundfile.SoundFileError, ValueError) as error:
            raise UnreadableSound(
                f"The {self._found} file has a header that cannot be read."
            ) from error
        if sound.format not in _DECODERS[self._found]:
            sound.close()
            raise UnreadableSound(f"The file begins like {self._found}, but is something else.")
        return sound

    def _next_block(self, sound: "_Stream", frames: int) -> NDArray[np.float32]:
        try:
            # libsndfile takes five times as long to make floats of 16-bit samples, the same ones
            kind = "int16" if sound.subtype == "PCM_16" else "float32"
            block: NDArray[Any] = sound.read(_BLOCK_FRAMES, dtype=kind, always_2d=True)
            return block * _INT16_STEP if kind == "int16" else block
        except soundfile.SoundFileError as error:
            raise TruncatedSound(
                f"The {self._found} data is cut or damaged after {frames / self._rate_hz:.3f} s."
            ) from error

    def _check_budget(self, frames: int) -> None:
        most = self._budget
        if frames > most.max_seconds * self._rate_hz or frames * self._channels > most.max_values:
            raise SoundTooLong(
                f"The sound is longer than {most.max_seconds:g} s, or holds more than "
                f"{most.max_values} samples over its {self._channels} channels.",
                max_seconds=most.max_seconds,
                max_values=most.max_values,
            )

    def _check_count(self, frames: int) -> None:
        """Refuse a sound that ended well before the length that its header states."""
        declared = self._stated_frames
        if declared is None:
            return
        slack = max(_MP3_SLACK_FRAMES, declared // 100) if self._found == "mp3" else 0
        if frames < declared - slack:
            raise TruncatedSound(
                f"The header declares {declared / self._rate_hz:.3f} s, the file holds "
                f"{frames / self._rate_hz:.3f} s.",
                declared_frames=declared,
                found_frames=frames,
            )


class _Stream(soundfile.SoundFile):  # type: ignore[misc]  # its base has no types
    """A sound file that is read forward only.

    soundfile seeks after each block of a seekable file: slow in MP3, and an error in a FLAC stream
    whose length is unknown.
    """

    def seekable(self) -> bool:
        """Deny it, so that `read` leaves the position alone."""
        return False


def _mean(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average the channels; a mean along so short an axis would cost a hundred times as much."""
    channels = block.shape[1]
    mono = block[:, 0]
    for k in range(1, channels):
        mono = mono + block[:, k]
    return mono if channels == 1 else mono / np.float32(channels)


def _stereo(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return two channels: those of stereo, or what there is averaged, twice."""
    if block.shape[1] == 2:
        return block
    mono = _mean(block)
    return np.stack([mono, mono], axis=1)
