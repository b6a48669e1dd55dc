"""server/repository/registry.py: what it remembers is what the database says."""

import asyncio
import random
import sqlite3
from collections.abc import Awaitable
from contextlib import closing

import pytest
import sqlalchemy as sa

from server.digest import Digest
from server.repository.registry import CRASHES_ALLOWED, Model, Registry, State
from tests.repository.conftest import House, digest_of

DIGEST = digest_of(b"model")
OTHERS = [digest_of(bytes([number])) for number in range(4)]


async def promote(house: House, digest: Digest = DIGEST) -> None:
    await house.registry.register(digest)
    await house.registry.promote(digest, 5)


async def known(registry: Registry, digest: Digest = DIGEST) -> Model:
    model = await registry.get(digest)
    assert model is not None
    return model


def change_behind(house: House, statement: str) -> None:
    """Change the database as no registry does, to tell what is remembered from what is read."""
    with closing(sqlite3.connect(house.layout.models / "registry.sqlite3")) as database:
        database.execute(statement)
        database.commit()


async def test_a_model_is_read_once(house: House) -> None:
    await promote(house)
    first = await known(house.registry)
    change_behind(house, "UPDATE model SET reason = 'changed'")
    assert await known(house.registry) is first


async def test_a_remembered_model_is_found_without_leaving_the_event_loop(house: House) -> None:
    await promote(house)
    model = await known(house.registry)
    asking = house.registry.get(DIGEST)
    with pytest.raises(StopIteration) as ended:
        asking.send(None)
    assert ended.value.value is model


async def test_a_registered_digest_is_read_each_time(house: House) -> None:
    await house.registry.register(DIGEST)
    await known(house.registry)
    change_behind(house, "UPDATE model SET reason = 'changed'")
    assert (await known(house.registry)).reason == "changed"


async def test_digests_that_nobody_uploaded_drive_nothing_out(house: House) -> None:
    small = Registry(house.engine, remembered=1)
    await promote(house)
    first = await known(small)
    for other in OTHERS:
        assert await small.get(other) is None
        await house.registry.register(other)
        assert await small.get(other) is not None
    assert await small.get(DIGEST) is first


async def test_every_change_is_seen_at_once(house: House) -> None:
    registry = house.registry
    await promote(house)
    states = [(await known(registry)).state]

    async def after(change: Awaitable[object]) -> None:
        await change
        states.append((await known(registry)).state)

    await after(registry.reject(await known(registry), "why"))
    await after(registry.register(DIGEST))
    await after(registry.make_ready(await known(registry), {}))
    await after(registry.register(DIGEST, {"task": "genre"}))
    await after(registry.make_ready(await known(registry), {}))
    for _ in range(CRASHES_ALLOWED):
        await after(registry.count_crash(DIGEST))
    await after(registry.forget_file(DIGEST))
    promoted, ready = State.PROMOTED, State.READY
    ended = [ready, ready, State.DISABLED, State.REGISTERED]
    assert states == [promoted, State.REJECTED, promoted, ready, promoted, ready, *ended]


async def test_a_change_that_fails_leaves_what_is_remembered_true(house: House) -> None:
    await promote(house)
    model = await known(house.registry)
    change_behind(
        house,
        "CREATE TRIGGER refuse BEFORE UPDATE ON model BEGIN SELECT RAISE(ABORT, 'refused'); END",
    )
    with pytest.raises(sa.exc.DatabaseError):
        await house.registry.make_ready(model, {})
    unremembering = Registry(house.engine, remembered=0)
    assert await known(house.registry) == await known(unremembering)


async def test_nobody_is_told_of_an_older_model_than_somebody_before(house: House) -> None:
    """One writes versions, many read: each must see the last one answered, or a later one."""
    await promote(house)
    await house.registry.register(DIGEST, {"card": "0"})
    answered = 0
    writing = True

    async def read() -> None:
        while writing:
            at_least = answered
            manifest = (await known(house.registry)).manifest
            assert manifest is not None
            assert int(manifest["card"]) >= at_least
            await asyncio.sleep(0.001)  # a reader that never rests keeps the database's thread out

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(read())
        for version in range(1, 200):
            await house.registry.register(DIGEST, {"card": str(version)})
            answered = version
        writing = False


async def test_concurrent_changes_leave_what_is_remembered_true(house: House) -> None:
    chance = random.Random(7)
    small = Registry(house.engine, remembered=2)  # so that models are driven out meanwhile

    async def act(digest: Digest) -> None:
        registry = small
        model = await registry.get(digest)
        match chance.randrange(8):
            case 0:
                await registry.register(digest, {"card": str(chance.random())})
            case 1:
                await registry.promote(digest, 1)
            case 2 if model is not None:
                await registry.make_ready(model, {"binding": chance.random()})
            case 3 if model is not None:
                await registry.reject(model, str(chance.random()))
            case 4:
                await registry.count_crash(digest)
            case 5:
                await registry.forget_file(digest)
            case _:
                await registry.get(digest)

    asking = Registry(house.engine, remembered=0)
    for digest in OTHERS:
        await promote(house, digest)
    for _ in range(60):
        await asyncio.gather(*(act(chance.choice(OTHERS)) for _ in range(16)))
        for digest in OTHERS:
            assert await small.get(digest) == await asking.get(digest)


async def test_of_several_promotions_one_fails_alone(house: House) -> None:
    for other in OTHERS:
        await house.registry.register(other)
    change_behind(
        house,
        "CREATE TRIGGER refuse BEFORE UPDATE ON model "
        f"WHEN OLD.digest = x'{OTHERS[1].hex}' BEGIN SELECT RAISE(ABORT, 'refused'); END",
    )
    outcomes = await house.registry.promote_each(dict.fromkeys([*OTHERS, DIGEST], 5))
    assert isinstance(outcomes.pop(OTHERS[1]), sa.exc.DatabaseError)
    assert outcomes == {OTHERS[0]: True, OTHERS[2]: True, OTHERS[3]: True, DIGEST: False}
    states = {digest: (await known(house.registry, digest)).state for digest in OTHERS}
    assert [digest for digest in OTHERS if states[digest] is State.REGISTERED] == [OTHERS[1]]


async def test_several_are_looked_up_at_once(house: House) -> None:
    await promote(house)
    await house.registry.register(OTHERS[0])
    found = await house.registry.get_many([DIGEST, *OTHERS])
    assert {digest: model.state for digest, model in found.items()} == {
        DIGEST: State.PROMOTED,
        OTHERS[0]: State.REGISTERED,
    }
