"""A queue of jobs in a database of its own, with a clock that the test moves."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from server import database
from server.commits import Engine
from server.digest import Digest
from server.jobs.book import Terms
from server.jobs.embedded import EmbeddedQueue
from server.jobs.job import Asked, Job
from server.jobs.queue import Submission

KEEP_S = 1000.0
LEASE_S = 30.0


@dataclass
class Clock:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def digest_of(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).digest())


def asked(sound: bytes = b"sound", **changed: Any) -> Asked:
    """Return what is to be done with a sound."""
    given: dict[str, Any] = {
        "task": "midi",
        "version": 1,
        "model": None,
        "manifest": None,
        "baseline": "salience-baseline",
        "parameters": {"program": 4},
        "sound": digest_of(sound),
        "sound_bytes": len(sound),
        "ext": None,
        "files": {"notes": "notes.mid"},
    }
    return Asked(**given | changed)


@dataclass
class Office:
    folder: Path
    engine: Engine
    clock: Clock
    queue: EmbeddedQueue
    opened: list[Engine] = field(default_factory=list)

    def again(self) -> EmbeddedQueue:
        """Return a queue that knows only what is on disk."""
        return EmbeddedQueue(self.engine, self.queue._terms, clock=self.clock)

    async def submit(self, sound: bytes = b"sound", **changed: Any) -> Job:
        given = {name: changed.pop(name) for name in ("priority", "key") if name in changed}
        owner = changed.pop("owner", "one")
        job, _ = await self.queue.submit(Submission(owner, asked(sound, **changed), **given))
        return job

    async def kinds(self, job: str) -> list[str]:
        """List what has happened to a job; the numbers have no gaps."""
        events = await self.queue.events(job, 0)
        assert [event.number for event in events] == list(range(1, len(events) + 1))
        return [event.kind.value for event in events]


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    url = f"sqlite:///{tmp_path / 'registry.sqlite3'}"
    database.migrate(url)
    engine, clock = database.open_engine(url), Clock()
    terms = Terms(attempts=3, keep_s=KEEP_S, most=20, lease_s=LEASE_S)
    yield Office(tmp_path, engine, clock, EmbeddedQueue(engine, terms, clock=clock))
    await engine.dispose()
