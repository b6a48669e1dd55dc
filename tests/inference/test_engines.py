"""server/inference/engines.py on a repository of its own: what is run is what was judged."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from server import database
from server.digest import Digest
from server.errors import ModelNotReady, ModelState
from server.inference.engines import Engines
from server.inference.judges import judges
from server.inference.record import RECORD_VERSION
from server.inference.sandbox_level import Sandbox
from server.repository.derived import DerivedFiles
from server.repository.layout import Layout
from server.repository.registry import Registry, State
from server.repository.store import ModelStore
from tests.repository.conftest import digest_of

MIB, GIB = 1 << 20, 1 << 30
KERAS = {"name": "keras"}


@dataclass
class House:
    layout: Layout
    registry: Registry
    derived: DerivedFiles
    engines: Engines
    woken: list[None]

    def converted(self, data: bytes) -> Digest:
        """Keep a file as intake does."""
        file = self.derived.new()
        try:
            file.write([data])
            return self.derived.keep(file)
        finally:
            file.close()

    async def ready(self, data: bytes = b"a model", **record: object) -> Digest:
        """Put a model into the store and the registry, judged."""
        digest = digest_of(data)
        self.layout.model(digest).write_bytes(data)
        await self.registry.register(digest)
        await self.registry.promote(digest, len(data))
        model = await self.registry.get(digest)
        assert model is not None
        await self.registry.make_ready(model, current(**record))
        return digest

    async def start(self, digest: Digest, record: dict[str, Any]) -> None:
        """Do what comes before every start of a model's worker."""
        engine = await self.engines.of(digest, record)
        assert engine.kind.check is not None
        await engine.kind.check()

    async def state(self, digest: Digest) -> State:
        model = await self.registry.get(digest)
        assert model is not None
        return model.state


def current(**changed: object) -> dict[str, Any]:
    engine = {"name": "onnxruntime", "rows": "together"}
    made = {"version": RECORD_VERSION, "max_batch": 8, "engine": engine, "judges": judges()}
    return made | changed


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    layout = Layout(tmp_path / "models", tmp_path / "uploads")
    assert layout.faults() == []
    url = f"sqlite+aiosqlite:///{layout.models / 'registry.sqlite3'}"
    database.migrate(url)
    engine = database.open_engine(url)
    registry, derived = Registry(engine), DerivedFiles(layout)
    woken: list[None] = []
    engines = Engines(
        registry,
        ModelStore(layout),
        derived,
        threads=2,
        start_timeout_s=30,
        call_timeout_s=20,
        sandbox=Sandbox("full", 7, True),
        worker_bytes=GIB,
        on_promoted=lambda: woken.append(None),
    )
    yield House(layout, registry, derived, engines, woken)
    await engine.dispose()


async def test_a_converted_model_is_run_from_its_derived_file(house: House) -> None:
    made = house.converted(b"x" * MIB)
    digest = await house.ready()
    engine = await house.engines.of(digest, current(derived=made.hex, max_batch=4))
    assert engine.kind.module == "server.inference.onnx_child"
    told = {"path": str(house.derived.path(made)), "threads": 2, "max_batch": 4, "apart": False}
    assert engine.kind.config == told
    assert engine.max_batch == 4
    assert (engine.kind.start_timeout_s, engine.kind.call_timeout_s) == (30, 20)


async def test_a_worker_may_read_its_own_file_only(house: House) -> None:
    made = house.converted(b"x")
    digest = await house.ready()
    converted = (await house.engines.of(digest, current(derived=made.hex))).kind.rights
    original = (await house.engines.of(digest, current(engine=KERAS))).kind.rights
    assert converted is not None
    assert original is not None
    assert converted.read == (str(house.derived.path(made)),)
    assert original.read == (str(house.layout.model(digest)),)
    assert (converted.writes, original.writes) == (False, True)
    assert converted.memory_bytes == GIB


async def test_a_model_that_was_not_converted_is_run_from_its_own_file(house: House) -> None:
    digest = await house.ready()
    engine = await house.engines.of(digest, current(engine=KERAS))
    assert engine.kind.module == "server.inference.keras_child"
    assert engine.kind.config["path"] == str(house.layout.model(digest))


async def test_an_onnx_file_is_run_as_it_was_uploaded(house: House) -> None:
    digest = await house.ready()
    engine = await house.engines.of(digest, current())
    assert engine.kind.module == "server.inference.onnx_child"
    assert engine.kind.config["path"] == str(house.layout.model(digest))
    assert engine.kind.rights is not None
    assert not engine.kind.rights.writes
    house.layout.model(digest).write_bytes(b"another")
    assert engine.kind.check is not None
    with pytest.raises(ModelState):
        await engine.kind.check()


async def test_a_larger_file_is_thought_to_take_more_memory(house: House) -> None:
    small, large = house.converted(b"x"), house.converted(b"x" * (10 * MIB))
    digest = await house.ready()
    engines = [await house.engines.of(digest, current(derived=d.hex)) for d in (small, large)]
    assert engines[1].expected_bytes - engines[0].expected_bytes >= 10 * MIB


async def test_what_is_as_it_was_is_started(house: House) -> None:
    made = house.converted(b"converted")
    digest = await house.ready(derived=made.hex)
    await house.start(digest, current(derived=made.hex))
    await house.start(digest, current())
    assert house.woken == []


def _damage(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"other bytes")


@pytest.mark.parametrize("harm", [Path.unlink, _damage])
async def test_a_model_whose_derived_file_is_not_as_it_was_is_judged_again(
    house: House, harm: Any
) -> None:
    made = house.converted(b"converted")
    digest = await house.ready(derived=made.hex)
    harm(house.derived.path(made))
    with pytest.raises(ModelNotReady):
        await house.start(digest, current(derived=made.hex))
    assert await house.state(digest) is State.PROMOTED
    assert len(house.woken) == 1


async def test_a_model_is_sent_back_once_however_many_ask(house: House) -> None:
    digest = await house.ready(derived="0" * 64)
    asked = [house.start(digest, current(derived="0" * 64)) for _ in range(5)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers] == [ModelNotReady] * 5
    assert len(house.woken) == 1


@pytest.mark.parametrize("harm", [Path.unlink, _damage])
async def test_a_model_whose_own_file_is_not_as_it_was_must_be_uploaded_again(
    house: House, harm: Any
) -> None:
    digest = await house.ready()
    harm(house.layout.model(digest))
    with pytest.raises(ModelState, match="upload it again"):
        await house.start(digest, current())
    assert house.woken == []


OTHERS: list[dict[str, Any]] = [
    *({"version": number} for number in (1, RECORD_VERSION + 1, None)),
    *({"judges": judges() | {who: "0.1"}} for who in judges()),
    {"judges": None},
]


@pytest.mark.parametrize("record", OTHERS)
async def test_a_record_of_others_is_not_run(house: House, record: dict[str, Any]) -> None:
    digest = await house.ready(**record)
    with pytest.raises(ModelNotReady):
        await house.engines.of(digest, current(**record))
    assert await house.state(digest) is State.PROMOTED
    assert len(house.woken) == 1


async def test_at_the_start_records_of_others_are_sent_back(house: House) -> None:
    olds = [await house.ready(b"%d" % k, **record) for k, record in enumerate(OTHERS)]
    new = await house.ready(b"new")
    await house.engines.reconcile()
    assert [await house.state(digest) for digest in olds] == [State.PROMOTED] * len(OTHERS)
    assert await house.state(new) is State.READY
    assert house.woken


async def test_at_the_start_derived_files_that_no_model_uses_are_removed(house: House) -> None:
    used, of_an_old_record = house.converted(b"used"), house.converted(b"old")
    house.converted(b"unused")
    digest = await house.ready(b"new", derived=used.hex)
    await house.ready(b"old", version=1, derived=of_an_old_record.hex)
    await house.engines.reconcile()
    assert house.layout.all_derived() == [used]
    assert house.layout.model(digest).exists()
    assert house.woken == [None]


async def test_at_the_start_what_cannot_be_removed_stops_nothing(house: House) -> None:
    os.mkdir(house.derived.path(digest_of(b"a folder")))
    await house.engines.reconcile()
    assert house.woken == []
