import contextlib
import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.audio.container import Declared, inspect
from server.sound_errors import TruncatedSound, UnreadableSound

_Encode = Callable[..., bytes]


def _noise(frames: int, channels: int = 1) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    rng = np.random.default_rng(frames)
    return (0.1 * rng.standard_normal((frames, channels))).astype(np.float32)


def _wav(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
        for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def _au(*, order: str = ">", at: int = 24, size: int = 10, samples: bytes = bytes(10)) -> bytes:
    magic = b"dns." if order == "<" else b".snd"
    text = bytes(max(0, at - 24)) if at < 100 else b""
    return magic + struct.pack(f"{order}5I", at, size, 3, 8000, 1) + text + samples


_FMT = struct.pack("<HHIIHH", 1, 1, 8000, 16_000, 2, 16)


@pytest.mark.parametrize(
    ("fmt", "found"), [("WAV", "wav"), ("WAVEX", "wav"), ("AIFF", "aiff"), ("AU", "au")]
)
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (24_414, 2), (192_000, 8)])
def test_rate_and_channels_are_read(
    encode: _Encode, fmt: str, found: str, rate: int, channels: int
) -> None:
    assert inspect(encode(_noise(100, channels), rate, fmt), found) == Declared(rate, channels)


@pytest.mark.parametrize(("fmt", "found"), [("WAV", "wav"), ("AIFF", "aiff"), ("AU", "au")])
@pytest.mark.parametrize("lost", [1, 2, 500, 1900])
def test_samples_that_are_not_there_are_noticed(
    encode: _Encode, fmt: str, found: str, lost: int
) -> None:
    data = encode(_noise(1000), 22_050, fmt)
    with pytest.raises(TruncatedSound, match="declares 20"):
        inspect(data[:-lost], found)


@pytest.mark.parametrize("length", [12, 20, 30, 43])
def test_a_header_that_ends_early_is_noticed(encode: _Encode, length: int) -> None:
    with pytest.raises(TruncatedSound, match="inside its header"):
        inspect(encode(_noise(10), 8000)[:length], "wav")


def test_chunks_before_the_samples_are_skipped() -> None:
    data = _wav((b"LIST", b"odd"), (b"fmt ", _FMT), (b"data", b"\0" * 10))
    assert inspect(data, "wav") == Declared(8000, 1)


def test_what_follows_the_samples_may_be_cut() -> None:
    data = _wav((b"fmt ", _FMT), (b"data", b"\0" * 10), (b"LIST", b"0123456789"))
    assert inspect(data[:-4], "wav") == Declared(8000, 1)


def test_a_file_of_nothing_but_chunks_is_refused_soon() -> None:
    data = b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 1_000_000
    with pytest.raises(UnreadableSound, match="10000 chunks"):
        inspect(data, "wav")


def test_samples_without_a_format_are_refused() -> None:
    with pytest.raises(UnreadableSound, match="fmt"):
        inspect(_wav((b"data", b"\0" * 10)), "wav")


def test_a_streamed_header_is_explained() -> None:
    data = bytearray(_wav((b"fmt ", _FMT), (b"data", b"\0" * 10)))
    data[40:44] = b"\xff\xff\xff\xff"
    with pytest.raises(TruncatedSound, match="write to a file"):
        inspect(bytes(data), "wav")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("at", [24, 25, 60])
def test_an_au_header_is_read_in_its_byte_order(order: str, at: int) -> None:
    assert inspect(_au(order=order, at=at), "au") == Declared(8000, 1)


@pytest.mark.parametrize("order", ["<", ">"])
def test_au_samples_that_are_not_there_are_noticed(order: str) -> None:
    with pytest.raises(TruncatedSound, match="declares 11 bytes of samples, the file holds 10"):
        inspect(_au(order=order, at=60, size=11), "au")


@pytest.mark.parametrize("samples", [b"", bytes(10)])
def test_an_au_size_that_is_unknown_is_what_is_there(samples: bytes) -> None:
    assert inspect(_au(size=0xFFFFFFFF, samples=samples), "au") == Declared(8000, 1)


@pytest.mark.parametrize("data", [b".snd", _au()[:23], _au(at=60)[:59], _au(at=0xFFFFFFFF)])
def test_an_au_header_that_ends_early_is_noticed(data: bytes) -> None:
    with pytest.raises(TruncatedSound, match="inside its header"):
        inspect(data, "au")


@pytest.mark.parametrize("at", [0, 23])
def test_au_samples_inside_the_header_are_refused(at: int) -> None:
    with pytest.raises(UnreadableSound, match="begin inside"):
        inspect(_au(at=at), "au")


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("lost", [1, 100, 3000])
def test_a_cut_ogg_page_is_noticed(encode: _Encode, subtype: str, lost: int) -> None:
    data = encode(_noise(48_000), 48_000, "OGG", subtype)
    with pytest.raises(TruncatedSound, match="Ogg page"):
        inspect(data[:-lost], "ogg")


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(
        [
            ("wav", b"RIFF\0\0\0\0WAVE"),
            ("wav", b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0"),
            ("aiff", b"FORM\0\0\0\0AIFFCOMM\0\0\0\x12"),
            ("au", b".snd"),
            ("au", b"dns.\x18\0\0\0"),
            ("ogg", b"OggS"),
        ]
    ),
    st.binary(max_size=200),
)
def test_any_header_is_read_or_refused(start: tuple[str, bytes], rest: bytes) -> None:
    found, magic = start
    with contextlib.suppress(UnreadableSound):
        inspect(magic + rest, found)
