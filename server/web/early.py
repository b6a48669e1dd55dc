"""Who comes when every place is taken is refused by the head of the request alone.

A refusal must cost a fraction of what is refused, or ten times too many requests take the machine
from those that have a place. So nothing is made of this one: no request of Quart's, no task, no
look at its signature. Only its head is read, and what follows is read and dropped::

    HTTP/1.1, plain, while many are refused: `http1` asks `find` as the head arrives
    everything else:                         the application asks `refuse` before Quart
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
from prometheus_client import Counter

from server.errors import Overload
from server.metrics import REQUEST_SECONDS, REQUESTS
from server.telemetry import REQUEST_ID, TRACE_ID
from server.web.body import DRAIN_S, Pace, RequestBody
from server.web.connection import Send, draining
from server.web.direct import DirectRoutes
from server.web.doors import caller_of
from server.web.problems import FIXED_HEADERS, rendered

_log = logging.getLogger(__name__)
_TRACED = b"traceparent"
_BUSY_S = 1.0
_ANSWER_S = 2 * DRAIN_S


def _encoded(fields: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in fields.items()]


_FIXED = _encoded(FIXED_HEADERS)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is sent instead of making a request of what came.

    Attributes
    ----------
    status : int
        Of the answer.
    headers : list of (bytes, bytes)
        The length of the body among them.
    body : bytes
        A problem.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class EarlyRefusals:
    """Refuses what a route would refuse before it reads the body.

    Parameters
    ----------
    port : str
        Its name, for the metrics.
    routes : sequence of DirectRoutes
        Know when they are full.
    pace : Pace
        How slow a body may be.
    legacy_status : bool
        Whether the original paths answer 200.
    """

    def __init__(
        self, port: str, routes: Sequence[DirectRoutes], *, pace: Pace, legacy_status: bool
    ) -> None:
        self._port = port
        self._routes = routes
        self._pace = pace
        self._legacy_status = legacy_status
        self._busy_until = 0.0
        self._counters: dict[tuple[str, int], Counter] = {}
        self._seconds = REQUEST_SECONDS.labels(port)

    @property
    def is_busy(self) -> bool:
        """Whether somebody was refused a moment ago."""
        return time.monotonic() < self._busy_until

    def find(self, method: str, path: str, address: str, names: Container[bytes]) -> Refusal | None:
        """Refuse a request that finds no room, and count it; None when it finds some, or is traced.

        Parameters
        ----------
        method, path : str
            Of the request; the path is decoded.
        address : str
            Of the caller.
        names : container of bytes
            Of its headers, in lower case.
        """
        if method != "POST" or _TRACED in names:
            return None  # the answer to a traced one names the trace
        for group in self._routes:
            found = group.find(path)
            if found is not None:
                error = group.refusal_of(found, caller_of(address))
                return None if error is None else self._made(path, found.rule, error)
        return None

    def _made(self, path: str, rule: str, error: Overload) -> Refusal:
        started = time.monotonic()
        self._busy_until = started + _BUSY_S
        REQUEST_ID.set(secrets.token_hex(8))
        TRACE_ID.set("")
        told, status, named = rendered(error, path=path, legacy_status=self._legacy_status)
        text = msgspec.json.encode(told)
        named |= {"X-Request-Id": REQUEST_ID.get(), "Content-Length": str(len(text))}
        headers = [*_encoded(named), *_FIXED]
        self._counted(rule, status).inc()
        self._seconds.observe(time.monotonic() - started)
        _log.info(
            "request",
            extra={"method": "POST", "path": path[:120], "status": status, "ms": 0.0},
        )
        return Refusal(status, headers, text)

    def _counted(self, rule: str, status: int) -> Counter:
        counter = self._counters.get((rule, status))
        if counter is None:
            counter = REQUESTS.labels(self._port, "POST", rule, str(status))
            self._counters[rule, status] = counter
        return counter

    async def refuse(self, scope: Any, receive: Any, send: Send) -> bool:
        """Answer a request that finds no room; False when it finds some, or is traced."""
        address = (scope["client"] or ("",))[0]
        fields = dict(scope["headers"])
        refusal = self.find(scope["method"], scope["path"], address, fields)
        if refusal is None:
            return False
        body = RequestBody(None, None)
        waits = fields.get(b"expect", b"").lower() == b"100-continue"
        body.attach(receive, self._pace, _never if waits else None)
        answer = draining(body, send)
        start = {"status": refusal.status, "headers": refusal.headers}
        with suppress(TimeoutError):  # nobody reads it
            async with asyncio.timeout(_ANSWER_S):
                await answer({"type": "http.response.start"} | start)
                last = {"type": "http.response.body", "body": refusal.body, "more_body": False}
                await answer(last)
        return True


async def _never() -> None:
    raise RuntimeError("a body that is refused is not asked for")
