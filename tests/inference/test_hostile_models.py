"""Hostile model workers beside an honest one: whatever they try, the others are answered."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from typing import Any

import pytest

from server.digest import Digest
from server.errors import BadModel, WorkerFailed
from server.inference.child_kind import ChildKind, Engine
from server.inference.residents import Budget
from server.inference.workers import ModelWorkers
from tests.inference.odd_models import CHILD, row, values
from tests.inference.walls import HERE, MIB, needs_sandbox

pytestmark = needs_sandbox
HOSTILE = "tests.inference.hostile_child"
HONEST = Digest(hashlib.sha256(b"honest").digest())
REFUSED = [
    "read /etc/passwd",
    "write in its folder",
    "open a TCP socket",
    "run a program",
    "fork",
    "wake the server",
    "start a thread",
    "take 10 GiB",
]


class Fleet:
    """An honest model, and hostile ones that are named by what they try."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._acts: dict[Digest, str] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.crashes: list[str] = []
        self.workers = ModelWorkers(
            self._engine_of,
            Budget(4000 * MIB, 8),
            spawn=self._spawn,
            on_crash=self._crashed,
            on_recovery=self._recovered,
            are_cores_wanted=lambda: False,
        )

    async def _engine_of(self, digest: Digest, _record: Mapping[str, Any]) -> Engine:
        act = self._acts.get(digest)
        secret = self._folder / "secret"
        secret.write_text("secret")
        config: dict[str, Any] = {} if act is None else self._config(act, secret)
        kind = ChildKind(
            CHILD if act is None else HOSTILE,
            config,
            start_timeout_s=30,
            call_timeout_s=3.0,
            rights=HERE.rights(memory_bytes=100 * MIB, writes_bytes=MIB if act is None else 0),
        )
        return Engine(kind, 8, 60 * MIB)

    def _config(self, act: str, secret: Path) -> dict[str, Any]:
        where = {"files": [str(secret)], "elsewhere": str(self._folder), "program": str(secret)}
        return where | {"early": False, "act": act}

    async def attack(self, act: str) -> list[float]:
        digest = Digest(hashlib.sha256(act.encode()).digest())
        self._acts[digest] = act
        return values((await self.workers.predict(digest, {}, row(-1.0)))[0])

    async def honest(self) -> float:
        return values((await self.workers.predict(HONEST, {}, row(21.0)))[0])[0]

    async def _crashed(self, digest: Digest) -> None:
        self.crashes.append(self._acts[digest])

    async def _recovered(self, digest: Digest) -> None:
        raise AssertionError(digest)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self._tasks.append(asyncio.ensure_future(work))
        return self._tasks[-1]

    async def close(self) -> None:
        await self.workers.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    new = Fleet(tmp_path)
    assert await new.honest() == 42.0
    yield new
    await new.close()


async def beside(fleet: Fleet, act: str) -> BaseException | list[float]:
    """Let a model attack while the honest one is asked again and again; return what it got."""
    attack = asyncio.ensure_future(fleet.attack(act))
    asked = 0
    while not attack.done():
        async with asyncio.timeout(5):
            assert await fleet.honest() == 42.0
        asked += 1
    assert asked > 3
    (got,) = await asyncio.gather(attack, return_exceptions=True)
    return got


@pytest.mark.parametrize("act", REFUSED)
async def test_a_model_that_tries_what_it_may_not_fails_alone(fleet: Fleet, act: str) -> None:
    got = await beside(fleet, act)
    assert isinstance(got, BadModel)
    assert "cannot be run" in got.detail
    assert fleet.crashes == []


@pytest.mark.parametrize(
    ("act", "why"), [("loop", "no answer within 3 s"), ("hold 90 MiB", "more than 100 MiB")]
)
async def test_a_model_that_does_not_end_is_ended_alone(fleet: Fleet, act: str, why: str) -> None:
    got = await beside(fleet, act)
    assert isinstance(got, WorkerFailed)
    assert why in got.detail
    assert fleet.crashes == [act]
