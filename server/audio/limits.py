"""What a sound file may be: its sample rate, its channels and its values."""

import numpy as np
from numpy.typing import NDArray

from server.errors import UnusableInput
from server.sound_errors import BadSampleRate, SoundNotFinite, TooManyChannels, UnreadableSound

MIN_RATE_HZ = 8_000
MAX_RATE_HZ = 192_000
MAX_CHANNELS = 8
MAX_AMPLITUDE = 1e6  # far above any sound; the fourth power of its spectrum still fits float32


def check_rate(rate_hz: float) -> None:
    """Refuse a sample rate that is not used for sound."""
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise BadSampleRate(
            f"The sample rate is {rate_hz:.0f} Hz; it must be {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz.",
        )


def check_channels(channels: int) -> None:
    """Refuse no channel, and more than anybody mixes."""
    if channels > MAX_CHANNELS:
        raise TooManyChannels(f"The sound has {channels} channels; {MAX_CHANNELS} is the most.")
    if channels < 1:
        raise UnreadableSound("The header declares no channel.")


def check_values(block: NDArray[np.float32]) -> None:
    """Refuse samples that are no numbers, or that no sound has."""
    low, high = block.min(), block.max()  # NaN wins both, so two passes see everything
    if not (np.isfinite(low) and np.isfinite(high)):
        raise SoundNotFinite("The sound holds NaN or infinite samples.")
    if max(-low, high) > MAX_AMPLITUDE:
        raise UnusableInput(
            f"Samples reach {max(-low, high):.3g}; a sound lies within -1 to 1. Scale it first."
        )
