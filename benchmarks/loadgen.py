"""Send prepared requests in a closed loop and time the answers, at little cost to the machine.

Requests are bytes that were made before; each caller is a thread with one kept-open connection,
over TLS or not, that does nothing but `sendall` and `recv`. A caller whose connection the server
closes as announced opens another. Requests under way at the end are answered and counted.
"""

import itertools
import socket
import ssl
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

HOST = "127.0.0.1"
_TIMEOUT_S = 180.0
_PIECE = 262_144
_HEAD_END = b"\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_LENGTH = b"content-length:"
CLOSES = b"connection: close"


@dataclass(slots=True)
class Load:
    """What the callers saw.

    Attributes
    ----------
    seconds : list of float
        From the first byte sent to the last byte received, of every request.
    wall_s : float
        From the start to the last answer.
    client_cpu_s : float
        CPU seconds of the callers, all together.
    answer : bytes
        The body of some answer.
    """

    seconds: list[float] = field(default_factory=list)
    wall_s: float = 0.0
    client_cpu_s: float = 0.0
    answer: bytes = b""

    @property
    def requests(self) -> int:
        """How many requests were answered."""
        return len(self.seconds)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.wall_s

    @property
    def p50_s(self) -> float:
        """The median latency."""
        return statistics.median(self.seconds)


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go: a port of this machine, with TLS if a context is given."""

    port: int
    trust: ssl.SSLContext | None = None

    def connect(self, source: str = "") -> socket.socket:
        """Open a connection, from an address of the loopback network if one is given."""
        own = (source, 0) if source else None
        plain = socket.create_connection((HOST, self.port), timeout=_TIMEOUT_S, source_address=own)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.trust is None:
            return plain
        return self.trust.wrap_socket(plain, server_hostname=HOST)


def post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Return the bytes of a POST request."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {HOST}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def load(
    target: Target,
    requests: Sequence[bytes],
    *,
    callers: int,
    seconds: float = 0.0,
    at_least: int = 0,
) -> Load:
    """Send the requests in turn, again and again.

    Parameters
    ----------
    target : Target
        Where to.
    requests : sequence of bytes
        Whole requests; each caller takes the next one.
    callers : int
        How many requests are under way at once.
    seconds : float
        No request begins later than that.
    at_least : int
        As many requests are sent however long they take.

    Raises
    ------
    SystemExit
        If an answer is no success.
    """
    seen = Load()
    faults: list[str] = []
    turns = _Turns(requests, seconds=seconds, at_least=at_least)
    threads = [
        threading.Thread(target=_call, args=(target, turns, seen, faults)) for _ in range(callers)
    ]
    began_cpu_s = time.process_time()
    began = turns.began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise SystemExit(f"{len(faults)} of the callers failed: {faults[0]}")
    seen.wall_s = time.perf_counter() - began
    seen.client_cpu_s = time.process_time() - began_cpu_s
    return seen


class _Turns:
    """The requests, handed out until the time is over."""

    def __init__(self, requests: Sequence[bytes], *, seconds: float, at_least: int) -> None:
        self._requests = requests
        self._seconds = seconds
        self._at_least = at_least
        self._numbers = itertools.count()
        self.began = 0.0

    def __iter__(self) -> Iterator[bytes]:
        for number in self._numbers:  # one step of a C iterator: safe between threads
            over = time.perf_counter() - self.began >= self._seconds
            if over and number >= self._at_least:
                return
            yield self._requests[number % len(self._requests)]


def _call(target: Target, turns: _Turns, seen: Load, faults: list[str]) -> None:
    connection: socket.socket | None = None
    try:
        for request in turns:
            connection = connection or target.connect()
            began = time.perf_counter()
            connection.sendall(request)
            status, head, answer = receive(connection.recv)
            seen.seconds.append(time.perf_counter() - began)
            if status != 200:
                faults.append(f"status {status}: {answer[:500]!r}")
                return
            seen.answer = answer
            if CLOSES in head:
                connection.close()
                connection = None
    except (OSError, ValueError) as error:
        faults.append(repr(error))
    finally:
        if connection is not None:
            connection.close()


def receive(recv: Callable[[int], bytes]) -> tuple[int, bytes, bytes]:
    """Return the status, the head in lower case, and the body of an answer."""
    received = b""
    while (end := received.find(_HEAD_END)) < 0:
        received += _more(recv)
    head, body = received[:end].lower(), received[end + len(_HEAD_END) :]
    if (at := head.find(_LENGTH)) >= 0:
        length = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
        while len(body) < length:
            body += _more(recv)
    else:
        while not body.endswith(_LAST_CHUNK):
            body += _more(recv)
        body = b"".join(_chunks(body))
    return int(head.split(b" ", 2)[1]), head, body


def _chunks(body: bytes) -> Iterator[bytes]:
    at = 0
    while size := int(body[at : (end := body.index(b"\r\n", at))], 16):
        yield body[end + 2 : end + 2 + size]
        at = end + 2 + size + 2


def _more(recv: Callable[[int], bytes]) -> bytes:
    piece = recv(_PIECE)
    if not piece:
        raise ConnectionError("the server closed the connection inside an answer")
    return piece
