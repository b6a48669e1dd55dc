"""Measure what a million registered digests, 10,000 waiting files and 500 models cost.

    python -m benchmarks.scale [--sizes 1000 1000000] [--files 2000] [--rounds 1] [--no-server]

1. The curve: registration, lookup, sweep and start with 1e3, 1e4, 1e5 and 1e6 registered digests.
   The databases are filled by SQL through the server's own schema, in the random order in which
   digests come; everything else goes through the server's own parts. "Uncached" is a registry that
   remembers no model; the system's own cache of the database file is warm.
2. The sweep: 10,000 small random files, every second one registered, by the server's sweeper in an
   event loop that is asked to tick every millisecond, against a plain loop over as many such files
   that hashes, flushes, links and unlinks them and does nothing else. Once with files whose bytes
   are on disk already, as uploads are, and once with files that somebody copied there just now. A
   second process that only sleeps shows how late the machine itself wakes who waits. Then a real
   server sweeps as many, and two other processes ask it `/test` meanwhile, as `benchmarks.latency`
   does.
3. Hot models: 500 models beside the most digests; nine calls of ten ask for one of 20.

Each figure is the median of the rounds, which go through all sizes in turn. A figure is CPU time of
the process where it says so: it disturbs a machine with other work least.
Exits with 1 if a bar is missed.
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import secrets
import sqlite3
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.probing import as_due, probed
from benchmarks.serving import Server, expect
from server import database
from server.commits import Engine
from server.digest import Digest
from server.repository.layout import Layout
from server.repository.registry import Registry
from server.repository.staging import Staging
from server.repository.store import ModelStore
from server.repository.sweep import Sweeper

SIZES = [1_000, 10_000, 100_000, 1_000_000]
FILES = 10_000
ROUNDS = 3
LOOKUPS = 2_000
SINGLE = 200
SHARED = 1_000
CALLERS = 64
SWEPT = 500
IDLE_S = 10.0
MODELS = 500
HOT = 20
HOT_SHARE = 0.9
ASKED = 20_000
MOST_LOOKUP_GROWTH = 1.5
# A row lies on a page of its own once there are many: until then those that share a commit share
# pages. It does not grow further.
MOST_GROWTH = 2.0
LEAST_OF_PLAIN = 0.5
MOST_LAG_MS = 50.0
_ALL = 1 << 40
_CONTROL = """
import select, sys, time
late = []
print(flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    started = time.perf_counter()
    time.sleep(0.001)
    late.append(time.perf_counter() - started - 0.001)
print(*late)
"""


@dataclass(frozen=True, slots=True)
class Parts:
    """The repository's parts on one folder."""

    layout: Layout
    engine: Engine
    registry: Registry
    uncached: Registry
    sweeper: Sweeper


Cost = tuple[float, float]  # seconds by the clock and of CPU
Figures = dict[str, list[Cost]]


def main() -> int:
    """Measure all three, print tables and bars and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N")
    parser.add_argument("--files", type=int, default=FILES, metavar="N")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N")
    parser.add_argument("--no-server", action="store_true", help="leave the start out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spectrogrampredictor-benchmark-") as folder:
        servers = {}
        for size in options.sizes:
            servers[size] = Server(Path(folder) / str(size), {"SWEEP_INTERVAL_S": "3600"})
            took_s = fill(servers[size].models, size)
            print(f"{size} digests filled in by SQL, {took_s:.0f} s", flush=True)
        bars = curve(servers, options.rounds, starts=not options.no_server)
        bars += sweeps(Path(folder), options.files, options.rounds)
        if not options.no_server:
            bars += served_sweep(Path(folder) / "served", options.files)
        hot_models(servers[max(options.sizes)], starts=not options.no_server)
    print(f"\n{'bar':66}{'measured':>9}")
    for name, value, is_met, limit in bars:
        print(f"{name:66}{value:9.2f}  {limit:12}{'ok' if is_met else 'MISSED'}")
    return 0 if all(is_met for _, _, is_met, _ in bars) else 1


Bar = tuple[str, float, bool, str]


def at_most(name: str, value: float, limit: float) -> Bar:
    """Return a bar that a value may not pass."""
    return name, value, value <= limit, f"<= {limit:g}"


def at_least(name: str, value: float, limit: float) -> Bar:
    """Return a bar that a value must reach."""
    return name, value, value >= limit, f">= {limit:g}"


# the database and the parts


def url(models: Path) -> str:
    """Return the database of a models folder."""
    return f"sqlite+aiosqlite:///{models / 'registry.sqlite3'}"


@contextmanager
def plain_sql(models: Path) -> Iterator[sqlite3.Connection]:
    """Lend a connection while the server's parts are closed; commit in the end."""
    with closing(sqlite3.connect(models / "registry.sqlite3")) as connection:
        connection.execute("PRAGMA cache_size=-400000")
        connection.execute("PRAGMA synchronous=OFF")
        yield connection
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def fill(models: Path, size: int) -> float:
    """Make a database with so many registered digests; return the seconds that it took."""
    started = time.perf_counter()
    models.mkdir(parents=True, exist_ok=True)
    database.migrate(url(models))
    with plain_sql(models) as connection:
        add_registered(connection, (secrets.token_bytes(32) for _ in range(size)))
    return time.perf_counter() - started


def add_registered(connection: sqlite3.Connection, raws: Iterable[bytes]) -> None:
    """Register digests by SQL."""
    row = "INSERT INTO model (digest, state, registered_at) VALUES (?, 'registered', 0)"
    connection.executemany(row, ((raw,) for raw in raws))


def some_registered(models: Path, count: int) -> list[Digest]:
    """Choose registered digests at random."""
    query = "SELECT digest FROM model WHERE digest > ? LIMIT 1"
    with plain_sql(models) as connection:
        rows = (connection.execute(query, (secrets.token_bytes(8),)) for _ in range(count))
        found = [row.fetchone() for row in rows]
    return [Digest(row[0]) for row in found if row]


@asynccontextmanager
async def parts(models: Path, uploads: Path) -> AsyncIterator[Parts]:
    """Lend the parts as the server joins them."""
    layout = Layout(models, uploads)
    if faults := layout.faults():
        raise SystemExit("\n".join(faults))
    engine = database.open_engine(url(models))
    registry, store = Registry(engine), ModelStore(layout)
    staging = Staging(layout, max_file_bytes=_ALL, max_bytes=_ALL, max_uploads=1)
    sweeper = Sweeper(
        layout=layout,
        registry=registry,
        staging=staging,
        store=store,
        on_promoted=lambda: None,
    )
    try:
        yield Parts(layout, engine, registry, Registry(engine, remembered=0), sweeper)
    finally:
        await engine.dispose()


async def timed(work: Awaitable[object], *, each: int) -> Cost:
    """Return what one of `each` operations costs."""
    started, cpu = time.perf_counter(), time.process_time()
    await work
    return (time.perf_counter() - started) / each, (time.process_time() - cpu) / each


async def in_turn(calls: Iterable[Awaitable[object]]) -> None:
    """Await one call after the other."""
    for call in calls:
        await call


async def by_callers(calls: Sequence[Callable[[], Awaitable[object]]]) -> None:
    """Make all calls, so many callers at a time."""
    waiting = iter(calls)

    async def caller() -> None:
        for call in waiting:
            await call()

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


# 1. the curve


def curve(servers: dict[int, Server], rounds: int, *, starts: bool) -> list[Bar]:
    """Measure every size in turn, round by round."""
    figures: dict[int, Figures] = {size: defaultdict(list) for size in servers}
    for number in range(1, rounds + 1):
        for size, server in servers.items():
            asyncio.run(measure(server, figures[size]))
            if starts:
                figures[size]["start to the first answer"].append(start(server))
            print(f"round {number} of {rounds}, {size} digests done", flush=True)
    least, most = min(servers), max(servers)
    print(f"\n{'ms (CPU ms)':34}" + "".join(f"{size:>22,}" for size in servers) + f"{'ratio':>8}")
    bars = []
    for what in figures[least]:
        middle = {size: median(figures[size][what]) for size in servers}
        growth = middle[most][1] / middle[least][1]
        row = "".join(f"{f'{w * 1e3:.4g} ({c * 1e3:.4g})':>22}" for w, c in middle.values())
        print(f"{what:34}{row}{growth:8.2f}")
        limit = MOST_LOOKUP_GROWTH if what.startswith("lookup") else MOST_GROWTH
        bars.append(at_most(f"{what}, CPU at {most:,} over {least:,}", growth, limit))
    files = [(server.models / "registry.sqlite3").stat().st_size for server in servers.values()]
    print(f"{'database, MB':34}" + "".join(f"{size / 1e6:22.1f}" for size in files))
    return bars


def median(costs: list[Cost]) -> Cost:
    """Return the medians of both kinds of seconds."""
    return statistics.median(c[0] for c in costs), statistics.median(c[1] for c in costs)


def start(server: Server) -> Cost:
    """Start and stop the server; return the seconds to its first answer."""
    os.sync()  # what was changed before must not be written meanwhile
    seconds = server.start()
    cpu = sum(server.processes()[0].cpu_times()[:2])
    server.stop()
    return seconds, cpu


async def measure(server: Server, figures: Figures) -> None:
    """Measure one size once, and take away what that added."""
    known = some_registered(server.models, 1_000)
    unknown = [Digest(secrets.token_bytes(32)) for _ in range(LOOKUPS)]
    new = [Digest(secrets.token_bytes(32)) for _ in range(SINGLE + SHARED)]
    async with parts(server.models, server.staging) as it:
        asked = [*known, *random.sample(known, len(known))]
        await in_turn(map(it.uncached.get, unknown[:200]))  # statements are compiled once
        figures["lookup, registered, uncached"].append(
            await timed(in_turn(map(it.uncached.get, asked)), each=len(asked))
        )
        figures["lookup, unknown digest"].append(
            await timed(in_turn(map(it.registry.get, unknown)), each=LOOKUPS)
        )
        single = in_turn(map(it.registry.register, new[:SINGLE]))
        figures["registration, one caller"].append(await timed(single, each=SINGLE))
        calls = [partial(it.registry.register, digest) for digest in new[SINGLE:]]
        figures[f"registration, {CALLERS} callers"].append(
            await timed(by_callers(calls), each=SHARED)
        )
        staged = stage(it.layout.uploads, SWEPT, flushed=True)
        await by_callers([partial(it.registry.register, digest) for digest in staged])
        figures["sweep, a file"].append(await timed(it.sweeper.sweep(), each=SWEPT))
        await in_turn(map(it.registry.get, staged))
        figures["lookup, promoted, cached"].append(
            await timed(in_turn(map(it.registry.get, staged * 20)), each=20 * len(staged))
        )
        for digest in staged:
            (it.layout.models / digest.hex).unlink()
    with plain_sql(server.models) as connection:
        gone = [(digest.raw,) for digest in [*new, *staged]]
        connection.executemany("DELETE FROM model WHERE digest = ?", gone)


def stage(uploads: Path, count: int, *, flushed: bool) -> list[Digest]:
    """Put small random files into staging; return the digests of every second one."""
    digests = []
    for number in range(count):
        data = random.randbytes(random.randint(1_000, 16_000))
        (uploads / f"{secrets.token_hex(16)}.upload").write_bytes(data)
        if number % 2:
            digests.append(Digest(hashlib.sha256(data).digest()))
    if flushed:
        os.sync()
    return digests


# 2. the sweep


def sweeps(folder: Path, files: int, rounds: int) -> list[Bar]:
    """Sweep many files, in turn with the plain loop."""
    bars = []
    print(f"\n{files} files in staging, every second one registered")
    print(f"{'':14}{'files/s':>9}{'plain':>9}{'CPU ms':>9}{'plain':>9}", end="")
    print(f"{'lag p99':>9}{'max, ms':>9}{'control':>9}{'max, ms':>9}")
    for kind, flushed in (("as uploaded", True), ("copied", False)):
        ours: list[Cost] = []
        plain: list[Cost] = []
        late: list[float] = []
        control: list[float] = []
        for number in range(2 * rounds):
            here = folder / f"{kind} {number}"
            if number % 2:
                plain.append(sweep_plainly(here, files, flushed=flushed))
            else:
                ours.append(asyncio.run(sweep(here, files, late, control, flushed=flushed)))
        (wall, cpu), (plain_wall, plain_cpu) = median(ours), median(plain)
        row = f"{1 / wall:9.0f}{1 / plain_wall:9.0f}{cpu * 1e3:9.3f}{plain_cpu * 1e3:9.3f}"
        shown = [p99(late), max(late), p99(control), max(control)]
        print(f"{kind:14}{row}" + "".join(f"{seconds * 1e3:9.1f}" for seconds in shown), flush=True)
        bars += [
            at_least(
                f"sweep, {kind}: files/s over the plain loop", plain_wall / wall, LEAST_OF_PLAIN
            ),
            at_most(
                f"sweep, {kind}: p99 of the event loop's lag, ms", p99(late) * 1e3, MOST_LAG_MS
            ),
        ]
    return bars


def p99(seconds: list[float]) -> float:
    """Return the 99th percentile."""
    return sorted(seconds)[int(len(seconds) * 0.99)]


async def sweep(
    folder: Path, files: int, late: list[float], control: list[float], *, flushed: bool
) -> Cost:
    """Sweep; add how late the event loop's ticks came, and those of the control."""
    models = folder / "models"
    fill(models, 1000)
    async with parts(models, folder / "uploads") as it:
        digests = stage(it.layout.uploads, files, flushed=flushed)
        await by_callers([partial(it.registry.register, digest) for digest in digests])
        ticking = asyncio.create_task(tick(late))
        sleeping = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _CONTROL), stdin=PIPE, stdout=PIPE
        )
        assert sleeping.stdout is not None
        await sleeping.stdout.readline()
        late.clear()
        cost = await timed(it.sweeper.sweep(), each=files)
        ticking.cancel()
        control += map(float, (await sleeping.communicate(b"stop"))[0].split())
        left = len(list(it.layout.uploads.iterdir()))
        if left or len(it.layout.stored()) != len(digests):
            raise SystemExit("the sweep did not settle everything")
    return cost


async def tick(late: list[float]) -> None:
    """Note how late the event loop comes back from a millisecond's sleep."""
    while True:
        started = time.perf_counter()
        await asyncio.sleep(0.001)
        late.append(time.perf_counter() - started - 0.001)


def sweep_plainly(folder: Path, files: int, *, flushed: bool) -> Cost:
    """Do to as many files what cannot be left out: hash, flush, link and unlink."""
    uploads, models = folder / "uploads", folder / "models"
    for made in (uploads, models):
        made.mkdir(parents=True)
    registered = {digest.raw for digest in stage(uploads, files, flushed=flushed)}
    started, cpu = time.perf_counter(), time.process_time()
    for name in sorted(os.listdir(uploads)):
        fd = os.open(uploads / name, os.O_RDONLY)
        digest = Digest.of_file(fd)
        if digest.raw in registered:
            os.fsync(fd)
            os.link(uploads / name, models / digest.hex)
        os.unlink(uploads / name)
        os.close(fd)
    return (time.perf_counter() - started) / files, (time.process_time() - cpu) / files


def served_sweep(folder: Path, files: int) -> list[Bar]:
    """Have a server sweep, and ask it `/test` meanwhile."""
    server = Server(folder, {"SWEEP_INTERVAL_S": "3600"})
    fill(server.models, 1_000)
    aside = folder / "aside"
    for made in (aside, server.staging):
        made.mkdir()
    digests = stage(aside, files, flushed=True)
    with plain_sql(server.models) as connection:
        add_registered(connection, (digest.raw for digest in digests))
    try:
        server.start()
        server.wait_for_decoders()
        for file in aside.iterdir():  # the sweep of the start is over
            file.rename(server.staging / file.name)
        os.sync()
        with probed(server) as idle:
            time.sleep(IDLE_S)
        with probed(server) as busy:
            started = time.perf_counter()
            answer = json.loads(expect(server.ask("GET", "/hashmodels")))
            took = time.perf_counter() - started
    finally:
        server.stop()
    if len(answer["hashes"]) != len(digests):
        raise SystemExit("the sweep did not promote everything")
    print(f"\na server that is asked meanwhile: {files / took:.0f} files/s; GET /test, ms:")
    print(f"{'':26}{'p50':>8}{'p99 as due':>12}{'max':>8}{'control p99':>13}")
    bars = []
    for state, seen in (("idle", idle), ("sweeping", busy)):
        for name, (seconds, overslept) in seen.items():
            due, control = p99(as_due(seconds)) * 1e3, p99(overslept) * 1e3
            row = f"{statistics.median(seconds) * 1e3:8.1f}{due:12.1f}{max(seconds) * 1e3:8.1f}"
            print(f"{f'{state}, {name}':26}{row}{control:13.1f}", flush=True)
            if seen is busy:
                bars.append(at_most(f"/test p99 during a sweep, {name}, ms", due, MOST_LAG_MS))
    return bars


# 3. hot models


def hot_models(server: Server, *, starts: bool) -> None:
    """Look models up as callers do, most of the time the same ones."""
    digests = [Digest(secrets.token_bytes(32)) for _ in range(MODELS)]
    record = json.dumps({"binding": {"labels": [f"label {n}" for n in range(100)]}})
    with plain_sql(server.models) as connection:
        # disabled: their files are looked for at the start like others', and nothing loads them
        row = (
            "INSERT INTO model (digest, state, size, record, registered_at, promoted_at)"
            " VALUES (?, 'disabled', 1, ?, 0, 0)"
        )
        connection.executemany(row, [(digest.raw, record) for digest in digests])
    for digest in digests:
        (server.models / digest.hex).write_bytes(b"model")
    print(f"\n{MODELS} models, {HOT} of them asked for in {HOT_SHARE:.0%} of {ASKED} lookups")
    asyncio.run(ask(server, digests))
    if starts:
        seconds, cpu = median([start(server) for _ in range(3)])
        print(f"start with {MODELS} models: {seconds:.2f} s, of which {cpu:.2f} s on a processor")


async def ask(server: Server, digests: list[Digest]) -> None:
    """Show what a lookup costs, by how many models are remembered."""
    weights = [
        HOT_SHARE / HOT if n < HOT else (1 - HOT_SHARE) / (MODELS - HOT) for n in range(MODELS)
    ]
    chosen = random.choices(digests, weights, k=ASKED)
    print(f"{'remembered':>12}{'from memory':>13}{'us each':>9}")
    async with parts(server.models, server.staging) as it:
        for remembered in (0, HOT, 10_000):
            registry = Registry(it.engine, remembered=remembered)
            found = 0
            started = time.perf_counter()
            for digest in chosen:
                found += registry._recent.get(digest.raw) is not None
                await registry.get(digest)
            took = time.perf_counter() - started
            print(f"{remembered:12}{found / ASKED:13.1%}{took / ASKED * 1e6:9.1f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
