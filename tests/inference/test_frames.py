"""server/inference/frames.py: what a hostile child may send."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.inference import frames
from server.inference.frames import BadFrame, Message, Part


def taken_apart(raw: bytes) -> Message:
    prefix = raw[: frames.PREFIX_BYTES]
    head, payload = frames.read_prefix(prefix, max_payload=1 << 20)
    rest = raw[frames.PREFIX_BYTES :]
    return frames.decode(rest[:head], rest[head : head + payload])


def joined(message: Message) -> bytes:
    return b"".join(bytes(buffer) for buffer in message.buffers())


def test_a_message_comes_out_as_it_went_in() -> None:
    tensor = Part("x", bytes(24), "float32", (2, 3))
    message = taken_apart(joined(Message({"op": "go"}, [tensor, Part("sound", b"RIFF")])))
    assert message.fields == {"op": "go"}
    assert [(p.name, bytes(p.data), p.dtype, p.shape) for p in message.parts] == [
        ("x", bytes(24), "float32", (2, 3)),
        ("sound", b"RIFF", None, ()),
    ]


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"[]",
        b"{}",
        b"not json",
        b'{"parts": 1}',
        b'{"parts": [1]}',
        b'{"parts": [{}]}',
        b'{"parts": [{"name":"x","size":9,"dtype":null,"shape":[]}]}',
        b'{"parts": [{"name":"x","size":-1,"dtype":null,"shape":[]}]}',
        b'{"parts": [{"name":"x","size":true,"dtype":null,"shape":[]}]}',
        b'{"parts": [{"name":"x","size":8,"dtype":"float32","shape":[3]}]}',
        b'{"parts": [{"name":"x","size":8,"dtype":"float32","shape":[-2,-1]}]}',
        b'{"parts": [{"name":"x","size":8,"dtype":"object","shape":[1]}]}',
        b'{"parts": []}',
        b"[" * 100_000,
    ],
)
def test_a_head_that_does_not_describe_its_payload_is_refused(head: bytes) -> None:
    with pytest.raises(BadFrame):
        frames.decode(head, bytes(8))


def test_a_frame_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(BadFrame):
        frames.read_prefix(struct.pack("<IQ", 10, 1 << 40), max_payload=1 << 20)
    with pytest.raises(BadFrame):
        frames.read_prefix(struct.pack("<IQ", 1 << 31, 10), max_payload=1 << 20)


@given(st.binary(), st.binary(max_size=64))
def test_no_bytes_raise_anything_but_a_bad_frame(head: bytes, payload: bytes) -> None:
    with pytest.raises(BadFrame):
        frames.decode(head, payload)
