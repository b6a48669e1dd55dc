"""Payloads that may be used once, remembered across restarts."""

import hashlib
import time
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from server.commits import Engine
from server.database import nonce
from server.errors import BadSignature, Overload
from server.shielding import whole

_MAX_NONCES = 1_000_000
_FORGOTTEN_AT_ONCE = 100  # more than are added, and no call pays for a day's worth
_OUT_OF_DATE = sa.delete(nonce).where(
    nonce.c.digest.in_(
        sa.select(nonce.c.digest)
        .where(nonce.c.until < sa.bindparam("now"))
        .limit(_FORGOTTEN_AT_ONCE)
    )
)

_COUNT = sa.select(sa.func.count()).select_from(nonce)


class Nonces:
    """The nonces that were seen and are not out of date.

    Parameters
    ----------
    engine : Engine
        Of `server.database`.
    clock : callable
        Seconds since 1970.
    most : int
        Nonces remembered at a time.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Callable[[], float] = time.time,
        most: int = _MAX_NONCES,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._most = most
        self._count: int | None = None  # counting a million for every call would take all the time

    @whole
    async def spend(self, text: str, *, until: float) -> None:
        """Take a nonce that nobody has used before; after `until` its payload is too old anyway.

        Raises
        ------
        BadSignature
            If it was used before: a replay; or if it is out of date by now, when nobody remembers
            any more whether it was.
        Overload
            If too many are remembered: never accepted unremembered.
        """
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        new = insert(nonce).values(digest=digest, until=until).on_conflict_do_nothing()
        grown = 0

        def spend(connection: sa.Connection) -> None:
            nonlocal grown
            now = self._clock()
            if until < now:  # it was judged in time, and waited for the database since
                raise BadSignature
            known = self._counted(connection)
            removed = connection.execute(_OUT_OF_DATE, {"now": now}).rowcount
            if known - removed >= self._most:
                raise Overload("too many nonces are remembered", retry_after_s=60)
            if connection.execute(new).rowcount != 1:
                raise BadSignature
            grown = 1 - removed

        await self._engine.write(spend, committed=lambda: self._grow(grown))

    def _counted(self, connection: sa.Connection) -> int:
        if self._count is None:
            self._count = connection.execute(_COUNT).scalar_one()
        return self._count

    def _grow(self, by: int) -> None:
        self._count = (self._count or 0) + by
