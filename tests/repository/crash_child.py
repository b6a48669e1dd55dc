"""A process whose forks each do one act of the repository, for tests that break system calls.

::

    test -> server   <folder> <act>       fork: open everything, warm the threads
    fork -> test     ready <pid>
    test -> fork     go                   once the tracer is attached
    fork -> test     done, or failed
    server -> test   ended                the fork is gone, however

The act is a signed upload (`settle`), an unsigned one (`publish`), or a sweep of one that waits.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from server import database
from server.errors import ServerError
from server.repository.layout import Layout
from server.repository.registry import Registry
from server.repository.staging import Staging
from server.repository.store import ModelStore
from server.repository.sweep import Sweeper
from tests.repository.conftest import digest_of

DATA = b"a model that a fault shall not break " * 3000
ACTS = ("settle", "publish", "sweep")


async def do(folder: Path, act: str) -> None:
    """Do one act in a repository that exists."""
    layout = Layout(folder / "models", folder / "uploads")
    engine = database.open_engine(f"sqlite:///{layout.models / 'registry.sqlite3'}")
    registry, store = Registry(engine), ModelStore(layout)
    staging = Staging(layout, max_file_bytes=1 << 20, max_bytes=1 << 24, max_uploads=2)
    sweeper = Sweeper(
        layout=layout, registry=registry, staging=staging, store=store, on_promoted=lambda: None
    )
    await registry.get(digest_of(DATA))
    await asyncio.to_thread(os.getpid)
    say(f"ready {os.getpid()}")
    os.read(0, 16)
    if act == "sweep":
        report = await sweeper.sweep()
        if report.promoted != [digest_of(DATA)]:
            raise ServerError("nothing was promoted")
        return
    async with staging.receive(halves()) as upload:
        await (sweeper.settle(upload) if act == "settle" else staging.publish(upload))


async def halves() -> AsyncIterator[bytes]:
    middle = len(DATA) // 2
    yield DATA[:middle]
    yield DATA[middle:]


def say(text: str) -> None:
    os.write(1, text.encode() + b"\n")


def forked(folder: Path, act: str) -> None:
    try:
        asyncio.run(do(folder, act))
        say("done")
    except BaseException as error:  # whatever it is, the test hears of it
        say(f"failed {error!r}".replace("\n", " "))
    finally:
        os._exit(0)  # as a crash: nothing is closed in order


def main() -> None:
    while line := os.read(0, 4096).decode():
        folder, act = line.split()
        if not (pid := os.fork()):
            forked(Path(folder), act)
        os.waitpid(pid, 0)
        say("ended")


if __name__ == "__main__":
    main()
