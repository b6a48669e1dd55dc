"""What a job is.

::

    queued --claim--> running --finish--> done
      ^  `-cancel-.      |  `--cancel---> cancelled
      |           v      |  `--fail-----> failed
      `--------------retry, release
"""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from server.digest import Digest
from server.errors import ServerError
from server.signing.encoding import canonical_json

INPUT = ".input"  # the sound among the files of a job; no artifact's name begins with a dot


class State(StrEnum):
    """Where a job is on its way."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({State.DONE, State.FAILED, State.CANCELLED})


class Kind(StrEnum):
    """What an event tells; the last three tell that there are no more."""

    QUEUED = "queued"
    STARTED = "started"
    PROGRESS = "progress"
    RETRY = "retry"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


LAST = frozenset({Kind.DONE, Kind.FAILED, Kind.CANCELLED})


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be done: equal ones have equal results.

    Attributes
    ----------
    task : str
        Of the contracts.
    version : int
        Of the contract.
    model : Digest or None
        None: the baseline answers.
    manifest : Digest or None
        Of what the model's owner declared.
    baseline : str
        Its id; empty where a model answers.
    parameters : mapping
        Every parameter of the contract, checked.
    sound : Digest
        Of the input.
    sound_bytes : int
        Its size.
    ext : str or None
        The format that the caller named.
    files : mapping of str to str
        The file name of each artifact that is to be made.
    """

    task: str
    version: int
    model: Digest | None
    manifest: Digest | None
    baseline: str
    parameters: Mapping[str, Any]
    sound: Digest
    sound_bytes: int
    ext: str | None
    files: Mapping[str, str]

    def describe(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "task": self.task,
            "version": self.version,
            "model": None if self.model is None else self.model.hex,
            "manifest": None if self.manifest is None else self.manifest.hex,
            "baseline": self.baseline,
            "parameters": dict(self.parameters),
            "sound": self.sound.hex,
            "sound_bytes": self.sound_bytes,
            "ext": self.ext,
            "files": dict(self.files),
        }

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `describe` said, as JSON."""
        told = json.loads(text)
        for name in ("model", "manifest", "sound"):
            told[name] = None if told[name] is None else Digest.parse(told[name])
        return cls(**told)

    @property
    def content(self) -> Digest:
        """The name of what is to be done, whoever asks for it."""
        return Digest(hashlib.sha256(canonical_json(self.describe())).digest())


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of a job.

    Attributes
    ----------
    name : str
        File name.
    digest : Digest
        Of its bytes.
    size : int
        In bytes.
    """

    name: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Job:
    """A job.

    Attributes
    ----------
    id : str
        Later ones are greater; nobody guesses it.
    owner : str
        The key that submitted it.
    asked : Asked
        What is to be done.
    state : State
        Where it is.
    priority : int
        Greater ones first.
    attempts : int
        How often it was begun.
    fence : int
        Of its latest claim.
    progress : float
        0 to 1; never less than before.
    result : dict or None
        What it came to, JSON values; None in a list of jobs, too.
    problem : dict or None
        Why it failed.
    artifacts : tuple of Kept
        Its files, once it is done; none in a list of jobs.
    created_at, started_at, ended_at, until : float or None
        Seconds since 1970; at `until` it is forgotten.
    """

    id: str
    owner: str
    asked: Asked
    state: State
    priority: int
    attempts: int
    fence: int
    progress: float
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    until: float | None = None
    problem: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    artifacts: tuple[Kept, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to do a job, for a while.

    Attributes
    ----------
    id : str
        Of the job.
    asked : Asked
        What is to be done.
    fence : int
        Greater with each claim: who comes late with an older one is refused.
    attempt : int
        From 1.
    progress : float
        That an earlier attempt came to.
    """

    id: str
    asked: Asked
    fence: int
    attempt: int
    progress: float


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job.

    Attributes
    ----------
    number : int
        From 1.
    at : float
        Seconds since 1970.
    kind : Kind
        What.
    data : dict
        More of it, JSON values.
    """

    number: int
    at: float
    kind: Kind
    data: dict[str, Any]


def new_id(microseconds: int) -> str:
    """Return an id that sorts by age, since 1970, and cannot be guessed."""
    return f"{microseconds:014x}{secrets.token_hex(9)}"


def told(error: ServerError) -> dict[str, Any]:
    """Return what an event and an answer say of an error."""
    named = {"type": f"/problems/{error.slug}", "title": error.title, "status": error.status}
    return named | {"detail": error.detail} | error.members
