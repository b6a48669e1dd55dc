"""server/web/strict.py: what h11 lets through, and what honest clients send."""

from contextlib import suppress

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import BadHttp, HeadersTooLarge
from server.web.strict import MAX_HEAD_BYTES, MAX_HEADERS, StrictConnection
from tests.web.smuggling import CHUNK_FAULTS, CHUNKED, HEAD, SMUGGLING


def read(stream: bytes, *, pieces: int = 0) -> tuple[list[h11.Event], StrictConnection]:
    """Give a connection the bytes, whole or in pieces of one size, and collect its events."""
    connection = StrictConnection()
    events: list[h11.Event] = []
    size = pieces or len(stream) or 1
    for start in range(0, len(stream), size):
        connection.receive_data(stream[start : start + size])
        while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            events.append(event)
    return events, connection


def body_of(events: list[h11.Event]) -> bytes:
    return b"".join(bytes(event.data) for event in events if isinstance(event, h11.Data))


@pytest.mark.parametrize("pieces", [0, 1], ids=["whole", "in bytes"])
@pytest.mark.parametrize("name", SMUGGLING)
def test_a_head_that_can_be_read_in_two_ways_is_refused(name: str, pieces: int) -> None:
    connection = StrictConnection()
    size = pieces or len(SMUGGLING[name])
    with pytest.raises(h11.RemoteProtocolError) as refused:  # noqa: PT012  # by any of the pieces
        for start in range(0, len(SMUGGLING[name]), size):
            connection.receive_data(SMUGGLING[name][start : start + size])
            assert connection.next_event() is h11.NEED_DATA
    assert refused.value.error_status_hint == 400
    assert isinstance(connection.fault, BadHttp)


@pytest.mark.parametrize("pieces", [0, 1], ids=["whole", "in bytes"])
@pytest.mark.parametrize("name", CHUNK_FAULTS)
def test_chunks_that_can_be_read_in_two_ways_are_refused(name: str, pieces: int) -> None:
    stream = CHUNKED + CHUNK_FAULTS[name]
    with pytest.raises(h11.RemoteProtocolError) as refused:
        read(stream, pieces=pieces)
    assert refused.value.error_status_hint == 400


def test_what_is_behind_a_body_is_judged_as_well() -> None:
    connection = StrictConnection()
    connection.receive_data(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" + SMUGGLING["a folded header"])
    assert isinstance(connection.next_event(), h11.Request)
    assert isinstance(connection.next_event(), h11.EndOfMessage)
    assert connection.next_event() is h11.PAUSED
    connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
    connection.send(h11.EndOfMessage())
    connection.start_next_cycle()
    with pytest.raises(h11.RemoteProtocolError):
        connection.next_event()


@pytest.mark.parametrize("count", [MAX_HEADERS, MAX_HEADERS - 1])
def test_as_many_headers_as_allowed_are_read(count: int) -> None:
    fields = b"".join(b"X-%d: v\r\n" % k for k in range(count - 1))
    events, _ = read(HEAD + fields + b"\r\n")
    assert isinstance(events[0], h11.Request)


@pytest.mark.parametrize("pieces", [0, 1, 1000])
def test_too_many_headers_are_refused_however_they_arrive(pieces: int) -> None:
    fields = b"".join(b"X-%d: v\r\n" % k for k in range(MAX_HEADERS))
    with pytest.raises(h11.RemoteProtocolError) as refused:
        read(HEAD + fields + b"\r\n", pieces=pieces)
    assert refused.value.error_status_hint == 431


@pytest.mark.parametrize("pieces", [0, 1, 1000])
def test_too_long_a_head_is_refused_however_it_arrives(pieces: int) -> None:
    long = b"X: " + b"v" * MAX_HEAD_BYTES + b"\r\n\r\n"
    connection = StrictConnection()
    with pytest.raises(h11.RemoteProtocolError) as refused:  # noqa: PT012
        for start in range(0, len(HEAD + long), pieces or len(HEAD + long)):
            connection.receive_data((HEAD + long)[start : start + (pieces or len(HEAD + long))])
            connection.next_event()
    assert refused.value.error_status_hint == 431
    assert isinstance(connection.fault, HeadersTooLarge)


def test_too_long_a_trailer_is_refused() -> None:
    with pytest.raises(h11.RemoteProtocolError) as refused:
        read(CHUNKED + b"0\r\nX: " + b"v" * MAX_HEAD_BYTES + b"\r\n\r\n")
    assert refused.value.error_status_hint == 431


@given(
    st.lists(st.binary(min_size=40, max_size=300), max_size=20),
    st.sampled_from([b"", b";name", b"; name=value", b';n="v"']),
    st.sampled_from([b"", b"Digest: x\r\n"]),
    st.sampled_from([0, 1, 7, 64]),
)
def test_honest_chunks_are_read(
    chunks: list[bytes], extension: bytes, trailer: bytes, pieces: int
) -> None:
    framed = b"".join(b"%X%b\r\n%b\r\n" % (len(c), extension, c) for c in chunks)
    events, _ = read(CHUNKED + framed + b"0\r\n" + trailer + b"\r\n", pieces=pieces)
    assert body_of(events) == b"".join(chunks)
    assert isinstance(events[-1], h11.EndOfMessage)


def test_neighbouring_chunks_are_one_piece() -> None:
    events, _ = read(CHUNKED + b"5\r\nabcde\r\n" * 1000 + b"0\r\n\r\n")
    assert [type(event) for event in events] == [h11.Request, h11.Data, h11.EndOfMessage]
    assert body_of(events) == b"abcde" * 1000


@pytest.mark.parametrize("chunk", [b"1\r\na\r\n", b"1;" + b"x" * 250 + b"\r\na\r\n"])
def test_chunks_that_are_mostly_framing_are_refused(chunk: bytes) -> None:
    with pytest.raises(h11.RemoteProtocolError):
        read(CHUNKED + chunk * 100_000, pieces=65536)


def test_an_absolute_target_of_the_same_host_is_read() -> None:
    events, _ = read(b"GET https://H:443/test?x=1 HTTP/1.1\r\nHost: h:443\r\n\r\n")
    assert isinstance(events[0], h11.Request)


def test_a_request_of_http_1_0_needs_no_host() -> None:
    events, _ = read(b"GET /test HTTP/1.0\r\n\r\n")
    assert isinstance(events[0], h11.Request)


@given(st.binary(max_size=300), st.sampled_from([0, 1, 16]))
def test_any_bytes_are_read_or_refused(stream: bytes, pieces: int) -> None:
    for start in (b"", HEAD, CHUNKED):
        with suppress(h11.RemoteProtocolError):
            read(start + stream, pieces=pieces)
