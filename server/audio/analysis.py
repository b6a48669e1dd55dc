"""What several frontends take from one sound, computed once.

The row ``gtzan-58@1`` mirrors the sound at its ends, the picture ``kaggle-gtzan@1`` puts silence
around it; all frames but two at either end lie within the sound and are the same. So whoever needs
both hands the same `Analysis` to the row first, which transforms every frame anyway, and the
picture then transforms four.
"""

import numpy as np
from numpy.typing import NDArray

from server.audio.spectrogram import mel_of
from server.audio.spectrum import HOP_LENGTH, Frames

N_MELS = 128


class Analysis:
    """One sound and what is known of it.

    Parameters
    ----------
    y : np.ndarray, shape (n,), float32
        Mono samples at 22,050 Hz, n >= 1.

    Attributes
    ----------
    y : np.ndarray
        The sound.
    mel : np.ndarray, shape (t, 128), float32, or None
        Power in mel bands, mirrored at the ends; left by whoever computes it on the way.
    """

    def __init__(self, y: NDArray[np.float32]) -> None:
        self.y = y
        self.mel: NDArray[np.float32] | None = None

    def mel_in_silence(self) -> NDArray[np.float32]:
        """Return the power in mel bands with silence around the sound.

        Returns
        -------
        np.ndarray, shape (1 + n // HOP_LENGTH, 128), float32
            One frame a row, low band first.
        """
        frames = Frames(self.y, HOP_LENGTH, padding="constant")
        if self.mel is None or not frames.inner:
            return mel_of(frames, N_MELS)
        head, tail = range(frames.inner.start), range(frames.inner.stop, frames.count)
        within = self.mel[frames.inner.start : frames.inner.stop]
        return np.concatenate((mel_of(frames, N_MELS, head), within, mel_of(frames, N_MELS, tail)))
