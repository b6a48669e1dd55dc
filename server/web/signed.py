"""Signed bodies, held in memory while a request is answered.

::

    open      body = signed payload: JSON with its signature behind it
    open_raw  body = anything; its digest is signed in the header `Signed-Request`
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from server.digest import Digest
from server.repository.nonces import Nonces
from server.signing.header import only_signed, open_header
from server.signing.keyring import KeyRing
from server.signing.payload import Parse, Payload, open_payload
from server.web.body import BodyMemory, HeldBody, RequestBody, limited

THREAD_BYTES = 4 << 20  # a larger body is opened off the event loop: it takes 0.6 ms a megabyte


@dataclass(frozen=True, slots=True)
class RawBody:
    """A body as it came, and what was signed with it.

    Attributes
    ----------
    data : bytes
        All of it.
    digest : Digest
        Its SHA-256.
    fields : dict
        The other fields of the header.
    """

    data: bytes
    digest: Digest
    fields: dict[str, Any]


class SignedBodies:
    """Reads signed bodies.

    Parameters
    ----------
    keys : KeyRing
        Verify them.
    memory : BodyMemory
        Holds them.
    nonces : Nonces
        Remembers those that may be used once.
    max_age_s : float
        Oldest timestamp accepted.
    """

    def __init__(
        self, keys: KeyRing, memory: BodyMemory, nonces: Nonces, *, max_age_s: float
    ) -> None:
        self._keys = keys
        self._nonces = nonces
        self._memory = memory
        self._max_age_s = max_age_s
        self._large = asyncio.Semaphore(1)  # what is read takes many times its own memory

    @asynccontextmanager
    async def open(
        self,
        body: RequestBody,
        max_bytes: int,
        path: str,
        *,
        parse: Parse | None = None,
        bound: bool = False,
    ) -> AsyncIterator[dict[str, Any]]:
        """Hold the fields of a signed payload; its room counts as taken while the block runs.

        Raises
        ------
        ServerError
            As `open_payload`, or when there is no room.
        """

        def opened(held: HeldBody) -> Payload:
            return open_payload(
                held.take(),
                self._keys,
                path=path,
                now=time.time(),
                max_age_s=self._max_age_s,
                parse=parse,
                bound=bound,
            )

        with await self._memory.read(limited(body, max_bytes), body.caller) as held:
            if held.size <= THREAD_BYTES:
                payload = opened(held)
            else:
                async with self._large:
                    payload = await asyncio.to_thread(opened, held)
            await self._spend(payload.nonce, payload.nonce_until)
            yield payload.fields

    @asynccontextmanager
    async def open_raw(
        self, body: RequestBody, header: str, max_bytes: int, path: str
    ) -> AsyncIterator[RawBody]:
        """Hold a body whose digest was signed; otherwise as `open`.

        Raises
        ------
        ServerError
            As `open_header`, before anything of the body is read; or when there is no room.
        """
        signed = open_header(
            header, self._keys, path=path, now=time.time(), max_age_s=self._max_age_s
        )
        chunks = only_signed(limited(body, max_bytes), signed.digest)
        with await self._memory.read(chunks, body.caller) as held:
            await self._spend(signed.nonce, signed.nonce_until)
            yield RawBody(held.take(), signed.digest, signed.fields)

    async def _spend(self, nonce: str | None, until: float) -> None:
        if nonce is not None:
            await self._nonces.spend(nonce, until=until)
