"""Tests of `server.synthesis`; the sounds and librosa come from `tests.audio.conftest`."""
