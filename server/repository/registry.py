"""The digests that may become models, and what became of them.

::

    register         promote             intake
    -------> registered -----> promoted ------> ready
                 ^                |  ^            |
                 |                v  |            v
                 |             rejected        disabled   (three crashes, or an operator)
                 `- file gone     `---- registered again: judged again

A state changes only from the states that the drawing allows; whoever comes second changes nothing.

Models that have, or had, a file are remembered, so that a prediction costs no query. It is what the
database says: one process owns it, and one thread commits, reads, remembers and forgets. Digests
that are only registered, or unknown, are looked up each time: whoever asks for a million of them
must not drive out what is in use.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from server.commits import Engine
from server.database import model
from server.digest import Digest
from server.repository.audit import Action, actor, note
from server.repository.model import Model, State, manifest_text, read_model
from server.repository.recent import Recent
from server.repository.switching import Change
from server.shielding import whole

__all__ = ["CRASHES_ALLOWED", "Model", "Registry", "State"]
CRASHES_ALLOWED = 3
_LISTED = sa.text("state <> 'registered'")  # to the letter the condition of the index on states
_NEW = insert(model).on_conflict_do_nothing()
_BY_DIGEST = sa.select(model).where(model.c.digest == sa.bindparam("raw"))
_BY_DIGESTS = sa.select(model).where(model.c.digest.in_(sa.bindparam("raws", expanding=True)))
_REMEMBERED = 10_000
_REMEMBERED_BYTES = 32 << 20  # of manifests and records as texts; in use they take a few times that
_ENTRY_BYTES = 512
T = TypeVar("T")


_PROMOTE = (
    sa.update(model)
    .where(model.c.digest == sa.bindparam("raw"), model.c.state == State.REGISTERED)
    .values(state=State.PROMOTED, reason=None)
    .values(size=sa.bindparam("bytes"), promoted_at=sa.bindparam("now"))
)


class Registry:
    """The registry, durable: what a method has returned from survives a power cut.

    Every method that changes something is whole: what was begun is done, whoever leaves.

    Parameters
    ----------
    engine : Engine
        Of `server.database`.
    clock : callable
        Seconds since 1970.
    remembered : int
        Models that `get` finds without asking the database; 0 has it always ask.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Callable[[], float] = time.time,
        remembered: int = _REMEMBERED,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._recent: Recent[Model] = Recent(most=remembered, most_bytes=_REMEMBERED_BYTES)

    async def get(self, digest: Digest) -> Model | None:
        """Return what is known of a digest; what it holds is shared and must not be changed."""
        remembered = self._recent.get(digest.raw)
        if remembered is not None:
            return remembered
        return await self._engine.read(partial(self._look_up, digest))

    async def get_many(self, digests: Iterable[Digest]) -> dict[Digest, Model]:
        """Return what is known of several digests; those that are unknown are left out."""
        raws = [digest.raw for digest in digests]

        def look_up(connection: sa.Connection) -> dict[Digest, Model]:
            models = map(read_model, connection.execute(_BY_DIGESTS, {"raws": raws}))
            return {found.digest: found for found in models}

        return await self._engine.read(look_up)

    @whole
    async def register(self, digest: Digest, manifest: dict[str, Any] | None = None) -> bool:
        """Let a digest become a model; True when a file that is here must be judged again.

        A digest that is known keeps its state, unless it was rejected or comes with another
        manifest.
        """
        text, by = manifest_text(manifest), actor()
        new = {"digest": digest.raw, "state": State.REGISTERED, "manifest": text}

        def register(connection: sa.Connection) -> bool:
            now = self._clock()
            if connection.execute(_NEW, new | {"registered_at": now}).rowcount == 1:
                note(connection, Action.REGISTERED, digest, at=now, by=by)
                return False
            known = connection.execute(_BY_DIGEST, {"raw": digest.raw}).one()
            changed = text is not None and text != known.manifest
            again = known.state == State.REJECTED or (
                changed and known.state in {State.PROMOTED, State.READY}
            )
            values = {"manifest": text} if changed else {}
            if again:
                values |= {"state": State.PROMOTED, "reason": None, "record": None}
            if values:
                connection.execute(_change(digest).values(**values))
                done = Action.DECLARED if changed else Action.JUDGED_AGAIN
                note(connection, done, digest, at=now, by=by)
            return again

        return await self._write(digest, register)

    @whole
    async def promote(self, digest: Digest, size: int) -> bool:
        """Record that a registered digest's file is in the store; False when that was known."""
        return await self._write(digest, partial(self._promote, digest, size, actor()))

    @whole
    async def promote_each(self, sizes: Mapping[Digest, int]) -> dict[Digest, bool | BaseException]:
        """Record, in one commit, what `promote` records; whose record fails, fails alone."""
        changes = [
            (
                partial(self._promote, digest, size, actor()),
                partial(self._recent.forget, digest.raw),
            )
            for digest, size in sizes.items()
        ]
        return dict(zip(sizes, await self._engine.write_each(changes), strict=True))

    @whole
    async def forget_file(
        self, digest: Digest, *, reason: str | None = None, states: Iterable[State] = State
    ) -> bool:
        """Record that a model's file is gone, and why; False when it is in none of the states."""
        values = {"state": State.REGISTERED, "record": None, "reason": reason}
        return await self._move(digest, [*states], values, Action.FILE_GONE)

    @whole
    async def make_ready(self, judged: Model, record: dict[str, Any]) -> bool:
        """Record that a promoted model can predict; False when it was declared anew meanwhile."""
        values = {
            "state": State.READY,
            "record": json.dumps(record),
            "ready_at": self._clock(),
            "crashes": 0,
        }
        done = Action.READY
        return await self._move(judged.digest, [State.PROMOTED], values, done, judged=judged)

    @whole
    async def reject(
        self, judged: Model, reason: str, record: dict[str, Any] | None = None
    ) -> bool:
        """Record that a promoted file is no model that can be served; otherwise as `make_ready`."""
        values = {
            "state": State.REJECTED,
            "reason": reason,
            "record": None if record is None else json.dumps(record),
            "rejected_at": self._clock(),
        }
        done = Action.REJECTED
        return await self._move(judged.digest, [State.PROMOTED], values, done, judged=judged)

    @whole
    async def judge_again(self, digest: Digest) -> bool:
        """Send a ready model back to intake: what was made of it is gone or of an older kind."""
        return await self._move(digest, [State.READY], {"state": State.PROMOTED, "record": None})

    @whole
    async def count_crash(self, digest: Digest) -> bool:
        """Count a worker that the model took down; True when that disabled the model."""
        count = _change(digest).values(crashes=model.c.crashes + 1)
        reason = f"it took down its worker {CRASHES_ALLOWED} times in a row"
        disable = (
            _change(digest)
            .where(model.c.crashes >= CRASHES_ALLOWED, model.c.state != State.DISABLED)
            .values(state=State.DISABLED, reason=reason)
        )

        def count_and_disable(connection: sa.Connection) -> bool:
            connection.execute(count)
            disabled = connection.execute(disable).rowcount == 1
            if disabled:
                note(connection, Action.DISABLED, digest, at=self._clock(), detail=reason)
            return disabled

        return await self._write(digest, count_and_disable)

    @whole
    async def clear_crashes(self, digest: Digest) -> None:
        """Forget earlier crashes, after an answer."""
        await self._move(digest, [State.READY], {"crashes": 0})

    @whole
    async def apply(self, digest: Digest, change: Change) -> bool:
        """Make a change of `server.repository.switching`; True when it changed something."""
        return await self._write(digest, change)

    async def in_state(self, state: State, *, limit: int = -1) -> list[Model]:
        """List the models in a state other than `registered`, the latest promoted first."""
        query = (
            sa.select(model)
            .where(model.c.state == state, _LISTED)
            .order_by(model.c.promoted_at.desc())
            .limit(limit)
        )
        return await self._list(query, read_model)

    async def rejected_before(self, when: float) -> list[Digest]:
        """List the models that were rejected before an instant."""
        query = sa.select(model.c.digest).where(
            model.c.state == State.REJECTED, _LISTED, model.c.rejected_at < when
        )
        return await self._list(query, lambda row: Digest(row.digest))

    async def with_files(self) -> list[Digest]:
        """List the digests whose file should be in the store."""
        states = [State.PROMOTED, State.READY, State.DISABLED]
        query = sa.select(model.c.digest).where(model.c.state.in_(states), _LISTED)
        return await self._list(query, lambda row: Digest(row.digest))

    async def _list(self, query: sa.Select[Any], read: Callable[[Any], T]) -> list[T]:
        # there may be thousands: they are read in the database's thread too
        return await self._engine.read(lambda asked: [read(row) for row in asked.execute(query)])

    def _look_up(self, digest: Digest, connection: sa.Connection) -> Model | None:
        row = connection.execute(_BY_DIGEST, {"raw": digest.raw}).one_or_none()
        if row is None:
            return None
        found = read_model(row)
        if found.state is not State.REGISTERED:
            weight = _ENTRY_BYTES + len(row.manifest or "") + len(row.record or "")
            self._recent.keep(digest.raw, found, weight=weight)
        return found

    def _promote(self, digest: Digest, size: int, by: str, connection: sa.Connection) -> bool:
        now = self._clock()
        values = {"raw": digest.raw, "bytes": size, "now": now}
        promoted = connection.execute(_PROMOTE, values).rowcount == 1
        if promoted:
            note(connection, Action.PROMOTED, digest, at=now, by=by)
        return promoted

    async def _move(
        self,
        digest: Digest,
        allowed: list[State],
        values: dict[str, Any],
        done: Action | None = None,
        *,
        judged: Model | None = None,
    ) -> bool:
        change = _change(digest).where(model.c.state.in_(allowed)).values(**values)
        if judged is not None:
            change = change.where(
                model.c.manifest.is_not_distinct_from(manifest_text(judged.manifest))
            )

        def move(connection: sa.Connection) -> bool:
            moved = connection.execute(change).rowcount == 1
            if moved and done is not None:
                detail = values.get("reason")
                note(connection, done, digest, at=self._clock(), detail=detail)
            return moved

        return await self._write(digest, move)

    async def _write(self, digest: Digest, work: Callable[[sa.Connection], bool]) -> bool:
        return await self._engine.write(work, committed=partial(self._recent.forget, digest.raw))


def _change(digest: Digest) -> sa.Update:
    return sa.update(model).where(model.c.digest == digest.raw)
