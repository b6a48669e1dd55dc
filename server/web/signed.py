"""Signed bodies, held in memory while a request is answered.

::

                dialect 1                                  dialect 2, or a bearer token
    open        JSON with its signature behind it          JSON
    open_raw    anything; its digest is signed in          anything
                the header `Signed-Request`
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from server.digest import Digest
from server.errors import MalformedRequest
from server.signing.header import NAME, only_signed, open_header
from server.signing.payload import Parse, Payload, open_payload, parse_fields
from server.signing.principal import Dialect, Principal, Scope
from server.web.body import BodyMemory, HeldBody, limited
from server.web.callers import Callers, judged
from server.web.connection import StreamedRequest

THREAD_BYTES = 4 << 20  # a larger body is opened off the event loop: it takes 0.6 ms a megabyte
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JsonBody:
    """What a JSON body says, and who says it.

    Attributes
    ----------
    principal : Principal
        Who asks.
    fields : dict
        The fields of the route.
    digest : Digest or None
        SHA-256 of the body as it came, where it is known or was asked for.
    """

    principal: Principal
    fields: dict[str, Any]
    digest: Digest | None


@dataclass(frozen=True, slots=True)
class RawBody:
    """A body as it came, and what was said with it.

    Attributes
    ----------
    principal : Principal
        Who asks.
    data : bytes
        All of it.
    digest : Digest
        Its SHA-256.
    fields : dict
        The fields of the route: of the header in dialect 1, else of the query.
    still : callable
        Returns who asks by now, or raises: an answer may take hours, too.
    """

    principal: Principal
    data: bytes
    digest: Digest
    fields: dict[str, Any]
    still: Callable[[], Principal]


@dataclass(frozen=True, slots=True)
class StreamedBody:
    """A body that comes piece by piece.

    Attributes
    ----------
    principal : Principal
        Who asks.
    chunks : asynchronous iterable of bytes
        The pieces.
    expected : Digest or None
        Its SHA-256, where the head says so.
    fields : dict
        The fields of the route: of the header in dialect 1, else of the query.
    still : callable
        Returns who asks by now, or raises.
    """

    principal: Principal
    chunks: AsyncIterable[bytes]
    expected: Digest | None
    fields: dict[str, Any]
    still: Callable[[], Principal]


class SignedBodies:
    """Reads signed bodies.

    Parameters
    ----------
    callers : Callers
        Find out who asks.
    memory : BodyMemory
        Holds them.
    """

    def __init__(self, callers: Callers, memory: BodyMemory) -> None:
        self._callers = callers
        self._memory = memory
        self._large = asyncio.Semaphore(1)  # what is read takes many times its own memory

    @asynccontextmanager
    async def open(
        self,
        asked: StreamedRequest,
        max_bytes: int,
        *scopes: Scope,
        parse: Parse = parse_fields,
        bound: bool = False,
        once: bool = False,
        hashed: bool = False,
    ) -> AsyncIterator[JsonBody]:
        """Hold the fields of a JSON body; its room counts as taken while the block runs.

        What must count `once` holds a nonce, in every dialect that signs.

        Raises
        ------
        ServerError
            As `open_payload` and `Callers.identify`, or when there is no room.
        """
        caller = await self._callers.identify(asked, *scopes)
        if caller is not None:
            body = caller.body(asked.stream_body, max_bytes)
            with await self._memory.read(body, asked.caller) as held:
                fields = await self._off_the_loop(held, lambda: parse(held.take()))
                yield JsonBody(caller.principal, fields, body.digest)
            return

        def opened() -> tuple[Payload, Digest | None]:
            text = held.take()
            digest = Digest(hashlib.sha256(text).digest()) if hashed else None
            payload = self._payload(text, asked.path, parse=parse, bound=bound or once)
            _check_once(payload.nonce, once=once)
            return payload, digest

        pieces = limited(asked.stream_body, max_bytes)
        with await self._memory.read(pieces, asked.caller) as held:
            payload, digest = await self._off_the_loop(held, opened)
            principal = await self._callers.by_key(
                payload.key,
                asked.stream_body.received,
                *scopes,
                nonce=payload.nonce,
                until=payload.nonce_until,
            )
            yield JsonBody(principal, payload.fields, digest)

    @asynccontextmanager
    async def open_raw(
        self,
        asked: StreamedRequest,
        max_bytes: int,
        *scopes: Scope,
        options: Collection[str] = (),
        once: bool = False,
    ) -> AsyncIterator[RawBody]:
        """Hold a body that is no JSON; otherwise as `open`.

        What stands in the query under a name of `options` is no field: the route reads it itself.

        Raises
        ------
        ServerError
            As `open_header` and `Callers.identify`, before anything of the body is read; or when
            there is no room.
        """
        caller = await self._callers.identify(asked, *scopes)
        if caller is not None:
            body = caller.body(asked.stream_body, max_bytes)
            fields = query_fields(asked, options)
            with await self._memory.read(body, asked.caller) as held:
                yield RawBody(caller.principal, held.take(), body.digest, fields, caller.still)
            return
        streamed, digest = await self._by_header(asked, max_bytes, scopes, once=once)
        with await self._memory.read(streamed.chunks, asked.caller) as held:
            data = held.take()
            yield RawBody(streamed.principal, data, digest, streamed.fields, streamed.still)

    async def _by_header(
        self, asked: StreamedRequest, max_bytes: int, scopes: Collection[Scope], *, once: bool
    ) -> tuple[StreamedBody, Digest]:
        """Open the header `Signed-Request`; return the body to come, and what it hashes to."""
        signed = open_header(
            asked.headers.get(NAME, ""),
            self._callers.keys(),
            path=asked.path,
            now=time.time(),
            max_age_s=self._callers.max_age_s,
        )
        _check_once(signed.nonce, once=once)
        principal = await self._callers.by_key(
            signed.key,
            asked.stream_body.declared or 0,
            *scopes,
            nonce=signed.nonce,
            until=signed.nonce_until,
        )
        still = partial(self._callers.still, signed.key, Dialect.ITSDANGEROUS, scopes)
        pieces = judged(limited(asked.stream_body, max_bytes), still)
        chunks = only_signed(pieces, signed.digest)
        body = StreamedBody(principal, chunks, signed.digest, signed.fields, still)
        return body, signed.digest

    @asynccontextmanager
    async def open_stream(
        self, asked: StreamedRequest, max_bytes: int, *scopes: Scope, once: bool = False
    ) -> AsyncIterator[StreamedBody]:
        """Give a body piece by piece, which fails at its end if it is not the one signed.

        Raises
        ------
        ServerError
            As `open_raw`, before anything of the body is read.
        """
        caller = await self._callers.identify(asked, *scopes)
        if caller is not None:
            expected = caller.expected.sha256 if caller.expected is not None else None
            body = caller.body(asked.stream_body, max_bytes)
            fields = query_fields(asked)
            yield StreamedBody(caller.principal, body, expected, fields, caller.still)
            return
        streamed, _ = await self._by_header(asked, max_bytes, scopes, once=once)
        yield streamed

    async def _off_the_loop(self, held: HeldBody, work: Callable[[], T]) -> T:
        if held.size <= THREAD_BYTES:
            return work()
        async with self._large:
            return await asyncio.to_thread(work)

    def _payload(self, text: bytes, path: str, *, parse: Parse, bound: bool) -> Payload:
        return open_payload(
            text,
            self._callers.keys(),
            path=path,
            now=time.time(),
            max_age_s=self._callers.max_age_s,
            parse=parse,
            bound=bound,
        )


def _check_once(nonce: str | None, *, once: bool) -> None:
    """Pass when a payload of dialect 1 counts once, where it must.

    Raises
    ------
    MalformedRequest
        If it could be sent again, under another method too: what it signs names none.
    """
    if once and nonce is None:
        raise MalformedRequest(
            "on this path a payload of dialect 1 holds `_nonce` beside `_path` and `_ts`: a text "
            "that was not used before"
        )


def query_fields(asked: StreamedRequest, options: Collection[str] = ()) -> dict[str, Any]:
    """Return the fields of the route that came in the query, without those that are options.

    Raises
    ------
    MalformedRequest
        If one of them came twice.
    """
    pairs = [pair for pair in asked.args.items(multi=True) if pair[0] not in options]
    fields: dict[str, Any] = dict(pairs)
    if len(fields) != len(pairs):
        raise MalformedRequest("the query names a field twice")
    return fields
