"""A repository on a disk of its own."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from server import database
from server.commits import Engine
from server.digest import Digest
from server.repository.layout import Layout
from server.repository.recovery import Recovery
from server.repository.registry import Registry, State
from server.repository.staging import Staging
from server.repository.store import ModelStore
from server.repository.sweep import Sweeper
from tests.repository.disks import FailingDisk


@dataclass
class House:
    disk: FailingDisk
    layout: Layout
    engine: Engine
    registry: Registry
    staging: Staging
    store: ModelStore
    sweeper: Sweeper
    recovery: Recovery
    woken: list[bool]

    async def upload(self, data: bytes) -> Digest:
        """Stage bytes as an upload of the second port does."""
        async with self.staging.receive(pieces(data)) as upload:
            await self.staging.publish(upload)
        return upload.digest

    async def state_of(self, digest: Digest) -> State | None:
        model = await self.registry.get(digest)
        return None if model is None else model.state

    async def promoted(self, data: bytes) -> Digest:
        """Promote bytes by a sweep."""
        await self.registry.register(digest_of(data))
        await self.upload(data)
        assert (await self.sweeper.sweep()).promoted == [digest_of(data)]
        return digest_of(data)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.layout.uploads.iterdir())


def digest_of(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).digest())


async def pieces(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    disk = FailingDisk()
    layout = Layout(tmp_path / "models", tmp_path / "uploads", disk)
    assert layout.faults() == []
    url = f"sqlite+aiosqlite:///{layout.models / 'registry.sqlite3'}"
    database.migrate(url)
    engine = database.open_engine(url)
    registry, store = Registry(engine), ModelStore(layout)
    staging = Staging(layout, max_file_bytes=100_000, max_bytes=250_000, max_uploads=2)
    woken: list[bool] = []
    sweeper = Sweeper(
        layout=layout,
        registry=registry,
        staging=staging,
        store=store,
        on_promoted=lambda: woken.append(True),
    )
    recovery = Recovery(
        layout=layout, registry=registry, store=store, on_promoted=lambda: woken.append(True)
    )
    yield House(disk, layout, engine, registry, staging, store, sweeper, recovery, woken)
    await engine.dispose()
