"""server/repository/registry.py and nonces.py: no query grows with the registered digests."""

import time
from collections.abc import Awaitable, Callable

import pytest
import sqlalchemy as sa

from server.repository.nonces import Nonces
from server.repository.registry import Model, Registry, State
from tests.repository.conftest import House, digest_of

DIGEST = digest_of(b"model")
JUDGED = Model(DIGEST, State.PROMOTED, {"card": "1"}, None, None)
CALLS: list[Callable[[Registry], Awaitable[object]]] = [
    lambda registry: registry.get(DIGEST),
    lambda registry: registry.get_many([DIGEST, digest_of(b"another")]),
    lambda registry: registry.register(DIGEST, {"card": "2"}),
    lambda registry: registry.promote(DIGEST, 1),
    lambda registry: registry.forget_file(DIGEST),
    lambda registry: registry.make_ready(JUDGED, {}),
    lambda registry: registry.reject(JUDGED, "why"),
    lambda registry: registry.count_crash(DIGEST),
    lambda registry: registry.clear_crashes(DIGEST),
    lambda registry: registry.in_state(State.PROMOTED),
    lambda registry: registry.in_state(State.READY, limit=3),
    lambda registry: registry.rejected_before(time.time()),
    lambda registry: registry.with_files(),
]


class Statements:
    """What an engine executes, and how the database would go about it."""

    def __init__(self, house: House) -> None:
        self._engine = house.engine
        self._seen: list[tuple[str, object]] = []
        sa.event.listen(self._engine._engine, "before_cursor_execute", self._see)

    def _see(self, _c: object, _cursor: object, sql: str, values: object, *_rest: object) -> None:
        if sql.startswith(("SELECT", "UPDATE", "DELETE")):
            self._seen.append((sql, values))

    async def plans(self) -> list[str]:
        """Return the plan of every statement until now."""
        seen, plans = list(self._seen), []
        for sql, values in seen:
            rows = await self._engine.read(
                lambda connection, sql=sql, values=values: connection.exec_driver_sql(  # type: ignore[misc]  # defaults bind the loop's values
                    f"EXPLAIN QUERY PLAN {sql}", values
                ).all()
            )
            plans += [str(row.detail) for row in rows]
        return plans


@pytest.mark.parametrize("call", CALLS)
async def test_no_query_of_the_registry_scans_a_table(
    house: House, call: Callable[[Registry], Awaitable[object]]
) -> None:
    await house.registry.register(DIGEST, {"card": "1"})
    statements = Statements(house)
    await call(house.registry)
    plans = await statements.plans()
    assert plans
    assert [plan for plan in plans if plan.startswith("SCAN")] == []


async def test_no_query_of_a_start_scans_a_table(house: House) -> None:
    await house.registry.register(DIGEST)
    house.store.path(DIGEST).write_bytes(b"model")
    statements = Statements(house)
    await house.recovery.reconcile()
    assert [plan for plan in await statements.plans() if plan.startswith("SCAN")] == []


async def test_only_the_first_nonce_of_a_process_counts_the_others(house: House) -> None:
    nonces = Nonces(house.engine)
    await nonces.spend("first", until=9e9)
    statements = Statements(house)
    await nonces.spend("second", until=9e9)
    plans = await statements.plans()
    assert plans
    assert [plan for plan in plans if plan.startswith("SCAN")] == []
