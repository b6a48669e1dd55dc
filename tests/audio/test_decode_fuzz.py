"""Whatever the bytes are, only a refusal leaves `decode`."""

import contextlib
import functools
import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from server.audio.decode import decode
from server.audio.source import SoundBudget
from server.audio.window import WindowRule
from server.errors import UnusableInput
from server.sound_errors import UnreadableSound

_KINDS = [
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("WAV", "IMA_ADPCM"),
    ("AIFF", "PCM_16"),
    ("AU", "PCM_16"),
    ("AU", "FLOAT"),
    ("AU", "G721_32"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", None),
]
_MAGICS = [
    b"RIFF\xff\xff\0\0WAVEfmt ",
    b"FORM\0\0\xff\xffAIFFCOMM",
    b".snd\0\0\0\x18\xff\xff\xff\xff\0\0\0",
    b"dns.\x18\0\0\0\xff\xff\xff\xff",
    b"fLaC\0\0\0\x22",
    b"OggS\0\x02",
    b"ID3\x04\0\0\0\0\0\0\xff\xfb\x90\x64",
    b"\xff\xfb\x90\x64",
]
_BUDGET = SoundBudget(max_seconds=20, max_values=2_000_000)
_RULE = WindowRule(min_samples=100, whole_min=900, whole_max=1100, length=1000)


@functools.cache
def _file(fmt: str, subtype: str | None) -> bytes:
    channels = 1 if subtype == "G721_32" else 2  # libsndfile writes no other
    noise = 0.1 * np.random.default_rng(1).standard_normal((3000, channels))
    file = io.BytesIO()
    soundfile.write(file, noise, 48_000, format=fmt, subtype=subtype)
    return file.getvalue()


def _decode_or_refuse(data: bytes) -> None:
    for rule in (None, _RULE):
        with contextlib.suppress(UnreadableSound, UnusableInput):  # the roots of 415 and of 422
            waveform = decode(data, rule=rule, budget=_BUDGET)
            assert waveform.y.shape == (waveform.window.length,)
            assert np.isfinite(waveform.y).all()


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([b"", *_MAGICS]), st.binary(max_size=400))
def test_random_bytes_are_refused_or_decoded(magic: bytes, rest: bytes) -> None:
    _decode_or_refuse(magic + rest)


@pytest.mark.parametrize(("fmt", "subtype"), _KINDS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_decoded(
    fmt: str, subtype: str | None, data: st.DataObject
) -> None:
    file = bytearray(_file(fmt, subtype))
    places = st.one_of(st.integers(0, 120), st.integers(0, len(file) - 1))
    for at in data.draw(st.lists(places, min_size=1, max_size=6)):
        file[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFE, 0xFF]))
    _decode_or_refuse(bytes(file))


@pytest.mark.parametrize(("fmt", "subtype"), _KINDS)
@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 1))
def test_a_cut_file_is_refused_or_decoded(fmt: str, subtype: str | None, share: float) -> None:
    file = _file(fmt, subtype)
    _decode_or_refuse(file[: int(share * len(file))])


@pytest.mark.parametrize(("fmt", "subtype"), _KINDS)
@settings(max_examples=20, deadline=None)
@given(start=st.integers(0, 2000), size=st.integers(1, 300))
def test_a_file_with_a_gap_is_refused_or_decoded(
    fmt: str, subtype: str | None, start: int, size: int
) -> None:
    file = _file(fmt, subtype)
    _decode_or_refuse(file[:start] + file[start + size :])
