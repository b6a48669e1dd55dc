"""Changes that happen once, however often they are asked for: the header `Idempotency-Key`.

A client that heard no answer sends the same request with the same key again, signed anew: within a
day it gets the first answer, with `Idempotent-Replayed: true`. What was refused is tried again.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable

from quart import Response, request

from server.errors import MalformedRequest
from server.repository.kept_answers import KeptAnswer, KeptAnswers
from server.shielding import run_to_end
from server.signing.encoding import canonical_json
from server.signing.principal import Principal
from server.web.signed import JsonBody

HEADER = "Idempotency-Key"
SEALING = b"kept answers"  # what the secret is for that seals them
_KEY = re.compile(r"[!-~]{1,255}")
_TOLD = ("Content-Type", "ETag", "Location")


class Once:
    """Does what is asked for, or tells what was answered to it before.

    Parameters
    ----------
    kept : KeptAnswers
        Remember the answers.
    """

    def __init__(self, kept: KeptAnswers) -> None:
        self._kept = kept

    async def answer(self, opened: JsonBody, work: Callable[[], Awaitable[Response]]) -> Response:
        """Answer the request at hand.

        Parameters
        ----------
        opened : JsonBody
            What it says, and who says it; whether they may was checked before.
        work : callable
            Does it.

        Raises
        ------
        IdempotencyConflict
            If its key was used for something else.
        MalformedRequest
            If its key is none.
        """
        key = once_key(opened.principal)
        if key is None:
            return await work()
        said = {"fields": opened.fields, "seen": request.headers.get("If-Match")}
        asked = hashlib.sha256(canonical_json(said)).digest()
        # a client that leaves meanwhile will ask again: what was done must be remembered then
        return await run_to_end(self._answer(key, asked, work))

    async def _answer(
        self, key: bytes, asked: bytes, work: Callable[[], Awaitable[Response]]
    ) -> Response:
        async with self._kept.turn(key):
            before = await self._kept.find(key, asked)
            if before is not None:
                response = Response(before.body, before.status, headers=before.headers)
                response.headers["Idempotent-Replayed"] = "true"
                return response
            response = await work()
            headers = {name: response.headers[name] for name in _TOLD if name in response.headers}
            body = await response.get_data(as_text=True)
            await self._kept.keep(key, asked, KeptAnswer(response.status_code, headers, body))
            return response


def once_key(principal: Principal) -> bytes | None:
    """Return what the sender calls the request at hand, hashed; None when they call it nothing.

    Raises
    ------
    MalformedRequest
        If it is no name.
    """
    text = request.headers.get(HEADER)
    if text is None:
        return None
    if not _KEY.fullmatch(text):
        raise MalformedRequest(f"{HEADER} is 1 to 255 visible characters of ASCII")
    named = "\0".join((principal.key_id, request.path, text))
    return hashlib.sha256(named.encode()).digest()
