"""Payloads that may be used once, remembered across restarts."""

import hashlib
import time
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from server.database import nonce, writing
from server.errors import BadSignature, Overload
from server.shielding import whole

_MAX_NONCES = 1_000_000


class Nonces:
    """The nonces that were seen and are not out of date.

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
    async def spend(self, text: str, *, until: float) -> None:
        """Take a nonce that nobody has used before; after `until` its payload is too old anyway.

        Raises
        ------
        BadSignature
            If it was used before: a replay.
        Overload
            If too many are remembered: never accepted unremembered.
        """
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        new = insert(nonce).values(digest=digest, until=until).on_conflict_do_nothing()
        async with writing(self._engine) as connection:
            await connection.execute(sa.delete(nonce).where(nonce.c.until < self._clock()))
            count = sa.select(sa.func.count()).select_from(nonce)
            if (await connection.execute(count)).scalar_one() >= _MAX_NONCES:
                raise Overload("too many nonces are remembered", retry_after_s=60)
            if (await connection.execute(new)).rowcount != 1:
                raise BadSignature
