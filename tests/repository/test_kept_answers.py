"""server/repository/kept_answers.py: answers that are given again, for a day."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from server.errors import IdempotencyConflict
from server.repository.kept_answers import KEEP_S, KeptAnswer, KeptAnswers
from tests.repository.conftest import House

SECRET = bytes(range(32))
KEY, ASKED, OTHER = (bytes([k]) * 32 for k in (1, 2, 3))
ANSWER = KeptAnswer(201, {"Location": "/v1/models/x"}, '{"token":"do not tell"}')


async def test_an_answer_is_found_again_after_a_restart(house: House) -> None:
    assert await KeptAnswers(house.engine, SECRET).find(KEY, ASKED) is None
    await KeptAnswers(house.engine, SECRET).keep(KEY, ASKED, ANSWER)
    assert await KeptAnswers(house.engine, SECRET).find(KEY, ASKED) == ANSWER
    assert await KeptAnswers(house.engine, SECRET).find(OTHER, ASKED) is None


async def test_another_request_under_the_same_key_is_refused(house: House) -> None:
    kept = KeptAnswers(house.engine, SECRET)
    await kept.keep(KEY, ASKED, ANSWER)
    with pytest.raises(IdempotencyConflict):
        await kept.find(KEY, OTHER)


async def test_an_answer_is_forgotten_after_a_day(house: House) -> None:
    now = 1000.0
    kept = KeptAnswers(house.engine, SECRET, clock=lambda: now)
    await kept.keep(KEY, ASKED, ANSWER)
    now += KEEP_S - 1
    assert await kept.find(KEY, ASKED) == ANSWER
    now += 1
    assert await kept.find(KEY, OTHER) is None
    await kept.keep(OTHER, ASKED, ANSWER)
    with closing(sqlite3.connect(house.layout.models / "registry.sqlite3")) as database:
        assert database.execute("SELECT count(*) FROM kept_answer").fetchone() == (1,)


async def test_the_database_tells_nobody_what_was_answered(house: House) -> None:
    await KeptAnswers(house.engine, SECRET).keep(KEY, ASKED, ANSWER)
    for path in house.layout.models.glob("registry.sqlite3*"):
        assert b"do not tell" not in path.read_bytes()
    assert await KeptAnswers(house.engine, bytes(32)).find(KEY, ASKED) is None


async def test_the_same_request_has_its_turn_after_the_other(house: House) -> None:
    kept = KeptAnswers(house.engine, SECRET)
    answered: list[int] = []

    async def answer() -> None:
        async with kept.turn(KEY):
            if await kept.find(KEY, ASKED) is None:
                answered.append(1)
                await kept.keep(KEY, ASKED, ANSWER)

    await asyncio.gather(*(answer() for _ in range(20)))
    assert answered == [1]
    one, other = kept.turn(KEY), kept.turn(OTHER)
    assert one is kept.turn(KEY)
    assert one is not other
