"""server/repository/registry.py: the states and who may change them."""

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from server import database
from server.digest import Digest
from server.errors import BadDigest
from server.repository.registry import CRASHES_ALLOWED, Model, State
from tests.repository.conftest import House, digest_of

DIGEST = digest_of(b"model")
RECORD = {"binding": {"task": "genre"}}


async def state(house: House) -> State | None:
    model = await house.registry.get(DIGEST)
    return None if model is None else model.state


async def known(house: House) -> Model:
    model = await house.registry.get(DIGEST)
    assert model is not None
    return model


async def make_ready(house: House) -> None:
    await house.registry.register(DIGEST)
    await house.registry.promote(DIGEST, 5)
    await house.registry.make_ready(await known(house), RECORD)


async def test_an_unknown_digest_is_unknown(house: House) -> None:
    assert await state(house) is None


async def test_registering_twice_changes_nothing(house: House) -> None:
    await make_ready(house)
    assert not await house.registry.register(DIGEST)
    assert await state(house) is State.READY


async def test_an_unregistered_digest_is_not_promoted(house: House) -> None:
    assert not await house.registry.promote(DIGEST, 5)
    assert await state(house) is None


async def test_only_a_promoted_model_becomes_ready(house: House) -> None:
    await house.registry.register(DIGEST)
    assert not await house.registry.make_ready(await known(house), RECORD)
    assert await state(house) is State.REGISTERED


async def test_another_manifest_has_the_model_judged_again(house: House) -> None:
    await make_ready(house)
    assert await house.registry.register(DIGEST, {"task": "genre"})
    assert await state(house) is State.PROMOTED


async def test_the_same_manifest_again_changes_nothing(house: House) -> None:
    await house.registry.register(DIGEST, {"task": "genre"})
    await house.registry.promote(DIGEST, 5)
    await house.registry.make_ready(await known(house), RECORD)
    assert not await house.registry.register(DIGEST, {"task": "genre"})
    assert await state(house) is State.READY


async def test_registering_without_a_manifest_keeps_the_old_one(house: House) -> None:
    await house.registry.register(DIGEST, {"task": "genre"})
    await house.registry.register(DIGEST)
    model = await house.registry.get(DIGEST)
    assert model is not None
    assert model.manifest == {"task": "genre"}


async def test_a_rejected_model_that_is_registered_again_is_judged_again(house: House) -> None:
    await house.registry.register(DIGEST)
    await house.registry.promote(DIGEST, 5)
    await house.registry.reject(await known(house), "its axis 1 is wrong")
    assert await house.registry.register(DIGEST)
    assert await state(house) is State.PROMOTED


async def test_three_crashes_disable_a_model(house: House) -> None:
    await make_ready(house)
    disabled = [await house.registry.count_crash(DIGEST) for _ in range(CRASHES_ALLOWED)]
    assert disabled == [False, False, True]
    assert await state(house) is State.DISABLED


async def test_a_disabled_model_stays_disabled_when_registered_again(house: House) -> None:
    await make_ready(house)
    for _ in range(CRASHES_ALLOWED):
        await house.registry.count_crash(DIGEST)
    await house.registry.register(DIGEST, {"task": "genre"})
    assert await state(house) is State.DISABLED


async def test_listing_a_state_uses_the_index(house: House) -> None:
    await make_ready(house)
    assert [model.digest for model in await house.registry.in_state(State.READY)] == [DIGEST]


def test_the_revision_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(database.MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == database.REVISION


@pytest.mark.parametrize("text", ["", "ab", "g" * 64, "a" * 63, "a" * 65, " " + "a" * 63, None, 7])
def test_what_is_no_digest_is_refused(text: object) -> None:
    with pytest.raises(BadDigest):
        Digest.parse(text)


def test_an_upper_case_digest_is_written_lower() -> None:
    assert Digest.parse("AB" * 32).hex == "ab" * 32


async def test_a_verdict_on_an_older_manifest_does_not_count(house: House) -> None:
    await house.registry.register(DIGEST, {"task": "genre"})
    await house.registry.promote(DIGEST, 5)
    judged = await known(house)
    await house.registry.register(DIGEST, {"labels": ["a"]})
    assert not await house.registry.make_ready(judged, RECORD)
    assert not await house.registry.reject(judged, "by the older one")
    assert await house.registry.make_ready(await known(house), RECORD)
