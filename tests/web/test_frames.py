"""server/web/frames.py: the same bytes in pieces of few frames, and frames that are refused."""

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    WindowUpdateFrame,
)
from hypothesis import given
from hypothesis import strategies as st

from server.web.frames import Allowance, FrameCutter, FrameFault

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PING = PingFrame(0, opaque_data=b"12345678").serialize()


LARGEST = 1 << 20


def cut(stream: bytes, size: int, *, header_bytes: int = 16384) -> list[bytes]:
    cutter = FrameCutter(header_bytes, LARGEST)
    pieces = [stream[k : k + size] for k in range(0, len(stream), size)]
    return [part for piece in pieces for part in cutter.cut(piece)]


@given(st.lists(st.integers(0, 3000), max_size=200), st.integers(1, 5000))
def test_nothing_is_lost(sizes: list[int], size: int) -> None:
    stream = PREFACE + b"".join(DataFrame(1, bytes(n)).serialize() for n in sizes)
    assert b"".join(cut(stream, size)) == stream


def test_few_frames_go_at_a_time() -> None:
    parts = cut(PREFACE + PING * 1000, 1 << 20)
    assert max(len(part) for part in parts) <= len(PREFACE) + 64 * len(PING)


def test_large_data_that_is_all_there_goes_in_one_piece() -> None:
    stream = PREFACE + DataFrame(1, bytes(LARGEST)).serialize()
    assert cut(stream, 1 << 21) == [stream]


def data_frame(stream_id: int, data: bytes, padding: int | None, *, ends: bool) -> DataFrame:
    frame = DataFrame(stream_id, data)
    if padding is not None:
        frame.flags.add("PADDED")
        frame.pad_length = padding
    if ends:
        frame.flags.add("END_STREAM")
    return frame


def size_of(frame: DataFrame) -> int:
    return frame.flow_controlled_length


def parsed(stream: bytes) -> tuple[list[DataFrame], bytes]:
    """Return the whole frames, and the bytes that follow them."""
    frames, at = [], 0
    while len(stream) - at >= 9:
        frame, length = Frame.parse_frame_header(memoryview(stream[at : at + 9]))
        if at + 9 + length > len(stream):
            break
        assert isinstance(frame, DataFrame)
        frame.parse_body(memoryview(stream[at + 9 : at + 9 + length]))
        frames.append(frame)
        at += 9 + length
    return frames, stream[at:]


FRAMES = st.builds(
    data_frame,
    st.sampled_from([1, 3]),
    st.one_of(st.integers(0, 300), st.integers(16100, 70000)).map(
        lambda n: (bytes(range(251)) * n)[:n]
    ),
    st.one_of(st.none(), st.integers(0, 255)),
    ends=st.booleans(),
)


def check_pieces(frames: list[DataFrame], size: int) -> None:
    stream = b"".join(frame.serialize() for frame in frames)
    cutter, pieces, rest = FrameCutter(16384, LARGEST), list[DataFrame](), b""
    assert b"".join(cutter.cut(PREFACE)) == PREFACE
    for k in range(0, len(stream), size):
        rest += b"".join(cutter.cut(stream[k : k + size]))
        whole, rest = parsed(rest)
        assert len(rest) <= 9 + (1 << 14)  # what h2 keeps meanwhile
        pieces += whole
    assert rest == b""
    following = iter(pieces)
    for frame in frames:
        group, flow = [next(following)], 0
        while (flow := flow + size_of(group[-1])) < size_of(frame):
            group.append(next(following))
        assert {piece.stream_id for piece in group} == {frame.stream_id}
        assert b"".join(piece.data for piece in group) == frame.data
        assert flow == size_of(frame)
        assert ["END_STREAM" in piece.flags for piece in group[:-1]] == [False] * (len(group) - 1)
        assert ("END_STREAM" in group[-1].flags) == ("END_STREAM" in frame.flags)
    assert next(following, None) is None


@given(st.lists(FRAMES, min_size=1, max_size=4), st.integers(2000, 100_000))
def test_large_data_goes_on_as_it_comes(frames: list[DataFrame], size: int) -> None:
    check_pieces(frames, size)


@pytest.mark.parametrize("padding", [None, 0, 255])
@pytest.mark.parametrize("size", [1, 7])
def test_large_data_goes_on_byte_by_byte(padding: int | None, size: int) -> None:
    frame = data_frame(1, bytes(16300), padding, ends=True)
    small = data_frame(3, b"abc", padding, ends=False)
    check_pieces([small, frame, small], size)


@pytest.mark.parametrize("size", [1, 100, 1 << 20])
def test_data_is_refused_by_its_length_before_it_comes(size: int) -> None:
    head = DataFrame(1, bytes(LARGEST + 1)).serialize()[:9]
    with pytest.raises(FrameFault):
        cut(PREFACE + head, size)


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


WINDOW = WindowUpdateFrame(0, window_increment=1).serialize()


def test_who_sends_many_small_requests_is_served() -> None:
    headers = HeadersFrame(1, bytes(100)).serialize()
    request = headers + DataFrame(1, bytes(100)).serialize() + DataFrame(1).serialize()
    assert cut(PREFACE + request * 20_000, 1 << 18)


def test_who_sends_a_body_in_small_pieces_is_served() -> None:
    assert cut(PREFACE + DataFrame(1, bytes(128)).serialize() * 20_000, 1 << 18)


def test_windows_are_opened_for_each_answer() -> None:
    cutter = FrameCutter(16384, LARGEST)
    assert list(cutter.cut(PREFACE))
    for _ in range(5000):
        cutter.allow_for_answer()
        assert list(cutter.cut(WINDOW * 2))


def test_windows_are_opened_for_what_is_sent() -> None:
    cutter = FrameCutter(16384, LARGEST)
    assert list(cutter.cut(PREFACE))
    for _ in range(20):
        cutter.allow_for(1 << 20)
        assert list(cutter.cut(WINDOW * 1000))
    with pytest.raises(FrameFault):
        list(cutter.cut(WINDOW * 1000))


@pytest.mark.parametrize(
    "frame",
    [WINDOW, PING, DataFrame(1).serialize(), DataFrame(1, b"x").serialize()],
    ids=["window", "ping", "nothing", "byte"],
)
def test_frames_that_carry_nothing_have_an_allowance(frame: bytes) -> None:
    with pytest.raises(FrameFault):
        cut(PREFACE + frame * 8000, 1 << 18)


def test_a_header_block_in_many_pieces_is_refused() -> None:
    block = HeadersFrame(1, b"a").serialize() + ContinuationFrame(1, b"a").serialize() * 16
    assert cut(PREFACE + block * 3, 1 << 18)
    with pytest.raises(FrameFault):
        cut(PREFACE + block + ContinuationFrame(1).serialize(), 1 << 18)


def test_an_allowance_comes_back_with_time() -> None:
    now = 0.0
    allowance = Allowance(3, 2.0, clock=lambda: now)
    assert [allowance.spend() for _ in range(4)] == [True, True, True, False]
    now = 1.0
    assert [allowance.spend() for _ in range(2)] == [True, False]
    now = 100.0
    assert [allowance.spend() for _ in range(4)] == [True, True, True, False]
