"""What an operation of the API is, for its description in OpenAPI."""

import re
from dataclasses import dataclass, field
from typing import Any

from server.errors import ServerError
from server.signing.principal import Scope

FILE = "application/octet-stream"
WHOLE: dict[str, Any] = {"type": "integer", "minimum": 1}
DIGITS: dict[str, Any] = {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}
_ALIAS = "[a-z0-9][a-z0-9._-]{0,62}"
MODEL: dict[str, Any] = {"type": "string", "pattern": f"^([0-9a-fA-F]{{64}}|{_ALIAS})$"}
_NAMED: dict[str, dict[str, Any]] = {  # what stands in paths, by what stands before it
    "/v1/models": MODEL,
    "/v1/aliases": {"type": "string", "pattern": f"^{_ALIAS}$"},
    "/v1/frontends": {"type": "string", "minLength": 1},
    "/v1/uploads": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "/v1/jobs": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "/artifacts": {"type": "string", "minLength": 1},
}

_IN_PATH = re.compile(r"([^{}]+)/{(\w+)}(/[^{}]*$)?")


@dataclass(frozen=True, slots=True)
class Parameter:
    """Something in the query or in a header.

    Attributes
    ----------
    name : str
        Its name.
    text : str
        What it means.
    kind : dict
        Its JSON schema.
    place : str
        ``query`` or ``header``.
    is_required : bool
        Whether it is refused without.
    """

    name: str
    text: str
    kind: dict[str, Any] = field(default_factory=lambda: {"type": "string"})
    place: str = "query"
    is_required: bool = False


Answer = type | tuple[type, ...] | str | None


@dataclass(frozen=True, slots=True)
class Operation:
    """A method on a path.

    Attributes
    ----------
    method, path : str
        As in HTTP; a part of the path that varies is written `{name}`.
    text : str
        What it does, in a sentence.
    scope : Scope or None
        What the caller must be allowed to do; None: anybody may.
    body : type or None
        Of the JSON of the request.
    media : tuple of str
        Other kinds of bodies, sent as they are.
    form : dict or None
        JSON schema of a multipart form that is taken as well.
    needs_body : bool
        Whether there must be one.
    answers : dict
        From a status to the type of its JSON, or several; a text names another kind, None says
        there is none.
    forms : tuple of str
        Other kinds of what is answered with 200, to who accepts them.
    lines : tuple of type
        Of the JSON lines that are answered to who accepts them.
    problems : tuple of ServerError classes
        What is refused beside what every operation refuses.
    parameters : tuple of Parameter
        In the query and in headers.
    """

    method: str
    path: str
    text: str
    scope: Scope | None
    body: type | None = None
    media: tuple[str, ...] = ()
    form: dict[str, Any] | None = None
    needs_body: bool = True
    answers: dict[int, Answer] = field(default_factory=dict)
    forms: tuple[str, ...] = ()
    lines: tuple[type, ...] = ()
    problems: tuple[type[ServerError], ...] = ()
    parameters: tuple[Parameter, ...] = ()

    @property
    def in_path(self) -> dict[str, dict[str, Any]]:
        """The JSON schema of each part of the path that varies."""
        found = {}
        for before, name, behind in _IN_PATH.findall(self.path):
            found[name] = DIGITS if behind == "/file" else _NAMED[before]
        return found
