"""server/repository/audit.py: who changed what is in the transaction of the change."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from server import database
from server.digest import Digest
from server.repository.audit import SERVER, Action, Audit
from server.repository.registry import CRASHES_ALLOWED, State
from server.telemetry import ACTOR
from tests.repository.conftest import House

ONE, TWO = Digest(b"1" * 32), Digest(b"2" * 32)


async def actions(house: House, digest: Digest | None = ONE) -> list[tuple[str, str, str | None]]:
    """Return what was done to a model, the earliest first."""
    entries = await Audit(house.engine).page(before=None, limit=1000)
    return [(each.action, each.by, each.detail) for each in entries[::-1] if each.digest == digest]


@pytest.fixture(autouse=True)
def _acting() -> None:
    ACTOR.set("somebody")


async def test_each_change_of_a_model_is_recorded_once(house: House) -> None:
    registry = house.registry
    for _ in range(2):
        await registry.register(ONE)
        await registry.promote(ONE, 5)
    model = await registry.get(ONE)
    assert model is not None
    await registry.make_ready(model, {"format": "h5"})
    await registry.register(ONE, {"task": "genre"})
    model = await registry.get(ONE)
    assert model is not None
    await registry.reject(model, "it is none")
    await registry.register(ONE)
    await registry.forget_file(ONE)
    assert await actions(house) == [
        ("registered", "somebody", None),
        ("promoted", "somebody", None),
        ("ready", SERVER, None),
        ("declared", "somebody", None),
        ("rejected", SERVER, "it is none"),
        ("judged again", "somebody", None),
        ("file gone", SERVER, None),
    ]


async def test_a_model_that_is_disabled_is_recorded_as_the_servers_act(house: House) -> None:
    await house.registry.register(ONE)
    for _ in range(CRASHES_ALLOWED + 1):
        await house.registry.count_crash(ONE)
    (_, (action, by, detail)) = await actions(house)
    assert (action, by) == ("disabled", SERVER)
    assert detail is not None
    assert "3 times" in detail


async def test_promotions_of_one_sweep_are_recorded_each(house: House) -> None:
    ACTOR.set("")
    for digest in (ONE, TWO):
        await house.registry.register(digest)
    await house.registry.promote_each({ONE: 1, TWO: 2})
    for digest in (ONE, TWO):
        assert await actions(house, digest) == [
            ("registered", SERVER, None),
            ("promoted", SERVER, None),
        ]


async def test_what_is_no_change_of_a_model_is_recorded_too(house: House) -> None:
    await Audit(house.engine, clock=lambda: 1000.5).add(Action.TOKEN, detail="read for 60 s")
    (entry,) = await Audit(house.engine).page(before=None, limit=1)
    assert (entry.at, entry.action, entry.by) == (1000.5, "token minted", "somebody")


async def test_pages_follow_each_other_without_a_gap(house: House) -> None:
    digests = [Digest(bytes([number]) * 32) for number in range(7)]
    for digest in digests:
        await house.registry.register(digest)
    audit, found, before = Audit(house.engine), [], None
    while page := await audit.page(before=before, limit=3):
        found += [entry.digest for entry in page]
        before = page[-1].id
    assert found == digests[::-1]


def test_a_registry_of_an_older_server_gets_the_table(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'registry.sqlite3'}"
    config = Config()
    config.set_main_option("script_location", str(database.MIGRATIONS))
    old = sa.create_engine(url)
    with old.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            sa.insert(database.model).values(
                digest=ONE.raw, state=State.REGISTERED, registered_at=1.0
            )
        )
    database.migrate(url)
    with old.begin() as connection:
        assert connection.execute(sa.select(database.model.c.digest)).scalar() == ONE.raw
        assert connection.execute(sa.select(database.audit)).all() == []
    old.dispose()
