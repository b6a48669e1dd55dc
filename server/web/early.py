"""Who comes when every place is taken is refused by the head of the request alone.

A refusal must cost a fraction of what is refused, or ten times too many requests take the machine
from those that have a place. So nothing is made of this one: no request of Quart's, no task, no
look at its signature. Only its head is read, and what follows is read and dropped.
"""

import json
import logging
import secrets
import time
from collections.abc import Sequence
from typing import Any

from server.errors import Overload
from server.metrics import REQUEST_SECONDS, REQUESTS
from server.telemetry import REQUEST_ID, TRACE_ID
from server.web.body import Pace, RequestBody
from server.web.connection import Send, draining
from server.web.direct import DirectRoutes
from server.web.doors import caller_of
from server.web.problems import FIXED_HEADERS, rendered

_log = logging.getLogger(__name__)
_TRACED = b"traceparent"


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
        self._routes = [group for group in routes if group.check_room is not None]
        self._pace = pace
        self._legacy_status = legacy_status

    async def refuse(self, scope: Any, receive: Any, send: Send) -> bool:
        """Answer a request that finds no room; False when it finds some, or is traced."""
        if scope["method"] != "POST" or not self._routes:
            return False
        for group in self._routes:
            found = group.find(scope["path"])
            if found is not None and group.check_room is not None:
                try:
                    group.check_room(caller_of((scope["client"] or ("",))[0]))
                except Overload as error:
                    return await self._answer(scope, receive, send, found[0], error)
                return False
        return False

    async def _answer(
        self, scope: Any, receive: Any, send: Send, rule: str, error: Overload
    ) -> bool:
        fields = dict(scope["headers"])
        if _TRACED in fields:
            return False  # its answer names the trace
        started, path = time.monotonic(), scope["path"]
        REQUEST_ID.set(secrets.token_hex(8))
        TRACE_ID.set("")
        told, status, named = rendered(error, path=path, legacy_status=self._legacy_status)
        text = json.dumps(told, separators=(",", ":")).encode()
        named |= FIXED_HEADERS | {
            "X-Request-Id": REQUEST_ID.get(),
            "Content-Length": str(len(text)),
        }
        headers = [(name.lower().encode(), value.encode()) for name, value in named.items()]
        body = RequestBody(None, None)
        waits = fields.get(b"expect", b"").lower() == b"100-continue"
        body.attach(receive, self._pace, _never if waits else None)
        answer = draining(body, send)
        await answer({"type": "http.response.start", "status": status, "headers": headers})
        REQUESTS.labels(self._port, "POST", rule, str(status)).inc()
        REQUEST_SECONDS.labels(self._port).observe(time.monotonic() - started)
        _log.info(
            "request",
            extra={"method": "POST", "path": path[:120], "status": status, "ms": 0.0},
        )
        await answer({"type": "http.response.body", "body": text, "more_body": False})
        return True


async def _never() -> None:
    raise RuntimeError("a body that is refused is not asked for")
