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
from server.repository.registry import Registry
from server.repository.staging import Staging
from server.repository.store import ModelStore
from server.repository.sweep import Sweeper


@dataclass
class House:
    layout: Layout
    engine: Engine
    registry: Registry
    staging: Staging
    store: ModelStore
    sweeper: Sweeper
    woken: list[bool]

    async def upload(self, data: bytes) -> Digest:
        """Stage bytes as an upload of the second port does."""
        async with self.staging.receive(pieces(data)) as upload:
            await self.staging.publish(upload)
        return upload.digest

    def names(self) -> list[str]:
        return sorted(path.name for path in self.layout.uploads.iterdir())


def digest_of(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).digest())


async def pieces(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    layout = Layout(tmp_path / "models", tmp_path / "uploads")
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
    yield House(layout, engine, registry, staging, store, sweeper, woken)
    await engine.dispose()
