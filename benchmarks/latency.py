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
4. The same while 32 callers predict songs of 30 s, each computed anew, and two upload models.

Exits with 1 if a bar is missed.
"""

import http.client
import io
import json
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import soundfile

from benchmarks.bodies import Requests, sounds
from benchmarks.loadgen import Target, load
from benchmarks.probing import Seen, as_due, probed
from benchmarks.serving import (
    FORM_HEAD,
    FORM_TAIL,
    FORM_TYPE,
    ROOT,
    Server,
    expect,
    served,
    wait_until,
)

MODEL = ROOT / "examples" / "demo" / "genre.h5"
MANIFEST = ROOT / "examples" / "demo" / "manifest.json"
SONG = ROOT / "examples" / "demo" / "own12s.flac"
UNCACHED = {"FEATURE_CACHE_BYTES": "0"}  # a song that was seen before would leave decoders idle
STARTS = 5
ROUNDS = 3
STEADY = 10
SONG_S = 300
OTHERS = 3
IDLE_S = 10.0
CALLERS, UPLOADERS = 32, 2
SONGS = 32
UPLOAD_BYTES = 64_000_000
BUSY_S = 20.0
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
    """Measure all four, print the bars and return the exit status."""
    bars = [*measure_starts(), *measure_first(), *measure_load(), *measure_predictions()]
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
        with served(UNCACHED) as server:
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
                    server.wait_for_decoders()
                    wait_until(lambda: " model loaded " in server.log(), "the model is loaded")
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


# 3. under load


def measure_load() -> list[Bar]:
    """Ask `/test` on an idle server, then while models load and songs are predicted."""
    manifest = json.loads(MANIFEST.read_text())
    with served(UNCACHED) as server:
        server.start()
        digest = server.host(MODEL.read_bytes(), manifest)
        server.wait_for_ready(1)
        server.wait_for_decoders()
        with probed(server) as idle:
            time.sleep(IDLE_S)
        song = _long_song()
        asked = server.prediction(digest, song, ext="flac")
        print(
            f"idle done; now {OTHERS} models load, a song of {len(song) / 1e6:.1f} MB is predicted"
        )
        with probed(server) as busy, _predicted(server, asked) as predictions:
            for number in range(1, OTHERS + 1):
                server.host(_variant(number), manifest)
                server.wait_for_ready(1 + number)
                print(
                    f"model {number} of {OTHERS} loaded, {len(predictions)} predictions", flush=True
                )
    median = statistics.median(predictions)
    print(f"\nmedian prediction of the song meanwhile: {median:.2f} s")
    return _p99({"idle": idle, "under load": busy}, "under load")


def measure_predictions() -> list[Bar]:
    """Ask `/test` while many songs are predicted and models are uploaded."""
    songs = sounds(SONGS)
    with served(UNCACHED) as server:
        server.start()
        digest = server.host(MODEL.read_bytes(), json.loads(MANIFEST.read_text()))
        server.wait_for_ready(1)
        server.wait_for_decoders()
        requests = Requests(server.token, digest).original(songs)
        where = Target(server.api, server.trust())
        load(where, requests, callers=CALLERS, at_least=CALLERS)
        with probed(server) as seen, _uploaded(server) as uploads:
            predicted = load(where, requests, callers=CALLERS, seconds=BUSY_S)
    print(
        f"\n{CALLERS} callers: {predicted.requests} predictions, p50 {predicted.p50_s:.2f} s; "
        f"{UPLOADERS} others: {len(uploads)} uploads of {UPLOAD_BYTES / 1e6:.0f} MB"
    )
    busy = "predictions, uploads"
    return _p99({busy: seen}, busy)


@contextmanager
def _uploaded(server: Server) -> Iterator[list[int]]:
    """Upload unregistered files without a pause while the block runs."""
    statuses: list[int] = []
    done = threading.Event()
    form = FORM_HEAD + bytes(UPLOAD_BYTES) + FORM_TAIL
    headers = {"Content-Type": FORM_TYPE}

    def keep_uploading() -> None:
        while not done.is_set():
            answer = server.ask(
                "POST", "/nodemodeluploads", form, port=server.uploads, headers=headers
            )
            expect(answer)
            statuses.append(answer[0])

    threads = [threading.Thread(target=keep_uploading) for _ in range(UPLOADERS)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        done.set()
        for thread in threads:
            thread.join()


def _p99(states: Mapping[str, Seen], barred: str) -> list[Bar]:
    """Print what the clients of `/test` saw, in milliseconds; return the bars of one state."""
    bars = []
    print("GET /test, ms:")
    print(f"{'':32}{'p50':>8}{'p99':>8}{'p99':>8}{'max':>8}{'requests':>10}{'control':>9}")
    print(f"{'':32}{'':8}{'as sent':>8}{'as due':>8}{'':18}{'p99':>9}")
    for state, seen in states.items():
        for name, (seconds, overslept) in seen.items():
            due = np.quantile(as_due(seconds), 0.99) * 1e3
            p50, p99, most = np.quantile(seconds, [0.5, 0.99, 1]) * 1e3
            control = np.quantile(overslept, 0.99) * 1e3
            row = f"{p50:8.1f}{p99:8.1f}{due:8.1f}{most:8.1f}{len(seconds):10}{control:9.1f}"
            print(f"{f'{state}, {name}':32}{row}")
            if state == barred:
                bars.append(Bar(f"/test p99, {state}, {name}", due, MOST_P99_S * 1e3, "ms"))
    return bars


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


if __name__ == "__main__":
    sys.exit(main())
