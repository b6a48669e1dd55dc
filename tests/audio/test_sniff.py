import contextlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.audio.sniff import EXTENSIONS, check_extension, sniff
from server.errors import BadExtension
from server.sound_errors import LfsPointer, UnreadableSound, WrongExtension

_FORMATS = [
    ("WAV", "PCM_16", "wav"),
    ("WAVEX", "PCM_24", "wav"),
    ("AIFF", "PCM_16", "aiff"),
    ("AIFF", "FLOAT", "aiff"),
    ("AU", "PCM_16", "au"),
    ("FLAC", "PCM_16", "flac"),
    ("OGG", "VORBIS", "ogg"),
    ("OGG", "OPUS", "ogg"),
    ("MP3", None, "mp3"),
]


@pytest.mark.parametrize(("fmt", "subtype", "found"), _FORMATS)
def test_each_format_is_known_by_its_first_bytes(
    encode: Callable[..., bytes], fmt: str, subtype: str | None, found: str
) -> None:
    assert sniff(encode(np.zeros(4800, np.float32), 48_000, fmt, subtype)) == found


def test_an_id3_tag_begins_an_mp3() -> None:
    assert sniff(b"ID3\x04\x00\x00\x00\x00\x00\x00") == "mp3"


@pytest.mark.parametrize(
    ("head", "ext"),
    [
        (b"FORM\0\0\0\0AIFF", "wav"),
        (b"FORM\0\0\0\0AIFC", "wave"),
        (b"RIFF\0\0\0\0WAVE", "aif"),
        (b".snd", "au"),
        (b".snd", "snd"),
        (b"dns.", "au"),
        (b"OggS", "opus"),
        (b"OggS", "oga"),
        (b"fLaC", "flac"),
    ],
)
def test_an_extension_of_the_same_family_agrees(head: bytes, ext: str) -> None:
    sniff(head, ext=ext)


@pytest.mark.parametrize(
    ("head", "ext", "found"),
    [
        (b"fLaC", "wav", "flac"),
        (b"OggS", "mp3", "ogg"),
        (b".snd", "wav", "au"),
        (b"RIFF\0\0\0\0WAVE", "au", "wav"),
        (b"RIFF\0\0\0\0WAVE", "mp3", "wav"),
        (b"\xff\xfb\x90\x64", "ogg", "mp3"),
    ],
)
def test_an_extension_of_another_family_is_refused_with_both_names(
    head: bytes, ext: str, found: str
) -> None:
    with pytest.raises(WrongExtension, match=f"{ext}.*{found}") as caught:
        sniff(head, ext=ext)
    assert caught.value.members == {"named": ext, "found": found}


@pytest.mark.parametrize(
    "ext", ["", ".wav", "WAV", "wav ", "wav\n", "../x", "exe", "m4a", "wavwav", "a.b.c.d.e"]
)
def test_an_extension_that_names_no_sound_format_is_refused(ext: str) -> None:
    with pytest.raises(BadExtension, match="must be one of wav"):
        check_extension(ext)


@pytest.mark.parametrize("ext", EXTENSIONS)
def test_every_extension_of_the_list_is_taken(ext: str) -> None:
    check_extension(ext)


def test_a_git_lfs_pointer_is_named() -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    with pytest.raises(LfsPointer, match="git lfs pull"):
        sniff(pointer, ext="wav")


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"just some words\n", "text"),
        (b'{"data": 1}', "text"),
        (b"\0\0\0\x20ftypM4A ", "M4A"),
        (b"\x1aE\xdf\xa3\x01", "WebM"),
        (b"MThd\0\0\0\x06", "MIDI"),
        (b"RIFF\0\0\0\0AVI LIST", "container without sound"),
        (b"RF64\xff\xff\xff\xffWAVE", "RF64"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\xff\xf1\x50\x80", "no known format"),
        (b"\0" * 64, "no known format"),
        (b"R", "text"),
    ],
)
def test_bytes_that_are_no_sound_are_refused_by_what_they_look_like(head: bytes, what: str) -> None:
    with pytest.raises(UnreadableSound, match=what):
        sniff(head)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_format_or_a_refusal(head: bytes) -> None:
    with contextlib.suppress(UnreadableSound):
        assert sniff(head) in ("wav", "aiff", "au", "flac", "ogg", "mp3")
