"""Routes that are answered before Quart looks for them.

Quart makes two contexts, matches the path, looks for hooks and sends an answer in three parts: more
Python than a prediction of a small model needs besides. A direct route is a route of Quart like any
other, with its request handed in; where its path is spelled as it is written here, the connection
calls it at once, and does around it what the application does around every other.
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from quart import Blueprint, Response, request

from server.errors import Overload
from server.web.connection import StreamedRequest

Answer = Callable[[StreamedRequest], Awaitable[Response]]
Handler = Callable[..., Awaitable[Response]]
CheckRoom = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Found:
    """A route, and the path that led to it.

    Attributes
    ----------
    rule : str
        As the route was registered.
    handler : callable
        Takes the request, and the parts by name.
    parts : dict
        What stands in the path for each name of the rule.
    """

    rule: str
    handler: Handler
    parts: dict[str, str]


class DirectRoutes:
    """Routes of one blueprint.

    Parameters
    ----------
    name : str
        Of the blueprint.
    check_room : callable, optional
        Takes the address of a caller, and by name the parts of the path; raises `Overload` when
        nothing that is asked so would be answered now.

    Attributes
    ----------
    blueprint : Blueprint
        The same routes for Quart, which also knows the other methods and a slash at the end.
    """

    def __init__(self, name: str, check_room: CheckRoom | None = None) -> None:
        self._check_room = check_room
        self.blueprint = Blueprint(name, __name__)
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = []

    def post(self, rule: str) -> Callable[[Handler], Handler]:
        """Register what answers a POST: it takes the request, and the parts of the path by name.

        Parameters
        ----------
        rule : str
            The path; a part that varies is written `<name>`.
        """

        def add(handler: Handler) -> Handler:
            async def view(**parts: str) -> Response:
                return await handler(cast(StreamedRequest, request), **parts)

            self.blueprint.add_url_rule(rule, handler.__name__, view, methods=["POST"])
            pattern = re.compile(re.sub(r"<(\w+)>", r"(?P<\1>[^/]+)", rule))
            self._routes.append((rule, pattern, handler))
            return handler

        return add

    def find(self, path: str) -> "Found | None":
        """Return the route of this path for a POST; None when Quart should look."""
        for rule, pattern, handler in self._routes:
            if found := pattern.fullmatch(path):
                return Found(rule, handler, found.groupdict())
        return None

    def refusal_of(self, found: Found, address: str) -> Overload | None:
        """Return why a request would find no room; None when it would."""
        if self._check_room is not None:
            try:
                self._check_room(address, **found.parts)
            except Overload as error:
                return error.with_traceback(None)  # its frames would hold the connection in a ring
        return None


def find_direct(routes: Iterable[DirectRoutes], scope: Any) -> tuple[str, Answer] | None:
    """Return what answers the request of an ASGI scope without Quart, and the rule of its path."""
    if scope["method"] != "POST":
        return None
    found = next(filter(None, (group.find(scope["path"]) for group in routes)), None)
    return None if found is None else (found.rule, partial(found.handler, **found.parts))
