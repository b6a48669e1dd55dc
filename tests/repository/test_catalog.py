"""server/repository/catalog.py and switching.py: pages, changes by people, and removal."""

from server.digest import Digest
from server.repository.audit import Audit
from server.repository.catalog import Catalog
from server.repository.recovery import Recovery
from server.repository.registry import State
from server.repository.switching import disabling, enabling, removing
from tests.repository.conftest import House, digest_of

ONE, TWO, THREE = (Digest(bytes([k]) * 32) for k in (1, 2, 3))
RECORD = {"binding": {"task": "genre"}}


async def _promoted(house: House, digest: Digest) -> None:
    await house.registry.register(digest)
    await house.registry.promote(digest, 7)


async def _ready(house: House, digest: Digest, record: dict[str, object] | None = None) -> None:
    await _promoted(house, digest)
    model = await house.registry.get(digest)
    assert model is not None
    await house.registry.make_ready(model, record or RECORD)


async def test_pages_go_by_digest_and_state(house: House) -> None:
    catalog = Catalog(house.engine)
    for digest in (THREE, ONE, TWO):
        await house.registry.register(digest)
    await house.registry.promote(TWO, 7)

    async def page(**asked: object) -> list[Digest]:
        wanted: dict[str, object] = {"after": None, "limit": 10} | asked
        return [found.model.digest for found in await catalog.page(**wanted)]  # type: ignore[arg-type]

    assert await page() == [ONE, TWO, THREE]
    assert await page(limit=2) == [ONE, TWO]
    assert await page(after=ONE) == [TWO, THREE]
    assert await page(state=State.REGISTERED) == [ONE, THREE]
    assert await page(state=State.PROMOTED) == [TWO]
    assert await page(state=State.READY) == []


async def test_one_is_found_with_its_size_and_instants(house: House) -> None:
    catalog = Catalog(house.engine)
    assert await catalog.find(ONE) is None
    await _ready(house, ONE)
    found = await catalog.find(ONE)
    assert found is not None
    assert (found.size, found.model.state) == (7, State.READY)
    assert found.promoted_at is not None
    assert found.ready_at is not None
    assert found.registered_at <= found.promoted_at <= found.ready_at
    assert found.rejected_at is None


async def test_off_and_on_again_is_as_it_was(house: House) -> None:
    await _ready(house, ONE)
    registry = house.registry
    assert not await registry.apply(ONE, enabling(ONE, at=1.0, by="ann"))
    assert await registry.apply(ONE, disabling(ONE, "why", at=2.0, by="ann"))
    model = await registry.get(ONE)
    assert model is not None
    assert (model.state, model.reason) == (State.DISABLED, "why")
    assert not await registry.apply(ONE, disabling(ONE, "again", at=3.0, by="ann"))
    assert await registry.apply(ONE, enabling(ONE, at=4.0, by="bob"))
    model = await registry.get(ONE)
    assert model is not None
    assert (model.state, model.reason, model.record) == (State.READY, None, RECORD)
    entries = await Audit(house.engine).page(before=None, limit=2)
    assert [(entry.action, entry.by, entry.at) for entry in entries] == [
        ("enabled", "bob", 4.0),
        ("disabled", "ann", 2.0),
    ]


async def test_what_was_never_judged_is_judged_when_it_is_switched_on(house: House) -> None:
    await _promoted(house, ONE)
    await house.registry.apply(ONE, disabling(ONE, "why", at=1.0, by="ann"))
    await house.registry.apply(ONE, enabling(ONE, at=1.0, by="ann"))
    model = await house.registry.get(ONE)
    assert model is not None
    assert model.state is State.PROMOTED


def _recovery(house: House) -> Recovery:
    return Recovery(
        layout=house.layout, registry=house.registry, store=house.store, on_promoted=lambda: None
    )


async def test_a_removed_model_takes_its_files_with_it(house: House) -> None:
    derived = digest_of(b"made of it")
    house.layout.model(ONE).write_bytes(b"a model")
    house.layout.derived(derived).write_bytes(b"made of it")
    await _ready(house, ONE, RECORD | {"derived": derived.hex})
    recovery, gone = _recovery(house), removing(ONE, at=1.0, by="ann")
    assert await recovery.remove(ONE, gone)
    assert await house.registry.get(ONE) is None
    assert not house.layout.model(ONE).exists()
    assert not house.layout.derived(derived).exists()
    assert not await recovery.remove(ONE, gone)


async def test_what_another_model_needs_stays(house: House) -> None:
    derived = digest_of(b"made of both")
    house.layout.derived(derived).write_bytes(b"made of both")
    for digest in (ONE, TWO):
        await _ready(house, digest, RECORD | {"derived": derived.hex})
    await house.registry.apply(TWO, disabling(TWO, "why", at=1.0, by="ann"))
    recovery = _recovery(house)
    assert await recovery.remove(ONE, removing(ONE, at=1.0, by="ann"))
    assert house.layout.derived(derived).exists()
    assert await recovery.remove(TWO, removing(TWO, at=1.0, by="ann"))
    assert not house.layout.derived(derived).exists()
