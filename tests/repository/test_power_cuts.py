"""The repository on a disk that forgets: whatever a power cut leaves, the next start makes whole.

Random schedules run on the simulated disk, several acts at a time; then every point of their
journal is a power cut, with many choices of what had reached the disk. From what remains the real
parts start again, as the server does, and the promises are held against it. One of the remains is
where the next schedule begins.

In a schedule the disk may fail as well, and the process may be killed and start again: then what
was not flushed is still in memory, where the new process finds it.
"""

import asyncio
import errno
import hashlib
import json
import os
import random
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from server import database
from server.commits import Engine
from server.digest import Digest
from server.errors import ServerError
from server.repository.derived import DerivedFiles
from server.repository.layout import Layout
from server.repository.recovery import Recovery
from server.repository.registry import Registry, State
from server.repository.staging import Staging
from server.repository.store import ModelStore
from server.repository.sweep import Sweeper
from tests.repository.conftest import digest_of, pieces
from tests.repository.simulated_disk import Event, Remains, Rotted, Said, SimulatedDisk

STATES = 10_000
QUICK_STATES = 1_000
STEPS = 6  # of a schedule, each up to three acts at a time
CUTS = 25  # of each schedule, of the hundreds that there are
NOTHING = Remains({}, ())
HERE = {State.PROMOTED, State.READY, State.REJECTED, State.DISABLED}


@dataclass
class House:
    """The parts of the repository on a simulated disk, as `parts` joins them."""

    disk: SimulatedDisk
    layout: Layout
    registry: Registry
    staging: Staging
    store: ModelStore
    derived: DerivedFiles
    sweeper: Sweeper
    recovery: Recovery

    async def start(self) -> None:
        """Do what a server does before it serves."""
        await self.recovery.reconcile()
        records = [model.record or {} for model in await self.registry.in_state(State.READY)]
        self.derived.keep_only({Digest.parse(r["derived"]) for r in records})


class Database:
    """One database in memory, refilled for every start."""

    def __init__(self) -> None:
        self.engine: Engine = database.open_engine("sqlite://")
        self._disk: SimulatedDisk | None = None
        self._rows: tuple[tuple[Any, ...], ...] = ()
        sa.event.listen(self.engine._engine, "checkin", self._look)

    async def refill(self, disk: SimulatedDisk, remains: Remains) -> None:
        self._disk = None

        def fill(connection: sa.Connection) -> None:
            database.metadata.create_all(connection)
            connection.execute(sa.delete(database.model))
            if remains.rows:
                names = [column.name for column in database.model.columns]
                rows = [dict(zip(names, row, strict=True)) for row in remains.rows]
                connection.execute(sa.insert(database.model), rows)

        await self.engine.write(fill)
        self._rows, self._disk = remains.rows, disk

    def _look(self, connection: Any, _record: object) -> None:
        """Tell the disk what was committed, once it is."""
        if self._disk is not None:
            rows = tuple(connection.execute("SELECT * FROM model ORDER BY digest").fetchall())
            if rows != self._rows:
                self._rows = rows
                self._disk.commit(rows)


@asynccontextmanager
async def running(
    root: Path, remains: Remains, base: Database, *, has_unnamed: bool = True
) -> AsyncIterator[House]:
    """Let the repository run on what a crash left, in folders of its own."""
    for folder in ("models", "uploads"):
        (root / folder).mkdir(parents=True)
    disk = SimulatedDisk(root, remains, has_unnamed=has_unnamed)
    await base.refill(disk, remains)
    try:
        yield joined(Layout(root / "models", root / "uploads", disk), disk, base.engine)
    finally:
        shutil.rmtree(root)


def joined(layout: Layout, disk: SimulatedDisk, engine: Engine) -> House:
    registry, store = Registry(engine), ModelStore(layout)
    staging = Staging(layout, max_file_bytes=1 << 20, max_bytes=1 << 24, max_uploads=16)
    parts: dict[str, Any] = {"layout": layout, "registry": registry, "store": store}
    recovery = Recovery(**parts, on_promoted=lambda: None)
    sweeper = Sweeper(**parts, staging=staging, on_promoted=lambda: None)
    return House(disk, layout, registry, staging, store, DerivedFiles(layout), sweeper, recovery)


class Killed(BaseException):
    """The process is dead: nothing more comes of anything it does."""


class Trouble:
    """What may befall the acts of a step: one failure of the disk, or the death of the process."""

    def __init__(self, rng: random.Random) -> None:
        self._kill = rng.random() < 0.4
        self._after = rng.randrange(12) if rng.random() < 0.7 else 1 << 62
        self._code = rng.choice([errno.EIO, errno.ENOSPC])
        self._lock = threading.Lock()

    def __call__(self, _act: str) -> None:
        with self._lock:
            self._after -= 1
            if self._after < 0 and self._kill:
                raise Killed
            if self._after == -1:
                raise OSError(self._code, os.strerror(self._code))

    @property
    def has_killed(self) -> bool:
        return self._kill and self._after < 0


# what is done


@dataclass
class Schedule:
    """Random acts upon a house; it says to the disk what was acknowledged.

    Attributes
    ----------
    house : House
        Where they are done.
    rng : random.Random
        Chooses.
    models : list of bytes
        The files that there are in this world.
    engine : Engine
        The database.
    """

    house: House
    rng: random.Random
    models: list[bytes]
    engine: Engine

    async def run(self) -> None:
        for _ in range(STEPS):
            acts = self.rng.choices(self._acts(), k=self.rng.randint(1, 3))
            chosen = self.rng.sample(self.models, len(acts))
            if self.rng.random() < 0.5:
                chosen = [chosen[0]] * len(acts)  # all upon one model
            await self._judge()
            await self._suffer([act(data) for act, data in zip(acts, chosen, strict=True)])

    async def _suffer(self, acts: list[Awaitable[None]]) -> None:
        """Do some acts at a time, whatever befalls them."""
        disk, trouble = self.house.disk, Trouble(self.rng)
        disk.trouble = trouble
        for outcome in await asyncio.gather(*acts, return_exceptions=True):
            if outcome is not None and not isinstance(outcome, OSError | ServerError | Killed):
                raise outcome
        disk.trouble = lambda _act: None
        if trouble.has_killed:
            self.house = joined(self.house.layout, disk, self.engine)
            await self.house.start()

    def _acts(self) -> list[Callable[[bytes], Awaitable[None]]]:
        return [
            self.register, self.register, self.publish, self.publish, self.settle, self.settle,
            self.put_by_hand, self.put_by_hand, self.sweep, self.sweep, self.sweep,
            self.break_off, self.remove, self.rot_and_mend,
        ]  # fmt: skip

    async def register(self, data: bytes) -> None:
        await self.house.registry.register(digest_of(data))
        self._say("registered", data)
        await self.house.recovery.adopt_stored(digest_of(data))

    async def publish(self, data: bytes) -> None:
        known = await self.house.registry.get(digest_of(data)) is not None
        async with self.house.staging.receive(pieces(data, 700)) as upload:
            await self.house.staging.publish(upload)
        if known:
            self._say("staged", data)

    async def settle(self, data: bytes) -> None:
        async with self.house.staging.receive(pieces(data, 700)) as upload:
            await self.house.sweeper.settle(upload)
        self._say("stored", data)

    async def break_off(self, data: bytes) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield data[:600]
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            async with self.house.staging.receive(broken()):
                pytest.fail("an incomplete upload was handed out")

    async def sweep(self, _data: bytes) -> None:
        for digest in (await self.house.sweeper.sweep()).promoted:
            self.house.disk.say("stored", digest.raw)

    async def put_by_hand(self, data: bytes) -> None:
        name = self.house.layout.uploads / f"by-hand-{self.rng.getrandbits(40):x}.h5"
        self.house.disk.put_by_hand(name, data)

    async def remove(self, data: bytes) -> None:
        if await self._state(data) is State.REJECTED:
            self._say("given up", data)
            await self.house.recovery.remove_rejected(digest_of(data))

    async def rot_and_mend(self, data: bytes) -> None:
        async with self.house.store.turn(digest_of(data)):
            if not self.house.store.holds(digest_of(data)):
                return
            self._say("given up", data)
            self.house.disk.rot(self.house.store.path(digest_of(data)))
        if self.rng.random() < 0.5:
            await self.house.recovery.condemn(digest_of(data))
        else:
            await self.settle(data)

    async def _judge(self) -> None:
        """Let intake look at what is promoted, while nothing else happens."""
        for model in await self.house.registry.in_state(State.PROMOTED):
            match self.rng.randrange(3):
                case 0:
                    await self.house.registry.reject(model, "no model")
                case 1:
                    file = self.house.derived.new()
                    file.write([b"made of ", model.digest.raw])
                    made = self.house.derived.keep(file)
                    file.close()
                    await self.house.registry.make_ready(model, {"derived": made.hex})

    async def _state(self, data: bytes) -> State | None:
        model = await self.house.registry.get(digest_of(data))
        return None if model is None else model.state

    def _say(self, what: str, data: bytes) -> None:
        self.house.disk.say(what, digest_of(data).raw)


# what was promised


@dataclass
class Promises:
    """What had been acknowledged before a crash.

    Attributes
    ----------
    registered, stored, staged : set of Digest
        Known; known and here; known and here after the next sweep.
    rotten : set of Digest
        Damaged by the disk itself, and not yet mended.
    """

    registered: set[Digest] = field(default_factory=set)
    stored: set[Digest] = field(default_factory=set)
    staged: set[Digest] = field(default_factory=set)
    rotten: set[Digest] = field(default_factory=set)

    def hear(self, event: Event) -> None:
        if isinstance(event, Rotted):
            self.rotten.add(Digest(hashlib.sha256(unrotted(event.data)).digest()))
        if not isinstance(event, Said):
            return
        digest = Digest(event.digest)
        match event.what:
            case "registered":
                self.registered.add(digest)
            case "staged":
                self.staged.add(digest)
            case "stored":
                self.registered.add(digest)
                self.stored.add(digest)
                self.rotten.discard(digest)
            case "given up":
                self.stored.discard(digest)
                self.staged.discard(digest)


def unrotted(data: bytes) -> bytes:
    mended = bytearray(data)
    mended[len(data) // 2] ^= 1
    return bytes(mended)


async def check(house: House, promises: Promises) -> None:
    """Hold the promises against a house that has started after a crash."""
    await house.start()
    stored = set(house.layout.stored()) - promises.rotten
    for digest in stored:
        assert house.store.verify(digest) is not None, f"{digest} has other bytes"
    for digest in promises.registered:
        assert await house.registry.get(digest) is not None, f"{digest} is not known any more"
    await check_stored(house, promises.stored - promises.rotten)
    for digest in stored:
        model = await house.registry.get(digest)
        assert model is not None
        assert model.state in HERE, f"{digest} lies there and may not be used"
    for model in await house.registry.in_state(State.READY):
        assert model.record is not None
        assert house.derived.is_intact(Digest.parse(model.record["derived"]))
    await house.sweeper.sweep()
    await check_stored(house, (promises.stored | promises.staged) - promises.rotten)
    assert os.listdir(house.layout.uploads) == []
    derived = {digest.hex + ".onnx" for digest in house.layout.all_derived()}
    ready = await house.registry.in_state(State.READY)
    assert derived == {(model.record or {})["derived"] + ".onnx" for model in ready}
    models = {digest.hex for digest in house.layout.stored()}
    assert set(os.listdir(house.layout.models)) == models | derived


async def check_stored(house: House, digests: set[Digest]) -> None:
    for digest in digests:
        model = await house.registry.get(digest)
        assert model is not None
        assert model.state in HERE, f"{digest} was acknowledged, and is {model.state}"
        assert house.store.verify(digest) is not None, f"{digest} was acknowledged, and is lost"


# the search


async def search(tmp_path: Path, *, seed: int, states: int) -> int:
    """Look at so many different crash states, and return how many there were."""
    rng = random.Random(seed)
    models = [rng.randbytes(size) for size in (300, 700, 900, 1100, 1400, 2000)]
    base = Database()
    seen: set[bytes] = set()
    start, number = NOTHING, 0
    try:
        while len(seen) < states:
            number += 1
            here = tmp_path / f"schedule-{number}"
            has_unnamed = number % 4 != 0
            async with running(here, start, base, has_unnamed=has_unnamed) as house:
                promised = await restarted(house)
                await Schedule(house, rng, models, base.engine).run()
            journal = house.disk.journal
            start = NOTHING
            crashes = list(house.disk.crashes(rng))
            rng.shuffle(crashes)
            for point, remains in crashes[:CUTS]:
                promises = Promises()
                for event in [*promised, *journal[:point]]:
                    promises.hear(event)
                key = fingerprint(remains, promises)
                if key in seen or len(seen) >= states:
                    continue
                seen.add(key)
                where = f"seed {seed}, schedule {number}, cut after {point}: {journal[:point]}"
                try:
                    async with running(tmp_path / "restart", remains, base) as again:
                        await check(again, promises)
                except AssertionError as error:
                    raise AssertionError(f"{error}\n{where}") from error
                if number % 2 and not promises.rotten:
                    start = remains
    finally:
        await base.engine.dispose()
    return len(seen)


async def restarted(house: House) -> list[Event]:
    """Start a house, and say again what it holds, as if it had just been acknowledged."""
    await house.start()
    said: list[Event] = []
    for digest in house.layout.stored():
        said += [Said("registered", digest.raw), Said("stored", digest.raw)]
    return said


def fingerprint(remains: Remains, promises: Promises) -> bytes:
    """Return the same bytes for the same state; two states differ in more than times."""
    files = {name: hashlib.sha256(data).hexdigest() for name, data in remains.files.items()}
    rows = [[str(value) for value in row[:6]] for row in remains.rows]
    owed = [sorted(map(str, group)) for group in (promises.stored, promises.staged)]
    text = json.dumps([sorted(files.items()), rows, owed, sorted(map(str, promises.rotten))])
    return hashlib.sha256(text.encode()).digest()


async def test_a_power_cut_breaks_no_promise(tmp_path: Path) -> None:
    assert await search(tmp_path, seed=1, states=QUICK_STATES) == QUICK_STATES


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_ten_thousand_power_cuts_break_no_promise(tmp_path: Path) -> None:
    assert await search(tmp_path, seed=2026, states=STATES) == STATES
