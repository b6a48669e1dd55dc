import io
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.audio.decode import open_sound
from server.audio.mp3 import Frame, Frames, count_frames, parse_frame, with_length
from server.audio.source import Shape

_Encode = Callable[..., bytes]
_Melody = Callable[..., NDArray[np.float32]]
_ID3 = b"ID3\x04\0\0\0\0\x01\x00" + bytes(128)


def _untagged(data: bytes) -> bytes:
    first = parse_frame(data)
    assert first is not None
    return data[first.size :]


@pytest.mark.parametrize(
    ("header", "frame"),
    [
        (b"\xff\xfb\x90\x64", Frame(3, 44_100, False, 417)),
        (b"\xff\xfb\x92\x64", Frame(3, 44_100, False, 418)),
        (b"\xff\xf3\x90\x74", Frame(2, 22_050, False, 261)),
        (b"\xff\xe3\x18\xc4", Frame(0, 8000, True, 72)),
        (b"\xff\xfb\x00\x64", Frame(3, 44_100, False, 0)),
    ],
)
def test_a_frame_header_is_read(header: bytes, frame: Frame) -> None:
    assert parse_frame(header) == frame


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xff\xfb",
        b"\xff\xfd\x90\x64",  # layer II
        b"\xff\xf1\x50\x80",  # AAC
        b"\xff\xfb\xf0\x64",  # no such bit rate
        b"\xff\xfb\x9c\x64",  # no such sample rate
        b"\xff\xeb\x90\x64",  # no such version
    ],
)
def test_what_is_no_layer_three_header_is_no_frame(header: bytes) -> None:
    assert parse_frame(header) is None


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_lost_tag_is_put_back_with_the_same_count(
    encode: _Encode, melody: _Melody, rate: int, channels: int
) -> None:
    y = melody(1, rate)
    data = encode(np.stack([y] * channels, axis=1), rate, "MP3")
    tag = data.index(b"Xing") if b"Xing" in data else data.index(b"Info")
    stated = int.from_bytes(data[tag + 8 : tag + 12], "big")
    mended = with_length(_untagged(data))
    at = mended.index(b"Xing")
    assert at == tag
    assert int.from_bytes(mended[at + 8 : at + 12], "big") == pytest.approx(stated, abs=1)
    assert mended.endswith(_untagged(data))


def _even(y: NDArray[np.float32], rate: int) -> bytes:
    """Encode at one bit rate, without a tag."""
    file = io.BytesIO()
    options = {"bitrate_mode": "CONSTANT", "compression_level": 0.5}  # one does nothing alone
    soundfile.write(file, y, rate, format="MP3", **options)
    return _untagged(file.getvalue())


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_file_of_one_bit_rate_needs_no_tag(melody: _Melody, rate: int, channels: int) -> None:
    data = _even(np.stack([melody(1, rate)] * channels, axis=1), rate)
    assert with_length(_ID3 + data) == data
    frames = count_frames(data, 0)
    assert frames.is_even
    samples, _ = soundfile.read(io.BytesIO(data))
    assert len(samples) == frames.count * (1152 if rate > 24_000 else 576)


def test_a_file_of_one_bit_rate_begins_where_it_does_for_others(melody: _Melody) -> None:
    data = _even(melody(2, 22_050), 22_050)
    theirs, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    picture = b"ID3\x04\0\0\0\x40\0\0" + bytes(1 << 20)
    for file in (data, picture + data):
        ours = np.concatenate([*open_sound(file, shape=Shape(22_050, 1)).blocks()])
        np.testing.assert_array_equal(ours.ravel(), theirs)


@pytest.mark.parametrize("front", [b"", _ID3, _ID3 + _ID3])
def test_a_file_with_a_tag_is_left_alone(encode: _Encode, melody: _Melody, front: bytes) -> None:
    data = front + encode(melody(1, 44_100), 44_100, "MP3")
    assert with_length(data) is data


@pytest.mark.parametrize("front", [_ID3, bytes(100), b"\xff\xfb\x90\x64 no frame follows"])
def test_what_is_before_the_first_frame_goes(
    encode: _Encode, melody: _Melody, front: bytes
) -> None:
    data = _untagged(encode(melody(1, 44_100), 44_100, "MP3"))
    assert with_length(front + data) == with_length(data)


def test_frames_are_counted_past_what_is_none(encode: _Encode, melody: _Melody) -> None:
    data = _untagged(encode(melody(1, 44_100), 44_100, "MP3"))
    frames = count_frames(data, 0)
    assert count_frames(data + b"TAG" + bytes(125), 0) == frames
    assert frames.count > 30


@given(st.binary(max_size=300))
def test_bytes_without_frames_are_left_alone(data: bytes) -> None:
    text = data.replace(b"\xff", b"")
    assert with_length(text) is text


def test_bytes_that_only_look_like_frames_are_given_up_soon() -> None:
    data = b"\xff" * 50_000_000
    assert with_length(data) is data
    assert count_frames(data, 0) == Frames(0, is_even=True)


@given(st.binary(max_size=300))
def test_any_bytes_can_be_mended(data: bytes) -> None:
    assert isinstance(with_length(b"\xff\xfb\x90\x64" + data), bytes)
