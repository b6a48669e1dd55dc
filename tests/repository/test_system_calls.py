"""Every system call of receive and promote, killed or failing: nothing acknowledged is lost.

strace breaks the k-th call of one name in a process that does one act; then the repository starts
again on what is left. It counts the calls of each thread by itself.
"""

import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from server import database
from server.repository.layout import Layout
from server.repository.recovery import Recovery
from server.repository.registry import Registry, State
from server.repository.staging import Staging
from server.repository.store import ModelStore
from server.repository.sweep import Sweeper
from tests.conftest import ROOT
from tests.repository.conftest import House, digest_of, pieces
from tests.repository.crash_child import ACTS, DATA
from tests.repository.disks import FailingDisk

pytestmark = pytest.mark.ptrace

SAMPLE = 40
FAULTS = ("signal=KILL", "error=EIO", "error=ENOSPC", "error=EINTR")
# what touches the disk; what only waits, maps memory or wakes a thread does not
CALLS = (
    "openat,close,pread64,write,writev,pwrite64,ftruncate,fallocate,fsync,fdatasync,linkat,"
    "link,rename,renameat,unlink,unlinkat,fchmod,fchmodat,fchown,fcntl,lseek,fstat,newfstatat,"
    "statfs,fstatfs,getdents64"
)
DIGEST = digest_of(DATA)
_CALL = re.compile(r"^(\d+) +(\w+)\(")


@dataclass(frozen=True, slots=True)
class Case:
    """One act, and which of its calls goes wrong in what way."""

    act: str
    call: str
    number: int
    fault: str


class Children:
    """The process that forks for each case, and the tracer of the present fork."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "strace.log"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.repository.crash_child"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a loop whose calls fail complains at its end
        )

    def run(self, folder: Path, act: str, *options: str) -> str:
        """Do an act under strace; return what it said: ``done``, ``failed ...`` or nothing."""
        self._tell(f"{folder} {act}")
        word, _, pid = self._hear().partition(" ")
        assert word == "ready", (word, pid)
        tracing = ["strace", "-f", "-p", pid, "-o", str(self._log), "-e", f"trace={CALLS}"]
        tracer = subprocess.Popen([*tracing, *options], stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        while "attached" not in (line := tracer.stderr.readline()):
            assert line, "strace could not attach"
        self._tell("go")
        said = self._hear()
        if said != "ended":
            assert self._hear() == "ended"
        tracer.communicate(timeout=30)
        return "" if said == "ended" else said

    def count(self, folder: Path, act: str) -> dict[str, int]:
        """Do an act unharmed, and return the most calls of each name that one thread made."""
        assert self.run(folder, act) == "done"
        counts: Counter[tuple[str, str]] = Counter(
            (found[1], found[2])
            for line in self._log.read_text().splitlines()
            if (found := _CALL.match(line))
        )
        most: dict[str, int] = {}
        for (_, call), number in counts.items():
            most[call] = max(number, most.get(call, 0))
        return most

    def close(self) -> None:
        self._pipe(self._process.stdin).close()
        self._pipe(self._process.stdout).close()
        self._process.wait(timeout=30)

    def _tell(self, line: str) -> None:
        pipe = self._pipe(self._process.stdin)
        pipe.write(line.encode() + b"\n")
        pipe.flush()

    def _hear(self) -> str:
        return self._pipe(self._process.stdout).readline().decode().strip()

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False)
    if tried.returncode != 0:
        pytest.skip("needs the right to trace processes (ptrace)")
    made = Children(tmp_path_factory.mktemp("tracing"))
    yield made
    made.close()


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[House]:
    disk = FailingDisk()
    layout = Layout(folder / "models", folder / "uploads", disk)
    engine = database.open_engine(f"sqlite:///{layout.models / 'registry.sqlite3'}")
    registry, store = Registry(engine), ModelStore(layout)
    staging = Staging(layout, max_file_bytes=1 << 20, max_bytes=1 << 24, max_uploads=2)
    woken: list[bool] = []
    sweeper = Sweeper(
        layout=layout, registry=registry, staging=staging, store=store, on_promoted=woken.clear
    )
    recovery = Recovery(layout=layout, registry=registry, store=store, on_promoted=woken.clear)
    try:
        yield House(disk, layout, engine, registry, staging, store, sweeper, recovery, woken)
    finally:
        await engine.dispose()


async def prepared(folder: Path, act: str) -> Path:
    """Make a repository in which an act can be done."""
    layout = Layout(folder / "models", folder / "uploads")
    assert layout.faults() == []
    database.migrate(f"sqlite:///{layout.models / 'registry.sqlite3'}")
    async with opened(folder) as house:
        if act != "settle":
            await house.registry.register(DIGEST)
        if act == "sweep":
            await house.upload(DATA)
    return folder


async def check(folder: Path, act: str, said: str) -> None:
    """Hold the promises against what is left."""
    async with opened(folder) as house:
        await house.recovery.reconcile()
        assert all(house.store.verify(digest) for digest in house.layout.stored())
        state = await house.state_of(DIGEST)
        assert (state is State.PROMOTED) == house.store.holds(DIGEST)
        if said == "done" and act != "publish":
            assert state is State.PROMOTED
        if said == "done" and act == "publish":
            assert [(house.layout.uploads / name).read_bytes() for name in house.names()] == [DATA]
        assert not [name for name in os.listdir(house.layout.models) if name.startswith(".part")]
        assert not [name for name in house.names() if name.startswith(".")]
        # and it goes on without anybody's help
        async with house.staging.receive(pieces(DATA, 50_000)) as upload:
            await house.sweeper.settle(upload)
        await house.sweeper.sweep()
        assert house.store.verify(DIGEST) == len(DATA)
        assert await house.state_of(DIGEST) is State.PROMOTED
        assert (house.layout.stored(), house.names()) == ([DIGEST], [])


async def matrix(children: Children, tmp_path: Path) -> list[Case]:
    """Return every case there is."""
    cases = []
    for act in ACTS:
        counts = children.count(await prepared(tmp_path / f"count-{act}", act), act)
        assert {"fsync", "linkat"} & set(counts)
        cases += [
            Case(act, call, number, fault)
            for call, most in sorted(counts.items())
            for number in range(1, most + 1)
            for fault in FAULTS
        ]
    return cases


async def hold(children: Children, tmp_path: Path, cases: list[Case]) -> None:
    templates = {act: await prepared(tmp_path / f"template-{act}", act) for act in ACTS}
    for case in cases:
        folder = tmp_path / "case"
        shutil.copytree(templates[case.act], folder)
        inject = f"inject={case.call}:{case.fault}:when={case.number}"
        said = children.run(folder, case.act, "-e", inject)
        try:
            await check(folder, case.act, said)
        except AssertionError as error:
            raise AssertionError(f"{case}, which said {said!r}: {error}") from error
        shutil.rmtree(folder)


@pytest.mark.timeout(300)
async def test_a_fault_in_a_system_call_breaks_no_promise(
    children: Children, tmp_path: Path
) -> None:
    cases = await matrix(children, tmp_path)
    await hold(children, tmp_path, random.Random(7).sample(cases, SAMPLE))


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_no_fault_in_any_system_call_breaks_a_promise(
    children: Children, tmp_path: Path
) -> None:
    cases = await matrix(children, tmp_path)
    print(f"{len(cases)} cases")
    await hold(children, tmp_path, cases)
