"""The digests that may become models, and what became of them.

::

    register         promote             intake
    -------> registered -----> promoted ------> ready
                 ^                |  ^            |
                 |                v  |            v
                 |             rejected        disabled   (three crashes, or an operator)
                 `- file gone     `---- registered again: judged again

A state changes only from the states that the drawing allows; whoever comes second changes nothing.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from server.database import model, reading, writing
from server.digest import Digest
from server.shielding import whole

CRASHES_ALLOWED = 3
_LISTED = sa.text("state <> 'registered'")  # to the letter the condition of the index on states


class State(StrEnum):
    """Where a model stands."""

    REGISTERED = "registered"
    PROMOTED = "promoted"
    READY = "ready"
    REJECTED = "rejected"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Model:
    """What the registry knows of one digest.

    Attributes
    ----------
    digest : Digest
        The model's name.
    state : State
        Where it stands.
    manifest : dict or None
        What its owner declared.
    record : dict or None
        What intake found: signature and binding of a ready model.
    reason : str or None
        Why it was rejected or disabled.
    """

    digest: Digest
    state: State
    manifest: dict[str, Any] | None
    record: dict[str, Any] | None
    reason: str | None


class Registry:
    """The registry, durable: what a method has returned from survives a power cut.

    Every method is whole: a caller that leaves in the middle would leave the one connection to the
    garbage collector, with its transaction open.

    Parameters
    ----------
    engine : AsyncEngine
        Of `server.database`.
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, engine: AsyncEngine, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    @whole
    async def get(self, digest: Digest) -> Model | None:
        """Return what is known of a digest."""
        query = sa.select(model).where(model.c.digest == digest.raw)
        async with reading(self._engine) as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _model(row)

    @whole
    async def register(self, digest: Digest, manifest: dict[str, Any] | None = None) -> bool:
        """Let a digest become a model; True when a file that is here must be judged again.

        A digest that is known keeps its state, unless it was rejected or comes with another
        manifest.
        """
        text = _text(manifest)
        new = insert(model).values(
            digest=digest.raw,
            state=State.REGISTERED,
            manifest=text,
            registered_at=self._clock(),
        )
        changed = model.c.manifest.is_distinct_from(text) if text is not None else sa.false()
        again = (
            sa.update(model)
            .where(model.c.digest == digest.raw)
            .where(
                sa.or_(
                    model.c.state == State.REJECTED,
                    sa.and_(changed, model.c.state.in_([State.PROMOTED, State.READY])),
                )
            )
            .values(state=State.PROMOTED, reason=None, record=None)
        )
        keep = (
            sa.update(model)
            .where(model.c.digest == digest.raw)
            .values(manifest=sa.func.coalesce(text, model.c.manifest))
        )
        async with writing(self._engine) as connection:
            await connection.execute(new.on_conflict_do_nothing())
            judged_again = (await connection.execute(again)).rowcount == 1
            await connection.execute(keep)
        return judged_again

    @whole
    async def promote(self, digest: Digest, size: int) -> bool:
        """Record that a registered digest's file is in the store; False when that was known."""
        values = {"state": State.PROMOTED, "size": size, "promoted_at": self._clock()}
        return await self._move(digest, [State.REGISTERED], values)

    @whole
    async def forget_file(self, digest: Digest) -> bool:
        """Record that a model's file is gone: it may be uploaded again."""
        values = {"state": State.REGISTERED, "record": None, "reason": None}
        return await self._move(digest, list(State), values)

    @whole
    async def make_ready(self, judged: Model, record: dict[str, Any]) -> bool:
        """Record that a promoted model can predict; False when it was declared anew meanwhile."""
        values = {
            "state": State.READY,
            "record": json.dumps(record),
            "ready_at": self._clock(),
            "crashes": 0,
        }
        return await self._move(judged.digest, [State.PROMOTED], values, judged=judged)

    @whole
    async def reject(self, judged: Model, reason: str) -> bool:
        """Record that a promoted file is no model that can be served; otherwise as `make_ready`."""
        values = {"state": State.REJECTED, "reason": reason, "rejected_at": self._clock()}
        return await self._move(judged.digest, [State.PROMOTED], values, judged=judged)

    @whole
    async def count_crash(self, digest: Digest) -> bool:
        """Count a worker that the model took down; True when that disabled the model."""
        count = (
            sa.update(model).where(model.c.digest == digest.raw).values(crashes=model.c.crashes + 1)
        )
        reason = f"it took down its worker {CRASHES_ALLOWED} times in a row"
        disable = (
            sa.update(model)
            .where(model.c.digest == digest.raw, model.c.crashes >= CRASHES_ALLOWED)
            .where(model.c.state != State.DISABLED)
            .values(state=State.DISABLED, reason=reason)
        )
        async with writing(self._engine) as connection:
            await connection.execute(count)
            return (await connection.execute(disable)).rowcount == 1

    @whole
    async def clear_crashes(self, digest: Digest) -> None:
        """Forget earlier crashes, after an answer."""
        await self._move(digest, [State.READY], {"crashes": 0})

    @whole
    async def in_state(self, state: State, *, limit: int = -1) -> list[Model]:
        """List the models in a state other than `registered`, the latest promoted first."""
        query = (
            sa.select(model)
            .where(model.c.state == state, _LISTED)
            .order_by(model.c.promoted_at.desc())
            .limit(limit)
        )
        async with reading(self._engine) as connection:
            return [_model(row) for row in await connection.execute(query)]

    @whole
    async def rejected_before(self, when: float) -> list[Digest]:
        """List the models that were rejected before an instant."""
        query = sa.select(model.c.digest).where(
            model.c.state == State.REJECTED, _LISTED, model.c.rejected_at < when
        )
        async with reading(self._engine) as connection:
            return [Digest(row.digest) for row in await connection.execute(query)]

    @whole
    async def with_files(self) -> list[Digest]:
        """List the digests whose file should be in the store."""
        states = [State.PROMOTED, State.READY, State.DISABLED]
        query = sa.select(model.c.digest).where(model.c.state.in_(states), _LISTED)
        async with reading(self._engine) as connection:
            return [Digest(row.digest) for row in await connection.execute(query)]

    async def _move(
        self,
        digest: Digest,
        allowed: list[State],
        values: dict[str, Any],
        *,
        judged: Model | None = None,
    ) -> bool:
        change = (
            sa.update(model)
            .where(model.c.digest == digest.raw, model.c.state.in_(allowed))
            .values(**values)
        )
        if judged is not None:
            change = change.where(model.c.manifest.is_not_distinct_from(_text(judged.manifest)))
        async with writing(self._engine) as connection:
            return (await connection.execute(change)).rowcount == 1


def _text(manifest: dict[str, Any] | None) -> str | None:
    return None if manifest is None else json.dumps(manifest, sort_keys=True)


def _model(row: Any) -> Model:
    return Model(
        digest=Digest(row.digest),
        state=State(row.state),
        manifest=None if row.manifest is None else json.loads(row.manifest),
        record=None if row.record is None else json.loads(row.record),
        reason=row.reason,
    )
