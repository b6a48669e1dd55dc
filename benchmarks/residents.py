"""Measure a server with many models of which few are hot: what stays loaded, and what that takes.

    python -m benchmarks.residents

500 models are ready, 20 of them get 95 of 100 requests, the others share the rest. Loaded models
may take so much memory that about 26 fit. One model is hosted as any user would; the others are
copies of its file under digests of their own, with copies of its record, put in place while the
server is stopped, because judging 500 files would take an hour and is not what is measured.

Shown are how often a hot and a cold model had to be loaded, latencies of both, the memory of all
workers against the budget, and the start with 500 models. Exits with 1 if the workers ever took
more than 110 % of the budget, or if more than 5 of 100 requests to hot models had to load one.
"""

import argparse
import hashlib
import io
import re
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from benchmarks.serving import ROOT, Server, expect, served
from benchmarks.usage import pss_mb

MODEL = ROOT / "examples" / "demo" / "genre.h5"
WORKER = "server.inference.onnx_child"
MODELS, HOT = 500, 20
HOT_SHARE = 0.95
BUDGET_MB = 1200
CALLERS = 4
MOST_OVER, MOST_LOADS = 1.10, 0.05


@dataclass(slots=True)
class Seen:
    """What callers saw of a kind of models."""

    seconds: list[float] = field(default_factory=list)
    loads: int = 0


def main() -> int:
    """Measure, print the table and return the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--models", type=int, default=MODELS)
    parser.add_argument("--requests", type=int, default=1500)
    options = parser.parse_args()
    with served({"MODEL_MEMORY": str(BUDGET_MB * 1_000_000)}) as server:
        server.start()
        first = server.host(MODEL.read_bytes(), {"task": "tensors"})
        server.wait_for_ready(1)
        server.stop()
        digests = [first, *_copies(server, first, options.models - 1)]
        started = server.start()
        print(f"{len(digests)} models; start to the first answer: {started:.2f} s", flush=True)
        with _memory_watched(server) as most:
            hot, cold = _ask(server, digests, options.requests)
    return _report(hot, cold, most[0])


def _copies(server: Server, digest: str, count: int) -> list[str]:
    """Make models of the same numbers under digests of their own; the server is stopped."""
    made = []
    with closing(sqlite3.connect(server.models / "registry.sqlite3")) as database, database:
        row = database.execute(
            "SELECT state, size, manifest, record, crashes, registered_at, promoted_at, ready_at "
            "FROM model WHERE digest = ?",
            (bytes.fromhex(digest),),
        ).fetchone()
        for number in range(count):
            file = _variant(server.models / digest, number)
            name = hashlib.sha256(file)
            (server.models / name.hexdigest()).write_bytes(file)
            database.execute(
                "INSERT INTO model (digest, state, size, manifest, record, crashes, registered_at, "
                "promoted_at, ready_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (name.digest(), *row),
            )
            made.append(name.hexdigest())
    return made


def _variant(model: Path, number: int) -> bytes:
    memory = io.BytesIO()
    with model.open("rb") as file:
        shutil.copyfileobj(file, memory)
    with h5py.File(memory, "r+") as opened:
        opened.attrs["variant"] = number
    return memory.getvalue()


@contextmanager
def _memory_watched(server: Server) -> Iterator[list[float]]:
    """Keep the largest sum of the workers' memory, in MB, while the block runs."""
    most = [0.0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            most[0] = max(most[0], pss_mb(server.processes(WORKER)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


def _ask(server: Server, digests: list[str], requests: int) -> tuple[Seen, Seen]:
    """Send requests by a few callers, each to a model of its own choice."""
    rng = np.random.default_rng(4)
    body = rng.standard_normal(235 * 335 + 58, dtype=np.float32).tobytes()
    chosen = [
        int(rng.integers(HOT)) if rng.random() < HOT_SHARE else int(rng.integers(HOT, len(digests)))
        for _ in range(requests)
    ]
    hot, cold = Seen(), Seen()

    def call(mine: list[int]) -> None:
        with closing(server.connection()) as connection:
            for index in mine:
                path = f"/v1/models/{digests[index]}/predictions"
                began = time.perf_counter()
                connection.request("POST", path, body, _headers(server, path, body))
                answer = connection.getresponse()
                expect((answer.status, answer.read()))
                (hot if index < HOT else cold).seconds.append(time.perf_counter() - began)
                if (done := len(hot.seconds) + len(cold.seconds)) % 250 == 0:
                    print(f"{done} of {requests} requests", flush=True)

    call(list(range(HOT)))  # now every hot model is loaded
    hot.seconds.clear()
    callers = [threading.Thread(target=call, args=(chosen[k::CALLERS],)) for k in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    unloaded = re.findall(r"model unloaded digest=([0-9a-f]+)", server.log())
    shorts = [digest[: len(unloaded[0])] if unloaded else digest for digest in digests[:HOT]]
    hot.loads = sum(digest in shorts for digest in unloaded)
    cold.loads = len(cold.seconds)
    return hot, cold


def _headers(server: Server, path: str, body: bytes) -> dict[str, str]:
    fields = {"sha256": hashlib.sha256(body).hexdigest(), "_path": path, "_ts": time.time()}
    signed = server.signed(fields).decode()
    return {"Content-Type": "application/octet-stream", "Signed-Request": signed}


def _report(hot: Seen, cold: Seen, most_mb: float) -> int:
    print(f"\n{'models':8}{'requests':>10}{'loads':>8}{'p50 ms':>10}{'p99 ms':>10}")
    for name, seen in (("hot", hot), ("cold", cold)):
        p50, p99 = np.quantile(seen.seconds, [0.5, 0.99]) * 1e3
        print(f"{name:8}{len(seen.seconds):10}{seen.loads:8}{p50:10.1f}{p99:10.1f}")
    over, loads = most_mb / BUDGET_MB, hot.loads / len(hot.seconds)
    bars = (
        ("memory of all workers, most, over the budget", over, MOST_OVER),
        ("requests to hot models that had to load one", loads, MOST_LOADS),
    )
    print(f"\nall workers took {most_mb:.0f} MB at most; they may take {BUDGET_MB} MB")
    for name, value, limit in bars:
        print(f"{name:50}{value:8.3f}{limit:8.2f}  {'ok' if value <= limit else 'MISSED'}")
    return 0 if all(value <= limit for _, value, limit in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
