"""The generated sounds and the librosa oracle of `tests.audio`."""

from tests.audio.conftest import librosa, melody

__all__ = ["librosa", "melody"]
