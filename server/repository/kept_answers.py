"""Answers to requests that may come again: a client that heard nothing asks once more.

::

    key      of whom, of which path, and what the client calls the request
    asked    digest of what was asked
    sealed   the answer, encrypted: it may hold a token
"""

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from server.commits import Engine
from server.database import kept_answer
from server.errors import IdempotencyConflict
from server.shielding import whole

KEEP_S = 24 * 3600.0
_NONCE_BYTES = 12  # NIST SP 800-38D
_FORGOTTEN_AT_ONCE = 100  # more than are added, and no call pays for a day's worth
_OUT_OF_DATE = sa.delete(kept_answer).where(
    kept_answer.c.key.in_(
        sa.select(kept_answer.c.key)
        .where(kept_answer.c.until <= sa.bindparam("now"))
        .limit(_FORGOTTEN_AT_ONCE)
    )
)
_BY_KEY = sa.select(kept_answer).where(kept_answer.c.key == sa.bindparam("raw"))
_GONE = sa.delete(kept_answer).where(kept_answer.c.key == sa.bindparam("raw"))


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer.

    Attributes
    ----------
    status : int
        Of HTTP.
    headers : dict of str to str
        Those that belong to what was done.
    body : str
        JSON.
    """

    status: int
    headers: dict[str, str]
    body: str


class KeptAnswers:
    """The answers of a day.

    Parameters
    ----------
    engine : Engine
        Of `server.database`.
    secret : bytes
        32 bytes, that nobody finds in the database.
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self, engine: Engine, secret: bytes, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._cipher = AESGCM(secret)
        self._clock = clock
        self._turns: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    def turn(self, key: bytes) -> asyncio.Lock:
        """Return what is held while a request is answered: the same one waits for its answer."""
        turn = self._turns.get(key)
        if turn is None:
            turn = self._turns[key] = asyncio.Lock()
        return turn

    async def find(self, key: bytes, asked: bytes) -> KeptAnswer | None:
        """Return what was answered before.

        Raises
        ------
        IdempotencyConflict
            If something else was asked.
        """
        row = await self._engine.read(
            lambda connection: connection.execute(_BY_KEY, {"raw": key}).one_or_none()
        )
        if row is None or row.until <= self._clock():
            return None
        if row.asked != asked:
            raise IdempotencyConflict
        try:
            text = self._cipher.decrypt(row.sealed[:_NONCE_BYTES], row.sealed[_NONCE_BYTES:], key)
        except InvalidTag:
            return None  # the server has got another key of its own meanwhile
        return KeptAnswer(*json.loads(text))

    @whole
    async def keep(self, key: bytes, asked: bytes, answer: KeptAnswer) -> None:
        """Remember an answer, for a day."""
        text = json.dumps([answer.status, answer.headers, answer.body]).encode()
        nonce = secrets.token_bytes(_NONCE_BYTES)
        now = self._clock()
        new = sa.insert(kept_answer).values(
            key=key,
            asked=asked,
            sealed=nonce + self._cipher.encrypt(nonce, text, key),
            until=now + KEEP_S,
        )

        def keep(connection: sa.Connection) -> None:
            connection.execute(_OUT_OF_DATE, {"now": now})
            connection.execute(_GONE, {"raw": key})
            connection.execute(new)

        await self._engine.write(keep)
