"""What is known of models, for people who look through them; nothing of it is remembered."""

from dataclasses import dataclass

import sqlalchemy as sa

from server.commits import Engine
from server.database import model
from server.digest import Digest
from server.repository.model import Model, State, read_model

MAX_LISTED = 1000  # of one page
_WITH_FILE = sa.text("state <> 'registered'")  # to the letter the condition of the index on states


@dataclass(frozen=True, slots=True)
class Listed:
    """A model and when it became what it is.

    Attributes
    ----------
    model : Model
        What the registry knows.
    size : int or None
        Of its file, in bytes; None before it was uploaded.
    registered_at : float
        Seconds since 1970.
    promoted_at, ready_at, rejected_at : float or None
        The same; None when it never was.
    """

    model: Model
    size: int | None
    registered_at: float
    promoted_at: float | None
    ready_at: float | None
    rejected_at: float | None


class Catalog:
    """The models, in the order of their digests.

    Parameters
    ----------
    engine : Engine
        Of `server.database`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def find(self, digest: Digest) -> Listed | None:
        """Return one model; None when it was never registered."""
        found = await self._list(sa.select(model).where(model.c.digest == digest.raw))
        return found[0] if found else None

    async def page(
        self, *, after: Digest | None, limit: int, state: State | None = None
    ) -> list[Listed]:
        """List models.

        Parameters
        ----------
        after : Digest or None
            Only those behind it; None: from the first on.
        limit : int
            At most so many.
        state : State or None
            Only those; None: all.
        """
        query = sa.select(model).order_by(model.c.digest).limit(limit)
        if after is not None:
            query = query.where(model.c.digest > after.raw)
        if state is not None:
            query = query.where(model.c.state == state)
            query = query.where(_WITH_FILE) if state is not State.REGISTERED else query
        return await self._list(query)

    async def _list(self, query: sa.Select[tuple[object, ...]]) -> list[Listed]:
        return await self._engine.read(lambda asked: [_listed(row) for row in asked.execute(query)])


def _listed(row: sa.Row[tuple[object, ...]]) -> Listed:
    return Listed(
        read_model(row),
        row.size,
        row.registered_at,
        row.promoted_at,
        row.ready_at,
        row.rejected_at,
    )
