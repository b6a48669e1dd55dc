"""The steps that calls are made of: what is to be asked, waited for or worked out."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from spectrogrampredictor.files import FileBody

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to be sent.

    Attributes
    ----------
    method, path : str
        What is asked.
    query : dict
        Behind the question mark.
    fields : mapping or None
        A body of JSON.
    body : bytes, FileBody or None
        Any other body.
    headers : dict
        Beside those that every request has.
    taken : collection of int
        Statuses of errors that the call takes itself.
    may_repeat : bool
        Whether it can be sent again when nobody knows whether it arrived.
    """

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    fields: Mapping[str, Any] | None = None
    body: bytes | FileBody | None = None
    headers: dict[str, str] = field(default_factory=dict)
    taken: Sequence[int] = ()
    may_repeat: bool = True


@dataclass(frozen=True, slots=True)
class Pause:
    """So many seconds to wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Something that blocks: reading a file, hashing it."""

    function: Callable[[], Any]


Step = Ask | Pause | Work
Steps = Generator[Step, Any, T]
