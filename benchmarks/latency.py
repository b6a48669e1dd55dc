"""Measure how soon the server answers: after its start, with a model fresh, and under load.

    python -m benchmarks.latency

1. Start: from starting the process to the first answered `GET /test`, in fresh folders and in
   folders that are there already.
2. First prediction: once a model is ready, and once it is loaded again after a restart, against the
   median of the ten predictions after it.
3. `GET /test` while other models load and a song of five minutes is predicted again and again, over
   HTTP/1.1 and HTTP/2 at once: one connection each, a request every 5 ms. The bar holds the p99 as
   seen by independent clients: a request that took 50 ms also stands for those that would have been
   sent meanwhile and waited 45, 40, 35 ms ... (the correction of HdrHistogram); the p99 of what was
   sent is shown beside it. Each client is a process of its own with nothing but the socket and the
   protocol in it; how late the machine woke it up from its pauses is shown as a control.

Exits with 1 if a bar is missed.
"""

import http.client
import io
import json
import multiprocessing
import shutil
import socket
import ssl
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import h2.connection
import h2.events
import h5py
import numpy as np
import soundfile

from benchmarks.serving import HOST, ROOT, Server, expect, served, wait_until

MODEL = ROOT / "examples" / "demo" / "genre.h5"
MANIFEST = ROOT / "examples" / "demo" / "manifest.json"
SONG = ROOT / "examples" / "demo" / "own12s.flac"
STARTS = 5
ROUNDS = 3
STEADY = 10
SONG_S = 300
OTHERS = 3  # with the first model as many as are kept loaded by default
IDLE_S = 10.0
DUE_S = 0.005
ASKS = 500  # on one connection; the server closes it after 1,000
MOST_START_S = 2.0
MOST_FIRST = 2.0
MOST_P99_S = 0.05


@dataclass(frozen=True, slots=True)
class Bar:
    """A measured value that must be below a limit."""

    name: str
    value: float
    limit: float
    unit: str = ""

    def __str__(self) -> str:
        verdict = "ok" if self.value < self.limit else "MISSED"
        return f"{self.name:60}{self.value:9.2f}{self.limit:9.2f} {self.unit:3}{verdict}"


def main() -> int:
    """Measure all three, print the bars and return the exit status."""
    bars = [*measure_starts(), *measure_first(), *measure_load()]
    print(f"\n{'bar':60}{'measured':>9}{'below':>9}")
    print(*bars, sep="\n")
    return 0 if all(bar.value < bar.limit for bar in bars) else 1


# 1. start


def measure_starts() -> list[Bar]:
    """Start the server again and again."""
    fresh: list[float] = []
    known: list[float] = []
    for number in range(1, STARTS + 1):
        with served() as server:
            for folders, seconds in (("fresh", fresh), ("known", known)):
                seconds.append(server.start())
                cpu_s = sum(server.processes()[0].cpu_times()[:2])
                print(
                    f"start {number} of {STARTS}, {folders} folders: {seconds[-1]:.2f} s, "
                    f"of which {cpu_s:.2f} s on a processor",
                    flush=True,
                )
                server.stop()
    return [
        Bar("start to first answer, fresh folders", statistics.median(fresh), MOST_START_S, "s"),
        Bar("start to first answer, known folders", statistics.median(known), MOST_START_S, "s"),
    ]


# 2. first prediction


def measure_first() -> list[Bar]:
    """Predict with a model that has just become ready, and with one loaded after a restart."""
    ratios: dict[str, list[float]] = {"ready": [], "a restart": []}
    sound = SONG.read_bytes()
    for number in range(1, ROUNDS + 1):
        with served() as server:
            server.start()
            digest = server.host(MODEL.read_bytes(), json.loads(MANIFEST.read_text()))
            server.wait_for_ready(1)
            server.wait_for_decoders()
            asked = server.prediction(digest, sound, ext="flac")
            for after, seen in ratios.items():
                first, steady = _first_and_steady(server, asked)
                seen.append(first / steady)
                print(
                    f"first prediction {number} of {ROUNDS}, after {after}: {first * 1e3:.0f} ms, "
                    f"then {steady * 1e3:.0f} ms",
                    flush=True,
                )
                if after == "ready":
                    server.stop()
                    server.start()
                    _wait_for_preload(server)
    return [
        Bar(f"first prediction after {after} / steady one", statistics.median(seen), MOST_FIRST)
        for after, seen in ratios.items()
    ]


def _first_and_steady(server: Server, asked: bytes) -> tuple[float, float]:
    with _kept_open(server) as connection:
        times = [_predict(connection, asked) for _ in range(1 + STEADY)]
    return times[0], statistics.median(times[1:])


def _predict(connection: http.client.HTTPSConnection, asked: bytes) -> float:
    started = time.perf_counter()
    connection.request("POST", "/prediction", asked)
    answer = connection.getresponse()
    expect((answer.status, answer.read()))
    return time.perf_counter() - started


@contextmanager
def _kept_open(server: Server) -> Iterator[http.client.HTTPSConnection]:
    connection = server.connection()
    connection.connect()
    try:
        yield connection
    finally:
        connection.close()


def _wait_for_preload(server: Server) -> None:
    """Return when the worker that a restart loads again has come to rest.

    No route and no line of the log says so; its CPU time does.
    """
    server.wait_for_decoders()
    wait_until(lambda: server.processes("server.inference.model_child"), "a worker")
    (worker,) = server.processes("server.inference.model_child")
    spent = [0.0]

    def rests() -> bool:
        time.sleep(1.0)
        spent.append(sum(worker.cpu_times()[:2]))
        return spent[-1] > 1.0 and spent[-1] - spent[-2] < 0.02

    wait_until(rests, "the worker is loaded")


# 3. under load


def measure_load() -> list[Bar]:
    """Ask `/test` on an idle server, then while models load and songs are predicted."""
    bars = []
    manifest = json.loads(MANIFEST.read_text())
    with served() as server:
        server.start()
        digest = server.host(MODEL.read_bytes(), manifest)
        server.wait_for_ready(1)
        server.wait_for_decoders()
        with _probed(server) as idle:
            time.sleep(IDLE_S)
        song = _long_song()
        asked = server.prediction(digest, song, ext="flac")
        print(
            f"idle done; now {OTHERS} models load, a song of {len(song) / 1e6:.1f} MB is predicted"
        )
        with _probed(server) as busy, _predicted(server, asked) as predictions:
            for number in range(1, OTHERS + 1):
                server.host(_variant(number), manifest)
                server.wait_for_ready(1 + number)
                print(
                    f"model {number} of {OTHERS} loaded, {len(predictions)} predictions", flush=True
                )
    median = statistics.median(predictions)
    print(f"\nmedian prediction of the song meanwhile: {median:.2f} s; GET /test, ms:")
    print(f"{'':26}{'p50':>8}{'p99':>8}{'p99':>8}{'max':>8}{'requests':>10}{'control':>9}")
    print(f"{'':26}{'':8}{'as sent':>8}{'as due':>8}{'':18}{'p99':>9}")
    for state, seen in (("idle", idle), ("under load", busy)):
        for name, (seconds, overslept) in seen.items():
            due = np.quantile(_as_due(seconds), 0.99) * 1e3
            p50, p99, most = np.quantile(seconds, [0.5, 0.99, 1]) * 1e3
            control = np.quantile(overslept, 0.99) * 1e3
            row = f"{p50:8.1f}{p99:8.1f}{due:8.1f}{most:8.1f}{len(seconds):10}{control:9.1f}"
            print(f"{f'{state}, {name}':26}{row}")
            if seen is busy:
                bars.append(Bar(f"/test p99 under load, {name}", due, MOST_P99_S * 1e3, "ms"))
    return bars


def _as_due(seconds: list[float]) -> list[float]:
    """Add to each latency those of the requests that would have been sent meanwhile."""
    return [s - k * DUE_S for s in seconds for k in range(1 + int(s / DUE_S))]


def _long_song() -> bytes:
    """Repeat the demo's song to five minutes, as a FLAC."""
    y, rate_hz = soundfile.read(SONG, dtype="int16", always_2d=True)
    times = -(-SONG_S * rate_hz // len(y))
    file = io.BytesIO()
    soundfile.write(file, np.tile(y, (times, 1))[: SONG_S * rate_hz], rate_hz, format="FLAC")
    return file.getvalue()


def _variant(number: int) -> bytes:
    """Return the demo's model under a digest of its own."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(MODEL, folder))
        with h5py.File(copy, "r+") as file:
            file.attrs["variant"] = number
        return copy.read_bytes()


@contextmanager
def _predicted(server: Server, asked: bytes) -> Iterator[list[float]]:
    """Predict one song after the other while the block runs."""
    seconds: list[float] = []
    done = threading.Event()

    def keep_predicting() -> None:
        with _kept_open(server) as connection:
            while not done.is_set():
                seconds.append(_predict(connection, asked))

    thread = threading.Thread(target=keep_predicting)
    thread.start()
    try:
        yield seconds
    finally:
        done.set()
        thread.join()


@contextmanager
def _probed(server: Server) -> Iterator[dict[str, tuple[list[float], list[float]]]]:
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
    seen: dict[str, tuple[list[float], list[float]]] = {}
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


if __name__ == "__main__":
    sys.exit(main())
