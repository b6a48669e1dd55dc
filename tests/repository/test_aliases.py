"""server/repository/aliases.py: names that are moved by who saw them last, and led back."""

import asyncio

import pytest
import sqlalchemy as sa

from server.database import alias
from server.digest import Digest
from server.errors import (
    AliasNotFound,
    BadDigest,
    MalformedRequest,
    ModelInUse,
    ModelNotFound,
    ModelState,
    Overload,
    PreconditionFailed,
)
from server.repository.aliases import ABSENT, MAX_ALIASES, Aliases, check_name
from server.repository.audit import Audit
from server.repository.switching import removing
from tests.repository.conftest import House

ONE, TWO, THREE = (Digest(bytes([k]) * 32) for k in (1, 2, 3))


@pytest.fixture
async def aliases(house: House) -> Aliases:
    for digest in (ONE, TWO, THREE):
        await house.registry.register(digest)
    return Aliases(house.engine, clock=lambda: 5.0)


async def test_a_name_leads_to_its_model_also_after_a_restart(
    house: House, aliases: Aliases
) -> None:
    made = await aliases.set("best", ONE, seen=ABSENT)
    assert aliases.resolve("best") == ONE
    assert aliases.resolve(TWO.hex) == TWO
    again = Aliases(house.engine)
    await again.load()
    assert again.get("best") == made
    assert again.by_model() == {ONE: ["best"]}


async def test_what_names_no_model_leads_to_none(aliases: Aliases) -> None:
    await aliases.set("best", ONE, seen=ABSENT)
    assert aliases.model_of("best") == ONE
    assert aliases.model_of(TWO.hex) == TWO
    for text in ("nobody", "", "../x", "f" * 63, "z" * 64, "f" * 65):
        assert aliases.model_of(text) is None


async def test_of_fifty_who_saw_the_same_one_wins_each_round(aliases: Aliases) -> None:
    seen = (await aliases.set("best", ONE, seen=ABSENT)).version
    for _ in range(5):
        tries = (aliases.set("best", TWO, seen=seen) for _ in range(50))
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        won = [one for one in outcomes if not isinstance(one, BaseException)]
        lost = [one for one in outcomes if isinstance(one, PreconditionFailed)]
        assert (len(won), len(lost)) == (1, 49)
        seen = won[0].version
        assert aliases.get("best") == won[0]


async def test_a_name_is_given_once(aliases: Aliases) -> None:
    tries = (aliases.set("best", digest, seen=ABSENT) for digest in (ONE, TWO, THREE))
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(one, PreconditionFailed) for one in outcomes) == 2


async def test_one_call_leads_back_and_another_forward(aliases: Aliases) -> None:
    await aliases.set("best", ONE, seen=None)
    with pytest.raises(ModelState, match="never stood"):
        await aliases.roll_back("best", seen=None)
    await aliases.set("best", TWO, seen=None)
    await aliases.set("best", TWO, seen=None)  # the same again: the one before stays
    back = await aliases.roll_back("best", seen=None)
    assert (back.digest, back.previous) == (ONE, TWO)
    assert (await aliases.roll_back("best", seen=back.version)).digest == TWO
    with pytest.raises(PreconditionFailed):
        await aliases.roll_back("best", seen=back.version)


async def test_a_removed_model_is_not_led_back_to(house: House, aliases: Aliases) -> None:
    await aliases.set("best", ONE, seen=None)
    with pytest.raises(ModelInUse, match="best"):
        await house.registry.apply(ONE, removing(ONE, at=1.0, by="ann"))
    await aliases.set("best", TWO, seen=None)
    assert await house.registry.apply(ONE, removing(ONE, at=1.0, by="ann"))
    with pytest.raises(ModelState, match="was removed"):
        await aliases.roll_back("best", seen=None)
    with pytest.raises(ModelNotFound):
        await aliases.set("best", ONE, seen=None)
    assert aliases.resolve("best") == TWO


async def test_a_name_that_is_taken_away_leads_nowhere(aliases: Aliases) -> None:
    made = await aliases.set("best", ONE, seen=None)
    with pytest.raises(PreconditionFailed):
        await aliases.remove("best", seen="another")
    await aliases.remove("best", seen=made.version)
    for call in (aliases.remove("best", seen=None), aliases.roll_back("best", seen=None)):
        with pytest.raises(AliasNotFound):
            await call
    with pytest.raises(AliasNotFound):
        aliases.get("best")


async def test_what_is_neither_a_name_nor_a_digest(aliases: Aliases) -> None:
    with pytest.raises(AliasNotFound):
        aliases.resolve("nobody")
    with pytest.raises(AliasNotFound):
        aliases.resolve("a" * 63)
    for text in ("", "A", "_a", "a b", "g" * 64, "0" * 65):
        with pytest.raises(BadDigest):
            aliases.resolve(text)


@pytest.mark.parametrize("name", ["", "A", "-a", ".a", "a/b", "a" * 64, "ä", "a\n"])
def test_a_name_that_cannot_be(name: str) -> None:
    with pytest.raises(MalformedRequest):
        check_name(name)


async def test_who_moved_it_is_recorded(house: House, aliases: Aliases) -> None:
    made = await aliases.set("best", ONE, seen=None)
    await aliases.remove("best", seen=made.version)
    entries = await Audit(house.engine).page(before=None, limit=2)
    told = [(entry.action, entry.digest, entry.detail) for entry in entries]
    assert told == [("alias removed", ONE, "best"), ("alias set", ONE, "best")]


@pytest.mark.parametrize("name", ["a", "best", "a" * 63, "0.9-rc_1"])
def test_a_name_that_can_be(name: str) -> None:
    assert check_name(name) == name


async def test_a_name_may_be_looked_for_that_nobody_gave(aliases: Aliases) -> None:
    assert aliases.find("best") is None
    assert aliases.find("best") is None
    made = await aliases.set("best", ONE, seen=ABSENT)
    assert aliases.find("best") == made


async def test_the_number_of_names_is_bounded(house: House, aliases: Aliases) -> None:
    rows = [
        {"name": f"n{k}", "digest": ONE.raw, "version": "v", "changed_at": 1.0}
        for k in range(MAX_ALIASES)
    ]
    await house.engine.write(lambda connection: connection.execute(sa.insert(alias), rows))
    await aliases.load()
    with pytest.raises(Overload, match="10000 names already"):
        await aliases.set("one-more", ONE, seen=ABSENT)
    assert (await aliases.set("n7", TWO, seen=None)).digest == TWO
