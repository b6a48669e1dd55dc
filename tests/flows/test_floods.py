"""Floods that cost a client nothing: cut off cheaply, while others are served."""

import itertools
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import h2.config
import h2.connection
import h2.events
import hpack
import psutil
import pytest
from hyperframe.frame import (
    AltSvcFrame,
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.flows.bystander import Bystander, bystander
from tests.flows.running import Server

pytestmark = pytest.mark.timeout(120)
STREAMS = 20_000
CALM = 11  # ENHANCE_YOUR_CALM
CPU_S = 5
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize()


@pytest.fixture(scope="module", autouse=True)
def others(server: Server) -> Iterator[Bystander]:
    """Have somebody else ask during the whole module."""
    with bystander(server) as one:
        yield one


_ADDRESSES = (f"127.0.1.{k}" for k in itertools.count(1))  # who floods is not let in at once


def _connect(server: Server, source: str = "") -> ssl.SSLSocket:
    return server.connect(alpn=["h2"], source=source)


def _headers(stream: int, *, end: bool = True, extra: list[tuple[str, str]] | None = None) -> Frame:
    fields = [(":method", "POST"), (":path", "/prediction"), (":scheme", "https")]
    fields += [(":authority", "localhost"), *(extra or [])]
    frame = HeadersFrame(stream, hpack.Encoder().encode(fields))
    frame.flags.add("END_HEADERS")
    if end:
        frame.flags.add("END_STREAM")
    return frame


def _rapid_reset(stream: int) -> list[Frame]:
    return [_headers(stream, end=False), RstStreamFrame(stream, error_code=8)]


def _made_you_reset_by_window(stream: int) -> list[Frame]:
    """Make the server reset the stream: its window overflows."""
    update = WindowUpdateFrame(stream, window_increment=2**31 - 1)
    return [_headers(stream, end=False), update]


def _made_you_reset_by_late_data(stream: int) -> list[Frame]:
    """Make the server reset the stream: data comes behind its end."""
    return [_headers(stream), DataFrame(stream, b"x")]


def _two_lengths(stream: int) -> list[Frame]:
    return [_headers(stream, extra=[("content-length", "1"), ("content-length", "1")])]


def _ping(_: int) -> list[Frame]:
    return [PingFrame(0, opaque_data=b"12345678")]


def _settings(_: int) -> list[Frame]:
    return [SettingsFrame(0, settings={4: 65535})]


def _priority(stream: int) -> list[Frame]:
    return [PriorityFrame(stream, depends_on=0, stream_weight=1)]


def _windows(_: int) -> list[Frame]:
    return [WindowUpdateFrame(0, window_increment=1)]


def _windows_of_a_stream(stream: int) -> list[Frame]:
    if stream == 1:
        return [_headers(1, end=False)]
    return [WindowUpdateFrame(1, window_increment=1)]


def _ping_answers(_: int) -> list[Frame]:
    frame = PingFrame(0, opaque_data=b"12345678")
    frame.flags.add("ACK")
    return [frame]


def _settings_answers(_: int) -> list[Frame]:
    frame = SettingsFrame(0)
    frame.flags.add("ACK")
    return [frame]


def _services(_: int) -> list[Frame]:
    return [AltSvcFrame(0, b"h", b"x")]


def _late_resets(stream: int) -> list[Frame]:
    first = [_headers(1, end=False)] if stream == 1 else []
    return [*first, RstStreamFrame(1, error_code=8)]


def _single_bytes(stream: int) -> list[Frame]:
    return [_headers(1, end=False)] if stream == 1 else [DataFrame(1, b"x")]


def _single_bytes_to_nobody(stream: int) -> list[Frame]:
    return [_headers(1)] if stream == 1 else [DataFrame(1, b"x")]


def _empty_data(stream: int) -> list[Frame]:
    return [_headers(1, end=False)] if stream == 1 else [DataFrame(1, b"")]


FLOODS: dict[str, Callable[[int], list[Frame]]] = {
    "rapid reset": _rapid_reset,
    "MadeYouReset by a window": _made_you_reset_by_window,
    "MadeYouReset by late data": _made_you_reset_by_late_data,
    "requests that are refused": _two_lengths,
    "pings": _ping,
    "settings": _settings,
    "priorities": _priority,
    "windows": _windows,
    "windows of a stream": _windows_of_a_stream,
    "answers to no ping": _ping_answers,
    "answers to no settings": _settings_answers,
    "alternative services": _services,
    "resets of a stream that is reset": _late_resets,
    "single bytes": _single_bytes,
    "single bytes to nobody": _single_bytes_to_nobody,
    "data without data": _empty_data,
}


def _goaway_after(server: Server, stream: bytes, source: str = "") -> int | None:
    """Send bytes and read to the end; return what the connection was closed for."""
    reader = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    reader.initiate_connection()
    code: int | None = None
    with _connect(server, source or next(_ADDRESSES)) as connection:
        connection.settimeout(20)
        with suppress(ConnectionError, ssl.SSLError):
            for start in range(0, len(stream), 1 << 16):
                connection.sendall(stream[start : start + (1 << 16)])
        with suppress(ConnectionError, ssl.SSLError):
            frames = b""
            while piece := connection.recv(1 << 16):
                frames += piece
    while len(frames) >= 9:
        frame, length = Frame.parse_frame_header(memoryview(frames[:9]))
        if frame.type == 7:
            frame.parse_body(memoryview(frames[9 : 9 + length]))
            code = int(frame.error_code)  # type: ignore[attr-defined]  # a GoAwayFrame
        frames = frames[9 + length :]
    return code


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_told_to_go_away_at_little_cost(server: Server, name: str) -> None:
    frames = (frame for k in range(STREAMS) for frame in FLOODS[name](2 * k + 1))
    flood = PREFACE + b"".join(frame.serialize() for frame in frames)
    web = psutil.Process(server.process.pid)
    before = web.cpu_times().user
    assert _goaway_after(server, flood) is not None
    assert web.cpu_times().user - before < CPU_S


def test_rapid_reset_is_answered_with_the_reason(server: Server) -> None:
    frames = (frame for k in range(1000) for frame in _rapid_reset(2 * k + 1))
    flood = PREFACE + b"".join(frame.serialize() for frame in frames)
    assert _goaway_after(server, flood) == CALM


def test_who_floods_is_not_let_in_again_at_once_and_others_are(server: Server) -> None:
    frames = (frame for k in range(1000) for frame in _rapid_reset(2 * k + 1))
    flood = PREFACE + b"".join(frame.serialize() for frame in frames)
    assert _goaway_after(server, flood, "127.0.2.1") == CALM
    with pytest.raises(OSError, match=r"reset|EOF|closed"):
        _connect(server, "127.0.2.1")
    _connect(server, "127.0.2.2").close()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(OSError):
            _connect(server, "127.0.2.1").close()
            return
    pytest.fail("it was never let in again")


def test_a_continuation_flood_is_cut(server: Server) -> None:
    begin = HeadersFrame(1, b"").serialize()
    more = ContinuationFrame(1, b"\x00\x01a\x01b" * 1000).serialize()
    web = psutil.Process(server.process.pid)
    before, rss = web.cpu_times().user, web.memory_info().rss
    assert _goaway_after(server, PREFACE + begin + more * STREAMS) == CALM
    assert web.cpu_times().user - before < CPU_S
    assert web.memory_info().rss - rss < 64 << 20


@pytest.mark.parametrize("size", [(1 << 20) + 1, (1 << 24) - 1])
def test_data_beyond_the_size_of_a_frame_is_refused_before_it_comes(
    server: Server, size: int
) -> None:
    head = size.to_bytes(3) + b"\0\0" + (1).to_bytes(4)
    begun = PREFACE + _headers(1, end=False).serialize()
    assert _goaway_after(server, begun + head) == CALM


def test_frames_that_never_end_are_not_kept(server: Server) -> None:
    begun = PREFACE + _headers(1, end=False).serialize()
    head = (1 << 20).to_bytes(3) + b"\0\0" + (3).to_bytes(4)
    web = psutil.Process(server.process.pid)
    with ExitStack() as connections:
        opened = [connections.enter_context(_connect(server)) for _ in range(40)]
        before = web.memory_info().rss
        for connection in opened:
            with suppress(ConnectionError, ssl.SSLError):
                connection.sendall(begun + head + bytes((1 << 20) - 1))
        assert web.memory_info().rss - before < 24 << 20


def test_a_header_block_that_inflates_is_cut(server: Server) -> None:
    entry = hpack.Encoder().encode([("x", "v" * 3000)])
    bomb = HeadersFrame(1, entry + b"\xbe" * 10_000)  # the entry again and again
    bomb.flags |= {"END_HEADERS", "END_STREAM"}
    assert _goaway_after(server, PREFACE + bomb.serialize()) is not None


def test_too_many_headers_are_refused_on_their_stream(server: Server) -> None:
    with server.client(http2=True) as http:
        flood = [(f"x-{k}", "v") for k in range(100)]
        answer = http.get("/test", headers=flood)
        assert answer.status_code == 431
        assert answer.json()["type"] == "/problems/headers-too-large"
        assert http.get("/test").status_code == 200  # the connection serves on


def test_a_client_that_cancels_now_and_then_is_served(server: Server) -> None:
    client = h2.connection.H2Connection()
    client.initiate_connection()
    answered = set()
    fields = [(":method", "GET"), (":path", "/test"), (":scheme", "https"), (":authority", "h")]
    with _connect(server) as connection:
        for k in range(60):
            stream = client.get_next_available_stream_id()
            client.send_headers(stream, fields, end_stream=k % 2 == 0)
            if k % 2:
                client.reset_stream(stream, 8)
                continue
            connection.sendall(client.data_to_send())
            while stream not in answered:
                for event in client.receive_data(connection.recv(1 << 16)):
                    if isinstance(event, h2.events.StreamEnded):
                        answered.add(event.stream_id)
    assert len(answered) == 30
