"""server/signing/stream.py against itsdangerous.Signer."""

from collections.abc import AsyncIterator

import itsdangerous
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import BadSignature
from server.signing.keyring import KeyRing
from server.signing.principal import Dialect
from server.signing.stream import StreamUnsigner, UnsignedStream

TOKENS = ["an older token of ours", "the token that signs now"]


def unsigned(signed: bytes, cuts: list[int]) -> bytes | None:
    unsigner = StreamUnsigner(KeyRing(TOKENS))
    out, at = b"", 0
    for cut in [*cuts, len(signed)]:
        out += b"".join(unsigner.feed(signed[at : at + cut]))
        at += cut
    try:
        unsigner.finish()
    except BadSignature:
        return None
    return out


CUTS = st.lists(st.integers(1, 64), max_size=40)


@settings(max_examples=500)
@given(st.binary(max_size=600), CUTS, st.sampled_from(TOKENS))
def test_a_signed_file_comes_out_as_it_went_in(data: bytes, cuts: list[int], token: str) -> None:
    assert unsigned(itsdangerous.Signer(token).sign(data), cuts) == data


@settings(max_examples=500)
@given(st.binary(max_size=100), CUTS, st.data())
def test_nothing_is_accepted_that_itsdangerous_refuses(
    data: bytes, cuts: list[int], draw: st.DataObject
) -> None:
    signed = bytearray(itsdangerous.Signer(TOKENS[-1]).sign(data))
    for _ in range(draw.draw(st.integers(1, 2))):
        signed[draw.draw(st.integers(0, len(signed) - 1))] = draw.draw(st.integers(0, 255))
    out = unsigned(bytes(signed), cuts)
    if out is not None:
        assert itsdangerous.Signer(TOKENS).unsign(bytes(signed)) == out


@pytest.mark.parametrize("size", [0, 1, 27, 28])
def test_a_stream_shorter_than_a_trailer_is_refused(size: int) -> None:
    assert unsigned(b"." * size, []) is None


def test_a_signed_payload_is_no_signed_file() -> None:
    text = itsdangerous.Serializer(TOKENS[-1]).dumps({"hash": "x"})
    assert isinstance(text, str)
    assert unsigned(text.encode(), []) is None


def test_trailing_bytes_after_the_signature_are_refused() -> None:
    assert unsigned(itsdangerous.Signer(TOKENS[-1]).sign(b"data") + b"\n", []) is None


async def pieces(signed: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(signed), 7):
        yield signed[start : start + 7]


async def test_a_stream_says_at_its_end_which_key_has_signed() -> None:
    ring = KeyRing(TOKENS)
    ids = set()
    for token in TOKENS:
        stream = UnsignedStream(pieces(itsdangerous.Signer(token).sign(b"a model")), ring)
        assert b"".join([bytes(data) async for data in stream]) == b"a model"
        ids.add(stream.key.principal(Dialect.ITSDANGEROUS).key_id)
    assert len(ids) == 2


async def test_a_stream_with_a_wrong_signature_fails_at_its_end() -> None:
    stream = UnsignedStream(pieces(b"a model." + b"A" * 27), KeyRing(TOKENS))
    read: list[bytes] = []

    async def read_all() -> None:
        async for data in stream:
            read.append(bytes(data))

    with pytest.raises(BadSignature):
        await read_all()
    assert b"".join(read) == b"a model"
