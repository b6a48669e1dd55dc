"""Clients of `GET /test`: processes with nothing but a socket and a protocol in them."""

import http.client
import multiprocessing
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection

import h2.connection
import h2.events

from benchmarks.serving import HOST, Server, expect

DUE_S = 0.005
# by protocol: the latencies, and how late each pause ended, in seconds
Seen = dict[str, tuple[list[float], list[float]]]
ASKS = 500  # on one connection; the server closes it after 1,000


def as_due(seconds: Sequence[float]) -> list[float]:
    """Add to each latency those of the requests that would have been sent meanwhile."""
    return [s - k * DUE_S for s in seconds for k in range(1 + int(s / DUE_S))]


@contextmanager
def probed(server: Server) -> Iterator[Seen]:
    """Ask `/test` from other processes while the block runs; by protocol what `probe` sends."""
    context = multiprocessing.get_context("spawn")
    probes = []
    for name, open_client in (("HTTP/1.1", Http1), ("HTTP/2", Http2)):
        ours, theirs = context.Pipe()
        arguments = (open_client, server.api, str(server.ca), theirs)
        process = context.Process(target=probe, args=arguments, daemon=True)
        process.start()
        theirs.close()
        ours.recv()  # it is connected
        probes.append((name, process, ours))
    seen: Seen = {}
    yield seen
    for _, _, pipe in probes:
        pipe.send("stop")
    for name, process, pipe in probes:
        seen[name] = pipe.recv()
        process.join()


def probe(
    open_client: "Callable[[int, str], Http1 | Http2]", port: int, ca: str, pipe: Connection
) -> None:
    """Ask until told to stop, then send the latencies and how late each pause ended, in seconds."""
    seconds: list[float] = []
    overslept: list[float] = []
    client = open_client(port, ca)
    pipe.send("connected")
    while not pipe.poll():
        if len(seconds) % ASKS == ASKS - 1:
            client.close()
            client = open_client(port, ca)
        started = time.perf_counter()
        client.ask()
        seconds.append(time.perf_counter() - started)
        if (pause_s := DUE_S - seconds[-1]) > 0:
            time.sleep(pause_s)
            overslept.append(time.perf_counter() - started - DUE_S)
    client.close()
    pipe.send((seconds, overslept))


class Http1:
    """A kept-open connection that speaks HTTP/1.1."""

    def __init__(self, port: int, ca: str) -> None:
        context = ssl.create_default_context(cafile=ca)
        self._connection = http.client.HTTPSConnection(HOST, port, timeout=60, context=context)
        self._connection.connect()

    def ask(self) -> None:
        """Ask `/test` and read the answer."""
        self._connection.request("GET", "/test")
        answer = self._connection.getresponse()
        expect((answer.status, answer.read()))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Http2:
    """A kept-open connection that speaks HTTP/2."""

    def __init__(self, port: int, ca: str) -> None:
        context = ssl.create_default_context(cafile=ca)
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection((HOST, port), timeout=60)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(plain, server_hostname=HOST)
        self._protocol = h2.connection.H2Connection()
        self._protocol.initiate_connection()

    def ask(self) -> None:
        """Ask `/test` and read the answer."""
        stream = self._protocol.get_next_available_stream_id()
        head = [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "/test")]
        self._protocol.send_headers(stream, head, end_stream=True)
        ended = False
        while not ended:
            self._socket.sendall(self._protocol.data_to_send())
            received = self._socket.recv(65_536)
            if not received:
                raise SystemExit("the server closed the HTTP/2 connection")
            for event in self._protocol.receive_data(received):
                ended = ended or isinstance(event, h2.events.StreamEnded)
                if isinstance(event, h2.events.ResponseReceived):
                    expect((int(dict(event.headers)[b":status"]), b""))

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
