"""Whose job it is: who asks after another's hears what they would hear if it were not there."""

import re
from collections.abc import Callable
from typing import Any, cast

from quart import request

from server.errors import MalformedRequest
from server.job_errors import JobNotFound
from server.jobs.desk import Desk
from server.jobs.job import Job
from server.signing.principal import Dialect, Principal, Scope
from server.web.connection import StreamedRequest
from server.web.signed import SignedBodies, query_fields

_ID = re.compile(r"[0-9a-f]{32}")


class JobAccess:
    """Finds jobs for those whose they are.

    Parameters
    ----------
    desk : Desk
        Knows them.
    bodies : SignedBodies
        Find out who asks.
    """

    def __init__(self, desk: Desk, bodies: SignedBodies) -> None:
        self._desk = desk
        self._bodies = bodies

    async def reader(self) -> tuple[Principal, dict[str, Any]]:
        """Return who asks to look, and the fields of the route.

        Raises
        ------
        ScopeMissing
            If they may neither read nor predict.
        """
        still, fields = await self.watcher()
        return still(), fields

    async def watcher(self) -> tuple[Callable[[], Principal], dict[str, Any]]:
        """Return what says who asks to look, by now, and the fields of the route.

        It raises as `Callers.still` does, and `ScopeMissing` if they may neither read nor predict.
        """
        async with self._bodies.open_raw(asked(), 0) as raw:
            # in dialect 1 the header need not hold what only says what to look at
            fields = raw.fields | query_fields(asked())

        def looks() -> Principal:
            principal = raw.still()
            if not principal.allows(Scope.PREDICT):
                principal.require(Scope.READ)
            return principal

        return looks, fields

    async def changer(self) -> tuple[Principal, dict[str, Any]]:
        """Return who asks to end a job, and the fields of the route.

        Raises
        ------
        ScopeMissing
            If they may not predict.
        """
        async with self._bodies.open_raw(asked(), 0, Scope.PREDICT, once=True) as raw:
            return raw.principal, raw.fields

    async def job(self, name: str, principal: Principal) -> Job:
        """Return a job of the one who asks.

        Raises
        ------
        JobNotFound
            If it is not, or not of a model that they may ask.
        """
        found = await self._desk.queue.get(name) if _ID.fullmatch(name) else None
        if found is None or not is_of(found, principal):
            raise JobNotFound
        return found


def is_of(job: Job, principal: Principal) -> bool:
    """Tell whether a job is somebody's."""
    scopes = (Scope.READ, Scope.PREDICT)
    return job.owner == principal.key_id and any(
        principal.allows(scope, job.asked.model) for scope in scopes
    )


def signed_fields(fields: dict[str, Any], principal: Principal) -> dict[str, Any]:
    """Return the fields of a request that does something, which must all be signed.

    Raises
    ------
    MalformedRequest
        If some stand in the query alone, in dialect 1, which does not sign it.
    """
    unsigned = query_fields(asked()).items() - fields.items()
    if principal.dialect is Dialect.ITSDANGEROUS and unsigned:
        raise MalformedRequest(
            "in dialect 1 the fields stand in the header Signed-Request, where they are signed, "
            "or in the form; not in the query"
        )
    return fields


def asked() -> StreamedRequest:
    """Return the request at hand."""
    return cast(StreamedRequest, request)
