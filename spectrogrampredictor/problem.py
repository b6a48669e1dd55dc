"""What every refusal of a server has in common (RFC 9457), and the kinds of them.

::

    Problem
    |-- BadRequest      the request cannot be read as what the path takes
    |-- Forbidden       who asks is not known, or may not do this
    |-- Unknown         there is no such path, model or name
    |-- Conflict        not as things are; another request first
    |-- BadModel        the model's file or manifest cannot be served
    |-- BadSound        the sound, or the feature row, cannot be used
    |-- Busy            later: `retry_after_s` says when
    `-- ServerFault     the server failed on this request

Each has a class for every slug, in `problems`; one that is newer than this package is raised as its
kind, or as `Problem`.
"""

import re
from collections.abc import Mapping
from typing import Any


class Problem(Exception):
    """An answer that is no success.

    Parameters
    ----------
    status : int
        Of the answer.
    slug : str
        What is wrong, in a word that never changes; empty where the answer was no problem.
    title, detail : str
        What is wrong in general, and here.
    instance : str
        The request, as the server's log names it.
    retry_after_s : float or None
        When to come back.
    members : mapping
        What else the problem tells, such as `limit` or `missing`.
    """

    slug = ""  # of a class: its name in lower case, with dashes

    def __init_subclass__(cls) -> None:
        cls.slug = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", cls.__name__).lower()

    def __init__(
        self,
        status: int,
        slug: str,
        title: str = "",
        detail: str = "",
        instance: str = "",
        *,
        retry_after_s: float | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{detail or title} ({slug or 'no problem'}, {status})")
        self.status = status
        self.slug = slug
        self.title = title
        self.detail = detail
        self.instance = instance
        self.retry_after_s = retry_after_s
        self.members = dict(members or {})


class BadRequest(Problem):
    """The request cannot be read as what the path takes."""


class Forbidden(Problem):
    """Who asks is not known, or may not do this."""


class Unknown(Problem):
    """There is no such path, model or name."""


class Conflict(Problem):
    """Not as things are; another request first."""


class BadModel(Problem):
    """The model's file or manifest cannot be served."""


class BadSound(Problem):
    """The sound, or the feature row, cannot be used."""


class Busy(Problem):
    """Later: `retry_after_s` says when."""


class ServerFault(Problem):
    """The server failed on this request."""
