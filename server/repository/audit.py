"""Who changed what, and when: written in the transaction of the change itself."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import sqlalchemy as sa

from server.commits import Engine
from server.database import audit
from server.digest import Digest
from server.shielding import whole
from server.telemetry import ACTOR

SERVER = "server"  # who acts when no request does: a sweep, intake, a crash
OPERATOR = "operator"  # who acts at the command line
MAX_ENTRIES = 1000  # of one page
# the driver's own way: there is nothing to compile, and every registration comes by here
_ADD = 'INSERT INTO audit (at, action, digest, "by", detail) VALUES (?, ?, ?, ?, ?)'


class Action(StrEnum):
    """What was done."""

    REGISTERED = "registered"
    DECLARED = "declared"  # another manifest
    JUDGED_AGAIN = "judged again"
    PROMOTED = "promoted"
    READY = "ready"
    REJECTED = "rejected"
    DISABLED = "disabled"
    ENABLED = "enabled"
    FILE_GONE = "file gone"
    REMOVED = "removed"
    ALIAS = "alias set"
    ALIAS_GONE = "alias removed"
    TOKEN = "token minted"  # noqa: S105  # no secret


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was done.

    Attributes
    ----------
    id : int
        Larger than those before it.
    at : float
        When, in seconds since 1970.
    action : str
        What; see `Action`.
    digest : Digest or None
        Which model.
    by : str
        The key id of who asked for it, or `SERVER`.
    detail : str or None
        Why, or what for.
    """

    id: int
    at: float
    action: str
    digest: Digest | None
    by: str
    detail: str | None


def actor() -> str:
    """Return who is acting now; to be asked in the task of the request."""
    return ACTOR.get() or SERVER


def note(
    connection: sa.Connection,
    action: Action,
    digest: Digest | None,
    *,
    at: float,
    by: str = SERVER,
    detail: str | None = None,
) -> None:
    """Add an entry to the transaction at hand; it was the server's act where nobody is named."""
    raw = None if digest is None else digest.raw
    connection.exec_driver_sql(_ADD, (at, action.value, raw, by, detail))


class Audit:
    """The entries.

    Parameters
    ----------
    engine : Engine
        Of `server.database`.
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    @whole
    async def add(self, action: Action, *, detail: str) -> None:
        """Record what is no change of a model."""
        adding = partial(
            note, action=action, digest=None, at=self._clock(), by=actor(), detail=detail
        )
        await self._engine.write(adding)

    async def page(self, *, before: int | None, limit: int) -> list[Entry]:
        """List entries, the latest first.

        Parameters
        ----------
        before : int or None
            Only those with a smaller id; None: from the latest on.
        limit : int
            At most so many.
        """
        query = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(audit.c.id < before)
        return await self._engine.read(lambda asked: [_entry(row) for row in asked.execute(query)])


def _entry(row: sa.Row[tuple[int, float, str, bytes | None, str, str | None]]) -> Entry:
    digest = None if row.digest is None else Digest(row.digest)
    return Entry(row.id, row.at, row.action, digest, row.by, row.detail)
