"""Measure what an upload costs the server: memory, CPU seconds and time.

    python -m benchmarks.upload [--mb 400] [--mb 1024]

Sends files of pseudo-random bytes, made while they are sent, in three ways: signed to the API port
over HTTP/1.1 and over HTTP/2, unsigned to the upload port. Until each answer the resident memory of
all processes of the server is sampled every 50 ms; only the one-shot process that judges a stored
file is left out. One server takes them all, one after the other. Before every upload the same file
goes to `benchmarks.floor`, the least that Python does for one: the ratio to it is what a busy or a
slower machine changes least. Exits with 1 if the largest signed upload over HTTP/1.1 takes more
than 4.5 CPU s/GB, if memory grew by more than 16 MB in a row or over all rows, or if a file was not
stored whole.
"""

import argparse
import base64
import hashlib
import hmac
import itertools
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import psutil

from benchmarks.serving import (
    FORM_HEAD,
    FORM_TAIL,
    FORM_TYPE,
    HOST,
    ROOT,
    Server,
    expect,
    served,
    wait_until,
)

MB = 1_000_000
MOST_CPU_S = 4.5  # per GB
MOST_GROWTH = 16 * MB
SAMPLE_S = 0.05
BLOCK = 64 << 10  # httpcore copies the rest of a block for every HTTP/2 frame that it sends
_JUDGE = "server.inference.intake_child"


@dataclass(frozen=True, slots=True)
class Way:
    """How a file is sent."""

    name: str
    path: str
    signed: bool
    http2: bool


WAYS = (
    Way("signed, API port, HTTP/1.1", "/uploadmodel", signed=True, http2=False),
    Way("signed, API port, HTTP/2", "/uploadmodel", signed=True, http2=True),
    Way("unsigned, upload port", "/nodemodeluploads", signed=False, http2=False),
)


class File:
    """A file that is made again whenever it is read.

    Parameters
    ----------
    size : int
        In bytes.
    seed : int
        Files of different seeds differ.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self._noise = random.Random(seed).randbytes(BLOCK)

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes: the same noise again and again, each time behind its number."""
        for start in range(0, self.size, BLOCK):
            block = start.to_bytes(8, "little") + self._noise[8:]
            yield block[: self.size - start]

    def digest(self) -> str:
        """Return the SHA-256."""
        sha256 = hashlib.sha256()
        for block in self.blocks():
            sha256.update(block)
        return sha256.hexdigest()

    def signature(self, token: str) -> bytes:
        """Return what `itsdangerous.Signer(token).sign` would append, without holding the file."""
        key = hashlib.sha1(b"itsdangerous.Signer" + b"signer" + token.encode()).digest()
        code = hmac.new(key, digestmod=hashlib.sha1)
        for block in self.blocks():
            code.update(block)
        return b"." + base64.urlsafe_b64encode(code.digest()).rstrip(b"=")


@dataclass(slots=True)
class Memory:
    """Resident bytes over time, of the whole server and of its web process alone."""

    before: int = 0
    peak: int = 0
    web_before: int = 0
    web_peak: int = 0
    done: threading.Event = field(default_factory=threading.Event)

    def sample(self, server: Server) -> None:
        """Take the larger of what was seen and what there is now."""
        web, whole = _resident(server)
        self.web_peak, self.peak = max(self.web_peak, web), max(self.peak, whole)
        self.before, self.web_before = self.before or whole, self.web_before or web

    @contextmanager
    def sampled(self, server: Server) -> Iterator[None]:
        """Sample while the block runs."""

        def keep_sampling() -> None:
            while not self.done.wait(SAMPLE_S):
                self.sample(server)

        self.sample(server)
        thread = threading.Thread(target=keep_sampling)
        thread.start()
        try:
            yield
        finally:
            self.done.set()
            thread.join()


@dataclass(frozen=True, slots=True)
class Row:
    """What one upload cost."""

    way: Way
    size: int
    seconds: float
    cpu_s: float
    floor_s: float
    memory: Memory

    @property
    def cpu_s_per_gb(self) -> float:
        """CPU seconds of the whole server for a gigabyte."""
        return self.cpu_s * 1e9 / self.size

    def __str__(self) -> str:
        memory = self.memory
        return (
            f"{self.way.name:28}{self.size / MB:7.0f}{self.size / MB / self.seconds:8.0f}"
            f"{self.cpu_s_per_gb:9.2f}{self.cpu_s / self.floor_s:9.2f}"
            f"{memory.before / MB:9.1f}{memory.peak / MB:9.1f}"
            f"{(memory.peak - memory.before) / MB:9.1f}"
            f"{(memory.web_peak - memory.web_before) / MB:9.1f}"
        )


def main() -> int:
    """Run every row, print a table and return the exit status."""
    parser = argparse.ArgumentParser(description="Measure what an upload costs the server.")
    parser.add_argument("--mb", type=int, action="append", help="size; default: 400 and 1024")
    sizes = [mb * MB for mb in parser.parse_args().mb or (400, 1024)]
    rows = []
    with served({"SWEEP_INTERVAL_S": "3600"}) as server:
        server.start()
        server.wait_for_decoders()
        for number, (size, way) in enumerate(itertools.product(sizes, WAYS), 1):
            step = f"{number} of {len(sizes) * len(WAYS)}: {size / MB:.0f} MB, {way.name}"
            print(step, end=" ... ", flush=True)
            rows.append(measure(server, way, File(size, number)))
            print(f"{rows[-1].seconds:.1f} s", flush=True)
            wait_for_judge(server, number)
    return report(rows)


def wait_for_judge(server: Server, files: int) -> None:
    """Return when so many files are judged (noise is no model) and nothing is left running."""
    wait_until(lambda: server.log().count(" model rejected ") == files, "the file is judged")
    wait_until(lambda: not server.processes(_JUDGE), "the judge has ended")


def measure(server: Server, way: Way, file: File) -> Row:
    """Send one file; check that it is stored whole and that staging is empty."""
    digest = file.digest()
    floor_s = measure_floor(server, way, file)
    trailer = file.signature(server.token) if way.signed else b""
    if not way.signed:
        server.register(digest)
    send = _send_http2 if way.http2 else _send_http1
    memory = Memory()
    spent = _cpu_s(server)
    with memory.sampled(server):
        started = time.perf_counter()
        send(server, way, file, trailer)
        seconds = time.perf_counter() - started
        cpu_s = _cpu_s(server) - spent
    if not way.signed:
        expect(server.ask("GET", "/hashmodels"))
    with (server.models / digest).open("rb") as stored:
        if hashlib.file_digest(stored, "sha256").hexdigest() != digest:
            raise SystemExit("the stored file is not the one that was sent")
    if left := list(server.staging.iterdir()):
        raise SystemExit(f"staging is not empty: {len(left)} files")
    return Row(way, file.size, seconds, cpu_s, floor_s, memory)


def measure_floor(server: Server, way: Way, file: File) -> float:
    """Send a file over HTTP/1.1 to the floor; return the CPU seconds that it took there."""
    kind = "signed" if way.signed else "unsigned"
    folders = [str(server.ca.parent), str(server.staging)]
    command = [sys.executable, "-m", "benchmarks.floor", *folders, kind]
    floor = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert floor.stdout is not None, "it is a pipe"
    try:
        port = int(floor.stdout.readline())
        headers = {"Content-Length": str(file.size)}
        expect(server.ask("POST", "/", file.blocks(), port=port, headers=headers))
        return float(floor.stdout.readline())
    finally:
        floor.kill()
        floor.wait()


def report(rows: list[Row]) -> int:
    """Print the table and return the exit status."""
    print(
        f"\n{'':43}{'CPU':>9}{'CPU /':>9}{'RSS of the server, MB':>27}{'of which':>9}\n"
        f"{'upload':28}{'MB':>7}{'MB/s':>8}{'s/GB':>9}{'floor':>9}{'before':>9}{'peak':>9}"
        f"{'growth':>9}{'web':>9}"
    )
    print(*rows, sep="\n")
    largest = max((row for row in rows if row.way is WAYS[0]), key=lambda row: row.size)
    growth = max(row.memory.peak - row.memory.before for row in rows)
    overall = max(row.memory.peak for row in rows) - rows[0].memory.before
    most = max(growth, overall)
    print(
        f"{largest.way.name}, {largest.size / MB:.0f} MB: {largest.cpu_s_per_gb:.2f} CPU s/GB; "
        f"at most {MOST_CPU_S:g}\n"
        f"largest growth {growth / MB:.1f} MB, over all uploads together {overall / MB:.1f} MB; "
        f"each at most {MOST_GROWTH / MB:g} MB"
    )
    return 0 if largest.cpu_s_per_gb <= MOST_CPU_S and most <= MOST_GROWTH else 1


def _form(file: File, trailer: bytes) -> Iterator[bytes]:
    yield FORM_HEAD
    yield from file.blocks()
    yield trailer + FORM_TAIL


def _headers(file: File, trailer: bytes) -> dict[str, str]:
    size = len(FORM_HEAD) + file.size + len(trailer) + len(FORM_TAIL)
    return {"Content-Type": FORM_TYPE, "Content-Length": str(size)}


def _send_http1(server: Server, way: Way, file: File, trailer: bytes) -> None:
    port = server.api if way.signed else server.uploads
    body, headers = _form(file, trailer), _headers(file, trailer)
    expect(server.ask("POST", way.path, body, port=port, headers=headers))


def _send_http2(server: Server, way: Way, file: File, trailer: bytes) -> None:
    url = f"https://{HOST}:{server.api}{way.path}"
    with httpx.Client(verify=server.trust(), http1=False, http2=True, timeout=600) as http:
        headers = _headers(file, trailer)
        answer = http.post(url, content=_form(file, trailer), headers=headers)
    expect((answer.status_code, answer.content))


def _resident(server: Server) -> tuple[int, int]:
    """Return the resident bytes of the web process, and of all that belong to the upload."""
    web, *children = server.processes()
    own = web.memory_info().rss
    return own, own + sum(_rss_of(child) for child in children)


def _rss_of(child: psutil.Process) -> int:
    try:
        return 0 if _JUDGE in child.cmdline() else child.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def _cpu_s(server: Server) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in server.processes())


if __name__ == "__main__":
    sys.exit(main())
