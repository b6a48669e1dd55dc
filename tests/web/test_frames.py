"""server/web/frames.py: the same bytes in pieces of few frames, and frames that are refused."""

import pytest
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame, PingFrame
from hypothesis import given
from hypothesis import strategies as st

from server.web.frames import Allowance, FrameCutter, FrameFault

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PING = PingFrame(0, opaque_data=b"12345678").serialize()


def cut(stream: bytes, size: int, *, header_bytes: int = 16384) -> list[bytes]:
    cutter = FrameCutter(header_bytes)
    pieces = [stream[k : k + size] for k in range(0, len(stream), size)]
    return [part for piece in pieces for part in cutter.cut(piece)]


@given(st.lists(st.integers(0, 3000), max_size=200), st.integers(1, 5000))
def test_nothing_is_lost(sizes: list[int], size: int) -> None:
    stream = PREFACE + b"".join(DataFrame(1, bytes(n)).serialize() for n in sizes)
    assert b"".join(cut(stream, size)) == stream


def test_few_frames_go_at_a_time() -> None:
    parts = cut(PREFACE + PING * 1000, 1 << 20)
    assert max(len(part) for part in parts) <= len(PREFACE) + 64 * len(PING)


def test_large_data_goes_in_one_piece() -> None:
    stream = PREFACE + DataFrame(1, bytes(1 << 20)).serialize()
    assert len(cut(stream, 1 << 21)) == 1


@pytest.mark.parametrize("size", [1, 100, 1 << 20])
def test_only_data_may_be_larger_than_16_kib(size: int) -> None:
    with pytest.raises(FrameFault):
        cut(PREFACE + HeadersFrame(1, bytes(16385)).serialize(), size)


@pytest.mark.parametrize("size", [1, 100, 1 << 20])
def test_a_header_block_over_several_frames_is_bounded(size: int) -> None:
    block = HeadersFrame(1, bytes(8000)).serialize() + ContinuationFrame(1, bytes(8000)).serialize()
    assert cut(PREFACE + block, size)
    with pytest.raises(FrameFault):
        cut(PREFACE + block + ContinuationFrame(1, bytes(1000)).serialize(), size)


def test_each_header_block_counts_for_itself() -> None:
    assert cut(PREFACE + HeadersFrame(1, bytes(16000)).serialize() * 10, 1 << 20)


def test_an_allowance_comes_back_with_time() -> None:
    now = 0.0
    allowance = Allowance(3, 2.0, clock=lambda: now)
    assert [allowance.spend() for _ in range(4)] == [True, True, True, False]
    now = 1.0
    assert [allowance.spend() for _ in range(2)] == [True, False]
    now = 100.0
    assert [allowance.spend() for _ in range(4)] == [True, True, True, False]
